"""Each spider from the command line, and the manager from Python."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.crawls import environment, fleet
from tests.servers.small_site import Answer, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ANYHOW = ("--ignore-robots", "--allow-private", "--hits", "0", "--quiet", "--save", "-")


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as running:
        running.answers = {
            "/": Answer(body=b'see /item/1, /item/2, <a href="/other">other</a>'),
            "/item/1": Answer(body=b"also /item/3 id=30"),
            "/item/2": Answer(body=b"nothing"),
            "/item/3": Answer(body=b"back to /item/1"),
            "/other": Answer(body=b'<a href="/">home</a>'),
        }
        yield running


def crawled(site: SmallSite, tmp_path: Path, *options: str) -> list[str]:
    """Return the paths of the pages that `--save -` printed, sorted."""
    lines = fleet("crawl", *options, *ANYHOW, cwd=tmp_path).stdout.splitlines()
    return sorted(json.loads(line)["url"].removeprefix(site.url("")) for line in lines)


def test_link_follows_all_links(site: SmallSite, tmp_path: Path) -> None:
    assert crawled(site, tmp_path, site.url("/")) == ["/", "/other"]


def test_simple_follows_what_its_regex_matches(site: SmallSite, tmp_path: Path) -> None:
    pages = crawled(
        site, tmp_path, site.url("/"), "--spider", "simple", "--link-regex", r"/item/\d+"
    )

    assert pages == ["/", "/item/1", "/item/2", "/item/3"]


def test_id_discovers_ids_from_known_ones(site: SmallSite, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1\n\n2\n")

    pages = crawled(
        site,
        tmp_path,
        *("--spider", "id", "--known", "ids.txt", "--id-regex", r"/item/(\d+)"),
        *("--download-url-fmt", site.url("/item/{}")),
    )

    assert pages == ["/item/1", "/item/2", "/item/3"]


def test_wandering_hops_until_it_knows_everything(site: SmallSite, tmp_path: Path) -> None:
    assert crawled(site, tmp_path, site.url("/"), "--spider", "wandering") == ["/", "/other"]


def test_a_spider_of_ones_own_is_named_by_module_and_class(
    site: SmallSite, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from crawling.spiders.redis_spider import RedisSpider\n"
        "class Mine(RedisSpider):\n"
        "    name = 'mine'\n"
        "    def parse(self, response):\n"
        "        yield self.page(response)\n"
        "        if response.url.endswith('/'):\n"
        "            yield response.follow('/other')\n"
    )

    assert crawled(site, tmp_path, site.url("/"), "--spider", "mine:Mine") == ["/", "/other"]


def test_a_crawl_stays_within_its_rules(site: SmallSite, tmp_path: Path) -> None:
    site.answers["/"] = Answer(
        body=b'<a href="/other"></a><a href="/item/1"></a><a href="http://localhost/"></a>'
    )

    pages = crawled(
        site, tmp_path, site.url("/"),
        "--deny", "/other", "--allowed-domain", "127.0.0.1", "--max-pages", "5",
    )  # fmt: skip

    assert pages == ["/", "/item/1"]


PROGRAM = """
import sys
from crawling.exceptions import ConfigError
from crawling.manager import CrawlManager

site = sys.argv[1]
manager = CrawlManager(
    spider="link",
    tracker="sqlite:///x.db",
    savers=["pages.jsonl"],
    settings={"ALLOW_PRIVATE_ADDRESSES": True, "QUEUE_HITS": 0, "ROBOTSTXT_OBEY": False},
)
summary = manager.run(
    known=(f"{site}/item/{n}" for n in range(5000)),
    explored=(f"{site}/item/{n}" for n in range(10, 5000)),
)
print(summary.state, summary.status.accepted, summary.status.done)
try:
    manager.run(known=[])
except ConfigError as error:
    print(error)
"""


def run(program: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_manager_takes_generators_of_known_and_explored_urls(
    site: SmallSite, tmp_path: Path
) -> None:
    done = run(PROGRAM, site.url(""), cwd=tmp_path)

    assert done.stdout.splitlines() == [
        "finished 10 10",
        "CrawlManager: a process can run one crawl, this is the second",
    ], done.stderr
    assert len((tmp_path / "pages.jsonl").read_text().splitlines()) == 10
    assert len(site.asked) == 10


LOOKING = """
import asyncio, sys
if sys.argv[2:]:
    from twisted.internet import asyncioreactor
    asyncioreactor.install()
from scrapy import Spider
from crawling.manager import CrawlManager


class Looking(Spider):
    name = "looking"

    def parse(self, response):
        print(type(asyncio.get_running_loop()).__module__)


CrawlManager(
    spider=Looking, tracker="sqlite://", settings={"ALLOW_PRIVATE_ADDRESSES": True}
).run(seeds=[sys.argv[1]])
"""


@pytest.mark.parametrize(
    ("arguments", "module"), [([], "uvloop"), (["installed"], "asyncio.unix_events")]
)
def test_a_crawl_runs_on_uvloop_unless_the_program_has_installed_the_reactor(
    site: SmallSite, tmp_path: Path, arguments: list[str], module: str
) -> None:
    done = run(LOOKING, site.url("/item/1"), *arguments, cwd=tmp_path)

    assert done.stdout.splitlines() == [module], done.stderr
