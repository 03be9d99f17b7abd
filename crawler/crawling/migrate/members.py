"""Requests as other crawlers have left them in Redis, in the tracker's words."""

from __future__ import annotations

import io
import json
import pickle
from typing import TYPE_CHECKING, Any, NamedTuple

from crawling.exceptions import MessageError, RequestError
from crawling.messages.crawl import submission
from crawling.messages.validation import load_schema
from crawling.service.cookies import bound_to_seeds
from crawling.tracker.extras import pack_record
from crawling.tracker.tracker import CrawlId, CrawlOptions, Offer
from crawling.tracker.urls import check_url, fingerprint, with_scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Options of a crawl that Scrapy Cluster repeats in the metadata of each request.
SHARED = "allowed_domains allow_regex deny_regex deny_extensions useragent cookie attrs".split()
#: Metadata that the lease and the crawl bring anew, or that was true of one try only.
_NOT_OURS = frozenset(
    "appid crawlid spiderid url priority curdepth maxdepth domain_max_pages expires ts depth "
    "retry_times redirect_times redirect_ttl redirect_urls redirect_reasons download_slot "
    "download_timeout download_latency".split()
).union(SHARED)
#: The callback that every spider of the fleet has anyway.
_PARSE = "parse"


class Found(NamedTuple):
    """A request that waits to be fetched."""

    crawl: CrawlId
    options: CrawlOptions
    offer: Offer


class Unreadable(ValueError):
    """A member that is no request; the text says why."""


class MemberReader:
    """Reads the members of Scrapy Cluster's domain queues, in both of their forms."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        # What was accepted before is not refused now: the limits were another program's.
        wide = {**settings, "MAXDEPTH_LIMIT": 10_000, "DOMAIN_MAX_PAGES_LIMIT": 2**31}
        self._schema = load_schema("crawl", wide)
        self._private: bool = settings["ALLOW_PRIVATE_ADDRESSES"]

    def read(self, member: bytes, score: float) -> Found:
        """Return the request; its priority is the score's. Raise `Unreadable`."""
        record = _json(member)
        try:
            if "meta" in record:
                return _serialized(record, priority=-int(score))
            return self._feed(record, priority=-int(score))
        except (RequestError, MessageError) as error:
            raise Unreadable(str(error)) from error
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unreadable(f"is not as Scrapy Cluster writes it: {error!r}") from error

    def _feed(self, record: dict[str, Any], priority: int) -> Found:
        """Read a request as the Kafka monitor of Scrapy Cluster has stored it."""
        given = {
            name: value for name, value in record.items() if value is not None and name != "ts"
        }
        given["priority"] = max(1, min(100, priority))
        request = self._schema.validate(given)
        made = submission(request, None, private_allowed=self._private)
        [seed] = made.offers
        options = made.options or CrawlOptions()
        return Found(made.crawl, options, seed._replace(priority=priority))


def _serialized(record: Mapping[str, Any], priority: int) -> Found:
    """Read a Scrapy request as the scheduler of Scrapy Cluster has stored it."""
    meta = record["meta"]
    url, seed_url = with_scheme(record["url"]), with_scheme(meta.get("url") or record["url"])
    shared = {name: meta[name] for name in SHARED if meta.get(name) is not None}
    options = CrawlOptions(
        maxdepth=int(meta.get("maxdepth") or 0),
        domain_max_pages=meta.get("domain_max_pages") or None,
        expires=float(meta.get("expires") or 0),
        shared=bound_to_seeds(shared, [seed_url]),
    )
    crawl = CrawlId(*(_name(meta, name) for name in ("spiderid", "appid", "crawlid")))
    return Found(crawl, options, _offer(record, url, priority, int(meta.get("curdepth") or 0)))


def _offer(record: Mapping[str, Any], url: str, priority: int, depth: int) -> Offer:
    method, body = record.get("method") or "GET", _bytes(record.get("body"))
    callback, errback = record.get("callback"), record.get("errback")
    meta = {
        name: value
        for name, value in (record.get("meta") or {}).items()
        if name not in _NOT_OURS
    }
    extras = {
        "method": "" if method == "GET" else method,
        "headers": _headers(record.get("headers") or {}),
        "body": body,
        "cookies": record.get("cookies"),
        "callback": callback if callback != _PARSE else None,
        "errback": errback,
        "flags": record.get("flags"),
        "cb_kwargs": record.get("cb_kwargs"),
        "meta": meta,
    }
    return Offer(
        url=url,
        domain=check_url(url),
        fingerprint=fingerprint(url, method, body),
        priority=priority,
        depth=depth,
        extras=pack_record({name: value for name, value in extras.items() if value}),
    )


def _headers(headers: Mapping[Any, Any]) -> list[list[bytes]]:
    """Return pairs of name and value; cookies come from the crawl, for its domain alone."""
    return [
        [_bytes(name), _bytes(value)]
        for name, values in headers.items()
        if _bytes(name).lower() != b"cookie"
        for value in (values if isinstance(values, list) else [values])
    ]


class ScrapyRedisReader:
    """Reads requests and start URLs of scrapy-redis; the spider's name is the crawl's."""

    def __init__(self, spider: str) -> None:
        self._crawl = CrawlId(spider, "scrapy-redis", spider)

    def request(self, member: bytes, score: float) -> Found:
        record = _json(member) if member[:1] == b"{" else _plain(member)
        try:
            url = str(record["url"])
            depth = int((record.get("meta") or {}).get("depth") or 0)
            offer = _offer(record, url, -int(score), depth)
        except (RequestError, KeyError, TypeError, ValueError, AttributeError) as error:
            raise Unreadable(f"is no request of scrapy-redis: {error}") from error
        return Found(self._crawl, CrawlOptions(), offer)

    def start_url(self, member: bytes, score: float) -> Found:
        record = (
            _json(member) if member[:1] == b"{" else {"url": member.decode("utf-8", "replace")}
        )
        return self.request(json.dumps(record).encode(), score)


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        """Refuse every class and function: what is left are dicts, lists, texts, numbers."""
        raise Unreadable(f"is a pickle that wants to call {module}.{name}")


def _plain(pickled: bytes) -> dict[str, Any]:
    try:
        record = _PlainUnpickler(io.BytesIO(pickled)).load()
    except Unreadable:
        raise
    # A pickle that is none fails in any way it likes.
    except Exception as error:
        raise Unreadable(f"is neither JSON nor a plain pickle: {error!r}") from error
    if not isinstance(record, dict):
        raise Unreadable("is no request")
    return record


def _json(member: bytes) -> dict[str, Any]:
    try:
        record = json.loads(member)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"is no JSON: {error}") from error
    if not isinstance(record, dict):
        raise Unreadable("is no JSON object")
    return record


def _name(meta: Mapping[str, Any], name: str) -> str:
    value = meta[name]
    if not isinstance(value, str) or not value:
        raise Unreadable(f"has no {name}")
    return value


def _bytes(value: Any) -> bytes:
    if value is None:
        return b""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")
