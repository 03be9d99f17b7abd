"""All cases by name."""

from __future__ import annotations

from tests.integration.scheduler_cases import (
    callbacks,
    children,
    closing,
    downloader_mw,
    engine_downloads,
    items,
    network,
    redirects_retries,
    spider_mw,
    timing,
)

GROUPS = {
    "callbacks": callbacks.CASES,
    "items": items.CASES,
    "redirects, retries": redirects_retries.CASES,
    "network": network.CASES,
    "downloader middlewares": downloader_mw.CASES,
    "engine downloads": engine_downloads.CASES,
    "spider middlewares": spider_mw.CASES,
    "children": children.CASES,
    "closing": closing.CASES,
}
#: When a lease is taken, sent and given back; each has a test of its own.
TIMING = {case.name: case for case in timing.CASES}
CASES = {case.name: case for group in GROUPS.values() for case in group}
