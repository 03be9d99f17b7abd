"""`kill -9`, at any moment: nothing is lost, and little is fetched twice."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING

from w3lib.url import canonicalize_url

from tests.acceptance.archives import bodies, read_jsonl
from tests.acceptance.crawls import (
    UNTHROTTLED,
    ask,
    fleet_json,
    running_fleet,
    status_of,
    stop,
    submit,
    until,
    worker,
)
from tests.servers.site_graph import SiteGraph
from tests.servers.site_pages import body_of
from tests.servers.website import website

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    import pytest
    from redis import Redis

    from tests.servers.website import Website

CRAWL = "killed"
KILLS = 10
#: Bytes of a line in the access log, more or less.
LINE = 120
ARCHIVES = ("x.jsonl", "x.warc.gz", "x.tar.gz", "folder/")
#: Kinds whose every URL is fetched exactly once when nobody kills the crawler.
FETCHED_ONCE = frozenset({"page", "missing", "slow", "malformed", "latin1", "image", "pdf"})
LEASE_TIMEOUT = 3.0
#: A worker renews every third of LEASE_TIMEOUT, and the others look more often.
OBSERVATION = LEASE_TIMEOUT / 3


def command(site: Website, tracker: str) -> list[str]:
    return [
        *("crawl", SiteGraph(site.port).start, "--tracker", tracker, "--crawlid", CRAWL),
        *UNTHROTTLED,
        *(option for archive in ARCHIVES for option in ("--save", archive)),
    ]


def kill_at_random(site: Website, folder: Path, arguments: list[str]) -> None:
    """Start the crawl, and kill it after a number of requests, or before the first."""
    requests, patience = random.randint(1, 250), random.choice([0.3, 0.7, 60, 60, 60])
    begin, deadline = site.log.stat().st_size, time.monotonic() + patience
    with running_fleet(*arguments, cwd=folder) as process:
        while process.poll() is None and time.monotonic() < deadline:
            if site.log.stat().st_size - begin > requests * LINE:
                break
            time.sleep(0.001)
        process.kill()


def test_a_crawl_that_is_killed_again_and_again_loses_nothing(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    end = time.monotonic() + 60 * pytestconfig.getoption("soak", default=0.0)
    for number in count():
        folder = tmp_path / str(number)
        folder.mkdir()
        with website(folder) as site:
            check_a_crawl_that_is_killed(site, folder)
        if time.monotonic() >= end:
            break


def check_a_crawl_that_is_killed(site: Website, folder: Path) -> None:
    tracker, in_flight = f"sqlite:///{folder}/crawl.db", 0
    for _ in range(KILLS):
        kill_at_random(site, folder, command(site, tracker))
        in_flight += leased(tracker) if (folder / "crawl.db").exists() else 0

    summary = fleet_json(*command(site, tracker), cwd=folder)

    expected = SiteGraph(site.port).expected
    done = Counter(what.word for what in expected.values() if what.state == "done")
    assert (summary["state"], summary["statuses"]) == ("finished", done)
    assert summary["accepted"] == len(expected)
    assert fetched_in_vain(site) <= in_flight
    check_archives(SiteGraph(site.port), folder, in_flight)


def leased(tracker: str) -> int:
    """Return how many pages were in flight when the crawl was killed."""
    status = ask(tracker, lambda running: running.crawls())
    return status_of(tracker, CRAWL).leased if status else 0


def fetched_in_vain(site: Website) -> int:
    resources = SiteGraph(site.port).resources
    fetched = Counter(canonicalize_url(site.url(access)) for access in site.accesses())
    return sum(n - 1 for url, n in fetched.items() if resources[url].kind in FETCHED_ONCE)


def check_archives(graph: SiteGraph, folder: Path, in_flight: int) -> None:
    """Each archive is readable and has every page; some of those in flight twice."""
    done = [what for what in graph.expected.values() if what.state == "done"]
    expected = Counter(body_of(graph.resources[what.final]) for what in done)
    for archive in ARCHIVES:
        saved = Counter(bodies(folder / archive))
        assert saved.keys() == expected.keys(), archive
        assert not expected - saved, archive
        assert (saved - expected).total() <= in_flight, archive
    requested = {page.requested for page in read_jsonl(folder / "x.jsonl")}
    assert requested == {url for url, what in graph.expected.items() if what.state == "done"}


def test_the_leases_of_a_killed_worker_are_back_in_time(
    tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    flat = ("--site", "flat", "--pages", "1500", "--hosts", "10", "--delay", "0.3")
    with website(tmp_path, *flat) as site, ExitStack() as stack:
        workers = [
            stack.enter_context(
                worker(tmp_path, redis_url, LEASE_TIMEOUT=str(LEASE_TIMEOUT), SAVERS=saver)
            )
            for saver in (f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl", f"{tmp_path}/c.jsonl")
        ]
        submit(redis_url, CRAWL, f"http://127.2.0.1:{site.port}/")
        victim = workers[0]
        until(lambda: held_by(redis_url, victim) > 0, "the worker has leases")
        victim.kill()
        killed, in_flight = time.monotonic(), held_by(redis_url, victim)

        until(lambda: held_by(redis_url, victim) == 0, "its leases are back")

        assert time.monotonic() - killed <= LEASE_TIMEOUT + OBSERVATION
        until(lambda: status_of(redis_url, CRAWL).state == "finished", "the crawl is finished")
        assert [stop(survivor) for survivor in workers[1:]] == [0, 0]
        assert len(site.accesses()) - 1501 <= in_flight
    status = status_of(redis_url, CRAWL)
    assert (status.done, status.failed, status.dropped) == (1501, 0, 0)
    saved = [
        page.requested for name in "abc" for page in read_jsonl(tmp_path / f"{name}.jsonl")
    ]
    assert len(set(saved)) == 1501


def held_by(tracker: str, process: subprocess.Popen[str]) -> int:
    """Return how many leases a worker has by the tracker's books."""
    workers = ask(tracker, lambda running: running.workers())
    return sum(some.leased for some in workers if f":{process.pid}:" in some.worker)
