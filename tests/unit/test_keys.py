from __future__ import annotations

import re
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import pytest

from crawling.service import counters
from crawling.tracker import keys as names
from crawling.tracker.keys import PATTERNS, Keys
from crawling.tracker.scripts import read_part
from crawling.tracker.tracker import CrawlId, TrackerConfig

DOCUMENT = Path(__file__).parents[2] / "docs" / "reference" / "redis_keys.md"


def test_all_names_of_one_tag_begin_with_it() -> None:
    keys = Keys("{7}")

    assert keys.meta == "{7}fleet:meta"
    for name in (keys.crawls, keys.workers, keys.outbox, keys.crawl(1), keys.failed(1)):
        assert name.startswith("{7}fleet:")
    assert keys.leases("w{1}").startswith("{7}")
    assert keys.wake("ear").startswith("{7}")


def test_the_scripts_write_no_name_without_the_tag() -> None:
    """A key is `fleet .. '…'` or `tag .. …`; a literal with a colon alone would be untagged."""
    for file in (files("crawling.tracker") / "lua").iterdir():
        script = read_part(file.name.removesuffix(".lua"))

        assert not re.search(r"call\('[A-Z]+', '", script), file.name
        assert not re.search(r"'fleet:(?!meta'|')", script), file.name


def test_without_a_tag_the_names_are_the_documented_ones() -> None:
    crawl = CrawlId("link", "app", "c1")

    assert names.dupefilter(crawl)[0] == "link:dupefilter:c1"
    assert Keys().meta == "fleet:meta"


@pytest.mark.parametrize("crawlid", ["queue", "x:1", "x", "x%3A1", "a@b", "", "ü", "{x}"])
def test_a_crawl_is_read_back_from_its_name(crawlid: str) -> None:
    crawl = CrawlId("li:nk", "a%pp", crawlid)

    assert names.parse_crawl_name(names.crawl_name(crawl)) == crawl


def test_no_two_crawls_share_a_dupefilter() -> None:
    crawlids = ["queue", "x:1", "x", "x%3A1", "a@b", "a", "%71ueue", "x%3A1"]
    crawls = {CrawlId("link", app, crawlid) for app in ("b", "c") for crawlid in crawlids}

    for one, other in combinations(crawls, 2):
        same = set(names.dupefilter(one)) & set(names.dupefilter(other))
        # What two apps call the same they share by name: the second one is set apart.
        assert not same or one.crawlid == other.crawlid
        assert names.dupefilter(one)[1] != names.dupefilter(other)[1]


def test_a_dupefilter_is_never_the_queue_of_a_host_called_dupefilter() -> None:
    assert names.dupefilter(CrawlId("link", "app", "queue"))[0] != "link:dupefilter:queue"


@pytest.mark.parametrize(
    ("by_type", "ip", "prefix"),
    [
        (True, "", "link:"),
        (False, "", ""),
        (True, "10.0.0.1", "link:10.0.0.1:"),
        (False, "10.0.0.1", "10.0.0.1:"),
    ],
)
def test_a_throttle_is_shared_by_those_that_the_settings_name(
    by_type: bool, ip: str, prefix: str
) -> None:
    config = TrackerConfig(by_type=by_type, ip=ip)

    assert names.throttle_prefix("link", config) == prefix


def test_every_key_is_documented() -> None:
    documented = set(re.findall(r"^\| `([^`]+)`", DOCUMENT.read_text("utf-8"), re.MULTILINE))

    assert documented == {*PATTERNS, *counters.PATTERNS}
