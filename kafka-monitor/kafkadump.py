"""`python kafkadump.py list` and `dump`, as in Scrapy Cluster."""

from __future__ import annotations

from kafka_monitor.cli import dump_main

dump_main()
