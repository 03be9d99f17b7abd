"""The throttle as the server sees it, with three workers that know nothing of each other."""

from __future__ import annotations

import time
from collections import defaultdict
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.crawls import status_of, stop, submit, until, worker
from tests.servers.website import website

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from tests.servers.website import Website

HOSTS = 3
#: Seconds that two requests may be closer together than the throttle wants them.
JITTER = 0.005


@contextmanager
def three_workers(
    folder: Path, tracker: str, hits: int, window: float, *, moderated: bool
) -> Iterator[Website]:
    settings = {
        "QUEUE_HITS": str(hits),
        "QUEUE_WINDOW": str(window),
        "QUEUE_MODERATED": str(int(moderated)),
    }
    with website(folder, "--site", "flat", "--hosts", str(HOSTS)) as site, ExitStack() as stack:
        workers = [stack.enter_context(worker(folder, tracker, **settings)) for _ in range(3)]
        yield site
        assert [stop(running) for running in workers] == [0, 0, 0]


def fetch(site: Website, tracker: str, crawlid: str, pages: int) -> None:
    """Have so many pages of each host fetched."""
    hosts = [f"http://127.2.0.{number + 1}:{site.port}" for number in range(HOSTS)]
    seeds = [f"{host}/page/{crawlid}/{page}" for page in range(pages) for host in hosts]
    submit(tracker, crawlid, *seeds)
    until(lambda: status_of(tracker, crawlid).state == "finished", f"{crawlid} is finished")


def arrivals(site: Website, crawlid: str = "") -> dict[str, list[float]]:
    times = defaultdict(list)
    for access in site.accesses():
        if crawlid in access.path:
            times[access.host].append(access.time)
    assert len(times) == HOSTS
    return times


@pytest.mark.alone
def test_no_window_has_more_hits_than_allowed_and_few_are_wasted(
    tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    hits, window, windows = 10, 8.0, 4
    with three_workers(tmp_path, redis_url, hits, window, moderated=False) as site:
        fetch(site, redis_url, "busy", hits * windows)
        idle_since = max(map(max, arrivals(site).values()))
        until(lambda: time.monotonic() > idle_since + 2 * window, "two windows of idling")
        fetch(site, redis_url, "again", 2 * hits)

    for times in arrivals(site).values():
        gaps = [late - early for early, late in zip(times, times[hits:], strict=False)]
        assert min(gaps) >= window
    for times in arrivals(site, "busy").values():
        # The last window is not waited for: its hits come at its beginning.
        allowed = hits * ((times[-1] - times[0]) / window + 1)
        assert len(times) >= 0.95 * allowed


@pytest.mark.alone
def test_moderated_hits_come_evenly_and_few_are_wasted(
    tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    hits, window, pages = 5, 5.0, 15
    with three_workers(tmp_path, redis_url, hits, window, moderated=True) as site:
        fetch(site, redis_url, "busy", pages)
        idle_since = max(map(max, arrivals(site).values()))
        until(lambda: time.monotonic() > idle_since + 2 * window, "two windows of idling")
        fetch(site, redis_url, "again", hits)

    for times in arrivals(site).values():
        gaps = [late - early for early, late in pairwise(times)]
        assert min(gaps) >= window / hits - JITTER
    for times in arrivals(site, "busy").values():
        allowed = hits * (times[-1] - times[0]) / window + 1
        assert len(times) >= 0.95 * allowed
