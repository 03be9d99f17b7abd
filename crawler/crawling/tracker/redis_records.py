"""What the scripts of the Redis tracker take and give, packed and unpacked."""

from __future__ import annotations

import json
import random
import time
from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack

from crawling.tracker.keys import escape
from crawling.tracker.tracker import (
    NOTHING_TOLD,
    CrawlId,
    CrawlOptions,
    CrawlStatus,
    Failure,
    Held,
    Lease,
    Trace,
    Vitals,
    by_depth,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from crawling.tracker.tracker import Offer, Outcome, Source, Submission

#: What is in one call: about 10 ms in which Redis serves nobody else.
MOST_OFFERS = 1000
MOST_OUTCOMES = 256
MOST_SUBMISSIONS = 50
#: Seconds for which the fastest reply decides what Redis's clock shows.
CLOCK_MEMORY = 60.0

#: As prelude.lua: number, fingerprint, flags, depth; where it is long, attempts, deaths and
#: depth in the place of the depth.
_HEAD = Struct(">6s8sBB")
_LONG_TAIL = Struct(">BBH")
_FOREIGN_UNIT, _LONG = 4, 8
#: Begins a body that has extras: the length of the URL follows.
_WITH_EXTRAS = b"\5"
_EXTRAS = Struct(">cH")
#: What URLs begin with before their queue's domain, which is left out too: one byte for all
#: of it.  No other URL begins with a byte this small.
_BEGINNINGS = {
    "\1": "https://www.",
    "\2": "https://",
    "\3": "http://www.",
    "\4": "http://",
}
_BYTES = {begins: byte for byte, begins in _BEGINNINGS.items()}


class Request(NamedTuple):
    """A request as it lies in a queue."""

    rid: bytes
    fingerprint: bytes
    attempts: int
    depth: int
    url: str
    extras: bytes


class Granted(NamedTuple):
    """A lease as lease.lua returns it; without a throttle *slack* is negative."""

    cno: int
    member: bytes
    domain: bytes
    priority: int
    start: bytes
    slack: bytes


def pack(value: object) -> bytes:
    """Return msgpack for a script; lone surrogates in a URL go through unchanged.

    Redis's cmsgpack does not know the type for bytes.
    """
    packed: bytes = msgpack.packb(value, use_bin_type=False, unicode_errors="surrogatepass")
    return packed


def unpack(packed: bytes) -> list[Any]:
    """Return a list that a script has packed, its strings as bytes."""
    values: list[Any] = msgpack.unpackb(packed, raw=True)
    return values


def text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")


def domain_in(queue: bytes) -> bytes:
    """Return the domain in the name of a queue, `spider:domain`."""
    return queue.partition(b":")[2]


def unpack_request(member: bytes, domain: bytes) -> Request:
    """Return the request that lies in a queue of *domain*."""
    rid, fingerprint, flags, depth = _HEAD.unpack_from(member)
    attempts, at = 0, _HEAD.size
    if flags & _LONG:
        at -= 1
        attempts, _, depth = _LONG_TAIL.unpack_from(member, at)
        at += _LONG_TAIL.size
    if flags & _FOREIGN_UNIT:
        at += 1 + member[at]
    body, extras = member[at:], b""
    if body[:1] == _WITH_EXTRAS:
        end = 3 + (body[1] << 8 | body[2])
        body, extras = body[3:end], body[end:]
    url = text(body)
    begins = _BEGINNINGS.get(url[:1])
    if begins is not None:
        url = begins + text(domain) + url[1:]
    return Request(rid, fingerprint, attempts, depth, url, extras)


def offer_row(offer: Offer, domain: str = "") -> tuple[object, ...]:
    """Return an offer as offers.lua takes it; *domain* is that of the queue, if not its own."""
    url, own, fingerprint, priority, depth, extras, rule, spiderid = offer
    kept = _shortened(url, domain or own)
    body = _with_extras(kept, extras) if extras else kept
    return fingerprint, own, priority, depth, body, rule, spiderid


def _with_extras(kept: str, extras: bytes) -> bytes:
    raw = kept.encode("utf-8", "surrogatepass")
    return _EXTRAS.pack(_WITH_EXTRAS, len(raw)) + raw + extras


def _shortened(url: str, domain: str) -> str:
    at = url.find(domain, 7, 12 + len(domain))
    byte = _BYTES.get(url[:at]) if at > 0 else None
    return url if byte is None else byte + url[at + len(domain) :]


def submission_row(
    names: Mapping[str, str | int],
    offers: Iterable[Offer],
    options: CrawlOptions | None = None,
    source: Source | None = None,
    part: int = 0,
) -> tuple[object, ...]:
    """Return a submission, or *part* of one, to the crawl of these names, as submit.lua takes it."""
    rows = list(map(offer_row, offers))
    return names, _options_row(options), source_row(source, part), rows


def together(submissions: Iterable[Submission]) -> Iterator[list[Submission]]:
    """Yield what one call can take, in order: all of it enters its crawls in the same way."""
    some: list[Submission] = []
    offers = 0
    for each in submissions:
        offers += len(each.offers)
        is_full = len(some) == MOST_SUBMISSIONS or offers > MOST_OFFERS
        if some and (is_full or each.entry != some[0].entry):
            yield some
            some, offers = [], len(each.offers)
        some.append(each)
    if some:
        yield some


def _options_row(options: CrawlOptions | None) -> dict[str, str | int] | None:
    if options is None:
        return None
    return {
        "shared": json.dumps(dict(options.shared)),
        "maxdepth": _limit(options.maxdepth),
        "domain_max_pages": _limit(options.domain_max_pages),
        "max_pages": _limit(options.max_pages),
        "expires": round(options.expires * 1000),
    }


def unpack_options(book: Mapping[bytes, bytes]) -> CrawlOptions:
    return CrawlOptions(
        maxdepth=_no_limit(book[b"maxdepth"]),
        domain_max_pages=_no_limit(book[b"domain_max_pages"]),
        max_pages=_no_limit(book[b"max_pages"]),
        expires=int(book[b"expires"]) / 1000,
        shared=json.loads(book[b"shared"] or b"{}"),
    )


def _limit(limit: int | None) -> int:
    return -1 if limit is None else limit


def _no_limit(limit: bytes) -> int | None:
    return None if limit == b"-1" else int(limit)


def unpack_crawl_id(book: Mapping[bytes, bytes]) -> CrawlId:
    return CrawlId(text(book[b"spiderid"]), text(book[b"appid"]), text(book[b"crawlid"]))


def unpack_status(book: Mapping[bytes, bytes]) -> CrawlStatus:
    columns = "epoch accepted queued delayed leased done failed dropped duplicates size".split()
    reasons = _counts(book, b"reason:")
    return CrawlStatus(
        crawl=unpack_crawl_id(book),
        state=text(book[b"state"]),  # type: ignore[arg-type]  # only the scripts write it
        options=unpack_options(book),
        **{column: int(book[column.encode()]) for column in columns},
        started=int(book[b"started"]) / 1000,
        ended=int(book[b"ended"]) / 1000 if book[b"ended"] else None,
        reasons={reason: count for reason, count in reasons.items() if count},
        statuses={int(code): count for code, count in _counts(book, b"status:").items()},
        by_depth=by_depth(_counts(book, b"depth:")),
        boost=int(book[b"boost"]),
    )


def _counts(book: Mapping[bytes, bytes], prefix: bytes) -> dict[str, int]:
    return {
        text(field.removeprefix(prefix)): int(count)
        for field, count in book.items()
        if field.startswith(prefix)
    }


def vitals_text(vitals: Vitals | None) -> str:
    return "" if vitals is None else " ".join(map(str, vitals))


def unpack_vitals(told: bytes | None) -> Vitals:
    if told is None:
        return NOTHING_TOLD
    pages, rate, memory = told.split()
    return Vitals(int(pages), float(rate), int(memory))


def outcome_row(outcome: Outcome, links: Sequence[Offer], delay: float) -> tuple[object, ...]:
    """Return an outcome as settle.lua takes it."""
    return (
        outcome.lease.rid,
        outcome.lease.token,
        outcome.kind,
        outcome.reason,
        outcome.detail[:1000],
        outcome.status,
        outcome.size,
        outcome.busy,
        outcome.retry_after * 1000,
        round(delay * 1000),
        list(map(offer_row, links)),
        _next_row(outcome),
        outcome.known,
    )


def _next_row(outcome: Outcome) -> tuple[object, ...] | None:
    if outcome.next is None:
        return None
    # A retry stays in its queue.
    return offer_row(outcome.next, outcome.lease.domain if outcome.kind == "retry" else "")


def _links_row(lease: Lease, links: Iterable[Offer]) -> tuple[object, ...]:
    """Return links that the page of *lease* has too many of for one call."""
    rows = list(map(offer_row, links))
    return (lease.rid, lease.token, "offer", "", "", 0, 0, False, 0, 0, rows, None, 0)


def source_row(source: Source | None, part: int = 0) -> dict[str, Any] | None:
    """Return *part* of what came from *source*, as ingest.lua takes it."""
    if source is None:
        return None
    return {
        "partition": f"{escape(source.topic)}:{source.partition}",
        "offset": source.offset,
        "digest": source.digest,
        "part": part,
    }


def unpack_failure(record: bytes) -> Failure:
    queue, _, reason, detail, _, member = unpack(record)
    request = unpack_request(member, domain_in(queue))
    domain = text(domain_in(queue))
    return Failure(request.url, text(reason), text(detail), request.attempts, domain)


def unpack_held(record: bytes, *crawl: bytes) -> Held:
    _, queue, priority, _, since, member = unpack(record)
    domain = domain_in(queue)
    request = unpack_request(member, domain)
    return Held(
        crawl=CrawlId(*map(text, crawl)),
        url=request.url,
        domain=text(domain),
        priority=priority,
        depth=request.depth,
        attempts=request.attempts,
        since=since / 1000,
    )


def unpack_trace(state: bytes, reason: bytes, record: bytes, worker: bytes) -> Trace:
    trace = Trace(
        state=state.decode(),  # type: ignore[arg-type]  # only trace.lua writes it
        reason=text(reason) or None,
        worker=text(worker) or None,
    )
    return _with_record(trace, unpack(record)) if record else trace


def _with_record(trace: Trace, record: list[Any]) -> Trace:
    """Add what is on record: failed, delayed and leased requests end with (since, request)."""
    *rest, since, member = record
    request = unpack_request(member, b"")
    is_leased, is_delayed = trace.state == "leased", trace.state == "delayed"
    return Trace(
        state=trace.state,
        reason=trace.reason,
        worker=trace.worker,
        attempts=request.attempts,
        depth=request.depth,
        priority=rest[2] if is_leased else rest[1],
        since=since / 1000,
        next_try=rest[2] / 1000 if is_delayed else None,
    )


class RedisClock:
    """Redis's clock, on this process's monotonic one.

    A reply is never early, so the smallest offset among recent ones is the nearest to
    the truth; a worker that reckons with it starts late by one trip at most, never early.
    """

    def __init__(self) -> None:
        self._since = 0.0
        self._offset = self._older = float("inf")

    def observe(self, redis_time: float) -> None:
        now = time.monotonic()
        if now - self._since > CLOCK_MEMORY / 2:
            self._since, self._older, self._offset = now, self._offset, float("inf")
        self._offset = min(self._offset, now - redis_time)

    def monotonic(self, redis_time: float) -> float:
        return redis_time + min(self._offset, self._older)


def jitter() -> float:
    return random.uniform(0.75, 1.25)  # noqa: S311  # spreads retries, keeps no secret


def batches(
    outcomes: Sequence[Outcome], delay: Callable[[Outcome], float]
) -> Iterator[tuple[list[tuple[object, ...]], bool]]:
    """Yield what one call can take, and whether it ends leases.

    Links that a page has too many of go ahead; its lease ends with the last of them.
    """
    rows, links = list[tuple[object, ...]](), 0
    for outcome in outcomes:
        rest = list(outcome.links)
        while len(rest) > MOST_OFFERS:
            yield [_links_row(outcome.lease, rest[:MOST_OFFERS])], False
            rest = rest[MOST_OFFERS:]
        if rows and (links + len(rest) > MOST_OFFERS or len(rows) == MOST_OUTCOMES):
            yield rows, True
            rows, links = [], 0
        due = delay(outcome) if outcome.kind == "retry" else 0.0
        rows.append(outcome_row(outcome, rest, due))
        links += len(rest)
    if rows:
        yield rows, True
