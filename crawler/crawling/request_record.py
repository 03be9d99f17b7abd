"""A Scrapy Request in the tracker's words, and back."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from scrapy import Request
from scrapy.utils.misc import load_object

from crawling.exceptions import RequestError
from crawling.links import PRIORITY_STEP, Link
from crawling.tracker.extras import pack_record, record_of
from crawling.tracker.extras import requestid as extras_requestid
from crawling.tracker.tracker import CrawlId, Offer
from crawling.tracker.urls import MAX_URL_LENGTH, fingerprint, host_domain, host_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrapy import Spider

    from crawling.tracker.tracker import CrawlOptions, Lease

#: Metadata of a Request that is to count as deep as the page it was found on.
SAME_DEPTH = "same_depth"

#: What `response.meta` says of the crawl and of the request's place in it.
CRAWL_META = (
    "appid crawlid spiderid url priority curdepth maxdepth domain_max_pages expires "
    "allowed_domains allow_regex deny_regex deny_extensions useragent cookie "
    "cookie_domains attrs"
).split()
#: Those that the lease decides, whatever a copied meta says.
_PLACE_META = frozenset("appid crawlid spiderid url priority curdepth".split())
_OPTION_META = tuple(name for name in CRAWL_META if name not in _PLACE_META)
#: Scrapy's notes on one try or one way: true of that request only.
_PASSING_META = frozenset(
    "depth retry_times redirect_times redirect_ttl redirect_urls redirect_reasons "
    "download_slot download_latency".split()
) | {SAME_DEPTH}
_NEVER_OWN = _PLACE_META | _PASSING_META
_KNOWN_ATTRIBUTES = frozenset(
    "url callback method headers body cookies meta encoding priority dont_filter errback "
    "flags cb_kwargs".split()
)
#: Of the record: what belongs to the way of the request and not to its Request.
_WAY = ("requested_url", "redirects", "source", "salt", "fingerprint")


def extras_of(
    request: Request,
    spider: Spider | type[Spider],
    way: Mapping[str, Any] | None = None,
    known: CrawlOptions | None = None,
) -> bytes:
    """Return what *request* has beside its URL, as msgpack; b"" for a plain one.

    *way* is what goes on from an earlier URL of the same request.  Metadata that *known*
    has already is left out.  Raise `RequestError` for what cannot be stored.
    """
    record = _record(request, spider)
    if meta := _own_meta(request, known):
        record["meta"] = meta
    if way:
        record.update((name, value) for name, value in way.items() if value)
    try:
        return pack_record(record) if record else b""
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise RequestError("spider_error", f"cannot store {request}: {error}") from error


def request_of(lease: Lease, spider: Spider) -> Request:
    """Return the Request that fetches *lease*; raise `RequestError` when there is none."""
    record = record_of(lease.extras)
    meta = crawl_meta(lease, spider.name, record)
    try:
        if not record:
            return Request(lease.url, meta=meta)
        return _build(lease.url, record, meta, spider)
    except (ValueError, TypeError) as error:
        raise RequestError("spider_error", f"cannot make the request: {error}") from error


def crawl_meta(lease: Lease, spiderid: str, record: Mapping[str, Any]) -> dict[str, Any]:
    redirects = record.get("redirects", [])
    meta = {
        "appid": lease.crawl.appid,
        "crawlid": lease.crawl.crawlid,
        "spiderid": spiderid,
        "url": record.get("requested_url", lease.url),
        "priority": lease.priority,
        "curdepth": lease.depth,
        "depth": lease.depth,
        **_option_meta(lease.options),
        **record.get("meta", {}),
    }
    # Only where there is something to say: Scrapy warns of children that copy these.
    if lease.attempts:
        meta["retry_times"] = lease.attempts
    if redirects:
        meta["redirect_times"] = len(redirects)
        meta["redirect_urls"] = list(redirects)
    return meta


def requestid(lease: Lease) -> str:
    """Return the id that all deliveries of the same request have in common."""
    return extras_requestid(lease.crawl, lease.fingerprint, record_of(lease.extras))


def names_of(lease: Lease) -> dict[str, str]:
    """Return the fields by which the lines about a page are found in all logs."""
    return {**lease.crawl._asdict(), "requestid": requestid(lease)}


def child_offer(
    request: Request, lease: Lease, spider: Spider, *, place: tuple[str, str], nth: int
) -> Offer:
    """Return the offer of the *nth* Request that the leased page yielded.

    *place* is its domain, and the rule by which it is not followed (`LinkRules.place`).
    It is 10 less urgent than the page and one level deeper, unless its meta says so
    itself; a meta copied from the response does not.
    """
    meta = request.meta
    priority = lease.priority - PRIORITY_STEP + request.priority
    if meta.get("priority", lease.priority) != lease.priority:
        priority = int(meta["priority"])
    depth = lease.depth if meta.get(SAME_DEPTH) else lease.depth + 1
    if meta.get("curdepth", lease.depth) != lease.depth:
        depth = max(0, int(meta["curdepth"]))
    way: dict[str, Any] = {}
    if request.dont_filter:
        # The same for every delivery of the page, and for no other request.
        way["salt"] = blake2b(
            lease.rid + lease.fingerprint, salt=nth.to_bytes(8, "big"), digest_size=8
        ).digest()
    domain, rule = place
    kind = Link if is_plain(request) and len(request.url) <= MAX_URL_LENGTH else Offer
    return kind(
        _kept(request.url, rule),
        domain,
        _fingerprint(request, way),
        priority,
        depth,
        b"" if rule else extras_of(request, spider, way, lease.options),
        rule,
        _other_type(meta.get("spiderid", spider.name), lease.crawl),
    )


def is_plain(request: Request) -> bool:
    """Whether the fingerprint is that of the URL alone."""
    return request.method == "GET" and not request.body and not request.dont_filter


def next_offer(request: Request, lease: Lease, spider: Spider, *, redirected: bool) -> Offer:
    """Return what goes on in place of the leased request: *request*, at its own URL."""
    record = record_of(lease.extras)
    way = {name: record[name] for name in _WAY if name in record}
    if redirected:
        way.setdefault("requested_url", lease.url)
        way.setdefault("fingerprint", lease.fingerprint)
        way["redirects"] = [*record.get("redirects", []), lease.url]
    # What middlewares do to these two is for Scrapy's own scheduler.
    request = request.replace(
        dont_filter=record.get("dont_filter", False), priority=record.get("priority", 0)
    )
    return Offer(
        url=request.url,
        domain=domain_or_none(request.url),
        fingerprint=_fingerprint(request, way) if redirected else lease.fingerprint,
        priority=lease.priority,
        depth=lease.depth,
        extras=extras_of(request, spider, way, lease.options),
        spiderid=_other_type(spider.name, lease.crawl),
    )


def seed_offer(request: Request, crawl: CrawlId, spider: Spider, *, rule: str = "") -> Offer:
    """Return the offer of a Request that no leased page yielded."""
    meta = request.meta
    return Offer(
        url=_kept(request.url, rule),
        domain=domain_or_none(request.url),
        fingerprint=_fingerprint(request, {}),
        priority=int(meta.get("priority", request.priority)),
        depth=max(0, int(meta.get("curdepth", 0))),
        extras=b"" if rule else extras_of(request, spider),
        rule=rule,
        spiderid=_other_type(meta.get("spiderid", spider.name), crawl),
    )


def domain_or_none(url: str) -> str:
    """Return the registered domain of *url*, "" where there is none."""
    try:
        return host_domain(host_of(url))
    except RequestError:
        return ""


def _kept(url: str, rule: str) -> str:
    # A refused data: URL can be megabytes long, and the tracker takes 64 kB.
    return url[:MAX_URL_LENGTH] if rule else url


def _other_type(spiderid: str, crawl: CrawlId) -> str:
    return "" if spiderid == crawl.spiderid else spiderid


def _fingerprint(request: Request, way: Mapping[str, Any]) -> bytes:
    plain = fingerprint(request.url, request.method, request.body)
    salt = way.get("salt")
    return blake2b(plain, key=salt, digest_size=8).digest() if salt else plain


def _record(  # noqa: PLR0912  # one line for each attribute
    request: Request, spider: Spider | type[Spider]
) -> dict[str, Any]:
    """Return names and values of the attributes that say something."""
    record: dict[str, Any] = {}
    if request.method != "GET":
        record["method"] = request.method
    if request.headers:
        record["headers"] = [
            [name, value] for name, values in request.headers.items() for value in values
        ]
    if request.body:
        record["body"] = request.body
    if request.cookies:
        record["cookies"] = request.cookies
    if request.cb_kwargs:
        record["cb_kwargs"] = request.cb_kwargs
    if request.callback is not None:
        record["callback"] = _method_name(request.callback, spider)
    if request.errback is not None:
        record["errback"] = _method_name(request.errback, spider)
    if request.flags:
        record["flags"] = request.flags
    if request.encoding != "utf-8":
        record["encoding"] = request.encoding
    if request.dont_filter:
        record["dont_filter"] = True
    if request.priority:
        record["priority"] = request.priority
    kind = type(request)
    if kind is not Request:
        record["class"] = f"{kind.__module__}.{kind.__qualname__}"
        attributes = {
            name: getattr(request, name)
            for name in request.attributes
            if name not in _KNOWN_ATTRIBUTES
        }
        if attributes:
            record["attributes"] = attributes
    return record


def _own_meta(request: Request, known: CrawlOptions | None) -> dict[str, Any]:
    """Return the metadata that the user gave, and where it departs from the crawl's."""
    own = {name: value for name, value in request.meta.items() if name not in _NEVER_OWN}
    if not own:
        return own
    crawl = _option_meta(known) if known is not None else dict.fromkeys(_OPTION_META)
    return {
        name: value for name, value in own.items() if name not in crawl or crawl[name] != value
    }


def _option_meta(options: CrawlOptions) -> dict[str, Any]:
    meta: dict[str, Any] = dict.fromkeys(_OPTION_META)
    meta.update((name, options.shared[name]) for name in _OPTION_META if name in options.shared)
    meta["maxdepth"] = options.maxdepth
    meta["domain_max_pages"] = options.domain_max_pages
    meta["expires"] = options.expires
    return meta


def _method_name(method: Any, spider: Spider | type[Spider]) -> str:
    function = getattr(method, "__func__", method)
    owner = getattr(method, "__self__", spider)
    kind = spider if isinstance(spider, type) else type(spider)
    name = (
        _name_in(kind.__mro__, function) if owner is spider or isinstance(spider, type) else ""
    )
    if not name:
        raise RequestError(
            "spider_error",
            f"callback and errback must be methods of {kind.__name__}, not {method!r}",
        )
    return name


@lru_cache(maxsize=1000)
def _name_in(bases: tuple[type, ...], function: Any) -> str:
    for base in bases:
        for name, value in vars(base).items():
            if value is function:
                return name
    return ""


def _build(
    url: str, record: Mapping[str, Any], meta: dict[str, Any], spider: Spider
) -> Request:
    headers: dict[bytes, list[bytes]] = {}
    for name, value in record.get("headers", ()):
        headers.setdefault(name, []).append(value)
    return _class_of(record)(
        url,
        callback=_method(record.get("callback"), spider),
        method=record.get("method", "GET"),
        headers=headers,
        body=record.get("body"),
        cookies=record.get("cookies"),
        meta=meta,
        encoding=record.get("encoding", "utf-8"),
        priority=record.get("priority", 0),
        dont_filter=record.get("dont_filter", False),
        errback=_method(record.get("errback"), spider),
        flags=record.get("flags"),
        cb_kwargs=record.get("cb_kwargs"),
        **record.get("attributes", {}),
    )


def _class_of(record: Mapping[str, Any]) -> type[Request]:
    path = record.get("class")
    if path is None:
        return Request
    try:
        found = load_object(path)
    except (ImportError, NameError, ValueError) as error:
        raise RequestError("spider_error", f"no Request class {path!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Request)):
        raise RequestError("spider_error", f"{path!r} is no Request class")
    return found


def _method(name: str | None, spider: Spider) -> Any:
    """Return a method of *spider*, the same object each time.

    Of a generator that it has not met Scrapy reads and parses the source, and it knows
    none again whose object is gone: for each page.
    """
    if name is None:
        return None
    methods: dict[str, Any] = vars(spider).setdefault("_leased_methods", {})
    if name not in methods:
        methods[name] = getattr(spider, name, None)
    if not callable(methods[name]):
        raise RequestError("spider_error", f"{type(spider).__name__} has no method {name!r}")
    return methods[name]
