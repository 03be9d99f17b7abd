"""The dashboard in a real browser, over a real tracker, workers and a site."""

from __future__ import annotations

import json
import time
from math import inf
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from crawling.tracker.tracker import CrawlId, is_failure
from rest_service.access import new_token
from tests.acceptance.crawls import ask, submit, until, worker
from tests.acceptance.dashboard import SLOW, end, serve
from tests.servers.kafka_server import free_ports
from tests.servers.small_site import Answer, small_site
from tests.windows import most_in_a_window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crawling.tracker.tracker import CrawlStatus, DomainSetting
    from tests.servers.browser import Browser
    from tests.servers.small_site import SmallSite

HTML = {"Content-Type": "text/html; charset=utf-8"}
#: What the whole of a page may weigh, and how long it may take until something is seen.
HEAVIEST, SLOWEST = 300_000, 1000
CRAWL = CrawlId("link", "newcomer", "first")
#: Tables of what has ended, on the page of a crawl.
STATUSES = "What is done or has failed, by the status of its last answer"
DEPTHS = "What is done or has failed, by depth: links from a seed"
#: Pages of the site that are not broken, and all with the two that are, and the first.
GOOD, ALL = 30, 33
#: Everything that is shown must be text, whatever is in it.
HOSTILE = "<img src=x onerror=pwned=1>/a b"
PAGES = {
    "overview": ("#/", "Newest crawls"),
    "crawls": ("#/crawls", "1 to 2 of 2"),
    "crawl": ("#/crawls/link/newcomer/first", "http_500 2"),
    "domains": ("#/domains", "pushed back"),
    "workers": ("#/workers", " MB"),
    "find": ("#/find?spiderid=link&appid=newcomer&crawlid=first&url={site}", "It was fetched"),
    "submit": ("#/submit", "Levels of links"),
}


@pytest.fixture(scope="module")
def site() -> Iterator[SmallSite]:
    """Return a site some of whose pages are broken."""
    broken = [f'<a href="/broken/{number}">page</a>' for number in range(2)]
    pages = [f'<a href="/page/{number}">page</a>' for number in range(GOOD)]
    with small_site() as running:
        running.answers = {
            f"/page/{number}": Answer(200, b"<p>page</p>", HTML) for number in range(GOOD)
        }
        _break(running)
        running.answers["/"] = Answer(200, "".join(broken + pages).encode(), HTML)
        yield running


def _break(site: SmallSite) -> None:
    for number in range(2):
        site.answers[f"/broken/{number}"] = Answer(500)


@pytest.fixture(scope="module")
def ui(folder: Path, tracker: str, site: SmallSite) -> Iterator[str]:
    """Return where the dashboard is, of a service with one worker."""
    with (
        serve(folder, tracker, free_ports(1)[0]) as url,
        worker(folder, tracker, **SLOW) as running,
    ):
        yield url
        end(running)


def books(tracker: str, crawl: CrawlId = CRAWL) -> CrawlStatus:
    status = ask(tracker, lambda opened: opened.crawl(crawl))
    assert status is not None
    return status


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
    browser.fill("maxdepth", "1")


def lists_are_as_the_tracker(browser: Browser, tracker: str) -> None:
    """Check the lists of crawls, workers and domains, of one each; the crawl is paused."""
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
    browser.go("Crawls")
    browser.until(
        lambda: browser.script(
            "const link = document.querySelector('td a'); link?.click(); return Boolean(link)"
        ),
        "the link to the crawl",
    )
    browser.see("http_500")
    [domain] = ask(tracker, lambda opened: opened.queued(CRAWL))
    browser.until(
        lambda: (
            browser.rows("Domains in which the crawl waits, longest queues first")
            == [["127.0.0.1", str(domain.queued), "paused"]]
        ),
        "the tracker's numbers of the domain",
    )


def overview_is_as_the_tracker(browser: Browser, tracker: str) -> None:
    browser.go("Overview")
    browser.until(lambda: browser.fact("Done") == str(ALL), "the tracker's sum")
    names = ("Queued", "Waiting for a retry", "In flight", "Failed", "Workers", "Crawls")
    assert [browser.fact(name) for name in names] == ["0", "0", "0", "0", "1", "1 finished"]
    status = books(tracker)
    assert browser.fact("Links met again") == str(status.duplicates)
    assert browser.fact("Dropped") == str(status.dropped)


def test_a_newcomer_submits_watches_and_steers_a_crawl(
    browser: Browser, ui: str, tracker: str, site: SmallSite
) -> None:
    browser.open(ui)
    browser.see("live", "There are none. Submit one")
    fill_in(browser, site.url("/"))
    browser.press("Submit")
    browser.see("Submitted first", "running", "http_500")
    browser.press("Pause")
    browser.see("paused")
    browser.until(lambda: browser.fact("In flight") == "0", "nothing is in flight")
    browser.until(lambda: same_as_tracker(browser, tracker), "the tracker's numbers")
    status = books(tracker)
    assert status.state == "paused"
    assert status.queued
    lists_are_as_the_tracker(browser, tracker)

    browser.do(
        lambda: browser.script("document.querySelector('main details').open = true"), "reasons"
    )
    failed = ask(tracker, lambda opened: opened.failed(CRAWL)).failures
    assert failed
    assert {each.url for each in failed} <= {site.url(f"/broken/{n}") for n in range(2)}
    browser.until(
        lambda: (
            browser.rows("Failed: http_500")
            == [[each.url, each.detail, str(each.attempts)] for each in failed]
        ),
        "what failed, and why, as the tracker has it",
    )
    for number in range(2):
        site.answers[f"/broken/{number}"] = Answer(200, b"<p>found</p>", HTML)
    browser.press("Retry all of http_500")
    browser.see("of http_500 queued again", "Nothing has failed")

    browser.press("Resume")
    browser.see("running")
    browser.go("Domains")
    browser.press("Change 127.0.0.1")
    browser.fill("hits", "0")
    browser.press("Set throttle")
    assert "greater than or equal to 1" in browser.error_at("hits")
    browser.fill("hits", "1000")
    browser.fill("window", "1")
    until_now = time.monotonic()
    browser.press("Set throttle")
    browser.see("127.0.0.1: throttle set")
    changed = time.monotonic()
    [setting] = _set(tracker)
    assert (setting.domain, setting.hits, setting.window) == ("127.0.0.1", 1000, 1.0)

    browser.see("1,000 in 1 s")
    browser.go("Crawls")
    browser.until(
        lambda: [row[1] for row in browser.rows("Crawls, the newest first")] == ["finished"],
        "the crawl is finished",
    )
    browser.script("document.querySelector('td a').click()")
    browser.see("100 %", "Nothing has failed")
    browser.until(lambda: same_as_tracker(browser, tracker), "the tracker's numbers")
    assert shown(browser)["done"] == ALL
    assert counted(browser, STATUSES) == books(tracker).by_status == {200: ALL}
    assert counted(browser, DEPTHS) == books(tracker).by_depth == {0: 1, 1: ALL - 1}
    assert most_asked(site, until=until_now) <= int(SLOW["QUEUE_HITS"])
    assert most_asked(site, since=changed) > int(SLOW["QUEUE_HITS"])
    overview_is_as_the_tracker(browser, tracker)


def most_asked(site: SmallSite, since: float = 0.0, until: float = inf) -> int:
    """Return how often the site was asked within one window of the workers' throttle, at most.

    A tenth less than the window: requests do not take the same time to arrive.
    """
    times = [asked.time for asked in site.asked if since < asked.time < until]
    return most_in_a_window(times, 0.9 * float(SLOW["QUEUE_WINDOW"]))


@pytest.fixture(scope="module")
def worked(ui: str, tracker: str, site: SmallSite) -> dict[str, CrawlId]:
    """Return crawls for the pages to show: one with failures, and a hostile one that waits."""
    other = CrawlId("link", "hostile", HOSTILE)
    _break(site)
    api = ui.replace("/ui/", "/api/v1")
    with httpx.Client(timeout=60) as client:
        for method, path, body in (
            ("PUT", "/domains/127.0.0.1/limit", {"hits": 1000, "window": 1}),
            ("POST", "/domains/127.0.0.9/defer", {"seconds": 3600}),
            ("POST", "/crawls", _request(site.url("/?<b>", host="127.0.0.9"), other)),
            ("DELETE", "/crawls/link/newcomer/first", None),
            ("POST", "/crawls", _request(site.url("/"), CRAWL)),
        ):
            answer = client.request(method, f"{api}{path}", json=body)
            assert answer.is_success or method == "DELETE", answer.text
    until(lambda: books(tracker).state == "finished", "the crawl is finished")
    return {"finished": CRAWL, "hostile": other}


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
        return told.pages >= ALL and shown == [expected]

    # A worker tells with each renewal, every third of LEASE_TIMEOUT.
    until(same, "what the worker told last", patience=90)


def test_something_is_seen_soon(browser: Browser, ui: str) -> None:
    def painted() -> float:
        browser.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
        browser.open(ui)
        code = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
        return float(browser.until(lambda: browser.script(code), "something is painted"))

    assert min(painted() for _ in range(3)) < SLOWEST


def test_what_a_crawl_has_met_is_text(
    browser: Browser, ui: str, worked: dict[str, CrawlId]
) -> None:
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


def _set(tracker: str) -> list[DomainSetting]:
    return ask(tracker, lambda opened: opened.domain_settings())


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
