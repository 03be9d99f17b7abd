"""The whole simulated web: every page saved once, every other URL with its reason."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from w3lib.url import canonicalize_url

from crawling.tracker.urls import fingerprint
from tests.acceptance.archives import bodies, read_jsonl
from tests.acceptance.crawls import (
    UNTHROTTLED,
    ask,
    crawl_id,
    fleet_json,
    status_of,
    stop,
    worker,
)
from tests.servers.site_graph import SiteGraph
from tests.servers.site_pages import body_of
from tests.servers.website import website

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from crawling.tracker.tracker import Trace, Tracker
    from tests.servers.website import Website

CRAWL = "site"
ARCHIVES = ("x.jsonl", "x.warc.gz", "x.tar.gz", "folder/")
#: Kinds whose every URL is fetched exactly once when nothing goes wrong with the crawler.
FETCHED_ONCE = frozenset({"page", "missing", "slow", "malformed", "latin1", "image", "pdf"})


@dataclass(frozen=True)
class Crawled:
    """A crawl that has ended: what it said of itself, and what it left."""

    site: Website
    graph: SiteGraph
    tracker: str
    summary: Any
    files: list[Path]


@pytest.fixture(scope="module", params=["sqlite", "redis", "three processes on redis"])
def crawled(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crawled]:
    folder = tmp_path_factory.mktemp("crawl")
    with website(folder) as site, ExitStack() as stack:
        tracker, helpers = f"sqlite:///{folder}/crawl.db", []
        if request.param != "sqlite":
            tracker = request.getfixturevalue("redis_url")
            stack.enter_context(Redis.from_url(tracker)).flushall()
        files = [folder / "x.jsonl"]
        if request.param.startswith("three"):
            files += [folder / "a.jsonl", folder / "b.jsonl"]
            helpers = [
                stack.enter_context(worker(folder, tracker, SAVERS=str(file)))
                for file in files[1:]
            ]
        yield Crawled(site, SiteGraph(site.port), tracker, crawl(site, folder, tracker), files)
        assert [stop(helper) for helper in helpers] == [0] * len(helpers)


def crawl(site: Website, folder: Path, tracker: str) -> Any:
    return fleet_json(
        *("crawl", SiteGraph(site.port).start, "--tracker", tracker, "--crawlid", CRAWL),
        *UNTHROTTLED,
        *(option for archive in ARCHIVES for option in ("--save", archive)),
        cwd=folder,
    )


def test_every_reachable_page_is_saved_exactly_once(crawled: Crawled) -> None:
    expected = crawled.graph.expected
    done = {url: what for url, what in expected.items() if what.state == "done"}

    saved = [page for file in crawled.files for page in read_jsonl(file)]

    assert Counter(page.requested for page in saved) == Counter(done.keys())
    for page in saved:
        what = done[page.requested]
        assert (page.final, str(page.status)) == (what.final, what.word)
        assert page.body == body_of(crawled.graph.resources[what.final]), page.final


def test_every_archive_has_every_page_of_its_process(crawled: Crawled) -> None:
    lines = crawled.files[0]
    expected = Counter(page.body for page in read_jsonl(lines))

    for archive in ARCHIVES:
        assert Counter(bodies(lines.parent / archive)) == expected, archive


def test_all_processes_share_the_work(crawled: Crawled) -> None:
    assert all(len(list(read_jsonl(file))) > 100 for file in crawled.files)


def test_the_ledger_balances(crawled: Crawled) -> None:
    expected, summary = crawled.graph.expected, crawled.summary
    words = {
        state: Counter(what.word for what in expected.values() if what.state == state)
        for state in ("done", "failed", "dropped")
    }

    assert summary["statuses"] == words["done"]
    assert summary["reasons"] == words["failed"] + words["dropped"]
    assert {state: summary[state] for state in words} == {
        state: some.total() for state, some in words.items()
    }
    assert (summary["state"], summary["accepted"]) == ("finished", len(expected))
    assert status_of(crawled.tracker, CRAWL).balanced


def test_every_url_ends_with_its_reason(crawled: Crawled) -> None:
    expected = crawled.graph.expected

    traces = ask(crawled.tracker, lambda tracker: trace_all(tracker, expected))

    assert {url: (trace.state, trace.reason) for url, trace in traces.items()} == {
        url: (what.state, None if what.state == "done" else what.word)
        for url, what in expected.items()
    }


def test_fleet_trace_says_what_became_of_a_url(crawled: Crawled) -> None:
    samples = {what[:2]: url for url, what in crawled.graph.expected.items()}

    for (state, word), url in samples.items():
        asked = ("trace", url, "--tracker", crawled.tracker, "--crawlid", CRAWL)
        trace = fleet_json(*asked, cwd=crawled.files[0].parent)

        assert (trace["url"], trace["state"]) == (url, state)
        assert trace["reason"] == (None if state == "done" else word)


def test_nothing_is_fetched_twice_or_against_the_rules(crawled: Crawled) -> None:
    site, resources = crawled.site, crawled.graph.resources

    fetched = Counter(canonicalize_url(site.url(access)) for access in site.accesses())

    assert fetched.keys() <= resources.keys()
    assert {n for url, n in fetched.items() if resources[url].kind in FETCHED_ONCE} == {1}


async def trace_all(tracker: Tracker, urls: Iterable[str]) -> dict[str, Trace]:
    return {url: await tracker.trace(crawl_id(CRAWL), fingerprint(url)) for url in urls}
