from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from scrapy.crawler import Crawler
from scrapy.http import HtmlResponse, Response

from crawling.exceptions import ConfigError
from crawling.held_lease import HeldLease, run_in
from crawling.items import RawResponseItem
from crawling.links import LinkBatch
from crawling.request_record import child_offer, request_of, requestid
from crawling.spiders.id_spider import IdSpider
from crawling.spiders.link_spider import LinkSpider
from crawling.spiders.simple_spider import SimpleSpider
from crawling.spiders.wandering_spider import WanderingSpider
from crawling.tracker.tracker import CrawlId, CrawlOptions, Lease, Offer
from crawling.tracker.urls import fingerprint

if TYPE_CHECKING:
    from crawling.spiders.redis_spider import RedisSpider

URL = "http://www.example.com/dir/page"
PAGE = b"<p>ID-1 ID-2 <a href=/a>A</a> <a href='b?x=1&amp;y=2'>B</a> <a href='ftp://h/'>C</a>"


def make_lease(maxdepth: int | None = None, **shared: Any) -> Lease:
    return Lease(
        crawl=CrawlId("link", "app", "crawl"),
        options=CrawlOptions(maxdepth=maxdepth, shared=shared),
        rid=b"1",
        token="t",
        url=URL,
        domain="example.com",
        fingerprint=fingerprint(URL),
        priority=70,
        depth=1,
        attempts=2,
    )


def make_spider(kind: type[RedisSpider]) -> RedisSpider:
    return kind.from_crawler(Crawler(kind))


def respond(
    spider: RedisSpider, lease: Lease, kind: type[Response] = HtmlResponse, **response: Any
) -> Response:
    request = request_of(lease, spider)
    request.meta["download_latency"] = 0.25
    request.headers["Cookie"] = "a=1"
    return kind(URL, request=request, **{"body": PAGE, **response})


def parse(spider: RedisSpider, lease: Lease, response: Response | None = None) -> list[Any]:
    """Return what the spider yields for a page, run as the scheduler runs callbacks."""
    response = response or respond(spider, lease)
    return run_in(HeldLease(lease), lambda: list(spider.parse(response)))


def leased(parent: Lease, offer: Offer) -> Lease:
    """Return the lease that an offer found on *parent* becomes."""
    return replace(
        parent,
        url=offer.url,
        priority=offer.priority,
        depth=offer.depth,
        extras=offer.extras,
        fingerprint=offer.fingerprint,
    )


def test_the_item_has_all_that_is_known_of_a_page() -> None:
    spider, lease = make_spider(LinkSpider), make_lease(attrs={"a": 1})
    headers = {"Content-Type": "text/html; charset=latin-1", "X-Multi": ["a", b"\xe9"]}
    response = respond(spider, lease, status=404, headers=headers)

    item = dict(run_in(HeldLease(lease), spider.page, response, [{"text": "t", "url": "u"}]))

    at = datetime.fromisoformat(item.pop("timestamp"))
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    assert timedelta() <= now - at < timedelta(seconds=10)
    assert item == {
        "requestid": requestid(lease),
        "appid": "app",
        "crawlid": "crawl",
        "spiderid": spider.name,
        "url": URL,
        "requested_url": URL,
        "response_url": URL,
        "redirects": [],
        "status_code": 404,
        "status_msg": "Not Found",
        "request_headers": {"Cookie": ["a=1"]},
        "response_headers": {
            "Content-Type": ["text/html; charset=latin-1"],
            "X-Multi": ["a", "é"],
        },
        "body": PAGE,
        "encoding": "cp1252",
        "links": [{"text": "t", "url": "u"}],
        "attrs": {"a": 1},
        "depth": 1,
        "retry_count": 2,
        "elapsed": 0.25,
    }


@pytest.mark.parametrize(
    ("status", "message"), [(200, "OK"), (418, "I'm a Teapot"), (599, ""), (999, "")]
)
def test_the_message_of_a_status_is_its_own(status: int, message: str) -> None:
    spider, lease = make_spider(LinkSpider), make_lease()
    response = respond(spider, lease, status=status)

    assert run_in(HeldLease(lease), spider.page, response)["status_msg"] == message


@pytest.mark.parametrize("kind", [LinkSpider, WanderingSpider, SimpleSpider, IdSpider])
def test_an_image_is_saved_like_any_page(kind: type[RedisSpider]) -> None:
    spider = make_spider(kind)
    lease = make_lease(link_regex="x", id_regex="x", download_url_fmt="http://e.com/{id}")

    item, *rest = parse(spider, lease, respond(spider, lease, Response, body=b"\x89PNG x"))

    assert (item["body"], item["encoding"], item["links"]) == (b"\x89PNG x", None, [])
    assert [batch.urls for batch in rest] in ([], [()])


def test_the_link_spider_yields_the_page_and_then_all_links_as_one_batch() -> None:
    item, batch = parse(make_spider(LinkSpider), make_lease())

    assert isinstance(item, RawResponseItem)
    assert item["links"] == [
        {"text": "A", "url": "http://www.example.com/a"},
        {"text": "B", "url": "http://www.example.com/dir/b?x=1&y=2"},
        {"text": "C", "url": "ftp://h/"},
    ]
    assert isinstance(batch, LinkBatch)
    assert batch.urls == tuple(link["url"] for link in item["links"])


def test_links_at_the_maximum_depth_are_handed_on_for_the_tracker_to_refuse() -> None:
    _item, batch = parse(make_spider(LinkSpider), make_lease(maxdepth=1))

    assert len(batch.urls) == 3


def test_an_error_in_link_extraction_comes_after_the_page() -> None:
    class BrokenSpider(LinkSpider):
        name = "broken"

        def find_links(self, response: Response) -> dict[str, str]:
            raise ZeroDivisionError

    spider, lease = make_spider(BrokenSpider), make_lease()
    output = iter(BrokenSpider.parse(spider, respond(spider, lease)))  # type: ignore[arg-type]  # a BrokenSpider

    assert run_in(HeldLease(lease), next, output)["body"] == PAGE
    with pytest.raises(ZeroDivisionError):
        next(output)


@pytest.mark.parametrize(
    ("pattern", "links"),
    [
        ("href=(/[a-z]+)", ["http://www.example.com/a"]),
        ("/[a-z]>", ["http://www.example.com/a%3E"]),
        ("'(b[^']*)'", ["http://www.example.com/dir/b?x=1&y=2"]),
        ("[a-z]+://[a-z]/", ["ftp://h/"]),
        ("nothing", []),
    ],
)
def test_the_simple_spider_follows_what_the_link_regex_matches(
    pattern: str, links: list[str]
) -> None:
    item, batch = parse(make_spider(SimpleSpider), make_lease(link_regex=pattern))

    assert list(batch.urls) == links
    assert item["links"] == [{"text": "", "url": url} for url in links]


def test_the_id_spider_fetches_the_ids_that_the_id_regex_matches() -> None:
    lease = make_lease(id_regex=r"ID-(\d)", download_url_fmt="http://e.com/get?id={id}&x")

    item, batch = parse(make_spider(IdSpider), lease)

    assert batch.urls == ("http://e.com/get?id=1&x", "http://e.com/get?id=2&x")
    assert item["links"][0] == {"text": "1", "url": "http://e.com/get?id=1&x"}


@pytest.mark.parametrize(
    ("pattern", "url"),
    [
        ("http://e.com/{id}", "http://e.com/a%2Fb%20%C3%A9"),
        ("http://e.com/{}.json", "http://e.com/a%2Fb%20%C3%A9.json"),
        ("http://e.com/?x=%s", "http://e.com/?x=a%2Fb%20%C3%A9"),
        ("http://e.com/%salt/{id}/{}", "http://e.com/%salt/a%2Fb%20%C3%A9/{}"),
    ],
)
def test_an_id_is_quoted_in_its_url(pattern: str, url: str) -> None:
    assert IdSpider.seed_url("a/b é", pattern) == url


@pytest.mark.parametrize("pattern", [None, "", "http://e.com/", "{id}", "ftp://e.com/{id}"])
def test_a_download_url_fmt_that_makes_no_url_is_refused(pattern: str | None) -> None:
    with pytest.raises(ConfigError, match="download_url_fmt"):
        IdSpider.seed_url("1", pattern)


@pytest.mark.parametrize(
    ("kind", "shared", "option"),
    [
        (SimpleSpider, {}, "link_regex"),
        (IdSpider, {"download_url_fmt": "http://e.com/{id}"}, "id_regex"),
        (IdSpider, {"id_regex": "x"}, "download_url_fmt"),
    ],
)
def test_a_crawl_that_lacks_what_its_spider_needs_is_refused(
    kind: type[RedisSpider], shared: dict[str, str], option: str
) -> None:
    with pytest.raises(ConfigError, match=option):
        kind.check_options(shared)


def test_a_crawl_that_has_what_its_spider_needs_is_taken() -> None:
    shared = {"link_regex": "x", "id_regex": "x", "download_url_fmt": "http://e.com/{id}"}

    for kind in (LinkSpider, WanderingSpider, SimpleSpider, IdSpider):
        kind.check_options(shared)


def test_a_walk_goes_on_to_one_link_at_the_same_priority_and_depth() -> None:
    spider, lease = make_spider(WanderingSpider), make_lease(maxdepth=1, attrs={"a": 1})

    item, request = parse(spider, lease)
    offer = child_offer(request, lease, spider, place=("example.com", ""), nth=0)
    next_request = request_of(leased(lease, offer), spider)

    assert item["attrs"] == {"a": 1, "step": 0}
    assert item["links"] == []
    assert request.url in {
        "http://www.example.com/a",
        "http://www.example.com/dir/b?x=1&y=2",
    }
    assert (offer.priority, offer.depth) == (lease.priority, lease.depth)
    assert next_request.meta["step"] == 1


def test_a_walk_counts_its_steps() -> None:
    spider, lease = make_spider(WanderingSpider), make_lease()
    steps = []
    for _ in range(3):
        item, request = parse(spider, lease)
        steps.append(item["attrs"])
        lease = leased(
            lease, child_offer(request, lease, spider, place=("example.com", ""), nth=0)
        )

    assert steps == [{"step": 0}, {"step": 1}, {"step": 2}]


def test_a_walk_chooses_among_the_links_that_the_crawl_admits() -> None:
    spider, lease = make_spider(WanderingSpider), make_lease(deny_regex=["/a$"])

    chosen = {parse(spider, lease)[1].url for _ in range(30)}

    assert chosen == {"http://www.example.com/dir/b?x=1&y=2"}


def test_a_walk_reaches_every_link_in_the_end() -> None:
    spider, lease = make_spider(WanderingSpider), make_lease()

    chosen = {parse(spider, lease)[1].url for _ in range(100)}

    assert len(chosen) == 2


def test_a_walk_ends_where_no_link_is_admitted(caplog: pytest.LogCaptureFixture) -> None:
    spider, lease = make_spider(WanderingSpider), make_lease(allowed_domains=["example.org"])

    with caplog.at_level("INFO"):
        assert len(parse(spider, lease)) == 1

    assert "Did not find any more links" in caplog.text


async def test_a_spider_of_the_fleet_starts_with_nothing() -> None:
    for kind in (LinkSpider, WanderingSpider, SimpleSpider, IdSpider):
        assert [request async for request in make_spider(kind).start()] == []


def test_spiders_written_for_scrapy_cluster_find_their_logger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_spider(LinkSpider)._logger.error("as before")

    assert [record.name for record in caplog.records] == ["link"]
