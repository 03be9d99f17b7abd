"""`python kafka_monitor.py run` and `feed`, as in Scrapy Cluster."""

from __future__ import annotations

from kafka_monitor.cli import main

main()
