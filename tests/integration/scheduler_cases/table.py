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

GROUPS = (
    callbacks.CASES,
    items.CASES,
    redirects_retries.CASES,
    network.CASES,
    downloader_mw.CASES,
    engine_downloads.CASES,
    spider_mw.CASES,
    children.CASES,
    closing.CASES,
)
CASES = {case.name: case for group in GROUPS for case in group}
#: When a lease is taken, sent and given back: the tests of these say more.
TIMING = {case.name: case for case in timing.CASES}
