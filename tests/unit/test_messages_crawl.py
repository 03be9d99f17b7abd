from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawling.exceptions import MessageError
from crawling.messages.control import check_action, check_domain
from crawling.messages.crawl import LATEST, source_of, submission
from crawling.messages.validation import load_schema
from crawling.request_record import request_of, requestid
from crawling.spiders.link_spider import LinkSpider
from crawling.tracker.extras import record_of
from crawling.tracker.redis_records import pack, submission_row
from crawling.tracker.tracker import CrawlId, Lease, Submission
from crawling.tracker.urls import fingerprint
from kafka_monitor import settings as defaults

if TYPE_CHECKING:
    from scrapy import Request

SCHEMA = load_schema("crawl", vars(defaults))


def submit(*, source: Any = None, private_allowed: Any = False, **fields: Any) -> Submission:
    message = {"url": "http://example.com/a", "appid": "testapp", "crawlid": "abc", **fields}
    return submission(SCHEMA.validate(message), source, private_allowed=private_allowed)


def problems(**fields: Any) -> dict[str, str]:
    with pytest.raises(MessageError) as error:
        submit(**fields)
    return {problem.path: problem.message for problem in error.value.errors}


def leased(made: Submission) -> Lease:
    offer = made.offers[0]
    assert made.options is not None
    return Lease(
        crawl=made.crawl,
        options=made.options,
        rid=b"000001",
        token="t",
        url=offer.url,
        domain=offer.domain,
        fingerprint=offer.fingerprint,
        priority=offer.priority,
        depth=offer.depth,
        attempts=0,
        extras=offer.extras,
    )


def request_from(made: Submission) -> Request:
    return request_of(leased(made), LinkSpider())


def test_a_crawl_request_becomes_one_seed_of_its_crawl() -> None:
    made = submit(priority=70, maxdepth=2, domain_max_pages=5, expires=1_800_000_000)

    assert made.crawl == CrawlId("link", "testapp", "abc")
    assert made.entry == "seed"
    (offer,) = made.offers
    assert (offer.url, offer.domain) == ("http://example.com/a", "example.com")
    assert (offer.priority, offer.depth, offer.extras) == (70, 0, b"")
    assert offer.fingerprint == fingerprint("http://example.com/a")
    assert made.options is not None
    assert (made.options.maxdepth, made.options.domain_max_pages) == (2, 5)
    assert (made.options.max_pages, made.options.expires) == (None, 1_800_000_000.0)
    assert made.options.shared == {}


def test_what_spiders_read_is_shared_by_the_crawl() -> None:
    shared: dict[str, Any] = {
        "allowed_domains": ["example.com"],
        "allow_regex": ["a"],
        "deny_regex": ["b"],
        "deny_extensions": ["zip"],
        "useragent": "Mine/1",
        "attrs": {"k": [1]},
    }

    made = submit(**shared)

    assert made.options is not None
    assert made.options.shared == shared
    meta = request_from(made).meta
    assert {name: meta[name] for name in shared} == shared


def test_attrs_stay_with_their_seed_whatever_the_crawl_gets_later() -> None:
    first = submit(attrs={"n": 1})
    later = replace(leased(first), options=leased(submit(attrs={"n": 2})).options)

    assert request_of(later, LinkSpider()).meta["attrs"] == {"n": 1}


def test_a_cookie_is_bound_to_the_domain_of_its_seed() -> None:
    made = submit(url="www.example.co.uk/x", cookie="a=b")

    assert made.options is not None
    assert made.options.shared == {"cookie": "a=b", "cookie_domains": ["example.co.uk"]}


def test_no_limit_is_none_and_a_time_before_all_times_is_over() -> None:
    assert submit(domain_max_pages=0).options.domain_max_pages is None  # type: ignore[union-attr]  # always given
    assert submit(expires=-5).options.expires == 1.0  # type: ignore[union-attr]  # the same
    assert submit(expires=10**30).options.expires == LATEST  # type: ignore[union-attr]  # the same


def test_a_seed_may_be_any_request() -> None:
    request = request_from(
        submit(
            method="POST",
            body="näme=1",
            headers={"Content-Type": "text/plain", "X-Many": ["1", "2"]},
            cookies={"s": "1"},
        )
    )

    assert (request.method, request.body) == ("POST", "näme=1".encode())
    assert request.headers.getlist("X-Many") == [b"1", b"2"]
    assert request.headers["Content-Type"] == b"text/plain"
    assert request.cookies == {"s": "1"}


def test_a_post_is_not_the_duplicate_of_another() -> None:
    made = [submit(), submit(method="POST"), submit(method="POST", body="a")]

    assert len({each.offers[0].fingerprint for each in made}) == 3


def test_the_request_of_each_message_has_an_id_of_its_own() -> None:
    messages = [("in", 0, 1, b"x"), ("in", 0, 2, b"x"), ("in", 1, 1, b"x"), ("in", 0, 1, b"y")]
    made = [submit(source=source_of(*message)) for message in messages]

    ids = [requestid(leased(each)) for each in made]

    assert len(set(ids)) == 4
    again = submit(source=source_of(*messages[0]))
    assert requestid(leased(again)) == ids[0]
    assert list(record_of(made[0].offers[0].extras)) == ["v", "source"]


@pytest.mark.parametrize(
    ("url", "domain"),
    [
        ("www.stuff.com", "stuff.com"),
        ("example.com/?next=http://other.com/", "example.com"),
        ("http://EXAMPLE.com/", "example.com"),
        ("https://a.b.example.co.uk:8080/", "example.co.uk"),
        ("http://münchen.de/", "xn--mnchen-3ya.de"),
        ("http://a.b.unknowntld", "b.unknowntld"),
        ("http://93.184.216.34/", "93.184.216.34"),
    ],
)
def test_where_a_url_belongs(url: str, domain: str) -> None:
    assert submit(url=url).offers[0].domain == domain


@pytest.mark.parametrize(
    "url",
    [
        "",
        "not a url",
        "file:///etc/passwd",
        "ftp://example.com/",
        "javascript:alert(1)",
        "http://",
        "http://[::1",
        "http://example.com:99999/",
        "http://user:password@example.com/",
        "http://example.com/" + "a" * 3000,
        "http://127.0.0.1/",
        "localhost:8080",
        "http://[::1]/",
        "http://0x7f.1/",
        "http://169.254.169.254/latest/",
    ],
)
def test_a_url_that_can_never_be_fetched_is_refused(url: str) -> None:
    assert list(problems(url=url)) == ["url"]


def test_private_addresses_are_allowed_where_the_setting_says_so() -> None:
    assert submit(url="localhost:8080/x", private_allowed=True).offers[0].url == (
        "http://localhost:8080/x"
    )


@pytest.mark.parametrize(
    ("fields", "path", "problem"),
    [
        ({"allow_regex": ["(a"]}, "allow_regex", "cannot use the pattern '(a': missing )"),
        ({"deny_regex": [r"(?=a)"]}, "deny_regex", "cannot use the pattern"),
        ({"allow_regex": [""]}, "allow_regex", "must be a list of texts"),
        ({"allowed_domains": ["http://x.com"]}, "allowed_domains", "must be domains such as"),
        ({"cookie": "abc"}, "cookie", "must be name=value"),
        ({"spiderid": ""}, "spiderid", "must not be empty"),
        ({"headers": {"a b": "1"}}, "headers", "must have names of headers"),
        ({"headers": {"A": "1\r\nB: 2"}}, "headers.A", "must have no control characters"),
        ({"link_regex": "["}, "link_regex", "cannot use the pattern '['"),
    ],
)
def test_what_no_schema_can_tell_is_refused_by_path(
    fields: dict[str, Any], path: str, problem: str
) -> None:
    (wrong,) = problems(**fields).items()

    assert wrong[0] == path
    assert wrong[1].startswith(problem)


def test_everything_that_is_wrong_is_said_at_once() -> None:
    assert set(problems(url="ftp://x", cookie="abc", deny_regex=["["])) == {
        "url",
        "cookie",
        "deny_regex",
    }


ACTION = {"uuid": "u", "appid": "app", "spiderid": "link"}


@pytest.mark.parametrize(
    "fields",
    [
        {"action": "info"},
        {"action": "info", "crawlid": "c"},
        {"action": "stop", "crawlid": "c"},
        {"action": "retry", "crawlid": "c"},
        {"action": "retry", "crawlid": "c", "reason": "http_503", "domain": "x.com"},
        {"action": "trace", "crawlid": "c", "url": "x.com"},
        {"action": "prioritize", "crawlid": "c", "priority": 0},
    ],
)
def test_an_action_with_what_it_needs_is_right(fields: dict[str, Any]) -> None:
    check_action({**ACTION, **fields})


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"action": "stop"}, "crawlid: is required for stop"),
        ({"action": "pause"}, "crawlid: is required for pause"),
        ({"action": "trace", "crawlid": "c"}, "url: is required for trace"),
        ({"action": "prioritize", "crawlid": "c"}, "priority: is required for prioritize"),
        ({"action": "stop", "crawlid": "c", "url": "x"}, "url: is no field of stop"),
        ({"action": "info", "priority": 5}, "priority: is no field of info"),
        ({"action": "retry", "crawlid": "c", "reason": "x"}, "reason: must be bad_response, "),
    ],
)
def test_an_action_that_lacks_something_is_refused(
    fields: dict[str, Any], problem: str
) -> None:
    with pytest.raises(MessageError) as error:
        check_action({**ACTION, **fields})

    assert str(error.value).startswith(problem)


def domain_request(**fields: Any) -> dict[str, Any]:
    return {"action": "domain-update", "domain": "x.com", "hits": 5, "window": 60, **fields}


def test_a_domain_update_needs_hits_and_window() -> None:
    check_domain(domain_request())
    check_domain(domain_request(action="domain-remove", hits=0, window=0))
    check_domain(domain_request(domain="localhost."))

    for field in ("hits", "window"):
        for value in (0, -1):
            with pytest.raises(MessageError, match=f"{field}: must be at least 1 for domain-"):
                check_domain(domain_request(**{field: value}))
    with pytest.raises(MessageError, match="domain: must be domains such as"):
        check_domain(domain_request(domain="http://x.com/"))


def test_a_domain_that_no_request_is_counted_for_is_refused() -> None:
    for domain in ("X.co.uk", "10.0.0.1", "::1", "co.uk"):
        check_domain(domain_request(domain=domain))

    problem = r"domain: must be a registered domain, here x\.co\.uk, not 'www\.X\.co\.uk'"
    with pytest.raises(MessageError, match=problem):
        check_domain(domain_request(domain="www.X.co.uk"))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
TEXTS = st.lists(st.text(max_size=20), max_size=3)
#: Values that a schema lets through, and whatever else there is.
FIELDS = {
    "url": st.text() | st.text().map("http://{}".format) | st.text().map("{}/".format),
    "spiderid": st.text(),
    "priority": st.integers(1, 100),
    "domain_max_pages": st.integers(0, 2000),
    "max_pages": st.integers(),
    "allowed_domains": TEXTS,
    "allow_regex": TEXTS,
    "deny_extensions": TEXTS,
    "expires": st.integers(),
    "cookie": st.text(min_size=3),
    "attrs": st.dictionaries(st.text(), ANYTHING),
    "method": st.sampled_from(["GET", "POST"]),
    "headers": st.dictionaries(st.text(), st.text() | TEXTS),
    "body": st.text(),
    "cookies": st.dictionaries(st.text(), st.text()),
    "link_regex": st.text(),
}


@given(st.fixed_dictionaries({}, optional={n: s | ANYTHING for n, s in FIELDS.items()}))
def test_no_request_at_all_raises_anything_but_a_message_error(fields: dict[str, Any]) -> None:
    try:
        made = submit(source=source_of("in", 0, 1, b"x"), **fields)
    except MessageError as error:
        assert error.errors  # noqa: PT017 there may be none
    else:
        pack(submission_row({}, made.offers, made.options))
        assert request_from(made).url
