"""What a worker tells Prometheus while it works, held against its site and its tracker."""

from __future__ import annotations

import re
import select
import subprocess
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

import pytest
from redis import Redis

from crawling.tracker.tracker import FAILED_REASONS, Kind
from crawling.tracker.urls import fingerprint
from tests.acceptance.crawls import (
    PATIENCE,
    ROOT,
    ask,
    crawl_id,
    environment,
    fleet_command,
    status_of,
    submit,
    until,
    worker,
)
from tests.scraping import by_label, free_port, labels_of, scraped, series, value
from tests.servers.small_site import Answer, Asked, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.scraping import Samples

PAGE = ROOT / "docs" / "reference" / "metrics.md"
CLASSES = {"2xx", "3xx", "4xx", "5xx", "other"}
#: All that the labels of a worker may be, however it is treated.
CLOSED = {
    "status": CLASSES,
    "kind": set(get_args(Kind)),
    "reason": {*FAILED_REASONS, "other", *(f"http_{each}" for each in CLASSES)},
    "call": {"lease", "settle"},
}
SLOTS = 65
OLDEST, LEASES = "fleet_oldest_lease_seconds", "fleet_worker_leases"


@dataclass
class Held:
    """A page that the site answers when it is told to; *asked* is when it was asked for."""

    asked: float = 0.0
    let_go: threading.Event = field(default_factory=threading.Event)

    def __call__(self, _: Asked) -> Answer:
        self.asked = time.time()
        self.let_go.wait(PATIENCE)
        return Answer()


@pytest.fixture(scope="module")
def site() -> Iterator[SmallSite]:
    with small_site() as running:
        yield running


@pytest.fixture(scope="module")
def port(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Return where a worker on an empty Redis answers Prometheus."""
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    number, folder = free_port(), tmp_path_factory.mktemp("worker")
    settings = {"RETRY_TIMES": "0", "RETRY_HTTP_CODES": "500,418", "METRICS_PORT": str(number)}
    settings["CONCURRENT_REQUESTS"] = str(SLOTS)
    with worker(folder, redis_url, **settings):
        until(lambda: scraped(number), "the worker answers Prometheus")
        yield number


def leased_since(redis_url: str, crawlid: str, url: str) -> float:
    trace = ask(redis_url, lambda tracker: tracker.trace(crawl_id(crawlid), fingerprint(url)))
    assert trace.state == "leased"
    assert trace.since is not None
    return trace.since


def test_the_oldest_lease_is_told_by_its_age(
    site: SmallSite, port: int, redis_url: str
) -> None:
    first, second = Held(), Held()
    site.answers |= {"/first": first, "/second": second}

    def is_age_of(held: Held, path: str) -> bool:
        """Whether the oldest is older than its request, and not older than its lease."""
        began = time.time()
        age = value(scraped(port), OLDEST)
        since = leased_since(redis_url, "held", site.url(path))
        # Redis counts whole milliseconds.
        return began - held.asked <= age <= time.time() - since + 0.001

    submit(redis_url, "held", site.url("/first"))
    until(lambda: value(scraped(port), OLDEST) > 1, "a lease of a second")
    assert is_age_of(first, "/first")

    submit(redis_url, "held", site.url("/second"))
    until(lambda: value(scraped(port), "fleet_worker_busy_slots") == 2, "both run")
    assert value(scraped(port), LEASES) == 2
    assert value(scraped(port), "fleet_worker_slots") == SLOTS
    assert is_age_of(first, "/first")

    first.let_go.set()
    until(lambda: value(scraped(port), LEASES) == 1, "the first ends")
    assert is_age_of(second, "/second")
    second.let_go.set()
    until(lambda: value(scraped(port), LEASES) == 0, "the second ends")
    assert value(scraped(port), OLDEST) == 0


STATUSES = (200, 204, 226, 299, 304, 400, 404, 418, 451, 499, 500, 501, 599, 600, 777, 999)


def odd_crawl(site: SmallSite, redis_url: str, crawlid: str, host: str) -> None:
    """Crawl a page of each status, one that is no status, and one where nobody listens."""
    paths = [f"/{crawlid}/{status}" for status in STATUSES]
    site.answers |= {
        path: Answer(status, f"<p>{path}</p>".encode())
        for path, status in zip(paths, STATUSES, strict=True)
    }
    site.answers[f"/{crawlid}/none"] = Answer(42)
    urls = [site.url(path, host) for path in (*paths, f"/{crawlid}/none")]
    submit(redis_url, crawlid, *urls, f"http://{host}:1/{crawlid}")


def ended(redis_url: str, crawlids: list[str]) -> bool:
    return all(status_of(redis_url, crawlid).state == "finished" for crawlid in crawlids)


def test_the_reference_has_the_classes_of_statuses() -> None:
    [row] = re.findall(r"^\| `fleet_pages_total` .*$", PAGE.read_text("utf-8"), re.MULTILINE)

    assert set(re.findall("`(...|other)`", row)) == CLASSES


def test_labels_are_of_closed_lists_whatever_is_crawled(
    site: SmallSite, port: int, redis_url: str
) -> None:
    before = scraped(port)
    odd_crawl(site, redis_url, "odd", "127.0.0.2")
    until(lambda: ended(redis_url, ["odd"]), "the first crawl")
    books = status_of(redis_url, "odd")
    first = until(lambda: settled(port, before, books.accepted), "the metrics of the first")
    crawlids = [f"odd-{number}" for number in range(12)]
    for number, crawlid in enumerate(crawlids):
        odd_crawl(site, redis_url, crawlid, f"127.0.1.{number + 1}")
    until(lambda: ended(redis_url, crawlids), "all crawls")
    last = until(
        lambda: settled(port, first, books.accepted * len(crawlids)), "the metrics of all"
    )

    assert series(last) == series(first)
    for label, values in labels_of(last).items():
        assert values <= CLOSED[label], label
    pages = grown(before, first, "fleet_pages_total", "status")
    assert pages == {"2xx": 4, "3xx": 1, "4xx": 4, "5xx": 2, "other": 3}
    assert sum(pages.values()) == books.done
    assert grown(before, first, "fleet_failures_total", "reason") == {
        "http_4xx": 1,
        "http_5xx": 1,
        "bad_response": 1,
        "robots_unreachable": 1,
    }
    again = grown(first, last, "fleet_pages_total", "status")
    assert again == {status: count * len(crawlids) for status, count in pages.items()}


def settled(port: int, before: Samples, count: int) -> Samples:
    """Return the samples once *count* more leases have ended, none until then."""
    samples = scraped(port)
    kinds = grown(before, samples, "fleet_leases_settled_total", "kind")
    return samples if sum(kinds.values()) == count else {}


def grown(before: Samples, after: Samples, name: str, label: str) -> dict[str, float]:
    old = by_label(before, name, label)
    new = by_label(after, name, label)
    return {key: more for key in new if (more := new[key] - old.get(key, 0))}


def delivered(port: int, count: int) -> Samples:
    """Return the samples once *count* pages are delivered, none until then."""
    samples = scraped(port)
    return samples if value(samples, "fleet_delivery_seconds_count") == count else {}


def test_a_page_is_on_its_way_until_its_output_has_all_of_it(
    site: SmallSite, tmp_path: Path
) -> None:
    """Standard output takes what a pipe holds; the rest waits for a reader."""
    site.answers["/large"] = Answer(200, b"<p>" + b"x" * 500_000 + b"</p>")
    site.answers["/last"] = last = Held()
    number = free_port()
    command = fleet_command("crawl", site.url("/large"), site.url("/last"))
    free = ["--allow-private", "--hits", "0", "--depth", "0", "--save", "-"]
    began = time.monotonic()
    with subprocess.Popen(
        [*command, *free],
        cwd=tmp_path,
        env=environment(METRICS_PORT=str(number)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as crawl:
        try:
            assert crawl.stdout is not None
            assert select.select([crawl.stdout], [], [], PATIENCE)[0], "nothing is written"
            on_its_way = time.monotonic()
            until(
                lambda: time.monotonic() > on_its_way + 1 and last.asked, "both were asked for"
            )
            assert value(scraped(number), "fleet_delivery_seconds_count") == 0
            read = time.monotonic()
            assert len(crawl.stdout.readline()) > 500_000
            samples = until(lambda: delivered(number, 1), "the page is delivered")
            ended_by = time.monotonic()
            last.let_go.set()
            crawl.communicate(timeout=PATIENCE)
        finally:
            crawl.kill()

    assert read - on_its_way <= value(samples, "fleet_delivery_seconds_sum") <= ended_by - began
    assert value(samples, "fleet_delivery_seconds_bucket", le="1.0") == 0
