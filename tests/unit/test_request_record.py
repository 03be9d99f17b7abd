from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrapy import FormRequest, Request, Spider
from scrapy.http import JsonRequest

from crawling.exceptions import RequestError
from crawling.request_record import (
    CRAWL_META,
    child_offer,
    extras_of,
    next_offer,
    request_of,
    requestid,
    seed_offer,
)
from crawling.tracker.extras import record_of
from crawling.tracker.tracker import CrawlId, CrawlOptions, Lease, Offer
from crawling.tracker.urls import MAX_URL_LENGTH, fingerprint

if TYPE_CHECKING:
    from scrapy.http import Response

CRAWL = CrawlId("named", "app", "crawl")
OPTIONS = CrawlOptions(maxdepth=3, shared={"useragent": "crawl's", "attrs": {"a": 1}})


class Named(Spider):
    name = "named"

    def parse(self, response: Response, **kwargs: Any) -> None: ...

    def parse_other(self, response: Response) -> None: ...

    def failed(self, failure: object) -> None: ...

    def __hidden(self, response: Response) -> None: ...

    def request_to_hidden(self) -> Request:
        return Request("http://example.com/", callback=self.__hidden)


SPIDER = Named()


def lease(offer: Offer, attempts: int = 0) -> Lease:
    """Return *offer* as the tracker gives it back."""
    return Lease(
        crawl=CRAWL,
        options=OPTIONS,
        rid=b"1",
        token="t",
        url=offer.url,
        domain=offer.domain,
        fingerprint=offer.fingerprint,
        priority=offer.priority,
        depth=offer.depth,
        attempts=attempts,
        extras=offer.extras,
    )


def page(url: str = "http://example.com/page") -> Lease:
    return lease(Offer(url, "example.com", fingerprint(url), 70, 1))


def child(request: Request, nth: int = 0) -> Offer:
    return child_offer(request, page(), SPIDER, place=("example.com", ""), nth=nth)


def again(request: Request) -> Request:
    return request_of(lease(child(request)), SPIDER)


def same_meta(request: Request) -> dict[str, Any]:
    place = {*CRAWL_META, "depth"}
    return {name: value for name, value in request.meta.items() if name not in place}


NAMES = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=12)
ATOMS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
)
HASHABLE = st.recursive(
    ATOMS,
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=5,
)
VALUES = st.recursive(
    HASHABLE | st.sets(HASHABLE, max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(HASHABLE, inner, max_size=3)
    ),
    max_leaves=8,
)
REQUESTS = st.builds(
    Request,
    url=st.text("abc/?=&.~%é", max_size=20).map("http://example.com/".__add__),
    callback=st.sampled_from([None, SPIDER.parse, SPIDER.parse_other]),
    errback=st.sampled_from([None, SPIDER.failed]),
    method=st.sampled_from(["GET", "POST", "PUT", "HEAD"]),
    headers=st.dictionaries(
        NAMES, st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=2), max_size=3
    ),
    body=st.binary(max_size=50),
    cookies=st.dictionaries(NAMES, st.text(max_size=9), max_size=2)
    | st.lists(
        st.fixed_dictionaries({"name": NAMES, "value": st.text(max_size=9)}), max_size=2
    ),
    meta=st.dictionaries(NAMES, VALUES, max_size=3),
    encoding=st.sampled_from(["utf-8", "latin-1"]),
    priority=st.integers(-(2**40), 2**40),
    dont_filter=st.booleans(),
    flags=st.lists(st.text(max_size=9), max_size=2),
    cb_kwargs=st.dictionaries(NAMES, VALUES, max_size=3),
)


@given(REQUESTS)
def test_a_request_round_trips_in_full(request: Request) -> None:
    restored = again(request)

    for name in set(request.attributes) - {"meta"}:
        assert getattr(restored, name) == getattr(request, name), name
    assert same_meta(restored) == same_meta(request)


@given(REQUESTS)
def test_what_is_restored_is_stored_as_it_was(request: Request) -> None:
    stored = lease(child(request))

    restored = next_offer(request_of(stored, SPIDER), stored, SPIDER, redirected=False)

    assert record_of(restored.extras) == record_of(stored.extras)


def test_a_plain_link_has_no_extras() -> None:
    assert child(Request("http://example.com/a")).extras == b""


def test_a_request_keeps_its_class_and_what_that_adds() -> None:
    json = JsonRequest("http://example.com/", data={"a": 1}, dumps_kwargs={"indent": 2})
    form = FormRequest("http://example.com/", formdata={"a": "1"})

    restored = again(json)

    assert isinstance(restored, JsonRequest)
    assert restored.body == json.body
    assert restored.dumps_kwargs == json.dumps_kwargs
    assert again(form).body == b"a=1"
    assert type(again(form)) is FormRequest


def test_a_private_method_can_be_a_callback() -> None:
    request = SPIDER.request_to_hidden()

    assert again(request).callback == request.callback


@pytest.mark.parametrize(
    "request_",
    [
        Request("http://example.com/", callback=print),
        Request("http://example.com/", callback=Named().parse),
        Request("http://example.com/", meta={"handle": object()}),
        Request("http://example.com/", cb_kwargs={"deep": [{"x": object()}]}),
    ],
    ids=["function", "another spider's method", "object in meta", "object deep in cb_kwargs"],
)
def test_what_cannot_be_stored_is_an_error(request_: Request) -> None:
    with pytest.raises(RequestError) as error:
        child(request_)

    assert error.value.reason == "spider_error"


@pytest.mark.parametrize(
    "extras", [b"\xc1", b"\x01", b"\x81\xa1v\x63", b"\x81\xa1v\xc7\x01\x63a"]
)
def test_what_cannot_be_read_is_an_error(extras: bytes) -> None:
    with pytest.raises(RequestError):
        record_of(extras)


@pytest.mark.parametrize("name", ["crawling.exceptions.RequestError", "no.such.Class", "x"])
def test_only_a_class_of_requests_is_made(name: str) -> None:
    packed = extras_of(JsonRequest("http://example.com/"), SPIDER)
    path = JsonRequest.__module__ + "." + JsonRequest.__qualname__
    assert path.encode() in packed
    stored = page()
    record = {**record_of(packed), "class": name}

    with pytest.raises(RequestError, match="class"):
        request_of(replace(stored, extras=_packed(record)), SPIDER)


def _packed(record: dict[str, Any]) -> bytes:
    import msgpack  # noqa: PLC0415

    packed: bytes = msgpack.packb(record)
    return packed


def test_the_meta_of_a_leased_request_tells_of_crawl_and_place() -> None:
    request = request_of(replace(page(), attempts=2), SPIDER)

    assert set(CRAWL_META) <= set(request.meta)
    assert request.meta["appid"] == "app"
    assert request.meta["spiderid"] == "named"
    assert request.meta["url"] == "http://example.com/page"
    assert (request.meta["priority"], request.meta["curdepth"]) == (70, 1)
    assert request.meta["depth"] == 1
    assert request.meta["maxdepth"] == 3
    assert request.meta["useragent"] == "crawl's"
    assert request.meta["cookie"] is None
    assert request.meta["retry_times"] == 2


def test_a_child_is_10_less_urgent_and_one_level_deeper() -> None:
    offer = child(Request("http://example.com/a"))

    assert (offer.priority, offer.depth, offer.spiderid) == (60, 2, "")


def test_a_copied_meta_says_nothing_of_the_childs_own_place() -> None:
    response_meta = request_of(replace(page(), attempts=1), SPIDER).meta
    offer = child(Request("http://example.com/a", meta={**response_meta, "download_slot": "x"}))

    assert (offer.priority, offer.depth, offer.extras) == (60, 2, b"")


def test_meta_may_give_priority_depth_and_kind_of_spider() -> None:
    meta = {"priority": 99, "curdepth": 7, "spiderid": "other"}
    offer = child(Request("http://example.com/a", meta=meta))

    assert (offer.priority, offer.depth, offer.spiderid) == (99, 7, "other")


def test_of_a_url_that_is_refused_no_more_is_kept_than_one_may_have() -> None:
    request = Request("data:text/plain," + "x" * 70_000)

    kept = child_offer(request, page(), SPIDER, place=("", "scheme"), nth=0)
    seed = seed_offer(request, page().crawl, SPIDER, rule="scheme")

    assert kept.url == seed.url == request.url[:MAX_URL_LENGTH]
    assert kept.fingerprint == fingerprint(request.url)


def test_no_meta_makes_a_depth_below_0() -> None:
    request = Request("http://example.com/", meta={"curdepth": -1})

    assert child(request).depth == seed_offer(request, page().crawl, SPIDER).depth == 0


def test_scrapys_own_priority_is_added_to_the_crawls() -> None:
    assert child(Request("http://example.com/a", priority=5)).priority == 65


def test_a_spider_may_change_an_option_for_a_request_and_its_children() -> None:
    meta = {"useragent": "its own", "attrs": {"a": 1}}

    first = lease(child(Request("http://example.com/a", meta=meta)))
    request = request_of(first, SPIDER)
    grandchild = lease(
        child_offer(
            request.replace(url="http://example.com/b"),
            first,
            SPIDER,
            place=("example.com", ""),
            nth=0,
        )
    )

    assert record_of(first.extras)["meta"] == {"useragent": "its own"}
    assert request_of(grandchild, SPIDER).meta["useragent"] == "its own"


def test_requests_that_are_not_filtered_differ_from_all_others() -> None:
    request = Request("http://example.com/a", dont_filter=True)
    plain = request.replace(dont_filter=False)

    offers = [child(request, 0), child(request, 1), child(plain)]

    assert len({offer.fingerprint for offer in offers}) == 3
    assert child(request, 1) == offers[1]


def test_a_seed_is_known_by_its_url_whether_filtered_or_not() -> None:
    request = Request("http://example.com/", dont_filter=True, meta={"priority": 50})

    offer = seed_offer(request, CRAWL, SPIDER)

    assert offer.fingerprint == fingerprint("http://example.com/")
    assert (offer.priority, offer.depth) == (50, 0)


def redirected(stored: Lease, url: str) -> Lease:
    request = request_of(stored, SPIDER)
    # As RedirectMiddleware leaves it.
    new = request.replace(url=url, priority=request.priority + 2)
    return lease(next_offer(new, stored, SPIDER, redirected=True))


def test_a_redirect_remembers_where_it_came_from() -> None:
    first = page()
    second = redirected(first, "http://example.org/2")
    third = redirected(second, "http://example.net/3")

    request = request_of(third, SPIDER)

    assert (third.url, third.domain) == ("http://example.net/3", "example.net")
    assert (third.priority, third.depth) == (first.priority, first.depth)
    assert request.priority == 0
    assert request.meta["url"] == first.url
    assert request.meta["redirect_times"] == 2
    assert request.meta["redirect_urls"] == [first.url, second.url]


def test_the_requestid_is_the_same_for_every_delivery_of_a_request() -> None:
    first = page()
    moved = redirected(first, "http://example.org/2")

    assert requestid(moved) == requestid(replace(first, attempts=3)) == requestid(first)
    assert requestid(redirected(first, first.url)) == requestid(first)
    assert len(requestid(first)) == 32


def test_the_requestid_tells_requests_crawls_and_sources_apart() -> None:
    first = page()
    sourced = replace(first, extras=extras_of(Request(first.url), SPIDER, {"source": "abc"}))
    others = [
        page("http://example.com/other"),
        replace(first, crawl=CrawlId("named", "app", "other")),
        sourced,
        redirected(sourced, "http://example.com/page"),
    ]

    ids = {requestid(first), *map(requestid, others)}

    assert len(ids) == 4
    assert requestid(others[3]) == requestid(sourced)


def test_a_callback_is_the_same_object_for_all_requests() -> None:
    stored = lease(child(Request("http://example.com/", callback=SPIDER.parse_other)))

    first, second = (request_of(stored, SPIDER) for _ in range(2))

    assert first.callback is second.callback


def test_a_lost_callback_is_an_error_not_another_method() -> None:
    stored = lease(child(Request("http://example.com/", callback=SPIDER.parse_other)))

    class Renamed(Spider):
        name = "named"

    with pytest.raises(RequestError, match="parse_other"):
        request_of(stored, Renamed())
