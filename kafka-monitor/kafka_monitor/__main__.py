from __future__ import annotations

from kafka_monitor.cli import main

main()
