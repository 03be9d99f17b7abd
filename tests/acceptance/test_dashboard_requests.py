"""How often the pages of the dashboard ask: when they are told to, and no more."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.tracker import CrawlId, Offer, TrackerConfig
from crawling.tracker.urls import fingerprint
from tests.acceptance.crawls import ask
from tests.acceptance.dashboard import in_page
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.browser import Browser

CRAWL = CrawlId("link", "fleet", "quiet")
DOMAIN = "quiet.example"
#: Milliseconds between two requests for the same list, and what a browser's clock is coarse by.
LEAST, COARSE = 2000, 10
#: Which list a page asks for again and again, by what the page shows.
PAGES = {
    "domains": ("#/domains", "/domains?", DOMAIN),
    "workers": ("#/workers", "/workers?", "No worker runs"),
    "crawl": ("#/crawls/link/fleet/quiet", "/quiet/domains?", DOMAIN),
    "crawls": ("#/crawls", "/crawls?", "quiet"),
    "overview": ("#/", "/api/v1/", "quiet"),
}


def offer(number: int) -> Offer:
    url = f"https://{DOMAIN}/page/{number}"
    return Offer(url, DOMAIN, fingerprint(url), 50, 0)


def submit(tracker: str, number: int) -> None:
    ask(tracker, lambda opened: opened.submit(CRAWL, [offer(number)]))


@pytest.fixture(scope="module")
def tracker(redis_needed: None, folder: Path) -> Iterator[str]:
    """Return a tracker with a crawl of which nothing is fetched, nor will be for an hour."""
    (folder / "redis").mkdir()
    with redis_server(folder / "redis") as url:
        submit(url, 0)
        ask(url, lambda opened: opened.defer(DOMAIN, 3600))
        yield url


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    yield window
    assert window.console() == []


def asked(browser: Browser, part: str) -> list[tuple[float, float]]:
    """Return when each request with *part* in its path began and ended, by the page's clock."""
    code = (
        "return performance.getEntriesByType('resource').filter((each) => "
        "each.name.includes(arguments[0]) && !each.name.includes('/events'))"
        ".map((each) => [each.startTime, each.responseEnd])"
    )
    return [(begun, ended) for begun, ended in browser.script(code, part)]


def opened(browser: Browser, ui: str, page: str) -> str:
    """Open a page; return what it asks for when it has all that it shows at first."""
    path, part, text = PAGES[page]
    browser.open(ui + path)
    browser.see("live", text)
    # The first event, which brings all, has them asked for once more.
    browser.until(lambda: page == "overview" or len(asked(browser, part)) == 2, "two requests")
    return part


@pytest.mark.parametrize("page", ["domains", "crawl"])
def test_however_many_events_come_a_list_is_asked_for_once_in_two_seconds(
    browser: Browser, ui: str, page: str
) -> None:
    part = opened(browser, ui, page)

    told = in_page(
        browser,
        "const crawls = [...live.crawls.values()];"
        "const changed = ['crawls', 'domain-settings', 'domains', 'workers'];"
        "for (let n = 0; n < 200; n += 1) {"
        "  live.dispatchEvent(new CustomEvent('change', { detail: "
        "    { crawls, gone: [], more: true, changed, isAll: false } }));"
        "  if (n % 100 === 0) await new Promise((go) => setTimeout(go, given[0]));"
        "} return true",
        LEAST,
    )

    assert told
    # One for each hundred, and the one that they leave behind.
    browser.until(lambda: len(asked(browser, part)) >= 4, "the list is asked for")
    spans = asked(browser, part)
    assert len(spans) <= 6
    for (_, ended), (begun, _) in pairwise(spans[1:]):
        assert begun - ended >= LEAST - COARSE


def test_what_really_changes_is_asked_for_no_more_often(
    browser: Browser, ui: str, tracker: str
) -> None:
    part = opened(browser, ui, "domains")
    before, events, first = len(asked(browser, part)), 5, 100

    for number in range(first, first + events):
        submit(tracker, number)
        browser.until(
            lambda number=number: (  # type: ignore[misc]  # known
                in_page(browser, "return live.overview.queued") >= number - first + 2
            ),
            "the event",
        )

    rows = "Domains with something queued or in flight"
    queued = str(ask(tracker, lambda opened: opened.crawl(CRAWL)).queued)  # type: ignore[union-attr]  # it is there
    browser.until(lambda: browser.rows(rows)[0][1] == queued, "what is queued now")
    assert before < len(asked(browser, part)) <= before + events + 1


@pytest.mark.parametrize("page", PAGES)
def test_nothing_is_asked_for_while_nothing_changes(
    browser: Browser, ui: str, page: str
) -> None:
    quick = """
        const real = setInterval;
        window.ticks = 0;
        window.setInterval = (call, wait, ...rest) => real(call, wait / 50, ...rest);
        window.setInterval(() => { window.ticks += 1; }, 1000);
    """
    script = browser.driver.execute_cdp_cmd(
        "Page.addScriptToEvaluateOnNewDocument", {"source": quick}
    )
    try:
        part = opened(browser, ui, page)
        before, ticks = len(asked(browser, part)), browser.script("return window.ticks")
        browser.until(
            lambda: browser.script("return window.ticks") >= ticks + 120, "two minutes"
        )
        assert len(asked(browser, part)) == before
    finally:
        browser.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


def test_nothing_is_asked_for_while_nobody_sees_the_page(browser: Browser, ui: str) -> None:
    part = opened(browser, ui, "domains")
    before = len(asked(browser, part))
    browser.driver.minimize_window()
    browser.until(lambda: browser.script("return document.hidden"), "the page is hidden")
    # Longer than a list rests.
    in_page(
        browser,
        "for (let n = 0; n < 10; n += 1) live.dispatchEvent("
        "  new CustomEvent('change', { detail: { crawls: [], changed: ['domains'] } }));"
        "await new Promise((go) => setTimeout(go, given[0]))",
        2 * LEAST,
    )
    assert len(asked(browser, part)) == before

    browser.driver.set_window_size(1000, 700)

    browser.until(lambda: len(asked(browser, part)) > before, "what was told is asked for")


async def live_shortly(url: str) -> None:
    """Let a worker begin that is not heard of again."""
    opened = await open_tracker(url, TrackerConfig(lease_timeout=8.0))
    try:
        await opened.lease("host:1:link:silent", 1, "link")
    finally:
        await close_tracker(url)


def test_what_changes_with_time_alone_is_seen(browser: Browser, ui: str, tracker: str) -> None:
    """A domain that opens, and a worker that is silent, are told by nobody."""
    other = CrawlId("link", "fleet", "opens")
    url = "https://opens.example/"
    ask(
        tracker,
        lambda opened: opened.submit(
            other, [Offer(url, "opens.example", fingerprint(url), 50, 0)]
        ),
    )
    ask(tracker, lambda opened: opened.defer("opens.example", 10))
    browser.open(f"{ui}#/domains")
    rows = "Domains with something queued or in flight"

    def state() -> str:
        return next(
            (row[3] for row in browser.rows(rows) if row[0].startswith("opens.example")), ""
        )

    browser.until(lambda: state().startswith("pushed back"), "it is pushed back")
    browser.until(lambda: state() == "ready", "it is ready")

    asyncio.run(live_shortly(tracker))
    browser.open(f"{ui}#/workers")
    browser.see("alive for")
    browser.see("not heard of")
