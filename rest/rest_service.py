"""`python rest_service.py`, as in Scrapy Cluster."""

from __future__ import annotations

from rest_service.cli import main

main()
