"""What somebody new to the dashboard does in it, with a crawl of the simulated web."""

from __future__ import annotations

import time
from collections import Counter
from math import inf
from typing import TYPE_CHECKING

import pytest
from w3lib.url import canonicalize_url

from crawling.tracker.tracker import CrawlId, is_failure
from tests.acceptance.crawls import ask, worker
from tests.acceptance.dashboard import SLOW, end, serve
from tests.servers.kafka_server import free_ports
from tests.servers.site_graph import NO_LINKS, SiteGraph
from tests.servers.website import website
from tests.windows import most_in_a_window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crawling.tracker.tracker import CrawlStatus, Failure
    from tests.servers.browser import Browser
    from tests.servers.website import Website

CRAWL = CrawlId("link", "newcomer", "first")
HITS, WINDOW = int(SLOW["QUEUE_HITS"]), float(SLOW["QUEUE_WINDOW"])
#: A web of which two levels of links have failures of several reasons, and of which one host
#: has the most: its rate is changed.
WEB = {"seed": 530, "pages": 250, "hosts": 8}
#: Why a page of a kind fails when a worker tries it twice.  The third time, `flaky` is there.
REASONS = {
    "broken": "http_500",
    "flaky": "http_500",
    "reset": "reset",
    "truncated": "truncated",
}
#: Tables of what has ended, on the page of a crawl.
STATUSES = "What is done or has failed, by the status of its last answer"
DEPTHS = "What is done or has failed, by depth: links from a seed"


@pytest.fixture(scope="module")
def web(folder: Path) -> Iterator[Website]:
    options = (f"--{name}={value}" for name, value in WEB.items())
    with website(folder, *options) as running:
        yield running


@pytest.fixture(scope="module")
def graph(web: Website) -> SiteGraph:
    return SiteGraph(web.port, **WEB)


@pytest.fixture(scope="module")
def ui(folder: Path, tracker: str) -> Iterator[str]:
    """Return where the dashboard is, of a service with one worker."""
    settings = {**SLOW, "RETRY_TIMES": "1"}
    with (
        serve(folder, tracker, free_ports(1)[0]) as url,
        worker(folder, tracker, **settings) as running,
    ):
        yield url
        end(running)


def books(tracker: str) -> CrawlStatus:
    status = ask(tracker, lambda opened: opened.crawl(CRAWL))
    assert status is not None
    return status


def failures(tracker: str) -> dict[str, list[Failure]]:
    """Return what has failed, by reason."""
    found: dict[str, list[Failure]] = {}
    for each in ask(tracker, lambda opened: opened.failed(CRAWL)).failures:
        found.setdefault(each.reason, []).append(each)
    return found


def shown(browser: Browser) -> dict[str, int]:
    """Return the books of a crawl as its page has them."""
    names = {
        "Accepted": "accepted",
        "Queued": "queued",
        "Waiting for a retry": "delayed",
        "In flight": "leased",
        "Done": "done",
        "Failed": "failed",
        "Dropped": "dropped",
        "Links met again": "duplicates",
    }
    return {column: int(browser.fact(name)) for name, column in names.items()}


def counted(browser: Browser, caption: str) -> dict[int, int]:
    return {int(name): int(count) for name, count, _ in browser.rows(caption)}


def groups(browser: Browser) -> dict[str, int]:
    """Return how many have failed, by reason."""
    code = "return [...document.querySelectorAll('main summary')].map((each) => each.innerText)"
    pairs = [text.rpartition(" ") for text in browser.script(code)]
    return {reason: int(count) for reason, _, count in pairs}


def same_as_tracker(browser: Browser, tracker: str) -> bool:
    status = books(tracker)
    failed = {name: n for name, n in status.reasons.items() if is_failure(name)}
    dropped = status.reasons.keys() - failed.keys()
    ended = status.accepted - status.outstanding
    share = f"{100 * ended // status.accepted} % of {status.accepted} have ended"
    return (
        groups(browser) == failed
        and all(browser.fact(name) == str(status.reasons[name]) for name in dropped)
        and share in browser.text()
        and shown(browser) == {name: getattr(status, name) for name in shown(browser)}
        and counted(browser, STATUSES) == status.by_status
        and counted(browser, DEPTHS) == status.by_depth
    )


def fill_in(browser: Browser, url: str) -> None:
    """Fill in the form of a crawl, with two errors at first."""
    browser.go("Submit")
    browser.fill("url", url)
    browser.fill("appid", "x")
    browser.fill("crawlid", CRAWL.crawlid)
    browser.fill("maxdepth", "9")
    browser.press("Submit")
    assert "at least 3" in browser.error_at("appid")
    assert "at most 3" in browser.error_at("maxdepth")

    browser.fill("appid", CRAWL.appid)
    browser.fill("maxdepth", "2")


def lists_are_as_the_tracker(browser: Browser, tracker: str) -> None:
    """Check the lists of crawls, workers and domains; the one crawl is paused."""
    status = books(tracker)
    queued = str(status.queued + status.delayed)
    ended = [str(each) for each in (status.done, status.failed, status.dropped)]
    browser.go("Crawls")
    browser.until(
        lambda: (
            [row[3:8] for row in browser.rows("Crawls, the newest first")]
            == [[*ended, queued, "0"]]
        ),
        "the tracker's numbers in the list of crawls",
    )
    browser.go("Workers")
    browser.until(
        lambda: [row[3] for row in browser.rows("Workers, those in trouble first")] == ["0"],
        "what the worker holds",
    )
    open_crawl(browser)
    browser.see("http_500")
    waiting = ask(tracker, lambda opened: opened.queued(CRAWL))
    assert len(waiting) > 1
    rows = sorted([each.domain, str(each.queued), "paused"] for each in waiting)

    def same() -> bool:
        found = browser.rows("Domains in which the crawl waits, longest queues first")
        counts = [int(row[1]) for row in found]
        return sorted(found) == rows and counts == sorted(counts, reverse=True)

    browser.until(same, "the tracker's numbers of the domains")


def open_crawl(browser: Browser) -> None:
    """Go to the page of the only crawl."""
    browser.go("Crawls")
    browser.until(
        lambda: browser.script(
            "const link = document.querySelector('td a'); link?.click(); return Boolean(link)"
        ),
        "the link to the crawl",
    )


def failed_are_as_the_tracker(browser: Browser, tracker: str, graph: SiteGraph) -> None:
    """Check what has failed and why, and that the web made it fail so."""
    failed = failures(tracker)
    assert failed
    for reason, those in failed.items():
        assert {REASONS[graph.resources[each.url].kind] for each in those} == {reason}
        summary = f"{reason} {len(those)}"
        browser.unfold(summary)
        browser.until(
            lambda reason=reason, those=those: (  # type: ignore[misc]  # known
                browser.rows(f"Failed: {reason}")
                == [[each.url, each.detail, str(each.attempts)] for each in those]
            ),
            "what failed, and why, as the tracker has it",
        )


def change_rate(browser: Browser, tracker: str, domain: str) -> tuple[float, float]:
    """Let a domain be asked as fast as it answers; return before and after when it was set."""
    browser.go("Domains")
    browser.press(f"Change {domain}")
    browser.fill("hits", "0")
    browser.press("Set throttle")
    assert "greater than or equal to 1" in browser.error_at("hits")
    browser.fill("hits", "1000")
    browser.fill("window", "1")
    before = time.monotonic()
    browser.press("Set throttle")
    browser.see(f"{domain}: throttle set")
    after = time.monotonic()
    [setting] = ask(tracker, lambda opened: opened.domain_settings())
    assert (setting.domain, setting.hits, setting.window) == (domain, 1000, 1.0)
    browser.see("1,000 in 1 s")
    return before, after


def finishes(browser: Browser) -> None:
    browser.go("Crawls")
    browser.until(
        lambda: [row[1] for row in browser.rows("Crawls, the newest first")] == ["finished"],
        "the crawl is finished",
    )
    open_crawl(browser)
    browser.see("100 %")


def same_as_web(status: CrawlStatus, web: Website, graph: SiteGraph) -> bool:
    """Whether the books are what the web's log of requests must come to."""
    asked = {canonicalize_url(web.url(access)) for access in web.accesses()}
    ended = [graph.expected[url] for url in asked if url in graph.expected]
    words = {
        state: Counter(what.word for what in ended if what.state == state)
        for state in ("done", "failed", "dropped")
    }
    links = {
        link
        for what in ended
        if what.state == "done"
        for link in graph.resources[what.final].links
    }
    failed = {name: n for name, n in status.reasons.items() if is_failure(name)}
    return (
        {str(name): n for name, n in status.statuses.items()} == words["done"]
        and failed == words["failed"]
        and status.reasons.get("duplicate", 0) == words["dropped"]["duplicate"]
        and status.accepted == len((links | {graph.start}) - set(NO_LINKS))
        and status.balanced
    )


def most_asked(
    web: Website, graph: SiteGraph, since: float = 0.0, until: float = inf
) -> dict[str, int]:
    """Return how often each host was asked within one window of the throttle, at most.

    A tenth less than the window: requests do not take the same time to arrive.
    """
    times: dict[str, list[float]] = {}
    for access in web.accesses():
        found = graph.find(access.host, access.path)
        # Twisted asks once more, at once, where a connection that it had kept is reset.
        if since < access.time < until and found and found.kind != "reset":
            times.setdefault(access.host, []).append(access.time)
    return {host: most_in_a_window(each, 0.9 * WINDOW) for host, each in times.items()}


def overview_is_as_the_tracker(browser: Browser, tracker: str) -> None:
    status = books(tracker)
    browser.go("Overview")
    browser.until(lambda: browser.fact("Done") == str(status.done), "the tracker's sum")
    names = ("Queued", "Waiting for a retry", "In flight", "Workers", "Crawls")
    assert [browser.fact(name) for name in names] == ["0", "0", "0", "1", "1 finished"]
    assert browser.fact("Failed") == str(status.failed)
    assert browser.fact("Links met again") == str(status.duplicates)
    assert browser.fact("Dropped") == str(status.dropped)


def test_a_newcomer_submits_watches_and_steers_a_crawl(
    browser: Browser, ui: str, tracker: str, web: Website, graph: SiteGraph
) -> None:
    browser.open(ui)
    browser.see("live", "There are none. Submit one")
    fill_in(browser, graph.start)
    browser.press("Submit")
    browser.see("Submitted first", "running", "http_500")
    browser.press("Pause")
    browser.see("paused")
    browser.until(lambda: browser.fact("In flight") == "0", "nothing is in flight")
    browser.until(lambda: same_as_tracker(browser, tracker), "the tracker's numbers")
    status = books(tracker)
    assert status.state == "paused"
    assert status.queued
    assert status.reasons["http_500"]
    lists_are_as_the_tracker(browser, tracker)

    failed_are_as_the_tracker(browser, tracker, graph)
    browser.press("Retry all of http_500")
    browser.see("of http_500 queued again")
    browser.until(lambda: "http_500" not in groups(browser), "none has failed so")
    browser.until(lambda: same_as_tracker(browser, tracker), "the tracker's numbers")

    waiting = ask(tracker, lambda opened: opened.queued(CRAWL))
    longest = max(waiting, key=lambda each: each.queued).domain
    browser.press("Resume")
    browser.see("running")
    before, after = change_rate(browser, tracker, longest)
    finishes(browser)
    while any(_passes(graph, each) for each in failures(tracker)["http_500"]):
        browser.unfold(f"http_500 {len(failures(tracker)['http_500'])}")
        browser.press("Retry all of http_500")
        browser.see("of http_500 queued again")
        finishes(browser)
    browser.until(
        lambda: books(tracker).state == "finished" and same_as_tracker(browser, tracker),
        "the tracker's numbers",
    )
    assert same_as_web(books(tracker), web, graph)
    failed_are_as_the_tracker(browser, tracker, graph)
    assert len(groups(browser)) > 1
    assert max(most_asked(web, graph, until=before).values()) <= HITS
    fastest = most_asked(web, graph, since=after)
    assert fastest.pop(longest) > HITS
    assert max(fastest.values()) <= HITS
    overview_is_as_the_tracker(browser, tracker)


def _passes(graph: SiteGraph, failed: Failure) -> bool:
    return graph.resources[failed.url].kind == "flaky"
