"""A service whose dashboard a browser opens."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from crawling.tracker.tracker import CrawlId, Offer, Outcome, worker_name
from crawling.tracker.urls import domain_of, fingerprint
from tests.acceptance.crawls import (
    CRAWLER,
    ask,
    background,
    environment,
    fleet_command,
    stop,
    until,
)

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from crawling.tracker.tracker import Tracker
    from tests.servers.browser import Browser

#: A request a second, so that there is time to look.
SLOW = {"QUEUE_HITS": "5", "QUEUE_WINDOW": "5", "RETRY_TIMES": "0"}
#: Captions of tables.
DOMAINS = "Domains with something queued or in flight"
SETTINGS = "Throttles and blocks of single domains, whether or not they have work"
#: How far to the right anything goes.
RIGHTMOST = """
    const dialogs = [...document.querySelectorAll("dialog")].map((each) =>
      each.getBoundingClientRect().right + each.scrollWidth - each.clientWidth);
    return Math.max(document.documentElement.scrollWidth, ...dialogs);
"""

#: All that the page's own stream of events has told, as its modules see it.
LIVE = "const { live } = await import(new URL('live.js', document.baseURI).href);"


@contextmanager
def serve(folder: Path, tracker: str, port: int, *options: str) -> Iterator[str]:
    """Run `fleet serve`; return where its dashboard is."""
    command = fleet_command("serve", "--tracker", tracker, "--port", str(port), *options)
    settings = {"KAFKA_HOSTS": "none", "ALLOW_PRIVATE_ADDRESSES": "1", **SLOW}
    url = f"http://127.0.0.1:{port}"
    with background(command, CRAWLER, environment(**settings), folder) as process:
        until(lambda: answers(f"{url}/readyz"), "the service is ready")
        yield f"{url}/ui/"
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        assert stop(process) == 0


def answers(url: str) -> bool:
    """Whether the service is there, and ready."""
    try:
        return httpx.get(url, timeout=30).status_code == 200
    except httpx.TransportError:
        return False


@contextmanager
def usual(window: Browser) -> Iterator[Browser]:
    """Yield a window of usual size; whatever is done in it, no script of a page may fail."""
    window.resize(1000, 700)
    window.prefer("light")
    yield window
    errors = [error for error in window.console() if "Failed to load resource" not in error]
    assert errors == []


def in_page(browser: Browser, code: str, *arguments: Any) -> Any:
    """Run code that awaits; return what it returns."""
    return browser.driver.execute_async_script(
        "const done = arguments[arguments.length - 1];"
        f"(async (...given) => {{ {LIVE} {code} }})(...arguments).then(done)",
        *arguments,
    )


def is_accessible(browser: Browser) -> None:
    """Check what is seen now, on a desk and on a phone at night."""
    for scheme, width in (("light", 1000), ("dark", 360)):
        browser.prefer(scheme)
        browser.resize(width, 740)
        assert browser.violations() == [], (scheme, width)
        assert browser.script(RIGHTMOST) <= width
    browser.prefer("light")
    browser.resize(1000, 700)


def site(number: int, path: str = "/") -> str:
    """Return a URL in a domain of its own."""
    return f"http://site-{number:02}.example{path}"


def offers(*urls: str) -> list[Offer]:
    return [Offer(url, domain_of(url), fingerprint(url), 50, 0) for url in urls]


def queue(tracker: str, name: str, *urls: str) -> CrawlId:
    """Queue URLs in a crawl of that name, with a spider of its own."""
    crawl = CrawlId(name, "fleet", name)
    ask(tracker, lambda opened: opened.submit(crawl, offers(*urls)))
    return crawl


async def fail(opened: Tracker, crawl: CrawlId, urls: Mapping[str, Sequence[str]]) -> None:
    """Let URLs, each of its own domain, fail for their reasons; no other has the spider."""
    reasons = {url: reason for reason, those in urls.items() for url in those}
    await opened.submit(crawl, offers(*reasons))
    worker = worker_name(crawl.spiderid)
    leases = (await opened.lease(worker, len(reasons), crawl.spiderid)).leases
    outcomes = [
        Outcome(lease, "failed", reason=reasons[lease.url], detail=f"no {lease.url}")
        for lease in leases
    ]
    assert await opened.settle(worker, outcomes) == [True] * len(reasons)
    await opened.leave(worker)
