"""`fleet retry --from-kafka`: what failed comes again, though the tracker has forgotten it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from crawling.tracker.tracker import CrawlId
from tests.acceptance.cluster import Cluster, cluster
from tests.acceptance.crawls import CRAWLER, PATIENCE, ask, fleet_command, until
from tests.servers.small_site import Answer, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

HTML = {"Content-Type": "text/html"}
BROKEN = Answer(status=500, body=b"broken")


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as running:
        yield running


@pytest.fixture
def fleet(
    tmp_path: Path, redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str
) -> Iterator[Cluster]:
    redis.ping()
    settings = {"RETRY_TIMES": "0", "DUPEFILTER_TIMEOUT": "1"}
    with cluster(kafka_hosts, topic_prefix, redis_url, tmp_path, **settings) as running:
        for start in (running.kafka_monitor, running.redis_monitor, running.worker):
            start()
        yield running


def retry(fleet: Cluster, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*fleet_command("retry"), "--from-kafka", *options],
        cwd=CRAWLER,
        env=fleet.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def is_forgotten(fleet: Cluster, crawlid: str) -> bool:
    crawl = CrawlId("link", "replays", crawlid)
    return ask(fleet.tracker, lambda tracker: tracker.crawl(crawl)) is None


def test_what_failed_comes_again_with_all_that_it_had(fleet: Cluster, site: SmallSite) -> None:
    links = b"<a href='/one'>1</a> <a href='/two'>2</a>"
    start = Answer(body=links, headers=HTML)
    site.answers = {"/": start, "/one": BROKEN, "/two": BROKEN, "/form": BROKEN}
    request = {"appid": "replays", "attrs": {"k": "v"}, "maxdepth": 1}
    fleet.feed(
        {"url": site.url("/"), "crawlid": "links", **request},
        {
            "url": site.url("/form"),
            "crawlid": "form",
            "headers": {"X-Own": "1"},
            **request,
        },
    )
    failures = fleet.listen("failed")
    failures.until(lambda got: len(got) >= 3, "three requests have failed")
    for crawlid in ("links", "form"):
        until(lambda crawlid=crawlid: is_forgotten(fleet, crawlid), "it is forgotten")  # type: ignore[misc]
    page = Answer(body=b"mended", headers=HTML)
    site.answers = {"/": start, "/one": page, "/two": page, "/form": page}
    pages = fleet.listen("crawled")

    done = retry(fleet, "--crawlid", "links", "--reason", "http_500")

    assert (done.returncode, done.stdout) == (0, "links: 2 requests queued again\n")
    assert retry(fleet, "--crawlid", "form", "--reason", "timeout").stdout.startswith("form: 0")
    assert retry(fleet, "--crawlid", "form", "--json").stdout.count('"queued": 1') == 1

    def mended(got: list[dict[str, Any]]) -> set[tuple[str, str]]:
        return {(each["url"], str(each["attrs"])) for each in got if each["body"] == "mended"}

    pages.until(lambda got: len(mended(got)) >= 3, "three pages have come")
    attrs = str({"k": "v"})
    assert mended(pages.received) == {
        (site.url(path), attrs) for path in ("/one", "/two", "/form")
    }
    own = [each.headers.get("X-Own") for each in site.asked if each.path == "/form"]
    assert own == ["1", "1"]


def test_the_crawl_must_be_named(fleet: Cluster) -> None:
    done = retry(fleet)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "fleet: --crawlid: say which crawl is to be replayed from Kafka\n"
