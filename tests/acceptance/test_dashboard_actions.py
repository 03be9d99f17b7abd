"""All that can be pressed, chosen and filled in on the dashboard, and what the tracker has of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from selenium.webdriver.common.keys import Keys

from crawling.tracker.idleness import of_domain
from crawling.tracker.tracker import CrawlId, Submission
from crawling.tracker.urls import fingerprint
from tests.acceptance.crawls import ask, until
from tests.acceptance.dashboard import DOMAINS, fail, offers, queue, site

if TYPE_CHECKING:
    from crawling.tracker.tracker import CrawlStatus, DomainStatus, Tracker
    from tests.servers.browser import Browser

CRAWLS = "Crawls, the newest first"
WAITING = "Domains in which the crawl waits, longest queues first"
WORKERS = "Workers, those in trouble first"
#: Each crawl has a spider of its own: a test that leases does so from its own crawl.
FAILED = CrawlId("failed", "fleet", "failed")
#: More than a page of any list has.
MANY = 60


def books(tracker: str, crawl: CrawlId) -> CrawlStatus:
    status = ask(tracker, lambda opened: opened.crawl(crawl))
    assert status is not None
    return status


def page_of(ui: str, crawl: CrawlId) -> str:
    return f"{ui}#/crawls/{'/'.join(crawl)}"


def first_cells(browser: Browser, caption: str) -> list[str]:
    return [row[0].split()[0] for row in browser.rows(caption)]


def test_failures_are_read_page_by_page_and_all_queued_again(
    browser: Browser, ui: str, tracker: str
) -> None:
    failures = {
        "http_500": [site(number) for number in range(25)],
        "timeout": [site(number) for number in range(30, 33)],
    }
    ask(tracker, lambda opened: fail(opened, FAILED, failures))
    browser.open(page_of(ui, FAILED))
    browser.unfold("http_500 25")
    group = "//details[summary/code[.='http_500']]"
    for known in (10, 20):
        browser.until(
            lambda known=known: len(browser.rows("Failed: http_500")) == known,  # type: ignore[misc]  # known
            f"{known} of them",
        )
        browser.press("More", group)
    browser.until(lambda: len(browser.rows("Failed: http_500")) == 25, "all of them")

    page = ask(tracker, lambda opened: opened.failed(FAILED, 50, reason="http_500"))
    assert browser.rows("Failed: http_500") == [
        [each.url, each.detail, str(each.attempts)] for each in page.failures
    ]
    assert not browser.offers("More")
    browser.follow(site(7))
    browser.see("It failed for good")
    assert browser.fact("Reason") == "http_500"
    browser.driver.back()
    browser.press("Retry all that failed")

    browser.see("28 queued again.", "Nothing has failed.")
    assert not browser.offers("Retry all that failed")
    status = books(tracker, FAILED)
    assert (status.state, status.failed, status.queued) == ("running", 0, 28)


def test_domains_of_a_crawl_are_read_forth_and_back(
    browser: Browser, ui: str, tracker: str
) -> None:
    crawl = queue(tracker, "wide", *(site(number, "/wide") for number in range(25)))
    browser.open(page_of(ui, crawl))
    browser.see("1 to 20 of 25")
    known = ask(tracker, lambda opened: opened.queued(crawl))
    assert set(first_cells(browser, WAITING)) < {each.domain for each in known}
    browser.press("Next")
    browser.see("21 to 25 of 25")
    assert len(browser.rows(WAITING)) == 5
    browser.press("Previous")
    browser.see("1 to 20 of 25")
    assert len(browser.rows(WAITING)) == 20


def test_what_cannot_be_undone_is_asked_before(browser: Browser, ui: str, tracker: str) -> None:
    crawl = queue(tracker, "asked", site(1, "/asked"), site(2, "/asked"))
    browser.open(page_of(ui, crawl))
    browser.press("Stop…")
    browser.press("Cancel", "//dialog")
    browser.until(lambda: browser.focused() == "Stop…", "the focus is where it was")
    browser.type(Keys.ENTER)
    browser.see("Stop asked? What is queued is dropped.")
    browser.type(Keys.ESCAPE)
    browser.until(lambda: browser.focused() == "Stop…", "the focus is where it was")
    browser.press("Pause")
    browser.see("Paused: what is in flight comes to its end.")
    assert books(tracker, crawl).state == "paused"
    browser.press("Resume")
    browser.see("Goes on.")
    status = books(tracker, crawl)
    assert (status.state, status.queued) == ("running", 2)

    browser.press("Stop…")
    browser.press("Stop the crawl", "//dialog")
    browser.see("Stopped: 2 dropped.")
    status = books(tracker, crawl)
    assert (status.state, status.dropped) == ("stopped", 2)

    browser.press("Delete…")
    browser.press("Cancel", "//dialog")
    browser.until(lambda: browser.focused() == "Delete…", "the focus is where it was")
    assert books(tracker, crawl).state == "stopped"
    browser.press("Delete…")
    browser.press("Delete the crawl", "//dialog")
    browser.see("Deleted.")
    assert browser.script("return location.hash") == "#/crawls"
    assert ask(tracker, lambda opened: opened.crawl(crawl)) is None
    browser.press("Close this message")
    browser.until(lambda: "Deleted." not in browser.text(), "the message is gone")


def test_a_crawl_counts_more_and_less_and_as_before(
    browser: Browser, ui: str, tracker: str
) -> None:
    crawl = queue(tracker, "counts", site(1, "/counts"))
    browser.open(page_of(ui, crawl))
    for added in (20, -30, 0):
        browser.fill("priority", str(added))
        browser.press("Set")
        browser.see(f"Counts {added} more than it was submitted with.")
        [waiting] = ask(tracker, lambda opened: opened.queued(crawl))
        assert waiting.highest == 50 + added


@pytest.fixture(scope="module")
def many(tracker: str) -> dict[str, CrawlStatus]:
    """Return crawls in all states, by name, of which each has a domain of its own."""
    crawls = [CrawlId("many", "fleet", f"many-{number:02}") for number in range(MANY)]

    async def fill(opened: Tracker) -> None:
        await opened.submit_all(
            [Submission(each, offers(f"http://{each.crawlid}.example/")) for each in crawls]
        )
        for paused in crawls[:3]:
            await opened.pause(paused)
        for stopped in crawls[3:5]:
            await opened.stop(stopped)
        await opened.expire(crawls[5])
        await fail(opened, CrawlId("ended", "fleet", "ended"), {"dns": [site(1)]})
        await opened.block("many-10.example")
        await opened.defer("many-11.example", 600.0)
        for number in range(MANY):
            await opened.lease(f"host-{number:02}:{number}:idle:token", 1, "idle")

    ask(tracker, fill)

    async def statuses(opened: Tracker) -> list[CrawlStatus]:
        return await opened.statuses(await opened.crawls())

    return {status.crawl.crawlid: status for status in ask(tracker, statuses)}


def test_crawls_are_chosen_by_state_and_read_forth_and_back(
    browser: Browser, ui: str, many: dict[str, CrawlStatus]
) -> None:
    browser.open(f"{ui}#/crawls")
    browser.see(f"1 to 50 of {len(many)}")
    first = first_cells(browser, CRAWLS)
    # Twice before the next page is there: it is the next one all the same.
    browser.script(
        "const [next] = [...document.querySelectorAll('button')]"
        ".filter((each) => each.textContent === 'Next'); next.click(); next.click();"
    )
    browser.see(f"51 to {len(many)} of {len(many)}")
    second = first_cells(browser, CRAWLS)
    assert sorted(first + second) == sorted(many)
    browser.press("Previous")
    browser.see(f"1 to 50 of {len(many)}")
    assert first_cells(browser, CRAWLS) == first

    browser.press("Next")
    for state in ("paused", "stopped", "expired", "finished", "running"):
        names = {name for name, status in many.items() if status.state == state}
        browser.choose("state", state)
        browser.see(f"1 to {min(50, len(names))} of {len(names)}")
        browser.until(
            lambda names=names: names >= set(first_cells(browser, CRAWLS)) != set(),  # type: ignore[misc]  # known
            state,
        )


def test_workers_are_read_forth_and_back(
    browser: Browser, ui: str, tracker: str, many: dict[str, CrawlStatus]
) -> None:
    known = sorted(each.worker for each in ask(tracker, lambda opened: opened.workers()))
    shown = [f"host-{int(name.split(':')[1]):02}" for name in known]
    assert len(shown) == MANY
    browser.open(f"{ui}#/workers")
    browser.see(f"1 to 50 of {MANY}")
    assert first_cells(browser, WORKERS) == shown[:50]
    browser.press("Next")
    browser.see(f"51 to {MANY} of {MANY}")
    assert first_cells(browser, WORKERS) == shown[50:]
    browser.press("Previous")
    browser.see(f"1 to 50 of {MANY}")
    assert first_cells(browser, WORKERS) == shown[:50]


def test_domains_are_chosen_sorted_and_read_forth_and_back(
    browser: Browser, ui: str, tracker: str, many: dict[str, CrawlStatus]
) -> None:
    async def all_of_them(opened: Tracker) -> list[DomainStatus]:
        spiders = {status.crawl.spiderid for status in many.values()}
        found = await asyncio.gather(*map(opened.all_domains, spiders))
        return [status for each in found for status in each]

    known = ask(tracker, all_of_them)
    whys = {(each.spiderid, each.domain): of_domain(each).why for each in known}
    browser.open(f"{ui}#/domains")
    browser.choose("sort", "by name")
    browser.see(f"1 to 50 of {len(known)}")
    names = sorted(each.domain for each in known)
    browser.until(lambda: first_cells(browser, DOMAINS) == names[:50], "sorted by name")
    browser.press("Next")
    browser.until(lambda: first_cells(browser, DOMAINS) == names[50:100], "the next ones")
    browser.press("Previous")
    browser.until(lambda: first_cells(browser, DOMAINS) == names[:50], "those before")

    browser.fill("name", "MANY-")
    for state, why in (
        ("blocked", "blocked"),
        ("pushed back", "deferred"),
        ("paused", "paused"),
    ):
        browser.choose("state", state)
        expected = [
            domain
            for (_, domain), found in sorted(whys.items())
            if found == why and domain.startswith("many-")
        ]
        assert expected
        browser.until(
            lambda expected=expected: first_cells(browser, DOMAINS) == expected,  # type: ignore[misc]  # known
            state,
        )


def test_a_url_that_is_typed_is_found(browser: Browser, ui: str, tracker: str) -> None:
    url = site(1, "/typed?b=1&a=2")
    crawl = queue(tracker, "typed", url)
    browser.open(page_of(ui, crawl))
    browser.follow("Find a URL of this crawl")
    browser.fill("url", url.removeprefix("http://"))
    browser.press("Find")
    browser.see("It waits for its turn.")
    ask(tracker, lambda opened: opened.lease("finder", 1, crawl.spiderid))
    browser.press("Find")
    browser.see("A worker is fetching it.")
    trace = ask(tracker, lambda opened: opened.trace(crawl, fingerprint(url)))
    assert (trace.state, trace.worker, trace.priority) == ("leased", "finder", 50)
    told = [str(each) for each in (trace.state, trace.worker, trace.priority, trace.depth)]
    assert [browser.fact(name) for name in ("State", "Worker", "Priority", "Depth")] == told

    browser.go("Find a URL")
    for name, value in {**crawl._asdict(), "url": site(2, "/typed")}.items():
        browser.fill(name, value)
    browser.type(Keys.ENTER)
    browser.see("The crawl has not met it")
    assert browser.fact("State") == "unseen"


def test_all_that_is_filled_in_is_submitted(browser: Browser, ui: str, tracker: str) -> None:
    browser.open(f"{ui}#/submit")
    browser.unfold("Limits and filters")
    given = {
        "url": site(1, "/submitted"),
        "appid": "shop",
        "crawlid": "whole / crawl",
        "maxdepth": "2",
        "priority": "7",
        "spiderid": "wandering",
        "max_pages": "30",
        "domain_max_pages": "20",
        "allowed_domains": "site-01.example\n site-02.example \n\n",
        "allow_regex": "/a/\n/b,c/",
        "deny_regex": "/d/",
        "others": '{"useragent": "shop/1.0", "attrs": {"job": 7}}',
    }
    for name, value in given.items():
        browser.fill(name, value)
    browser.press("Submit")
    browser.see("Submitted whole / crawl.", "running")

    crawl = CrawlId("wandering", "shop", "whole / crawl")
    options = books(tracker, crawl).options
    assert (options.maxdepth, options.max_pages, options.domain_max_pages) == (2, 30, 20)
    expected = {
        "allowed_domains": ["site-01.example", "site-02.example"],
        "allow_regex": ["/a/", "/b,c/"],
        "deny_regex": ["/d/"],
        "useragent": "shop/1.0",
        "attrs": {"job": 7},
    }
    assert {name: options.shared.get(name) for name in expected} == expected
    [waiting] = ask(tracker, lambda opened: opened.queued(crawl))
    assert (waiting.domain, waiting.highest) == ("site-01.example", 7)
    assert browser.fact("Pages at most") == "30"


def test_links_lead_where_they_say(browser: Browser, ui: str) -> None:
    browser.open(ui)
    browser.see("live")
    browser.follow("All crawls")
    browser.until(lambda: browser.focused() == "Crawls", "the page of all crawls")
    browser.script("document.querySelector('.skip').focus()")
    browser.type(Keys.ENTER)
    until(
        lambda: browser.script("return document.activeElement.id") == "main",
        "what is skipped is the navigation",
    )
    assert browser.script("return document.querySelector('h1').textContent") == "Crawls"
