"""Pages of the dashboard in a real browser, over a real tracker, a worker and a site."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from crawling.tracker.tracker import CrawlId
from rest_service.access import new_token
from tests.acceptance.crawls import ask, crawl_id, status_of, submit, until, worker
from tests.acceptance.dashboard import SLOW, end, serve
from tests.servers.kafka_server import free_ports
from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.browser import Browser
    from tests.servers.small_site import SmallSite

HTML = {"Content-Type": "text/html; charset=utf-8"}
#: What the whole of a page may weigh, and how long it may take until something is seen.
HEAVIEST, SLOWEST = 300_000, 1000
CRAWL = crawl_id("first")
#: Pages of the site that are not broken, beside the first, and those that are.
GOOD, BROKEN = 30, 2
#: Everything that is shown must be text, whatever is in it.
HOSTILE = "<img src=x onerror=pwned=1>/a b"
PAGES = {
    "overview": ("#/", "Newest crawls"),
    "crawls": ("#/crawls", "1 to 2 of 2"),
    "crawl": ("#/crawls/link/fleet/first", f"http_500 {BROKEN}"),
    "domains": ("#/domains", "pushed back"),
    "workers": ("#/workers", " MB"),
    "find": ("#/find?spiderid=link&appid=fleet&crawlid=first&url={site}", "It was fetched"),
    "submit": ("#/submit", "Levels of links"),
}


@pytest.fixture(scope="module")
def site() -> Iterator[SmallSite]:
    """Return a site some of whose pages are broken."""
    good = {f"/page/{number}": Answer(200, b"<p>page</p>", HTML) for number in range(GOOD)}
    broken = {f"/broken/{number}": Answer(500) for number in range(BROKEN)}
    links = "".join(f'<a href="{path}">page</a>' for path in (*broken, *good))
    with small_site() as running:
        running.answers = {**good, **broken, "/": Answer(200, links.encode(), HTML)}
        yield running


@pytest.fixture(scope="module")
def ui(folder: Path, tracker: str, site: SmallSite) -> Iterator[str]:
    """Return where the dashboard is, of a service with one worker."""
    with (
        serve(folder, tracker, free_ports(1)[0]) as url,
        worker(folder, tracker, **SLOW) as running,
    ):
        yield url
        end(running)


@pytest.fixture(scope="module")
def worked(ui: str, tracker: str, site: SmallSite) -> None:
    """Have crawls for the pages to show: one with failures, and a hostile one that waits."""
    other = CrawlId("link", "hostile", HOSTILE)
    api = ui.replace("/ui/", "/api/v1")
    with httpx.Client(timeout=60) as client:
        for method, path, body in (
            ("PUT", "/domains/127.0.0.1/limit", {"hits": 1000, "window": 1}),
            ("POST", "/domains/127.0.0.9/defer", {"seconds": 3600}),
            ("POST", "/crawls", _request(site.url("/?<b>", host="127.0.0.9"), other)),
            ("POST", "/crawls", _request(site.url("/"), CRAWL)),
        ):
            answer = client.request(method, f"{api}{path}", json=body)
            assert answer.is_success, answer.text
    until(lambda: status_of(tracker, CRAWL.crawlid).state == "finished", "it is finished")


def _request(url: str, crawl: CrawlId) -> dict[str, Any]:
    return {**crawl._asdict(), "url": url, "maxdepth": 1}


@pytest.mark.usefixtures("worked")
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_light_accessible_and_without_errors(
    browser: Browser, ui: str, site: SmallSite, name: str, request: pytest.FixtureRequest
) -> None:
    path, text = PAGES[name]
    browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    browser.open(ui + path.format(site=site.url("/")))
    browser.see("live", text)
    if name == "overview":
        browser.until(lambda: browser.script("return !!document.querySelector('canvas')"), "it")

    loaded = browser.script(
        "return ['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind))"
        ".map((each) => [each.name, each.transferSize])"
    )
    assert [url for url, _ in loaded if not url.startswith(ui.replace("/ui/", "/"))] == []
    assert 10_000 < sum(size for _, size in loaded) < HEAVIEST
    for scheme in ("light", "dark"):
        browser.prefer(scheme)
        assert browser.violations() == []
        if folder := request.config.getoption("--screenshots"):
            browser.resize(900, 600)
            browser.resize(900, browser.script("return document.documentElement.scrollHeight"))
            browser.driver.save_screenshot(f"{folder}/dashboard_{name}_{scheme}.png")
    browser.resize(900, 600)
    hidden = browser.script(
        "return [...document.querySelectorAll('main .scroll')]"
        ".map((each) => each.scrollWidth - each.clientWidth)"
    )
    assert bool(hidden) == (name not in {"find", "submit"})
    assert not any(hidden), "columns are hidden"
    browser.resize(360, 740)
    assert browser.script("return document.documentElement.scrollWidth") <= 360
    assert browser.violations() == []
    assert browser.console() == []


@pytest.mark.usefixtures("worked")
def test_workers_have_their_pages_and_memory(browser: Browser, ui: str, tracker: str) -> None:
    browser.open(f"{ui}#/workers")

    def same() -> bool:
        [told] = [worker.vitals for worker in ask(tracker, lambda opened: opened.workers())]
        shown = [row[5:] for row in browser.rows("Workers, those in trouble first")]
        rate, memory = round(told.rate, 1), round(told.memory / 1e6, 1)
        expected = [str(told.pages), f"{rate:g}/s", f"{memory:g} MB"]
        return told.pages >= 1 + GOOD and shown == [expected]

    # A worker tells with each renewal, every third of LEASE_TIMEOUT.
    until(same, "what the worker told last", patience=90)


def test_something_is_seen_soon(browser: Browser, ui: str) -> None:
    def painted() -> float:
        browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        browser.open(ui)
        code = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        return float(browser.until(lambda: browser.script(code), "something is painted"))

    assert min(painted() for _ in range(3)) < SLOWEST


@pytest.mark.usefixtures("worked")
def test_what_a_crawl_has_met_is_text(browser: Browser, ui: str) -> None:
    browser.open(f"{ui}#/crawls")
    browser.see(HOSTILE)
    browser.script(
        "[...document.querySelectorAll('td a')].find((a) => a.text[0] === '<').click()"
    )
    browser.see(f"Crawl {HOSTILE}", "pushed back")

    browser.press("Stop…")
    browser.press("Stop the crawl")
    browser.see("Stopped: 1 dropped.", "stopped")
    browser.press("Delete…")
    browser.press("Delete the crawl")
    browser.see("Deleted.", "1 to 1 of 1")

    assert browser.script("return window.pwned ?? null") is None
    assert browser.script("return document.querySelectorAll('img').length") == 0


def test_a_script_in_the_page_is_not_run(browser: Browser, ui: str) -> None:
    browser.open(ui)
    browser.script("document.body.insertAdjacentHTML('beforeend', arguments[0])", HOSTILE)

    browser.until(lambda: "Content Security Policy" in str(browser.console()), "it is refused")

    assert browser.script("return window.pwned ?? null") is None


def test_what_is_no_json_is_said_at_its_field(browser: Browser, ui: str) -> None:
    browser.open(f"{ui}#/submit")
    browser.do(
        lambda: browser.script("document.querySelector('main details').open = true"), "more"
    )
    browser.fill("others", "{useragent}")
    browser.press("Submit")
    assert "is no JSON" in browser.error_at("others")

    browser.fill("others", '{"cookie": "x"}')
    browser.press("Submit")
    browser.see("cookie: must have at least 3")
    assert browser.error_at("url") == "is required"


def test_a_crawl_counts_more(browser: Browser, ui: str, tracker: str, site: SmallSite) -> None:
    ask(tracker, lambda opened: opened.defer("127.0.0.8", 600.0))
    submit(tracker, "counts", site.url("/", host="127.0.0.8"))
    browser.open(f"{ui}#/crawls/link/fleet/counts")
    browser.see("running")
    browser.fill("priority", "101")
    browser.press("Set")
    assert "less than or equal to 100" in browser.error_at("priority")

    browser.fill("priority", "50")
    browser.press("Set")

    browser.see("Counts 50 more")
    browser.until(lambda: browser.fact("Added to its priority") == "50", "it is told")


def test_what_is_not_there_is_said(browser: Browser, ui: str) -> None:
    browser.open(f"{ui}#/crawls/link/nobody/none")
    browser.see("there is no crawl 'link/nobody/none'")
    browser.go("Find a URL")
    browser.press("Find")
    assert browser.error_at("crawlid") == browser.error_at("url") == "is required"
    browser.open(f"{ui}#/nothing")
    browser.see("No such page")


def test_a_page_that_nobody_sees_holds_no_connection(browser: Browser, ui: str) -> None:
    def listeners() -> str:
        lines = httpx.get(ui.replace("/ui/", "/metrics"), timeout=60).text.splitlines()
        return next(line for line in lines if line.startswith("fleet_rest_listeners "))

    for _ in range(8):
        browser.open(ui)
        browser.see("live")
    until(lambda: listeners() == "fleet_rest_listeners 1.0", "one page listens")

    browser.open("about:blank")

    until(lambda: listeners() == "fleet_rest_listeners 0.0", "nobody listens")


def test_the_keyboard_is_enough(browser: Browser, ui: str) -> None:
    browser.open(ui)
    browser.see("live")
    browser.script("document.querySelector(\"nav a[href='#/submit']\").focus()")
    focused = browser.driver.switch_to.active_element

    focused.send_keys("\ue007")

    browser.see("Submit a crawl")
    browser.until(
        lambda: browser.script("return document.activeElement.textContent") == "Submit a crawl",
        "the heading has the focus",
    )


def test_the_page_goes_on_when_the_service_is_back(
    browser: Browser, folder: Path, tracker: str, site: SmallSite
) -> None:
    port = free_ports(1)[0]
    with serve(folder, tracker, port) as url:
        browser.open(url)
        browser.see("live")
    browser.see("connection lost")
    before = browser.fact("Queued")
    ask(tracker, lambda opened: opened.defer("127.0.0.6", 600.0))
    submit(tracker, "meanwhile", site.url("/", host="127.0.0.6"))

    with serve(folder, tracker, port):
        browser.see("meanwhile")

        assert int(browser.fact("Queued")) == int(before) + 1
        assert "connection lost" not in browser.text()
        browser.open("about:blank")


def test_a_token_is_asked_for_and_kept_in_the_tab(
    browser: Browser, folder: Path, tracker: str, site: SmallSite
) -> None:
    token, line = new_token("reader", "read")
    (folder / "tokens.txt").write_text(f"{line}\n")
    ask(tracker, lambda opened: opened.defer("127.0.0.5", 600.0))
    submit(tracker, "guarded", site.url("/", host="127.0.0.5"))
    options = ("-s", f"REST_TOKENS={folder}/tokens.txt")
    with serve(folder, tracker, free_ports(1)[0], *options) as url:
        browser.open(f"{url}#/crawls/link/fleet/guarded")
        browser.fill("token", "wrong")
        browser.press("Sign in", "//dialog")
        browser.see("is not known")
        assert browser.violations() == []
        browser.fill("token", token)
        browser.press("Sign in", "//dialog")
        browser.see("live", "running")
        assert json.loads(browser.script("return JSON.stringify({...localStorage})")) == {}

        browser.press("Pause")
        browser.see("needs a token of scope operate; reader has read")

        browser.press("Sign out")
        browser.until(lambda: not browser.script("return sessionStorage.length"), "no token")
        browser.see("Sign in")
        browser.open("about:blank")
