"""What the middlewares do to real crawls; each test crawls in a process of its own."""

from __future__ import annotations

import json
from email.utils import formatdate
from socket import gethostname
from time import monotonic, time
from typing import TYPE_CHECKING

import pytest

from tests.integration.middleware_crawl import LOCAL, PAGE, crawl
from tests.servers.small_site import Answer, Asked, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from redis import Redis


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as site:
        yield site


def timed(site: SmallSite, path: str, first: Callable[[], Answer]) -> list[float]:
    """Answer *path* with *first*, then with a page; the moments are in the list returned."""
    moments: list[float] = []

    def answer(_request: Asked) -> Answer:
        moments.append(monotonic())
        return PAGE if len(moments) > 1 else first()

    site.answers[path] = answer
    return moments


def test_a_status_that_stays_bad_is_failed_after_its_retries(site: SmallSite) -> None:
    statuses = [500, 502, 503, 504, 522, 524, 408, 429]
    for status in statuses:
        site.answers[f"/{status}"] = Answer(status)
    seeds = {
        site.url(f"/{status}", host=f"127.0.1.{n}"): status for n, status in enumerate(statuses)
    }

    crawled = crawl(list(seeds), **LOCAL, RETRY_TIMES=1)

    assert crawled.failed == {url: f"http_{status}" for url, status in seeds.items()}
    assert all(site.paths().count(f"/{status}") == 2 for status in statuses)


def test_a_status_that_gets_better_is_a_page(site: SmallSite) -> None:
    site.answers["/"] = [Answer(500), Answer(502), PAGE]

    crawled = crawl([site.url("/")], **LOCAL)

    assert (crawled.done, crawled.failed) == (1, {})
    assert crawled.stats["retry/count"] == "2"


def test_a_page_that_is_not_there_is_a_page_and_is_not_tried_again(site: SmallSite) -> None:
    crawled = crawl([site.url("/")], **LOCAL)

    assert crawled.done == 1
    assert site.paths().count("/") == 1


def test_retry_after_is_waited_for_as_seconds_and_as_a_date(site: SmallSite) -> None:
    def until() -> Answer:
        # A date has whole seconds: two more than now is at least one away.
        return Answer(503, headers={"Retry-After": formatdate(time() + 2, usegmt=True)})

    seconds = timed(site, "/seconds", lambda: Answer(429, headers={"Retry-After": "1"}))
    date = timed(site, "/date", until)

    crawled = crawl([site.url("/seconds"), site.url("/date", host="127.0.0.2")], **LOCAL)

    assert crawled.done == 2
    assert seconds[1] - seconds[0] >= 0.99
    assert date[1] - date[0] >= 0.99


def test_retry_after_is_waited_for_also_when_there_is_no_further_try(site: SmallSite) -> None:
    moments = timed(site, "/", lambda: Answer(429, headers={"Retry-After": "1"}))
    site.answers["/other"] = site.answers["/"]
    seeds = [site.url("/"), site.url("/other")]

    crawled = crawl(seeds, **LOCAL, RETRY_TIMES=0, QUEUE_CONCURRENCY=1)

    assert crawled.failed == {seeds[0]: "http_429"}
    assert crawled.done == 1
    assert moments[1] - moments[0] >= 0.99


def test_retry_after_is_capped(site: SmallSite) -> None:
    moments = timed(site, "/", lambda: Answer(429, headers={"Retry-After": "86400"}))

    crawled = crawl([site.url("/")], **LOCAL, DEFER_MAX=0.5)

    assert crawled.done == 1
    assert 0.5 <= moments[1] - moments[0] < 10


def test_a_host_that_refuses_or_does_not_exist_fails_with_its_reason(site: SmallSite) -> None:
    refused, unknown = "http://127.0.0.1:1/", "http://no-such-host.test/"

    crawled = crawl([refused, unknown], **LOCAL, RETRY_TIMES=1, ROBOTSTXT_OBEY=False)

    assert crawled.failed == {refused: "refused", unknown: "dns"}
    retries = [line for line in crawled.log if line["message"] == "Scraper Retry"]
    assert len(retries) == 4


def test_a_failed_download_is_logged_with_its_fields_and_counted() -> None:
    url = "http://127.0.0.1:1/"

    crawled = crawl([url], **LOCAL, RETRY_TIMES=1, ROBOTSTXT_OBEY=False)

    first = next(line for line in crawled.log if line["message"] == "Scraper Retry")
    assert first["error_reason"].startswith("DownloadConnectionRefusedError") or first[
        "error_reason"
    ].startswith("ConnectionRefusedError")
    assert {
        key: first[key] for key in sorted(first) if key not in {"error_reason", "timestamp"}
    } == {
        "action": "retry",
        "appid": "fleet",
        "crawlid": "crawl",
        "error_request": f"<GET {url}>",
        "level": "ERROR",
        "logger": "sc-crawler",
        "message": "Scraper Retry",
        "requestid": "15c7274e93d82a3e0301efd9d63f7e81",
        "retry_count": 0,
        "spiderid": "link",
        "status_code": 504,
        "url": url,
    }
    assert crawled.stats["log_retry/count"] == "2"
    assert crawled.stats["status/504/lifetime"] == "2"


def test_a_504_is_logged_and_counted_on_each_try(site: SmallSite) -> None:
    site.answers["/"] = [Answer(504), PAGE]

    crawled = crawl([site.url("/")], **LOCAL)

    assert crawled.stats["log_retry/count"] == "1"
    assert crawled.stats["status/504/900"] == "1"
    assert crawled.stats["status/200/900"] == "1"


def test_statuses_are_counted_in_redis_where_the_tracker_is(
    site: SmallSite, redis: Redis, redis_url: str
) -> None:
    site.answers["/"] = [Answer(504), PAGE]

    crawl([site.url("/")], tracker=redis_url, **LOCAL)

    prefix = f"stats:crawler:{gethostname()}:link"
    assert redis.get(f"{prefix}:200:lifetime") == redis.get(f"{prefix}:504:lifetime") == b"1"
    assert redis.hvals(f"{prefix}:200:900") == [b"1"]


def test_errbacks_see_why_a_request_was_given_up(site: SmallSite) -> None:
    site.answers["/"] = PAGE
    site.answers["/bad"] = site.answers["/once"] = Answer(503)

    crawled = crawl([site.url("/")], spider="FailureSpider", **LOCAL, RETRY_TIMES=1)

    assert crawled.stats["gave up"] == f"http_503 <503 {site.url('/bad')}>"
    assert site.paths().count("/bad") == 2


def test_a_request_that_is_not_to_be_retried_is_not(site: SmallSite) -> None:
    site.answers["/"] = PAGE
    site.answers["/bad"] = PAGE
    site.answers["/once"] = Answer(503)

    crawled = crawl([site.url("/")], spider="FailureSpider", **LOCAL)

    assert crawled.stats["once"] == "503"
    assert site.paths().count("/once") == 1


def test_what_is_no_lease_is_tried_again_at_once(site: SmallSite) -> None:
    site.answers["/"] = PAGE
    site.answers["/inline"] = Answer(503)

    crawled = crawl([site.url("/")], spider="InlineSpider", **LOCAL, RETRY_TIMES=2)

    assert site.paths().count("/inline") == 3
    assert (crawled.done, crawled.failed) == (1, {})


def test_a_child_has_the_crawls_metadata_and_nothing_of_its_pages_download(
    site: SmallSite,
) -> None:
    site.answers["/"] = [Answer(500), Answer(302, headers={"Location": "/page"})]
    site.answers["/page"] = site.answers["/child"] = PAGE

    crawled = crawl(
        [site.url("/")],
        spider="MetaSpider",
        shared={"attrs": {"k": 1}, "cookie": "a=1"},
        **LOCAL,
    )

    page, child = json.loads(crawled.stats["page"]), json.loads(crawled.stats["child"])
    assert page["retry_times"] == 1
    assert page["redirect_times"] == 1
    assert set(child) == {
        *(
            "appid crawlid spiderid url maxdepth domain_max_pages expires allowed_domains".split()
        ),
        *("allow_regex deny_regex deny_extensions useragent attrs".split()),
        *("cookie", "cookie_domains"),
    }
    assert child["attrs"] == {"k": 1}


def cookies(site: SmallSite, path: str) -> list[str | None]:
    return [asked.headers.get("Cookie") for asked in site.asked if asked.path == path]


def test_cookies_of_a_response_are_not_kept_and_those_of_a_request_not_shared(
    site: SmallSite,
) -> None:
    site.answers["/start"] = Answer(headers={"Set-Cookie": "session=1; Path=/"})
    site.answers["/own"] = site.answers["/after"] = PAGE

    crawl([site.url("/start")], spider="CookieSpider", **LOCAL)

    assert cookies(site, "/own") == ["own=1"]
    assert cookies(site, "/after") == [None]


def test_the_crawls_cookie_goes_to_the_domain_of_its_seed_and_to_no_other(
    site: SmallSite,
) -> None:
    there = site.url("/there", host="127.0.0.9")
    site.answers["/"] = Answer(body=f'<a href="{there}">x</a> <a href="/here">y</a>'.encode())
    site.answers["/there"] = site.answers["/here"] = PAGE

    crawl([site.url("/")], shared={"cookie": "sess=secret; Path=/"}, **LOCAL)

    assert cookies(site, "/") == cookies(site, "/here") == ["sess=secret"]
    assert cookies(site, "/there") == [None]


def test_no_cookie_follows_a_redirect_to_another_domain(site: SmallSite) -> None:
    there = site.url("/there", host="127.0.0.9")
    site.answers["/start"] = PAGE
    site.answers["/own"] = Answer(302, headers={"Location": there})
    site.answers["/there"] = PAGE

    crawl([site.url("/start")], spider="CookieSpider", shared={"cookie": "sess=1"}, **LOCAL)

    assert cookies(site, "/own") == ["sess=1; own=1"]
    assert cookies(site, "/there") == [None]
