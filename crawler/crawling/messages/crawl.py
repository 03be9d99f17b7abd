"""A crawl request, as Kafka brings it, in the tracker's words."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from crawling.exceptions import ConfigError, MessageError, Problem, RequestError
from crawling.messages.validation import HIDDEN
from crawling.service.addresses import is_private
from crawling.service.cookies import bound_to_seeds, parse_cookies
from crawling.service.patterns import compile_regex, domain, texts_of
from crawling.service.text import without_logins
from crawling.tracker.extras import INHERITED, pack_record, record_of, requestid
from crawling.tracker.tracker import CrawlId, CrawlOptions, Offer, Source, Submission
from crawling.tracker.urls import check_url, fingerprint, host_of, with_scheme

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Fields that are the same for all requests of a crawl, and that the spiders read.
SHARED = (
    "allowed_domains allow_regex deny_regex deny_extensions useragent cookie attrs "
    "link_regex id_regex download_url_fmt"
).split()
#: The last second of the year 9999: what is later is as good as never.
LATEST = 253402300799
#: The characters that the name of a header may have (RFC 9110).
_HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Target(NamedTuple):
    """What a request fetches, and as what the dupefilter knows it."""

    url: str
    domain: str
    method: str
    body: bytes
    fingerprint: bytes


def source_of(topic: str, partition: int, offset: int, value: bytes) -> Source:
    digest = blake2b(value, digest_size=8).hexdigest()
    return Source(topic, partition, offset, digest)


def page_ids(crawl: Submission) -> list[str]:
    """Return the request ids of the pages that a crawl begins with."""
    return [
        requestid(crawl.crawl, offer.fingerprint, record_of(offer.extras))
        for offer in crawl.offers
    ]


def submission(
    request: Mapping[str, Any], source: Source | None, *, private_allowed: bool
) -> Submission:
    """Return what a valid crawl *request* asks for; raise `MessageError`.

    What a schema cannot tell is told here: a URL that can never be fetched, a regex that
    is none, a cookie without a name.
    """
    problems = list(_problems(request))
    try:
        target = _target(request, private_allowed=private_allowed)
    except MessageError as error:
        problems += error.errors
    if problems:
        raise MessageError(problems)
    crawl = CrawlId(request["spiderid"], request["appid"], request["crawlid"])
    options = _options(request, target.url)
    seed = _seed(request, target, options.shared, source)
    return Submission(crawl, [seed], options, source=source)


def _target(request: Mapping[str, Any], *, private_allowed: bool) -> Target:
    """Return what *request* fetches; raise `MessageError` where no page can be."""
    text = request["url"]
    url = with_scheme(text)
    method, body = request.get("method", "GET"), request.get("body", "").encode("utf-8")
    try:
        target = Target(url, check_url(url), method, body, fingerprint(url, method, body))
    except (RequestError, ValueError) as error:
        problem = f"can never be fetched: {error}"
        raise MessageError([Problem("url", problem, without_logins(text[:1000]))]) from error
    if not private_allowed and is_private(host_of(url)):
        problem = "must not be a private address (ALLOW_PRIVATE_ADDRESSES)"
        raise MessageError([Problem("url", problem, text)])
    return target


def _problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong beside the URL."""
    if not request["spiderid"]:
        yield Problem("spiderid", "must not be empty", "")
    try:
        for text in texts_of(request, "allowed_domains"):
            domain(text)
        for option in ("allow_regex", "deny_regex", "link_regex", "id_regex"):
            for pattern in texts_of(request, option):
                compile_regex(option, pattern)
        texts_of(request, "deny_extensions")
    except ConfigError as error:
        yield Problem(error.setting, error.problem, request[error.setting])
    if request["cookie"] is not None and not parse_cookies(request["cookie"]):
        yield Problem("cookie", "must be name=value", HIDDEN)
    for name, value in _headers(request):
        if not _HEADER_NAME.fullmatch(name):
            yield Problem("headers", "must have names of headers, not this one", name)
        elif _CONTROL.search(value):
            yield Problem(f"headers.{name}", "must have no control characters", HIDDEN)


def _seed(
    request: Mapping[str, Any],
    target: Target,
    shared: Mapping[str, Any],
    source: Source | None,
) -> Offer:
    record = {
        "method": "" if target.method == "GET" else target.method,
        "headers": [[name.encode(), value.encode()] for name, value in _headers(request)],
        "body": target.body,
        "cookies": request.get("cookies"),
        # Its own, whatever a later request of the same crawl says.
        "meta": {name: shared[name] for name in INHERITED if name in shared},
        "source": _source_id(source) if source else "",
    }
    return Offer(
        url=target.url,
        domain=target.domain,
        fingerprint=target.fingerprint,
        priority=request["priority"],
        depth=0,
        extras=pack_record({name: value for name, value in record.items() if value}),
    )


def _headers(request: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, values in request.get("headers", {}).items():
        for value in [values] if isinstance(values, str) else values:
            yield name, value


def _source_id(source: Source) -> str:
    """Return what tells the page of one message from that of another for the same URL."""
    return blake2b("\0".join(map(str, source)).encode(), digest_size=8).hexdigest()


def _options(request: Mapping[str, Any], url: str) -> CrawlOptions:
    shared = {name: request[name] for name in SHARED if request.get(name) is not None}
    return CrawlOptions(
        maxdepth=request["maxdepth"],
        # As in Scrapy Cluster, 0 turns the limit off.
        domain_max_pages=request["domain_max_pages"] or None,
        max_pages=request.get("max_pages"),
        expires=_expires(request["expires"]),
        shared=bound_to_seeds(shared, [url]),
    )


def _expires(seconds: int) -> float:
    """Return when the crawl ends; a time before 1970 is over, and not "never"."""
    return float(min(max(seconds, 1), LATEST)) if seconds else 0.0
