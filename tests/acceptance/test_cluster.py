"""Two Kafka monitors, two Redis monitors and three workers serve 200 crawls together.

They do so on one Redis, and on a Redis Cluster of three nodes with 16 shards: what is
expected is what the simulated web has, so both give the same pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.cluster import cluster, counts
from tests.servers.site_sections import LEVELS, SectionSite
from tests.servers.website import website

if TYPE_CHECKING:
    from pathlib import Path

HOSTS, CRAWLS = 40, 200


def request(site: SectionSite, section: int) -> dict[str, Any]:
    return {
        "url": site.start(section),
        "appid": "acceptance",
        "crawlid": f"section-{section}",
        "maxdepth": LEVELS,
        "allow_regex": [site.allowed(section)],
        "priority": 1 + section % 100,
    }


@pytest.fixture(params=["1", "16"], ids=["one-redis", "16-shards"])
def tracker(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return TRACKER and TRACKER_SHARDS of an empty tracker."""
    if request.param == "1":
        request.getfixturevalue("redis")
        url = request.getfixturevalue("redis_url")
    else:
        url = request.getfixturevalue("cluster").url
    return {"TRACKER": str(url), "TRACKER_SHARDS": request.param}


def test_every_page_arrives_once_and_every_crawl_is_announced_once(
    tmp_path: Path, tracker: dict[str, str], kafka_hosts: str, topic_prefix: str
) -> None:
    options = ("--site", "sections", "--hosts", str(HOSTS), "--sections", str(CRAWLS))
    with (
        website(tmp_path, *options) as web,
        cluster(
            kafka_hosts,
            topic_prefix,
            tracker["TRACKER"],
            tmp_path,
            **tracker,
            RETRY_TIMES="1",
            RETRY_DELAY="0.1",
        ) as fleet,
    ):
        site = SectionSite(web.port, HOSTS, CRAWLS)
        fleet.make_topics(partitions=4)
        for start in (fleet.kafka_monitor, fleet.redis_monitor, fleet.worker):
            start()
            start()
        fleet.worker()
        pages, events = fleet.listen("crawled"), fleet.listen("outbound")
        failures = fleet.listen("failed")

        fleet.feed(*(request(site, section) for section in site.sections))

        events.until(lambda finished: len(finished) >= CRAWLS, "200 crawls have finished")
        finished = {event["crawlid"]: event for event in events.settle_down()}
        assert len(events.received) == len(finished) == CRAWLS
        for section in site.sections:
            event = finished[f"section-{section}"]
            books = tuple(event[column] for column in ("done", "failed", "dropped"))
            assert (event["action"], event["state"]) == ("finished", "finished")
            assert books == site.totals(section), event
            assert event["accepted"] == sum(books)
        expected = {
            (f"section-{section}", url, status): 1
            for section in site.sections
            for url, status in site.pages(section).items()
        }
        pages.until(lambda all_: len(all_) >= len(expected), "all pages have arrived")
        assert counts(pages.settle_down(), "crawlid", "url", "status_code") == expected
        failures.until(lambda all_: len(all_) >= CRAWLS, "all failures have arrived")
        assert counts(failures.settle_down(), "crawlid", "url", "reason") == {
            (f"section-{section}", f"{site.start(section)}broken", "http_500"): 1
            for section in site.sections
        }
        assert fleet.stop_all() == [0] * 7
