"""`python redis_monitor.py`, as in Scrapy Cluster."""

from __future__ import annotations

from redis_monitor.cli import main

main()
