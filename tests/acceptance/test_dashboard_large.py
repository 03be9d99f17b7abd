"""The service and its dashboard over a million requests on a hundred thousand domains."""

from __future__ import annotations

import asyncio
import statistics
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

import httpx
import pytest
from redis import Redis

from crawling.tracker.tracker import CrawlId, Offer, Submission
from crawling.tracker.urls import fingerprint
from tests.acceptance.crawls import ask
from tests.acceptance.dashboard import serve
from tests.servers.browser import chromium
from tests.servers.kafka_server import free_ports
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from crawling.tracker.tracker import Tracker
    from tests.servers.browser import Browser

CRAWL = CrawlId("link", "fleet", "large")
DOMAINS, REQUESTS = 100_000, 1_000_000
#: What a worker holds.
LEASED = 16
#: Of the same kind, for comparison.
FEW_DOMAINS, FEW_REQUESTS = 60, 600
#: Offers of one submission, submissions that are sent together, and how many of those at once.
OFFERS, TOGETHER, AT_ONCE = 1000, 10, 2
#: Bytes of an answer, and elements of a page.
HEAVIEST, MOST_ELEMENTS = 50_000, 2000
#: Commands of Redis, those of scripts included: for what is known, for what is looked at anew,
#: for a look at one domain, and in one call of a script.
KNOWN, ANEW, OF_ONE, OF_CALL = 100, 5000, 5, 3000
#: How much longer than that of a small fleet an answer may take.
TIMES = 10
TABLE = "Domains with something queued or in flight"
#: What pages of the dashboard ask for, and Prometheus.
BOOKS = "/api/v1/crawls/link/fleet/large"
CHEAP = [
    "/api/v1/stats",
    "/api/v1/crawls?limit=50&after=0",
    BOOKS,
    f"{BOOKS}/failed?limit=10",
    f"{BOOKS}/trace?url=https://site-000003.example/page/17",
    "/api/v1/domain-settings",
    "/api/v1/workers?limit=50",
    "/api/v1/workers/host:1:link:one/requests?limit=50",
    "/metrics",
    "/readyz",
    "/",
]
#: For these, all domains are looked at.
LISTS = [
    "/api/v1/domains?sort=next&limit=50&after=0",
    "/api/v1/domains?sort=backlog&limit=50&after=50",
    "/api/v1/domains?sort=rate&limit=50",
    "/api/v1/domains?sort=name&limit=50&after=99950",
    "/api/v1/domains?sort=next&limit=50&state=ready",
    "/api/v1/domains?sort=next&limit=50&state=throttled",
    "/api/v1/domains?sort=next&limit=50&name=site-0000",
    f"{BOOKS}/domains?limit=20&after=0",
]


def offers(domains: int, requests: int) -> Iterator[Offer]:
    """Yield five of each domain, and as many as are left of one."""
    for number in range(requests):
        domain = f"site-{number // 5 if number < 5 * domains else 7:06d}.example"
        url = f"https://{domain}/page/{number}"
        yield Offer(url, domain, fingerprint(url), 50, 0)


async def fill(tracker: Tracker, domains: int, requests: int) -> None:
    left = offers(domains, requests)

    async def submit() -> None:
        while parts := [part for _ in range(TOGETHER) if (part := list(islice(left, OFFERS)))]:
            await tracker.submit_all([Submission(CRAWL, part, entry="known") for part in parts])

    # While Redis works on some, others are made.
    await asyncio.gather(*(submit() for _ in range(AT_ONCE)))


class Fleet(NamedTuple):
    tracker: str
    ui: str

    @property
    def url(self) -> str:
        return self.ui.removesuffix("/ui/")


@contextmanager
def fleet(folder: Path, domains: int, requests: int) -> Iterator[Fleet]:
    """Run a service over so many queued requests, and one worker that has begun."""
    folder.mkdir()
    with redis_server(folder) as tracker:
        ask(tracker, lambda opened: fill(opened, domains, requests))
        ask(tracker, lambda opened: opened.lease("host:1:link:one", LEASED, "link"))
        with serve(folder, tracker, free_ports(1)[0]) as ui:
            yield Fleet(tracker, ui)


@pytest.fixture(scope="module")
def large(redis_needed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("large") / "fleet"
    with fleet(folder, DOMAINS, REQUESTS) as running:
        yield running


class Cost(NamedTuple):
    """What an answer has cost Redis: commands, and calls of scripts among them."""

    commands: int
    calls: int


def answered(client: httpx.Client, path: str) -> httpx.Response:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer


def cost(redis: Redis, client: httpx.Client, path: str) -> Cost:
    redis.config_resetstat()
    answer = answered(client, path)
    counts = {name: each["calls"] for name, each in redis.info("commandstats").items()}
    assert len(answer.content) < HEAVIEST, path
    return Cost(sum(counts.values()), counts.get("cmdstat_evalsha", 0))


def test_no_answer_costs_redis_more_than_what_it_shows(large: Fleet) -> None:
    with (
        Redis.from_url(large.tracker) as redis,
        httpx.Client(base_url=large.url, timeout=300) as client,
    ):
        for path in CHEAP:
            assert cost(redis, client, path).commands < ANEW, path
        first = cost(redis, client, LISTS[-1])
        # The crawl's queues, and the domains, of which this is the first look.
        assert 2 * DOMAINS < first.commands < OF_ONE * DOMAINS
        assert first.commands / first.calls < OF_CALL

        for path in [*LISTS, *CHEAP]:
            most = ANEW if path in {"/metrics", "/api/v1/workers?limit=50"} else KNOWN
            assert cost(redis, client, path).commands < most, path


def test_an_answer_takes_hardly_longer_than_that_of_a_small_fleet(
    large: Fleet, tmp_path: Path
) -> None:
    def seconds(client: httpx.Client, path: str) -> float:
        began = time.monotonic()
        answered(client, path)
        return time.monotonic() - began

    with (
        fleet(tmp_path / "small", FEW_DOMAINS, FEW_REQUESTS) as small,
        httpx.Client(base_url=small.url, timeout=300) as few,
        httpx.Client(base_url=large.url, timeout=300) as many,
    ):
        slow = {}
        for path in [*LISTS, *CHEAP]:
            # By turns: what else the machine does is the same for both.
            rounds = [(seconds(few, path), seconds(many, path)) for _ in range(9)]
            usual, found = (statistics.median(times) for times in zip(*rounds, strict=True))
            if found > TIMES * usual:
                slow[path] = (usual, found)
        assert not slow


def test_others_are_answered_while_all_domains_are_looked_at(large: Fleet) -> None:
    async def ask_meanwhile() -> int:
        async with httpx.AsyncClient(base_url=large.url, timeout=300) as client:
            # What is changed is looked at anew.
            changed = await client.put(
                "/api/v1/domains/site-000001.example/limit", json={"hits": 1, "window": 9}
            )
            assert changed.is_success
            looking = asyncio.create_task(client.get(LISTS[0]))
            count = 0
            while not looking.done():
                assert (await client.get(BOOKS)).status_code == 200
                count += 1
            assert looking.result().status_code == 200
            return count

    # A look takes two hundred calls of a script.
    assert asyncio.run(ask_meanwhile()) > 20


def heaviest(browser: Browser) -> int:
    """Return the bytes of the largest answer of the API."""
    code = (
        "return performance.getEntriesByType('resource')"
        ".filter((each) => each.name.includes('/api/')).map((each) => each.decodedBodySize)"
    )
    return int(max(browser.script(code)))


def test_all_pages_show_a_part_that_the_service_chooses(
    browsers: None, large: Fleet, tmp_path: Path
) -> None:
    with chromium(tmp_path) as browser:

        def is_light() -> None:
            assert heaviest(browser) < HEAVIEST
            elements = browser.script("return document.querySelectorAll('*').length")
            assert elements < MOST_ELEMENTS

        browser.open(f"{large.ui}#/domains")
        browser.see("1 to 50 of 100,000")
        assert len(browser.rows(TABLE)) == 50
        browser.press("Next")
        browser.see("51 to 100 of 100,000")
        browser.choose("sort", "longest queues first")
        browser.until(
            lambda: browser.rows(TABLE)[0][1].startswith("500,00"), "the longest queue"
        )
        browser.choose("state", "blocked")
        browser.see("No domain has work.")
        browser.choose("state", "all")
        browser.fill("name", "site-099999")
        browser.see("1 to 1 of 1")
        is_light()

        browser.open(f"{large.ui}#/crawls/link/fleet/large")
        browser.see("1 to 20 of 100,000", "site-000007.example")
        assert browser.fact("Accepted") == f"{REQUESTS:,}"
        assert browser.fact("Queued") == f"{REQUESTS - LEASED:,}"
        is_light()

        browser.open(large.ui)
        browser.until(lambda: browser.fact("Queued") == f"{REQUESTS - LEASED:,}", "the sum")
        browser.go("Crawls")
        browser.see("1 to 1 of 1")
        browser.go("Workers")
        browser.see("host 1")
        browser.open(
            f"{large.ui}#/find?spiderid=link&appid=fleet&crawlid=large"
            "&url=https://site-099999.example/page/499999"
        )
        browser.see("It waits for its turn.")
        is_light()
        assert browser.console() == []
