"""What the dashboard says when something goes wrong, and that it goes on by itself."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import httpx
import pytest
from redis import Redis

from crawling.tracker.tracker import CrawlId, Outcome
from rest_service.access import new_token
from tests.acceptance.crawls import ask
from tests.acceptance.dashboard import fail, is_accessible, offers, serve, site
from tests.servers.kafka_server import free_ports
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crawling.tracker.tracker import Tracker
    from tests.servers.browser import Browser

AWAY = "Redis does not answer"
#: Kept while Redis is away.
KEPT = CrawlId("kept", "fleet", "kept")
#: Pages, and what is seen there of the crawl KEPT.
PAGES = {
    "crawls": ("#/crawls", "1 to 1 of 1"),
    "crawl": ("#/crawls/kept/fleet/kept", "dns 3"),
    "domains": ("#/domains", "1 to 1 of 1"),
    "workers": ("#/workers", "No worker runs"),
}


class Restartable:
    """A Redis that keeps what it has on disk."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()
        self.url = ""

    def start(self) -> None:
        running = redis_server(self._folder, "--appendonly", "yes")
        self.url = self._running.enter_context(running)

    def stop(self) -> None:
        self._running.close()


@pytest.fixture(scope="module")
def redis_of_all(redis_needed: None, folder: Path) -> Iterator[Restartable]:
    (folder / "redis").mkdir()
    server = Restartable(folder / "redis")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(redis_of_all: Restartable) -> Restartable:
    """Return a Redis in which there is nothing."""
    with Redis.from_url(redis_of_all.url) as client:
        client.flushall()
    return redis_of_all


@pytest.fixture(scope="module")
def ui(folder: Path, redis_of_all: Restartable) -> Iterator[str]:
    """Return where the dashboard is, of a service without a worker."""
    with serve(folder, redis_of_all.url, free_ports(1)[0]) as url:
        yield url


@pytest.fixture
def tracker(server: Restartable) -> str:
    """Return a tracker that has one crawl, which waits and has failures."""

    async def fill(opened: Tracker) -> None:
        await fail(opened, KEPT, {"dns": [site(number) for number in range(3)]})
        await opened.submit(KEPT, offers(site(4)))

    ask(server.url, fill)
    return server.url


def trouble(browser: Browser) -> str:
    """Return what the page says to be wrong with it, "" if nothing."""
    code = "return document.querySelector('main > [role=alert]:not([hidden])')?.innerText ?? ''"
    return str(browser.script(code))


@pytest.mark.usefixtures("server")
def test_an_empty_fleet_says_what_to_do(browser: Browser, ui: str) -> None:
    browser.open(ui)
    for page, text in {
        "Overview": "There are none. Submit one",
        "Crawls": "There are none. Submit one",
        "Domains": "All domains are treated alike.",
        "Workers": "No worker runs. Start one by fleet worker.",
    }.items():
        browser.go(page)
        browser.see("live", text)
        is_accessible(browser)


@pytest.mark.usefixtures("tracker")
def test_dialogs_and_failures_are_accessible(browser: Browser, ui: str) -> None:
    browser.open(ui + PAGES["crawl"][0])
    browser.unfold("dns 3")
    browser.see(f"no {site(2)}")
    is_accessible(browser)
    browser.press("Stop…")
    browser.see("What is queued is dropped.")
    is_accessible(browser)
    browser.press("Cancel", "//dialog")

    browser.go("Domains")
    browser.press("Change site-04.example")
    browser.fill("hits", "0")
    browser.press("Set throttle", "//dialog")
    assert "greater than or equal to 1" in browser.error_at("hits")
    is_accessible(browser)
    browser.press("Close", "//dialog")


@pytest.mark.usefixtures("tracker")
def test_a_form_with_errors_is_accessible(browser: Browser, ui: str) -> None:
    browser.open(f"{ui}#/submit")
    browser.unfold("Limits and filters")
    browser.fill("appid", "x")
    # Two errors at one field.
    browser.fill("others", '{"allow_regex": [1, 2], "cookie": "x"}')
    browser.press("Submit")
    browser.see("cookie: must have at least 3")
    assert "at least 3" in browser.error_at("appid")
    assert browser.error_at("url") == "is required"
    said = browser.error_at("allow_regex")
    assert len(said.split("; ")) == 2, said
    is_accessible(browser)

    browser.fill("others", "{")
    browser.press("Submit")
    browser.until(lambda: "JSON" in browser.error_at("others"), "it is no JSON")
    left = browser.script(
        "return [...document.querySelectorAll('[aria-describedby]')]"
        ".flatMap((each) => each.getAttribute('aria-describedby').split(' '))"
        ".filter((id) => !document.getElementById(id))"
    )
    assert left == []


def test_what_no_crawl_can_do_is_not_offered(browser: Browser, ui: str, tracker: str) -> None:
    later = CrawlId("later", "fleet", "later")
    browser.open(f"{ui}#/crawls/later/fleet/later")
    browser.see("there is no crawl 'later/fleet/later'")
    for button in ("Pause", "Resume", "Retry all that failed", "Stop…", "Delete…", "Set"):
        assert not browser.offers(button)

    ask(tracker, lambda opened: opened.submit(later, offers(site(1))))

    browser.see("running")
    browser.until(lambda: trouble(browser) == "", "nothing is wrong any more")
    assert browser.fact("Queued") == "1"

    browser.go("Find a URL")
    for name, value in {**KEPT._asdict(), "appid": "nobody", "url": site(1)}.items():
        browser.fill(name, value)
    browser.press("Find")
    browser.see("there is no crawl 'kept/nobody/kept'")
    browser.fill("appid", KEPT.appid)
    browser.fill("url", "http://[")
    browser.press("Find")
    assert "is no URL" in browser.error_at("url")


@pytest.mark.parametrize("name", ["no domain", "a..b", "http://site.example/"])
def test_a_name_that_is_no_domain_is_refused(
    browser: Browser, ui: str, tracker: str, name: str
) -> None:
    browser.open(f"{ui}#/domains")
    browser.fill("domain", name)
    browser.press("Change…", "//form[.//input[@name='domain']]")

    assert "must be" in browser.error_at("domain")


def test_a_crawl_with_requests_in_flight_is_not_deleted(
    browser: Browser, ui: str, tracker: str
) -> None:
    [lease] = ask(tracker, lambda opened: opened.lease("worker", 1, "kept")).leases
    ask(tracker, lambda opened: opened.stop(KEPT))
    browser.open(ui + PAGES["crawl"][0])

    browser.press("Delete…")
    browser.press("Delete the crawl", "//dialog")

    browser.see("the crawl goes on, or has requests in flight: stop it, and wait for them")
    assert ask(tracker, lambda opened: opened.crawl(KEPT)) is not None
    browser.press("Close this message")
    ask(tracker, lambda opened: opened.settle("worker", [Outcome(lease, "done", status=200)]))
    browser.press("Delete…")
    browser.press("Delete the crawl", "//dialog")
    browser.see("Deleted.")
    assert ask(tracker, lambda opened: opened.crawl(KEPT)) is None


def test_nobody_is_told_of_what_nobody_waits_for(
    browser: Browser, ui: str, tracker: str
) -> None:
    browser.open(f"{ui}#/find?spiderid=kept&appid=fleet&crawlid=kept")
    browser.fill("url", site(4))
    with Redis.from_url(tracker) as client:
        client.client_pause(2000)
        browser.press("Find")
        browser.go("Submit")

        client.ping()

    browser.see("Submit a crawl", "live")


@pytest.mark.parametrize("page", PAGES)
def test_a_page_goes_on_when_the_tracker_is_back(
    browser: Browser, ui: str, server: Restartable, tracker: str, page: str
) -> None:
    path, text = PAGES[page]
    browser.open(ui + PAGES["crawl"][0])
    browser.see("live", "dns 3")
    server.stop()
    try:
        browser.see("the tracker does not answer")
        browser.press("Pause")
        browser.until(
            lambda: AWAY in browser.script("return notices.innerText"), "why it is not"
        )
        browser.press("Close this message")
        browser.go("Overview")
        browser.until(lambda: browser.fact("Tracker") == "down", "the tracker is down")
        browser.script("location.hash = arguments[0]", path)
        browser.until(lambda: AWAY in trouble(browser), "what is wrong")
        # Of what is not known nothing is said.
        assert text not in browser.text()
        assert "There are none" not in browser.text()
    finally:
        server.start()

    browser.see(text, "live")
    browser.until(lambda: trouble(browser) == "", "nothing is wrong any more")
    assert "the tracker does not answer" not in browser.text()
    status = ask(tracker, lambda opened: opened.crawl(KEPT))
    assert status is not None
    assert (status.state, status.queued, status.failed) == ("running", 1, 3)


def test_what_a_worker_holds_is_seen_when_the_tracker_is_back(
    browser: Browser, ui: str, server: Restartable, tracker: str
) -> None:
    def wrong() -> str:
        code = "return document.querySelector('td [role=alert]:not([hidden])')?.innerText ?? ''"
        return str(browser.script(code))

    ask(tracker, lambda opened: opened.lease("host:1:kept:one", 1, "kept"))
    browser.open(f"{ui}#/workers")
    browser.see("live", "host 1")
    server.stop()
    try:
        browser.press("host 1")
        browser.until(lambda: AWAY in wrong(), "what is wrong")
        assert "It holds nothing" not in browser.text()
        is_accessible(browser)
    finally:
        server.start()

    browser.see(site(4))
    assert wrong() == ""


def test_another_token_is_asked_for_when_the_service_has_others(
    browser: Browser, folder: Path, tracker: str
) -> None:
    port, tokens = free_ports(1)[0], folder / "tokens.txt"
    first, line = new_token("first", "operate")
    tokens.write_text(f"{line}\n")
    options = ("-s", f"REST_TOKENS={tokens}")
    with serve(folder, tracker, port, *options) as url:
        browser.open(url + PAGES["crawl"][0])
        browser.see("Sign in")
        is_accessible(browser)
        browser.fill("token", first)
        browser.press("Sign in", "//dialog")
        browser.see("live", "running")
    browser.see("connection lost")
    browser.press("Pause")
    browser.see("The service does not answer.")
    browser.press("Close this message")

    second, line = new_token("second", "operate")
    tokens.write_text(f"{line}\n")
    with serve(folder, tracker, port, *options, "-s", "REST_RATE_LIMIT=1"):
        browser.see("this token is not known")
        is_accessible(browser)
        browser.fill("token", second)
        browser.press("Sign in", "//dialog")
        browser.see("live", "running")
        _is_told_that_it_asks_too_often(browser, url, second)
        browser.open("about:blank")


def _is_told_that_it_asks_too_often(browser: Browser, ui: str, token: str) -> None:
    """Let somebody else use up what the token may ask; the page must go on by itself."""
    limit = "more requests than REST_RATE_LIMIT allows second"
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=ui.replace("/ui/", "/api/v1"), headers=headers) as client:

        def use_up() -> None:
            while client.get("/workers").status_code != 429:
                pass

        def is_refused() -> bool:
            use_up()
            browser.press("Set")
            return limit in browser.text()

        def is_not_shown() -> bool:
            use_up()
            browser.go("Find a URL")
            browser.go("Workers")
            return trouble(browser) == limit

        browser.fill("priority", "1")
        browser.until(is_refused, "an action is refused")
        browser.until(is_not_shown, "a page is refused")
    browser.see("No worker runs")
    browser.until(lambda: trouble(browser) == "", "nothing is wrong any more")
