from __future__ import annotations

from rest_service.cli import main

main()
