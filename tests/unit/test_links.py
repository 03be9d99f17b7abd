from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from w3lib.url import canonicalize_url

from crawling.exceptions import ConfigError, RequestError
from crawling.links import LinkBatch, LinkRules
from crawling.service.patterns import compile_regex, find_all
from crawling.tracker import urls
from crawling.tracker.extras import pack_record, record_of
from crawling.tracker.tracker import CrawlId, CrawlOptions, Lease, Offer
from crawling.tracker.urls import MAX_URL_LENGTH, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def rules(settings: Mapping[str, Any] | None = None, /, **shared: Any) -> LinkRules:
    return LinkRules(CrawlOptions(shared=shared), settings or {})


def lease(priority: int = 70, depth: int = 1) -> Lease:
    return Lease(
        crawl=CrawlId("link", "app", "crawl"),
        options=CrawlOptions(),
        rid=b"1",
        token="t",
        url="http://example.com/",
        domain="example.com",
        fingerprint=fingerprint("http://example.com/"),
        priority=priority,
        depth=depth,
        attempts=0,
    )


def test_a_link_is_10_less_urgent_and_one_level_deeper_than_its_page() -> None:
    offers, _ = rules().judge(["http://www.example.co.uk/x"], lease(priority=70, depth=1))

    assert offers == [
        Offer(
            url="http://www.example.co.uk/x",
            domain="example.co.uk",
            fingerprint=fingerprint("http://www.example.co.uk/x"),
            priority=60,
            depth=2,
        )
    ]


def test_links_of_a_page_with_attrs_and_a_cookie_of_its_own_take_them_along() -> None:
    own = {"attrs": {"from": "me"}, "cookie": "a=b", "cookie_domains": ["example.com"]}
    record = {"meta": {**own, "useragent": "not inherited"}, "source": "x"}
    page = replace(lease(), extras=pack_record(record))

    (offer,) = rules().judge(["http://example.com/x"], page).offers
    assert record_of(offer.extras) == {"v": 1, "meta": own}

    crawl = CrawlOptions(shared=own)
    (offer,) = rules().judge(["http://example.com/x"], replace(page, options=crawl)).offers
    assert offer.extras == b""


def test_urls_of_the_same_page_are_one_offer_the_first() -> None:
    found = ["http://e.com/?b=1&a=2", "http://E.com/?a=2&b=1#x", "http://e.com/"]

    offers, known = rules().judge(found, lease())

    assert ([offer.url for offer in offers], known) == ([found[0], found[2]], 0)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("file:///etc/passwd", "scheme"),
        ("ftp://example.com/x", "scheme"),
        ("javascript:alert('/a/b/c')", "scheme"),
        ("http:///no-host", "scheme"),
        ("http://example.com:99999/", "scheme"),
        ("http://[bad/", "scheme"),
        ("not a url", "scheme"),
        ("", "scheme"),
        ("file:///" + "x" * MAX_URL_LENGTH, "scheme"),
        ("http://example.com/" + "x" * MAX_URL_LENGTH, "url_too_long"),
        ("http://10.0.0.1/" + "x" * MAX_URL_LENGTH, "url_too_long"),
        ("http://10.0.0.1/", "private_address"),
        ("http://127.0.0.1:8080/x", "private_address"),
        ("http://2130706433/", "private_address"),
        ("http://[::1]/", "private_address"),
        ("http://localhost/", "private_address"),
        ("http://8.8.8.8/", "offsite"),
        ("http://example.org/", "offsite"),
        ("http://notexample.com/", "offsite"),
        ("http://example.org/x.zip", "offsite"),
        ("http://example.com/x.zip", "extension"),
        ("http://example.com/x.ZIP?y=1#z", "extension"),
        ("http://example.com/x.tar.gz;v=1", "extension"),
        ("http://example.com/admin/x.zip", "extension"),
        ("http://example.com/admin/x", "deny"),
        ("http://example.com/news/logout", "deny"),
        ("http://example.com/other", "deny"),
        ("http://example.com/news/1", ""),
        ("http://example.com/news/x.zip/y", ""),
        ("http://example.com/news/?file=x.zip", ""),
        ("HTTPS://WWW.Example.COM./news/", ""),
        ("http://deep.sub.example.com:8080/news/", ""),
        ("http://user:pw@deep.sub.example.com:8080/news/", "scheme"),
        ("http://xn--bcher-kva.example/news/", ""),
        ("http://bücher.example/news/", ""),
    ],
)
def test_a_link_is_refused_by_the_first_rule_that_it_breaks(url: str, rule: str) -> None:
    judge = rules(
        allowed_domains=["example.com", "Bücher.example"],
        deny_extensions=["zip", ".tar.gz"],
        allow_regex=["/news/", r"\.zip$"],
        deny_regex=["/admin/", "logout$"],
    )

    assert judge.rule(url) == rule
    assert [offer.rule for offer in judge.judge([url], lease()).offers] == [rule]


def test_a_refused_link_has_a_domain_where_it_has_a_host() -> None:
    offers, _ = rules(allowed_domains=["example.com"]).judge(
        ["file:///etc/passwd", "http://www.example.org/", "http://10.0.0.1/"], lease()
    )

    assert [offer.domain for offer in offers] == ["", "example.org", "10.0.0.1"]


def test_of_a_refused_link_no_more_is_kept_than_of_one_that_is_fetched() -> None:
    start = "http://example.com/" + "x" * 1_000_000

    offers, _ = rules().judge([start + "a", start + "b"], lease())

    assert [len(offer.url) for offer in offers] == [MAX_URL_LENGTH, MAX_URL_LENGTH]
    assert offers[0].fingerprint != offers[1].fingerprint


def test_a_redirect_is_stopped_by_places_and_not_by_patterns() -> None:
    judge = rules(
        allowed_domains=["example.com"], deny_extensions=["zip"], deny_regex=["admin"]
    )

    assert judge.redirect_rule("http://example.com/admin/x.zip") == ""
    assert judge.redirect_rule("http://example.org/") == "offsite"
    assert judge.redirect_rule("http://192.168.0.1/") == "private_address"
    assert judge.redirect_rule("http://example.com/" + "x" * 3000) == "url_too_long"
    assert judge.redirect_rule("file:///x") == "scheme"


def test_a_crawl_without_options_follows_images_and_every_domain() -> None:
    judge = rules(allowed_domains=None, allow_regex=[], deny_extensions=None)

    assert judge.rule("http://anywhere.example/image.png") == ""


@pytest.mark.parametrize("allowed", [True, "1", "true", 1])
def test_private_addresses_are_allowed_by_the_setting(allowed: Any) -> None:
    assert rules({"ALLOW_PRIVATE_ADDRESSES": allowed}).rule("http://127.0.0.1/") == ""


def test_the_setting_may_also_forbid_them_in_words() -> None:
    judge = rules({"ALLOW_PRIVATE_ADDRESSES": "False"})

    assert judge.rule("http://127.0.0.1/") == "private_address"


@pytest.mark.parametrize("option", ["allow_regex", "deny_regex"])
@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("(a", "missing )"), ("(?<=a)b", "(?<="), (r"(a)\1", r"\1"), ("a\udc80", "surrogates")],
)
def test_a_pattern_that_re2_cannot_take_is_refused_with_its_reason(
    option: str, pattern: str, reason: str
) -> None:
    with pytest.raises(ConfigError, match=option) as caught:
        rules(**{option: ["fine", pattern]})

    assert repr(pattern) in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("option", ["link_regex", "id_regex"])
@pytest.mark.parametrize("pattern", ["(a", ["a"], 1])
def test_the_patterns_of_spiders_are_checked_with_the_rules(
    option: str, pattern: object
) -> None:
    with pytest.raises(ConfigError, match=option):
        rules(**{option: pattern})


def test_patterns_that_are_wrong_say_nothing_on_standard_error(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConfigError):
        compile_regex("deny_regex", "(a")

    assert capfd.readouterr().err == ""


def test_a_flag_in_one_pattern_does_not_reach_the_next() -> None:
    judge = rules(deny_regex=["(?i)admin", "login|signup"])

    assert judge.rule("http://e.com/ADMIN") == "deny"
    assert judge.rule("http://e.com/LOGIN") == ""
    assert judge.rule("http://e.com/signup") == "deny"


@pytest.mark.parametrize(
    "domain",
    ["http://example.com", "example.com:8080", "example.com/x", "*.example.com", "a b", ""],
)
def test_an_allowed_domain_that_is_none_is_refused(domain: str) -> None:
    with pytest.raises(ConfigError, match="allowed_domains"):
        rules(allowed_domains=[domain])


@pytest.mark.parametrize("option", ["allowed_domains", "allow_regex", "deny_extensions"])
def test_a_list_of_anything_but_texts_is_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        rules(**{option: [1]})


def test_addresses_can_be_allowed_domains() -> None:
    judge = rules({"ALLOW_PRIVATE_ADDRESSES": True}, allowed_domains=["127.0.0.2", "::1"])

    assert judge.rule("http://127.0.0.2:8080/x") == ""
    assert judge.rule("http://[::1]:8080/x") == ""
    assert judge.rule("http://127.0.0.3/x") == "offsite"


def test_a_pattern_that_explodes_elsewhere_takes_linear_time() -> None:
    judge = rules(deny_regex=["(a*)*(a*)*(a*)*b$"])

    assert judge.rule("http://e.com/" + "a" * 2000) == ""


@given(st.text())
def test_no_url_makes_the_rules_fail(url: str) -> None:
    judge = rules(allowed_domains=["example.com"], deny_extensions=["x"], deny_regex=["é"])

    for text in (url, f"http://{url}", f"http://example.com/{url}"):
        assert len(judge.judge([text], lease()).offers) == 1


def test_what_stands_in_a_batch_is_read_once_and_kept() -> None:
    batch = LinkBatch(url for url in ["http://a.example/", "http://b.example/"])

    assert batch.urls == ("http://a.example/", "http://b.example/")
    assert repr(batch) == "<LinkBatch of 2>"


@pytest.mark.parametrize(
    ("pattern", "found"),
    [(r"\d+", ["12", "345"]), (r"n(\d+)", ["12", "345"]), (r"(é)|n3(\d)5", ["é"]), ("x*", [])],
)
def test_all_that_a_pattern_matches_is_found_by_group_or_whole(
    pattern: str, found: list[str]
) -> None:
    assert list(find_all(compile_regex("id_regex", pattern), "é n12 ü n345")) == found


HOSTS = (
    "example.com|a.b.c.example.co.uk|8.8.8.8|xn--bcher-kva.example|xn--zz--.com|-a.example|"
    "a-.example|0x7f.1|127.1|localhost|1|999.999.999.999|a_b.example|A.example|a..b|a.|"
    "example.org|www.example.org|[::1]|[0:0::1]|bücher.example|user@a.example"
).split("|")


def test_urls_that_are_canonical_already_keep_the_fingerprint_of_the_long_way() -> None:
    pick = random.Random(1)
    short = 0
    for _ in range(100_000):
        path = "".join(
            pick.choices("abZ09._~!$&()*+,=:@/-" * 9 + "%;'[]| é", k=pick.randrange(9))
        )
        query = "".join(pick.choices("aZ09_.-=&+%;'/? ", k=pick.randrange(6)))
        url = (
            f"{pick.choice(['http', 'https', 'HTTP'])}://{pick.choice(HOSTS)}"
            f"{pick.choice(['', '', ':80', ':8080', ':080', ':'])}/{path}"
            f"{pick.choice(['', f'?{query}', '#f', '?a=1', '?page=2'])}"
        )
        if "/." not in url and urls._CANONICAL.fullmatch(url):
            short += 1
            assert canonicalize_url(url) == url, url

    assert short > 10_000


ENDS = ["", "/", "?", "#", "\\", "@", "\n", "\t", " ", "/a?b#c", "/@x", "é", "%2f", "//"]


def test_a_host_that_is_read_at_sight_is_the_one_of_the_long_way() -> None:
    pick = random.Random(2)
    short = 0
    for _ in range(50_000):
        name = "".join(pick.choices("ab01-.." + "_A@[]: é%", weights=[9] * 7 + [1] * 9, k=9))
        host = pick.choice([*HOSTS, name, "a." * 130 + "b", "a" * 64, "127.0.0.1", "1.2.3"])
        port = pick.choice(["", ":", ":80", ":0", ":64999", ":65000", ":65536", ":8o"])
        url = (
            f"{pick.choice(['http', 'https', 'HTTP', 'ftp'])}://{host}{port}{pick.choice(ENDS)}"
        )
        if urls._PLAIN_HOST.match(url):
            short += 1
            assert _answer(urls.host_of, url) == _answer(urls._parsed_host, url), url

    assert short > 2_000


def _answer(host: Callable[[str], str], url: str) -> str:
    try:
        return host(url)
    except RequestError as error:
        return repr(error)
