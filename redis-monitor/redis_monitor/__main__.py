from __future__ import annotations

from redis_monitor.cli import main

main()
