"""The list of workers: what each holds, where its row is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from crawling.tracker.tracker import CrawlId, Outcome
from tests.acceptance.crawls import ask
from tests.acceptance.dashboard import in_page, is_accessible, offers, site

if TYPE_CHECKING:
    from crawling.tracker.tracker import Lease, Tracker
    from tests.servers.browser import Browser

WORKERS = "Workers, those in trouble first"
#: How far to the right what is below a row is seen.
RIGHT = "return document.querySelector('.below > div').getBoundingClientRect().right"
#: Longer than a list rests until it is asked for again.
REST = "await new Promise((go) => setTimeout(go, 2500))"
#: More than are shown.
MANY = 60


def holding(tracker: str, spider: str, count: int) -> tuple[str, list[Lease]]:
    """Let a worker of a spider of its own lease so many of a crawl; one more is queued."""
    crawl, worker = CrawlId(spider, "fleet", f"{spider} & co"), f"host-{spider}:7:{spider}:x"
    urls = [site(number, "/page?a=1&b=é") for number in range(count + 1)]

    async def lend(opened: Tracker) -> list[Lease]:
        await opened.submit(crawl, offers(*urls))
        return (await opened.lease(worker, count, spider)).leases

    leases = ask(tracker, lend)
    assert len(leases) == count
    return worker, leases


def see_worker(browser: Browser, ui: str, spider: str) -> None:
    """Open the list of workers, and see the one of this spider in it."""
    browser.open(f"{ui}#/workers")
    browser.see("live", f"host-{spider} 7")


def listed(browser: Browser, spider: str) -> list[str]:
    """Return the URLs that the opened row of a worker has, in their order."""
    caption = f"What host-{spider} 7 holds, longest held first"
    return [row[0] for row in browser.rows(caption)]


def asked(browser: Browser) -> int:
    """Return how often it was asked what a worker holds."""
    code = (
        "return performance.getEntriesByType('resource')"
        ".filter((each) => each.name.includes('/requests')).length"
    )
    return int(browser.script(code))


async def go_on(opened: Tracker, worker: str, page: Lease) -> None:
    """Let a worker end a page, and lease another."""
    assert await opened.settle(worker, [Outcome(page, "done")]) == [True]
    assert len((await opened.lease(worker, 1, page.spiderid)).leases) == 1


def test_what_a_worker_holds_is_seen_where_its_row_is_opened(
    browser: Browser, ui: str, tracker: str
) -> None:
    worker, leases = holding(tracker, "opened", 3)
    see_worker(browser, ui, "opened")

    browser.press("host-opened 7")

    urls = sorted(lease.url for lease in leases)
    browser.until(lambda: listed(browser, "opened") == urls, "what it holds")
    row = browser.rows("What host-opened 7 holds, longest held first")[0]
    assert row[1:5] == ["opened & co", "50", "0", "0"]
    is_accessible(browser)
    browser.resize(360, 740)
    assert browser.script(RIGHT) < 360
    browser.resize(1000, 700)

    ask(tracker, lambda opened: go_on(opened, worker, leases[0]))

    others = [lease.url for lease in leases[1:]] + [site(3, "/page?a=1&b=é")]
    browser.until(lambda: sorted(listed(browser, "opened")) == sorted(others), "another")
    browser.follow(others[0])
    browser.see("A worker is fetching it.")
    assert browser.fact("Worker") == worker
    browser.driver.back()
    browser.press("host-opened 7")
    browser.follow("opened & co")
    browser.until(lambda: browser.fact("In flight") == "3", "the page of the crawl")


def test_nothing_is_asked_for_of_a_row_that_is_closed(
    browser: Browser, ui: str, tracker: str
) -> None:
    worker, leases = holding(tracker, "closed", 2)
    see_worker(browser, ui, "closed")
    assert asked(browser) == 0
    browser.press("host-closed 7")
    browser.until(lambda: len(listed(browser, "closed")) == 2, "what it holds")
    browser.press("host-closed 7")
    browser.until(lambda: listed(browser, "closed") == [], "nothing of it")
    before = asked(browser)

    ask(tracker, lambda opened: opened.settle(worker, [Outcome(leases[0], "done")]))

    browser.until(
        lambda: ["host-closed 7", "1"] in [row[::3][:2] for row in browser.rows(WORKERS)],
        "that it holds less",
    )
    in_page(browser, REST)
    assert asked(browser) == before
    browser.press("host-closed 7")
    browser.until(lambda: listed(browser, "closed") == [leases[1].url], "what is left")


def test_a_worker_that_leaves_is_not_asked_for_any_more(
    browser: Browser, ui: str, tracker: str
) -> None:
    worker, _ = holding(tracker, "leaves", 1)
    see_worker(browser, ui, "leaves")
    browser.press("host-leaves 7")
    browser.until(lambda: len(listed(browser, "leaves")) == 1, "what it holds")

    ask(tracker, lambda opened: opened.leave(worker))

    browser.until(lambda: "host-leaves 7" not in browser.text(), "that it has left")
    before = asked(browser)
    holding(tracker, "comes", 1)
    browser.see("host-comes 7")
    in_page(browser, REST)
    assert asked(browser) == before


def test_a_row_is_opened_by_the_keyboard(browser: Browser, ui: str, tracker: str) -> None:
    holding(tracker, "keys", 1)
    see_worker(browser, ui, "keys")
    focus = (
        "[...document.querySelectorAll('td button')]"
        ".find((each) => each.textContent === 'host-keys 7').focus()"
    )
    browser.script(focus)
    state = "return document.activeElement.ariaExpanded"
    assert browser.script(state) == "false"

    browser.type(Keys.ENTER)

    browser.until(lambda: len(listed(browser, "keys")) == 1, "what it holds")
    assert (browser.focused(), browser.script(state)) == ("host-keys 7", "true")
    # The list itself, which may be scrolled, then what is in it.
    browser.type(Keys.TAB)
    browser.type(Keys.TAB)
    assert browser.focused() == site(0, "/page?a=1&b=é")

    browser.script(focus)
    browser.type(Keys.SPACE)
    browser.until(lambda: listed(browser, "keys") == [], "nothing of it")
    assert (browser.focused(), browser.script(state)) == ("host-keys 7", "false")


@pytest.mark.parametrize("count", [0, MANY])
def test_a_row_says_how_much_of_it_is_shown(
    browser: Browser, ui: str, tracker: str, count: int
) -> None:
    worker, leases = holding(tracker, f"of-{count}", count or 1)
    if not count:
        ask(tracker, lambda opened: opened.settle(worker, [Outcome(leases[0], "done")]))
    see_worker(browser, ui, f"of-{count}")

    browser.press(f"host-of-{count} 7")

    browser.see("50 of 60 are shown." if count else "It holds nothing.")
    assert len(listed(browser, f"of-{count}")) == (50 if count else 0)
