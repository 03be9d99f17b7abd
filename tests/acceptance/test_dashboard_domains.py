"""How domains are treated: what the dashboard's page of domains sets, and what the tracker has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from crawling.tracker.tracker import DomainSetting
from tests.acceptance.crawls import ask
from tests.acceptance.dashboard import DOMAINS, SETTINGS, is_accessible, queue

if TYPE_CHECKING:
    from crawling.tracker.tracker import DomainStatus, Tracker
    from tests.servers.browser import Browser


def status(tracker: str, name: str) -> DomainStatus:
    """Return the one domain of a crawl that was queued by that name."""
    [found] = ask(tracker, lambda opened: opened.all_domains(name))
    return found


def settings(tracker: str, host: str) -> list[DomainSetting]:
    found = ask(tracker, lambda opened: opened.domain_settings())
    return [each for each in found if each.domain == host]


def field(browser: Browser, name: str) -> str:
    return str(
        browser.script(
            "return document.querySelector(`dialog [name=${arguments[0]}]`).value", name
        )
    )


def change(
    browser: Browser, host: str, button: str, said: str, table: str = DOMAINS, **fields: str
) -> None:
    """Press a button of a domain's dialog, and close what is said."""
    browser.press(f"Change {host}", f"//table[caption='{table}']")
    for name, value in fields.items():
        browser.fill(name, value)
    browser.press(button, "//dialog")
    browser.see(f"{host}: {said}")
    browser.until(lambda: not browser.script("return document.querySelector('dialog')"), "none")
    browser.press("Close this message")


def test_a_domain_is_treated_as_the_dialog_says(
    browser: Browser, ui: str, tracker: str
) -> None:
    host = "treated.example"
    queue(tracker, "treated", f"http://{host}/")
    browser.open(f"{ui}#/domains")
    browser.press(f"Change {host}")
    browser.fill("seconds", "-1")
    browser.press("Push back", "//dialog")
    assert "greater than or equal to 0" in browser.error_at("seconds")
    browser.press("Close", "//dialog")
    assert not status(tracker, "treated").deferred

    change(browser, host, "Push back", "pushed back", seconds="1000")
    pushed = status(tracker, "treated")
    assert pushed.deferred
    assert pushed.opens == pytest.approx(time.time() + 1000, abs=100)
    change(browser, host, "Push back", "pushed back", seconds="0")
    assert not status(tracker, "treated").deferred

    change(browser, host, "Block", "blocked: what is queued stays queued")
    assert status(tracker, "treated").blocked
    assert settings(tracker, host) == [DomainSetting(host, blocked=True)]
    change(browser, host, "Unblock", "unblocked", SETTINGS)
    assert not status(tracker, "treated").blocked

    change(browser, host, "Set throttle", "throttle set", hits="7", window="2.5")
    assert settings(tracker, host) == [DomainSetting(host, 7, 2.5, 1.0)]
    change(browser, host, "As all others", "throttled as all others", SETTINGS)
    assert settings(tracker, host) == []


@pytest.mark.parametrize("table", [DOMAINS, SETTINGS])
def test_a_throttle_that_is_set_again_keeps_its_scale(
    browser: Browser, ui: str, tracker: str, table: str
) -> None:
    host = "scaled.example"
    queue(tracker, "scaled", f"http://{host}/")
    ask(tracker, lambda opened: opened.limit(host, 10, 60.0, 0.5))
    browser.open(f"{ui}#/domains")

    change(browser, host, "Set throttle", "throttle set", table)
    assert settings(tracker, host) == [DomainSetting(host, 10, 60.0, 0.5)]
    change(browser, host, "Set throttle", "throttle set", table, hits="30")
    assert settings(tracker, host) == [DomainSetting(host, 30, 60.0, 0.5)]
    change(browser, host, "Set throttle", "throttle set", table, scale="0.25")
    assert settings(tracker, host) == [DomainSetting(host, 30, 60.0, 0.25)]

    def throttles() -> list[str]:
        [working] = [row for row in browser.rows(DOMAINS) if row[0].startswith(host)]
        [own] = [row for row in browser.rows(SETTINGS) if row[0] == host]
        return [working[4], own[1]]

    browser.until(
        lambda: throttles() == ["7 in 1 min 0 s, its own", "30 in 1 min 0 s, times 0.25"],
        "what counts, and what was set",
    )


def test_the_dialog_has_what_is_set_now(browser: Browser, ui: str, tracker: str) -> None:
    host = "elsewhere.example"
    browser.open(f"{ui}#/domains")
    browser.see("live")

    async def set_all(opened: Tracker) -> None:
        await opened.limit(host, 3, 30.0, 0.5)
        await opened.block(host)

    ask(tracker, set_all)
    browser.fill("domain", host.upper())
    browser.press("Change…", "//form[.//input[@name='domain']]")

    browser.see("Unblock")
    assert [field(browser, name) for name in ("hits", "window", "scale")] == ["3", "30", "0.5"]


def test_a_domain_is_blocked_pushed_back_and_as_all_others(
    browser: Browser, ui: str, tracker: str
) -> None:
    host = "shown.example"
    ask(tracker, lambda opened: opened.defer(host, 600.0))
    queue(tracker, "shown", f"http://{host}/")
    browser.open(f"{ui}#/domains")

    def row() -> list[str]:
        return next((each for each in browser.rows(DOMAINS) if each[0].startswith(host)), [])

    def is_now(state: str, column: int = 3) -> None:
        browser.until(lambda: row() and row()[column].startswith(state), state)

    is_now("pushed back")
    browser.press(f"Change {host}")
    browser.press("Block")
    is_now("blocked")
    browser.press(f"Change {host}")
    browser.press("Unblock")
    is_now("pushed back")
    browser.press(f"Change {host}")
    browser.fill("hits", "7")
    browser.press("Set throttle")
    is_now("7 in 5 s, its own", 4)
    browser.press(f"Change {host}")
    browser.press("As all others")
    is_now("5 in 5 s", 4)
    browser.choose("state", "throttled")
    browser.see("No domain has work")


def test_a_domain_without_work_is_blocked(browser: Browser, ui: str, tracker: str) -> None:
    host = "other.example"
    browser.open(f"{ui}#/domains")
    browser.fill("domain", host)
    browser.press("Change…", "//form[.//input[@name='domain']]")
    browser.press("Block", "//dialog")
    browser.see(f"{host}: blocked")

    assert settings(tracker, host) == [DomainSetting(host, blocked=True)]


def test_settings_are_read_forth_and_back(browser: Browser, ui: str, tracker: str) -> None:
    async def set_many(opened: Tracker) -> None:
        for number in range(250):
            await opened.limit(f"set-{number:03}.example", 1 + number, 60.0)

    ask(tracker, set_many)
    known = [each.domain for each in ask(tracker, lambda opened: opened.domain_settings())]
    assert len(known) >= 250
    browser.open(f"{ui}#/domains")

    def is_page(first: int) -> None:
        page = known[first : first + 50]
        browser.see(f"{first + 1} to {first + len(page)} of {len(known)}")
        browser.until(lambda: [row[0] for row in browser.rows(SETTINGS)] == page, "the page")

    is_page(0)
    is_accessible(browser)
    pages = "//*[@aria-label='Pages of what is set']"
    for first in range(50, len(known), 50):
        browser.press("Next", pages)
        is_page(first)
    # The last page stays where it is when one of its rows is changed.
    last = known[-1]
    change(browser, last, "Block", "blocked: what is queued stays queued", SETTINGS)
    browser.until(lambda: browser.rows(SETTINGS)[-1][:3:2] == [last, "blocked"], "the last")
    browser.press("Previous", pages)
    is_page(range(0, len(known), 50)[-2])
