"""The list of crawls: how much of each has ended, how, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crawling.tracker.tracker import Outcome
from tests.acceptance.crawls import ask
from tests.acceptance.dashboard import is_accessible, queue

if TYPE_CHECKING:
    from crawling.tracker.tracker import Tracker
    from tests.servers.browser import Browser

CRAWLS = "Crawls, the newest first"


async def end(opened: Tracker, name: str, done: int, failed: int) -> None:
    """Let so many requests of a crawl end; no other crawl has its spider."""
    leases = (await opened.lease("worker", done + failed, name)).leases
    outcomes = [
        Outcome(lease, "done") if number < done else Outcome(lease, "failed", reason="dns")
        for number, lease in enumerate(leases)
    ]
    assert await opened.settle("worker", outcomes) == [True] * (done + failed)


def parts(browser: Browser) -> dict[str, float]:
    """Return the part of the bar that each way to end has, and what has not ended."""
    code = """
        const [bar] = document.querySelectorAll("td .bar");
        return [...bar.children].map((each) => [each.className, each.offsetWidth / bar.clientWidth]);
    """
    return dict(browser.script(code))


def said(browser: Browser) -> str:
    return str(browser.script("return document.querySelector('td .bar').ariaLabel"))


def test_a_crawl_says_how_much_has_ended_how_and_when(
    browser: Browser, ui: str, tracker: str
) -> None:
    crawl = queue(tracker, "ends", *(f"http://{number}.example/" for number in range(20)))
    browser.open(f"{ui}#/crawls")

    def row() -> list[str]:
        return next(iter(browser.rows(CRAWLS)), [""] * 11)

    def is_now(*books: str) -> None:
        """Wait for progress, done, failed, dropped, queued and in flight."""
        browser.until(lambda: [each.strip() for each in row()[2:8]] == [*books], f"{books}")

    is_now("0 %", "0", "0", "0", "20", "0")
    assert row()[10] == "\u2013"
    assert (said(browser), parts(browser)) == ("0 % have ended", {"open": 1})

    ask(tracker, lambda opened: end(opened, "ends", 8, 4))
    is_now("60 %", "8", "4", "0", "8", "0")
    assert parts(browser) == pytest.approx({"done": 0.4, "failed": 0.2, "open": 0.4}, abs=0.05)
    assert said(browser) == "60 % have ended: 8 done, 4 failed"
    browser.until(lambda: row()[10].startswith("in "), "when it will have ended")

    ask(tracker, lambda opened: opened.stop(crawl))
    is_now("100 %", "8", "4", "8", "0", "0")
    assert parts(browser) == pytest.approx(
        {"done": 0.4, "failed": 0.2, "dropped": 0.4, "open": 0}, abs=0.05
    )
    assert said(browser) == "100 % have ended: 8 done, 4 failed, 8 dropped"
    status = ask(tracker, lambda opened: opened.crawl(crawl))
    assert status is not None
    assert status.ended is not None
    ended = browser.script(
        "return new Date(1000 * arguments[0]).toLocaleString()", status.ended
    )
    browser.until(lambda: row()[10] == ended, "when it has ended")
    is_accessible(browser)
