"""Workers of one host and of several kinds, as processes."""

from __future__ import annotations

import os
import signal
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from crawling.tracker.tracker import CrawlId, CrawlOptions, Offer
from crawling.tracker.urls import domain_of, fingerprint
from tests.acceptance.crawls import (
    CRAWLER,
    ask,
    background,
    crawl_id,
    environment,
    fleet,
    fleet_command,
    fleet_json,
    status_of,
    stop,
    submit,
    until,
    worker,
)
from tests.servers.small_site import Answer, small_site
from tests.servers.website import website

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.small_site import SmallSite

HTML = {"Content-Type": "text/html; charset=utf-8"}
LOOPBACK = {"ALLOW_PRIVATE_ADDRESSES": "1", "QUEUE_HITS": "0", "KAFKA_HOSTS": "none"}


@contextmanager
def supervisor(
    folder: Path, tracker: str, *options: str, **settings: str
) -> Iterator[subprocess.Popen[str]]:
    command = fleet_command("worker", "--tracker", tracker, *options)
    env = environment(**{**LOOPBACK, "LEASE_TIMEOUT": "5", **settings})
    with background(command, CRAWLER, env, folder) as process:
        yield process


def pids(tracker: str) -> set[int]:
    """Return the processes of the workers that live."""
    workers = fleet_json("workers", "--tracker", tracker, cwd=CRAWLER)
    return {int(each["pid"]) for each in workers if _lives(int(each["pid"]))}


def two(tracker: str) -> set[int]:
    found = pids(tracker)
    return found if len(found) == 2 else set()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def finished(tracker: str, crawl: CrawlId) -> bool:
    status = ask(tracker, lambda opened: opened.crawl(crawl))
    return status is not None and status.state == "finished"


@pytest.mark.usefixtures("redis")
def test_a_worker_that_dies_is_started_again_and_all_end_on_sigterm(
    redis_url: str, tmp_path: Path
) -> None:
    with (
        website(tmp_path, "--site", "flat", "--hosts", "4", "--pages", "200") as web,
        supervisor(tmp_path, redis_url, "--processes", "2") as running,
    ):
        before = until(lambda: two(redis_url), "two workers run")
        victim = min(before)
        os.kill(victim, signal.SIGKILL)
        after = until(lambda: pids(redis_url) - before, "a new one runs")
        seeds = [f"http://127.2.0.{n % 4 + 1}:{web.port}/page/{n}" for n in range(200)]
        submit(redis_url, "c1", *seeds)
        until(lambda: finished(redis_url, crawl_id("c1")), "the crawl is finished")

        assert stop(running) == 0
        assert not any(map(_lives, before | after))
    assert status_of(redis_url, "c1").done == 200


@pytest.mark.usefixtures("redis")
def test_no_worker_outlives_a_supervisor_that_was_killed(
    redis_url: str, tmp_path: Path
) -> None:
    with supervisor(tmp_path, redis_url, "--processes", "2") as running:
        workers = until(lambda: two(redis_url), "two workers run")

        running.kill()

        until(lambda: not any(map(_lives, workers)), "they end too")


def test_a_worker_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    said = fleet("worker", "--spider", "none", cwd=tmp_path, code=2).stderr

    assert said == (
        "fleet: --spider: must be link, wandering, simple, id or a Python file that exists, "
        "not 'none'\n"
    )


@pytest.mark.usefixtures("redis")
def test_workers_are_listed_with_what_they_hold(redis_url: str, tmp_path: Path) -> None:
    assert fleet("workers", "--tracker", redis_url, cwd=tmp_path).stdout == "no workers\n"
    with worker(tmp_path, redis_url) as running:
        until(lambda: running.pid in pids(redis_url), "it is listed")
        text = fleet("workers", "--tracker", redis_url, cwd=tmp_path).stdout

        assert f" {running.pid}  link  holds 0  alive for " in text


# A spider of one's own, and work handed from one kind to another.

MIXED = """
from scrapy import Request

from crawling.spiders.redis_spider import RedisSpider


class Listing(RedisSpider):
    name = "listing"

    def parse(self, response):
        yield self.page(response)
        for number in range(3):
            url = response.urljoin(f"/item/{number}")
            yield Request(url, meta={"spiderid": "item"})
"""
ITEM = """
from crawling.spiders.redis_spider import RedisSpider


class Item(RedisSpider):
    name = "item"

    def parse(self, response):
        yield self.page(response)
"""


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as running:
        running.answers = {
            path: Answer(body=b"<p>here</p>", headers=HTML)
            for path in ("/list", *(f"/item/{number}" for number in range(3)))
        }
        yield running


@pytest.mark.usefixtures("redis")
def test_a_request_with_a_spiderid_is_fetched_by_that_kind_of_spider(
    site: SmallSite, redis_url: str, tmp_path: Path
) -> None:
    crawl = CrawlId("listing", "fleet", "mixed")
    (tmp_path / "listing.py").write_text(MIXED)
    (tmp_path / "item.py").write_text(ITEM)
    url = site.url("/list")
    seed = Offer(url, domain_of(url), fingerprint(url), 50, 0)
    ask(redis_url, lambda tracker: tracker.submit(crawl, [seed], CrawlOptions(maxdepth=1)))
    files = {name: tmp_path / f"{name}.jsonl" for name in ("listing", "item")}
    with (
        supervisor(
            tmp_path,
            redis_url,
            "--spider",
            str(tmp_path / "listing.py"),
            SAVERS=str(files["listing"]),
        ) as first,
        supervisor(
            tmp_path,
            redis_url,
            "--spider",
            str(tmp_path / "item.py"),
            SAVERS=str(files["item"]),
        ) as second,
    ):
        until(lambda: finished(redis_url, crawl), "the crawl is finished")
        assert [stop(first), stop(second)] == [0, 0]

    lines = {name: file.read_text().count("\n") for name, file in files.items()}
    assert lines == {"listing": 1, "item": 3}


@pytest.mark.usefixtures("redis")
def test_a_new_project_works_with_the_commands_of_its_readme(
    site: SmallSite, redis_url: str, tmp_path: Path
) -> None:
    assert "shop/README.md" in fleet("startproject", "shop", cwd=tmp_path).stdout
    project = tmp_path / "shop"
    crawl = CrawlId("shop", "shop", "first")
    site.answers["/"] = Answer(body=b'<a href="/list">list</a>', headers=HTML)
    seed = Offer(site.url("/"), domain_of(site.url("/")), fingerprint(site.url("/")), 50, 0)
    ask(redis_url, lambda tracker: tracker.submit(crawl, [seed], CrawlOptions(maxdepth=1)))
    command = fleet_command(
        *("worker", "--spider", "shop/spiders/shop_spider.py", "--processes", "2"),
        *("--tracker", redis_url),
    )
    with background(command, project, environment(**LOOPBACK), tmp_path) as running:
        until(lambda: finished(redis_url, crawl), "the crawl is finished")
        assert stop(running) == 0

    spider = "shop.spiders.shop_spider:Spider"
    options = ("--spider", spider, "--depth", "1", "--allow-private", "--hits", "0")
    fleet("crawl", site.url("/"), *options, "--save", "pages.jsonl", cwd=project)

    assert Counter(site.paths())["/list"] == 2
    assert (project / "pages.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize("name", ["1st", "a-b", "class", "ä"])
def test_a_project_must_have_a_name_that_python_takes(name: str, tmp_path: Path) -> None:
    said = fleet("startproject", name, cwd=tmp_path, code=2).stderr

    assert said.startswith("fleet: NAME: must be letters, digits and _")


# Throttles of workers that have addresses of their own.


def hits_in(accesses: list[Any], seconds: float) -> int:
    first = min(access.time for access in accesses)
    return sum(access.time < first + seconds for access in accesses)


@pytest.mark.alone
@pytest.mark.usefixtures("redis")
@pytest.mark.parametrize(("by_address", "expected"), [("1", 6), ("0", 3)])
def test_workers_of_different_addresses_split_or_share_the_hits_of_a_domain(
    by_address: str, expected: int, redis_url: str, tmp_path: Path
) -> None:
    throttle = {"QUEUE_HITS": "3", "QUEUE_WINDOW": "6", "QUEUE_MODERATED": "0"}
    throttle["SCHEDULER_IP_ENABLED"] = by_address
    with (
        website(tmp_path, "--site", "flat", "--hosts", "1") as web,
        worker(tmp_path, redis_url, PUBLIC_IP="10.0.0.1", **throttle) as one,
        worker(tmp_path, redis_url, PUBLIC_IP="10.0.0.2", **throttle) as two,
    ):
        until(lambda: {one.pid, two.pid} <= pids(redis_url), "both serve")
        seeds = [f"http://127.2.0.1:{web.port}/page/{number}" for number in range(9)]
        submit(redis_url, "c1", *seeds)
        until(lambda: len(web.accesses()) > expected, "the second window has begun")

    assert hits_in(web.accesses(), 5.5) == expected
