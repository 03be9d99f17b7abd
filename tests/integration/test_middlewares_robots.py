"""robots.txt on real crawls; each test crawls in a process of its own."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from crawling.settings import DOWNLOADER_MIDDLEWARES
from tests.integration.middleware_crawl import LOCAL, PAGE, crawl
from tests.servers.small_site import Answer, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator

ROBOTS = Answer(body=b"User-agent: scrapy-fleet\nDisallow: /secret\n")


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as site:
        yield site


def test_what_robots_txt_forbids_is_dropped(site: SmallSite) -> None:
    site.answers["/robots.txt"] = ROBOTS
    site.answers["/"] = Answer(body=b'<a href="/secret/a">x</a> <a href="/open">y</a>')
    site.answers["/open"] = PAGE

    crawled = crawl([site.url("/")], **LOCAL)

    assert crawled.reasons == {"robots": 1}
    assert site.paths() == ["/robots.txt", "/", "/open"]


def test_a_site_that_has_no_robots_txt_allows_all(site: SmallSite) -> None:
    statuses = [400, 401, 403, 404, 410, 429]
    hosts = {f"127.0.1.{n}": status for n, status in enumerate(statuses)}
    site.answers["/robots.txt"] = lambda asked: Answer(hosts[asked.host])
    site.answers["/"] = PAGE

    assert crawl([site.url("/", host=host) for host in hosts], **LOCAL).done == len(hosts)


def test_a_robots_txt_that_cannot_be_read_puts_its_host_off_until_it_can(
    site: SmallSite,
) -> None:
    site.answers["/robots.txt"] = [Answer(503), Answer(500), ROBOTS]
    site.answers["/"] = PAGE

    crawled = crawl([site.url("/"), site.url("/secret")], **LOCAL)

    assert (crawled.done, crawled.reasons) == (1, {"robots": 1})
    assert site.paths() == ["/robots.txt"] * 3 + ["/"]
    assert int(crawled.stats["retry/reason_count/robots_unreachable"]) >= 2


def test_a_host_whose_robots_txt_stays_unreachable_fails_for_that_reason(
    site: SmallSite,
) -> None:
    site.answers["/robots.txt"] = Answer(503)
    silent = "http://127.0.0.1:1/"

    crawled = crawl([site.url("/"), silent], **LOCAL, RETRY_TIMES=1)

    assert crawled.failed == {
        site.url("/"): "robots_unreachable",
        silent: "robots_unreachable",
    }
    assert "/" not in site.paths()


def test_many_requests_wait_for_one_robots_txt(site: SmallSite) -> None:
    site.answers["/robots.txt"] = ROBOTS
    seeds = [site.url(f"/{n}") for n in range(20)]

    crawled = crawl(seeds, **LOCAL)

    assert crawled.done == 20
    assert site.paths().count("/robots.txt") == 1


def test_nobody_waits_for_ever_for_a_robots_txt_that_was_cancelled(site: SmallSite) -> None:
    site.answers["/robots.txt"] = ROBOTS
    middlewares = {
        **DOWNLOADER_MIDDLEWARES,
        "tests.integration.middleware_spiders.CancelRobots": 900,
    }

    crawled = crawl(
        [site.url(f"/{n}") for n in range(5)], **LOCAL, DOWNLOADER_MIDDLEWARES=middlewares
    )

    assert crawled.done == 5
    assert int(crawled.stats["retry/reason_count/robots_unreachable"]) >= 1


def test_five_redirects_to_a_robots_txt_are_followed(site: SmallSite) -> None:
    redirected(site, times=5)

    assert crawl([site.url("/secret")], **LOCAL).reasons == {"robots": 1}


def test_after_a_sixth_redirect_there_is_no_robots_txt(site: SmallSite) -> None:
    redirected(site, times=6)

    assert crawl([site.url("/secret")], **LOCAL).done == 1


def redirected(site: SmallSite, *, times: int) -> None:
    paths = ["/robots.txt", *(f"/r{n}" for n in range(1, times)), "/rules"]
    for here, there in pairwise(paths):
        site.answers[here] = Answer(301, headers={"Location": there})
    site.answers["/rules"] = ROBOTS


def test_of_a_robots_txt_the_first_500_kib_are_read(site: SmallSite) -> None:
    filler = (b"# " + b"x" * 1021 + b"\n") * 500
    site.answers["/robots.txt"] = Answer(body=ROBOTS.body + filler + b"Disallow: /late\n")

    crawled = crawl([site.url("/secret"), site.url("/late")], **LOCAL, DOWNLOAD_MAXSIZE=100_000)

    assert (crawled.done, crawled.reasons) == (1, {"robots": 1})


def test_of_a_huge_robots_txt_no_more_is_downloaded(site: SmallSite) -> None:
    site.answers["/robots.txt"] = Answer(body=ROBOTS.body + b"#" * 20_000_000)

    crawled = crawl([site.url("/secret"), site.url("/open")], **LOCAL)

    assert (crawled.done, crawled.reasons) == (1, {"robots": 1})
    assert site.cut == ["/robots.txt"]
