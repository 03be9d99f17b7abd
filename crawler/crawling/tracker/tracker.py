"""The tracker: the authority over all requests of all crawls.

`Tracker` is the one interface of `SqliteTracker` and `RedisTracker`; the same
contract tests run on both.  All times are seconds; a point in time that crosses
this border is Unix time by the *tracker's* clock unless it says otherwise.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
from abc import ABC, abstractmethod
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import quote, unquote

from crawling.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from crawling.tracker.findings import Finding

#: Why a request failed for good.  `http_<status>` stands for one reason per status.
FAILED_REASONS = frozenset(
    "timeout dns refused reset tls truncated too_large bad_response "
    "spider_error output_error robots_unreachable".split()
)
#: Why a request is never fetched.  A spider's or plugin's own begins with `x_`.
DROPPED_REASONS = frozenset(
    "duplicate offsite depth page_limit expired stopped robots scheme private_address "
    "deny extension redirect_limit url_too_long queue_full lost".split()
)
#: Dropped for one of these, a URL is queued again when it is met again.
PASSING_REASONS = frozenset({"page_limit", "queue_full", "stopped", "expired"})


def is_failure(reason: str) -> bool:
    """Whether *reason* is one of those of failed requests."""
    return reason in FAILED_REASONS or reason.startswith("http_")


#: What ended at this depth or below is counted together: sites that link on for ever have
#: more depths than anybody reads.
DEEPEST = 32
#: Crawls whose books are asked for together.
TOGETHER = 50
#: What becomes of a lease.
Kind = Literal["done", "failed", "retry", "redirect", "dropped", "released"]
#: Where a crawl stands.
State = Literal["running", "paused", "stopped", "expired", "finished"]
#: How `submit` treats what is already known: a *seed* is queued anyhow, *known* is
#: queued once like a discovered link, *explored* is recorded as seen and never fetched
#: (and is in no column of the ledger).
Entry = Literal["seed", "known", "explored"]


class CrawlId(NamedTuple):
    """The name of a crawl."""

    spiderid: str
    appid: str
    crawlid: str


@dataclass(frozen=True)
class CrawlOptions:
    """What is the same for all requests of a crawl; a later submit replaces it.

    *shared* is JSON and opaque to the tracker: attrs, regexes, user agent, cookie …
    """

    maxdepth: int | None = None
    domain_max_pages: int | None = None
    max_pages: int | None = None
    expires: float = 0.0
    shared: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrackerConfig:
    """Politeness, retries and limits; the names in capitals are the settings."""

    #: QUEUE_HITS in any QUEUE_WINDOW seconds and domain; 0 hits: no throttle.
    hits: int = 10
    window: float = 60.0
    #: QUEUE_MODERATED: spread the hits evenly over the window.
    moderated: bool = True
    #: QUEUE_CONCURRENCY: requests of one domain in flight, over all workers.
    concurrency: int = 8
    #: SCHEDULER_TYPE_ENABLED: each spider type has a throttle of its own.
    by_type: bool = True
    #: The worker's address if SCHEDULER_IP_ENABLED, else "": a throttle per address.
    ip: str = ""
    #: LEASE_TIMEOUT: seconds without renewal until a worker counts as dead.
    lease_timeout: float = 60.0
    #: RETRY_DELAY and RETRY_DELAY_MAX: first and longest wait before a retry.
    retry_delay: float = 1.0
    retry_delay_max: float = 300.0
    #: DEFER_MAX: the longest that 429, 503 or Retry-After push a domain back.
    defer_max: float = 3600.0
    #: GLOBAL_PAGE_PER_DOMAIN_LIMIT: pages per crawl and domain; None: no limit.
    page_limit: int | None = None
    #: TRACKER_MAX_QUEUED: past it a crawl's new links are dropped; 0: no limit.
    max_queued: int = 0
    #: DUPEFILTER_TIMEOUT: seconds that a finished crawl's seen-set is kept.
    dupefilter_timeout: float = 600.0
    #: How far ahead of its start a throttled request may be leased.
    ahead: float = 0.2
    #: TRACKER_SHARDS: trackers on Redis among which the domains are divided.
    shards: int = 1

    def __post_init__(self) -> None:
        for setting, value, low in (
            ("QUEUE_HITS", self.hits, 0),
            ("QUEUE_CONCURRENCY", self.concurrency, 1),
            ("RETRY_DELAY", self.retry_delay, 0),
            ("TRACKER_MAX_QUEUED", self.max_queued, 0),
            ("TRACKER_SHARDS", self.shards, 1),
        ):
            if value < low:
                raise ConfigError(setting, f"must be at least {low}, not {value}")
        for setting, seconds in (
            ("QUEUE_WINDOW", self.window),
            ("LEASE_TIMEOUT", self.lease_timeout),
        ):
            if seconds <= 0:
                raise ConfigError(setting, f"must be more than 0 seconds, not {seconds}")

    def may_refuse_for_now(self, options: CrawlOptions) -> bool:
        """Whether a link that is refused today may be queued when it is found again."""
        limits = (options.max_pages, options.domain_max_pages, self.page_limit)
        return self.max_queued > 0 or any(limit is not None for limit in limits)


class Offer(NamedTuple):
    """One request offered to the tracker: a seed or a discovered link.

    *fingerprint* is 8 bytes (`urls.fingerprint`), *domain* from `urls.domain_of`.
    *extras* is what a plain GET does not have, as msgpack; the tracker keeps it unread.
    With a *rule* (a dropped reason) the link is accepted and dropped at once, and only
    recorded.  *spiderid* hands the request to another kind of spider of the same crawl.
    """

    url: str
    domain: str
    fingerprint: bytes
    priority: int
    depth: int
    extras: bytes = b""
    rule: str = ""
    spiderid: str = ""


class Source(NamedTuple):
    """Where a submission came from; the same source and digest creates its seeds once."""

    topic: str
    partition: int
    offset: int
    digest: str


class Submission(NamedTuple):
    """What one call of `submit` takes, for `submit_all`."""

    crawl: CrawlId
    offers: Sequence[Offer]
    options: CrawlOptions | None = None
    entry: Entry = "seed"
    source: Source | None = None


class Submitted(NamedTuple):
    """What `submit` did: *queued* of the offers, *repeated* when the source was known."""

    queued: int
    repeated: bool


@dataclass(frozen=True)
class Lease:
    """A request lent to one worker.

    *start* is the worker's own monotonic time (`time.monotonic`) before which it must
    not be sent, and *latest* the one after which its place in the throttle is lost: it
    must then be released instead (infinite when the domain has no throttle).
    """

    crawl: CrawlId
    options: CrawlOptions
    rid: bytes
    #: Of the call that lent it, and so that of others too.
    token: str
    url: str
    domain: str
    fingerprint: bytes
    priority: int
    depth: int
    attempts: int
    extras: bytes = b""
    start: float = 0.0
    latest: float = float("inf")
    #: The kind of spider that has it, and what a tracker over shards needs to know: which
    #: options and epoch of the crawl it was leased with.
    spiderid: str = ""
    revision: int = 0
    epoch: int = 0
    #: Names the state of the crawl in which what was seen stays seen: another one after a
    #: stop, an end, other options, when the crawl was forgotten, or when what was
    #: confirmed may have got lost with a server.
    era: str = ""

    @property
    def key(self) -> tuple[str, bytes]:
        """Tell it from all others, also of the same request."""
        return self.token, self.rid


class Leased(NamedTuple):
    """The answer to `lease`.

    *wait* is seconds until there may be more (0: ask again at once), None when only
    other events (new links, settled requests) can bring more.
    """

    leases: list[Lease]
    wait: float | None


@dataclass
class Outcome:
    """How a lease ended, with what the page discovered.

    *next* is the request that goes on in place of this one: required for a redirect
    (same request, new URL), optional for a retry (other extras).  *busy* (429, 503)
    pushes the whole domain back, by *retry_after* seconds or by doubling.  *status* and
    *size* (bytes of the body) are counted for the crawl when the kind is done.  *known*
    links are not among *links*, since the tracker has them for sure: duplicates.
    """

    lease: Lease
    kind: Kind
    reason: str = ""
    detail: str = ""
    status: int = 0
    size: int = 0
    links: Sequence[Offer] = ()
    known: int = 0
    next: Offer | None = None
    busy: bool = False
    retry_after: float = 0.0


@dataclass(frozen=True)
class CrawlStatus:
    """The books of one crawl: accepted is the sum of the six columns after it.

    *by_depth* counts what is done or has failed; that at `DEEPEST` stands for all below.
    *boost* is what `prioritize` has set.
    """

    crawl: CrawlId
    state: State
    options: CrawlOptions
    epoch: int
    accepted: int
    queued: int
    delayed: int
    leased: int
    done: int
    failed: int
    dropped: int
    duplicates: int
    size: int
    started: float
    ended: float | None
    reasons: Mapping[str, int]
    statuses: Mapping[int, int]
    by_depth: Mapping[int, int] = field(default_factory=dict)
    boost: int = 0

    @property
    def by_status(self) -> dict[int, int]:
        """Return what is done or has failed with an HTTP status, by that of its last answer."""
        counts = Counter(self.statuses)
        for reason, count in self.reasons.items():
            begin, _, status = reason.partition("_")
            if begin == "http" and status.isdecimal():
                counts[int(status)] += count
        return dict(sorted(counts.items()))

    @property
    def outstanding(self) -> int:
        return self.queued + self.delayed + self.leased

    @property
    def balanced(self) -> bool:
        return self.accepted == self.outstanding + self.done + self.failed + self.dropped

    def totals(self) -> dict[str, Any]:
        """Return the counts by outcome as JSON, as summaries and events have them."""
        return {
            **self.crawl._asdict(),
            "state": self.state,
            "accepted": self.accepted,
            "done": self.done,
            "failed": self.failed,
            "dropped": self.dropped,
            "duplicates": self.duplicates,
            "reasons": dict(self.reasons),
            "statuses": {str(status): count for status, count in self.statuses.items()},
            "bytes": self.size,
            "epoch": self.epoch,
        }

    def breakdown(self) -> dict[str, dict[str, int]]:
        """Return what is done or has failed, by status and by depth, as JSON."""
        return {
            name: {str(key): count for key, count in counts.items()}
            for name, counts in (("by_status", self.by_status), ("by_depth", self.by_depth))
        }


@dataclass(frozen=True)
class DomainStatus:
    """A domain with work; *opens* is when it may be asked next (None: now).

    *paused* of what is queued is of paused crawls; *deferred*: it was pushed back, by
    Retry-After or because it was too busy; *capped*: as many are in flight as may be.
    """

    spiderid: str
    domain: str
    queued: int
    leased: int
    opens: float | None
    blocked: bool = False
    paused: int = 0
    deferred: bool = False
    capped: bool = False


class DomainCounts(NamedTuple):
    """How many domains have something queued, by what keeps it.

    *ready*: nothing; *resting*: the throttle, or that they were pushed back; *capped*: as
    many requests are in flight as may be.  What was blocked or paused since is ready until
    the next lease meets it; then what is paused is in none of these.
    """

    ready: int = 0
    resting: int = 0
    blocked: int = 0
    capped: int = 0

    @classmethod
    def sum(cls, counts: Iterable[DomainCounts]) -> DomainCounts:
        return cls(*map(sum, zip(cls(), *counts, strict=True)))


class QueuedIn(NamedTuple):
    """What a crawl has queued in one domain, with the priorities that count now."""

    domain: str
    queued: int
    highest: int
    lowest: int


class DomainSetting(NamedTuple):
    """What `limit` and `block` have set for a domain; 0 hits: no throttle of its own."""

    domain: str
    hits: int = 0
    window: float = 0.0
    scale: float = 1.0
    blocked: bool = False


class Treatment(NamedTuple):
    """What is set for single domains, and how often any was pushed back by `defer` so far."""

    settings: list[DomainSetting]
    deferrals: int


class Vitals(NamedTuple):
    """What a worker tells of itself with each renewal.

    *pages* since it began, *rate* of them a second lately, *memory* in bytes; 0: not told.
    """

    pages: int = 0
    rate: float = 0.0
    memory: int = 0


NOTHING_TOLD = Vitals()


@dataclass(frozen=True)
class WorkerStatus:
    """A worker; the fleet's own are named `host:pid:spider:token`, see `worker_name`.

    *trouble* is what keeps it from leasing, in its own words; *vitals* are as old as its
    last renewal.
    """

    worker: str
    deadline: float
    leased: int
    trouble: str = ""
    vitals: Vitals = NOTHING_TOLD

    @property
    def host(self) -> str:
        return self._part(0)

    @property
    def pid(self) -> str:
        return self._part(1)

    @property
    def spiderid(self) -> str:
        return unquote(self._part(2))

    def _part(self, number: int) -> str:
        parts = self.worker.rsplit(":", 3)
        return parts[number] if len(parts) == 4 else ""


def worker_name(spiderid: str) -> str:
    """Return a name that no other worker has, and that says where this one is."""
    spider = quote(spiderid, safe="")
    return f"{socket.gethostname()}:{os.getpid()}:{spider}:{secrets.token_hex(4)}"


@dataclass(frozen=True)
class Trace:
    """Where a URL is and why; what the tracker does not keep is None."""

    state: Literal["unseen", "queued", "delayed", "leased", "done", "failed", "dropped"]
    reason: str | None = None
    attempts: int | None = None
    depth: int | None = None
    priority: int | None = None
    worker: str | None = None
    since: float | None = None
    next_try: float | None = None


@dataclass(frozen=True)
class Held:
    """A request that a worker holds, *since* (Unix seconds) it was lent."""

    crawl: CrawlId
    url: str
    domain: str
    priority: int
    depth: int
    attempts: int
    since: float


def longest_first(held: Iterable[Held]) -> list[Held]:
    return sorted(held, key=lambda each: (each.since, each.url))


@dataclass(frozen=True)
class Failure:
    """A request that failed for good, as kept for `retry` and the summary."""

    url: str
    reason: str
    detail: str
    attempts: int
    domain: str = ""

    def matches(self, reason: str, domain: str) -> bool:
        """Whether it is one of *reason* and *domain*; empty ones mean any."""
        return reason in {"", self.reason} and domain in {"", self.domain}


class FailedPage(NamedTuple):
    """Some failures, and *after* for the next page, "" at the end.

    Where a filter lets few through a page may be short, even empty, and not the last.
    """

    failures: list[Failure]
    after: str


def place_of(after: str) -> tuple[int, int]:
    """Return the two numbers of a place in a list; raise `ConfigError` for anything else."""
    first, _, second = (after or "0.0").partition(".")
    if not (first.isdecimal() and second.isdecimal() and len(after) <= 60):
        raise ConfigError("after", f"is no place that an earlier page named: {after[:60]!r}")
    return int(first), int(second)


def by_depth(counts: Mapping[str, int]) -> dict[int, int]:
    """Return *counts* as a status has them, from the seeds on.

    What failed under a version that counted no depths, and was retried since, leaves less
    than nothing.
    """
    return {int(depth): counts[depth] for depth in sorted(counts, key=int) if counts[depth] > 0}


class Event(NamedTuple):
    """One entry of the outbox: *id* orders them, *body* is the JSON of design section 9."""

    id: str
    body: Mapping[str, Any]


class Tracker(ABC):
    """All operations are atomic; any may raise `Unavailable`, and may then be repeated."""

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    async def breaks(self) -> int:
        """Return how often what was confirmed before may have been lost, up to now."""
        return 0

    @abstractmethod
    async def submit(
        self,
        crawl: CrawlId,
        offers: Sequence[Offer],
        options: CrawlOptions | None = None,
        *,
        entry: Entry = "seed",
        source: Source | None = None,
        hold: float = 0.0,
    ) -> Submitted:
        """Create the crawl or extend it; *options* None keeps what it has.

        With *hold* seconds the crawl cannot finish until a submit with 0, or until the
        hold runs out because its submitter died.  A finished crawl starts a new epoch
        when something is queued; a stopped or expired one does so too.
        """

    async def submit_all(self, submissions: Sequence[Submission]) -> list[Submitted]:
        """Do what as many `submit`s would, in order, in as few steps as possible.

        After an error any part may have been done: repeated, what has a source is not
        done twice.
        """
        return [
            await self.submit(
                each.crawl, each.offers, each.options, entry=each.entry, source=each.source
            )
            for each in submissions
        ]

    @abstractmethod
    async def lease(self, worker: str, limit: int, spiderid: str) -> Leased:
        """Lend up to *limit* requests, best first, each domain within its throttle.

        The first lease of a worker registers it.
        """

    @abstractmethod
    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        """End leases; False where a lease was no longer this worker's: nothing was done."""

    @abstractmethod
    async def renew(
        self,
        worker: str,
        trouble: str = "",
        held: Sequence[Lease] | None = None,
        *,
        vitals: Vitals | None = None,
    ) -> bool:
        """Let all leases of the worker run on; False when it was declared dead.

        *trouble* is told to who looks at the workers: why this one leases nothing.  *held*
        is all that it works on, told while no `lease` of it is on its way: what else it
        has, because a failover took the end of a lease back, is given to others.  *vitals*
        stay as they were told last.
        """

    @abstractmethod
    async def leave(self, worker: str) -> int:
        """Release every lease of the worker, and forget the worker."""

    @abstractmethod
    async def reclaim(self) -> int:
        """Give leases of dead workers back to their queues; how many were given back."""

    @abstractmethod
    async def sweep(self) -> bool:
        """One bounded step of background work; True when there is more to do.

        Frees what stopped crawls left in queues, ends expired crawls and held ones whose
        submitter died, forgets the seen-sets of crawls that ended long ago.
        """

    @abstractmethod
    async def idle(self, timeout: float) -> None:
        """Return when something may have become leasable, at the latest after *timeout*."""

    @abstractmethod
    async def stop(self, crawl: CrawlId) -> int:
        """End the crawl; how many queued and delayed requests were dropped `stopped`."""

    @abstractmethod
    async def expire(self, crawl: CrawlId) -> int:
        """End the crawl as `stop` does, with the state and reason `expired`."""

    @abstractmethod
    async def pause(self, crawl: CrawlId) -> bool: ...

    @abstractmethod
    async def resume(self, crawl: CrawlId) -> bool: ...

    @abstractmethod
    async def forget(self, crawl: CrawlId) -> bool:
        """Delete the books and the seen-set of a crawl that has ended.

        False when it is unknown, goes on, or has something in flight.
        """

    @abstractmethod
    async def retry(self, crawl: CrawlId, reason: str = "", domain: str = "") -> int:
        """Queue again what failed, all or of one *reason* or *domain*; how many."""

    @abstractmethod
    async def prioritize(self, crawl: CrawlId, boost: int) -> bool:
        """Let all requests of the crawl count *boost* higher than they were submitted.

        It replaces an earlier boost, and acts on what is in flight or found later too.
        False when the crawl is unknown or has ended.
        """

    @abstractmethod
    async def crawl(self, crawl: CrawlId) -> CrawlStatus | None: ...

    async def statuses(self, crawls: Sequence[CrawlId]) -> list[CrawlStatus]:
        """Return the books of these, in as few steps as possible; unknown ones are left out."""
        found: list[CrawlStatus] = []
        for begin in range(0, len(crawls), TOGETHER):
            asked = (self.crawl(crawl) for crawl in crawls[begin : begin + TOGETHER])
            found += [status for status in await asyncio.gather(*asked) if status]
        return found

    @abstractmethod
    async def crawls(self, spiderid: str = "", appid: str = "") -> list[CrawlId]:
        """Return the crawls that are known, all or of one spider type or application."""

    @abstractmethod
    async def queued(self, crawl: CrawlId) -> list[QueuedIn]:
        """Return what the crawl has queued, by domain; what is delayed is not in it."""

    @abstractmethod
    async def domains(self, spiderid: str, limit: int = 100) -> list[DomainStatus]:
        """Return domains with work, at most *limit*: ready ones by priority, then resting."""

    @abstractmethod
    async def all_domains(self, spiderid: str) -> list[DomainStatus]:
        """Return all domains with work, looked at in bounded steps, each at its moment."""

    @abstractmethod
    async def count_domains(self, spiderid: str) -> DomainCounts:
        """Count all domains, at a cost that on Redis is the same however many there are.

        Where throttles are by address, as those workers see them that may ask most.
        """

    @abstractmethod
    async def oldest_queued(self, spiderid: str) -> float | None:
        """Return since when (Unix seconds, to a minute) the oldest queued request waits.

        Looked at is the first of each domain whose crawls are not paused; of domains at rest
        those that open next.  None: there is none.
        """

    @abstractmethod
    async def workers(self) -> list[WorkerStatus]: ...

    @abstractmethod
    async def held(self, worker: str, limit: int = 100) -> list[Held] | None:
        """Return what the worker holds, longest held first; None when it is unknown.

        Where that is more than *limit*, which of it is returned is not determined.
        """

    @abstractmethod
    async def failed(
        self,
        crawl: CrawlId,
        limit: int = 100,
        *,
        reason: str = "",
        domain: str = "",
        after: str = "",
    ) -> FailedPage:
        """Return a page of what failed for good, all or of one *reason* or *domain*.

        *after* is where an earlier page ended.
        """

    async def failures(self, crawl: CrawlId, limit: int = 100) -> list[Failure]:
        """Return the first *limit* of what failed for good."""
        return (await self.failed(crawl, limit)).failures

    @abstractmethod
    async def trace(self, crawl: CrawlId, fingerprint: bytes) -> Trace: ...

    @abstractmethod
    async def limit(self, domain: str, hits: int, window: float, scale: float = 1.0) -> None:
        """Override the throttle of *domain*; 0 hits removes the override."""

    @abstractmethod
    async def block(self, domain: str, *, blocked: bool = True) -> None:
        """Lease nothing of *domain* until it is unblocked; what is queued stays queued."""

    @abstractmethod
    async def treatment(self) -> Treatment:
        """Return all that `limit` and `block` have set, by domain, as it was given."""

    async def domain_settings(self) -> list[DomainSetting]:
        return (await self.treatment()).settings

    @abstractmethod
    async def defer(self, domain: str, delay: float) -> None:
        """Lease nothing of *domain* for *delay* seconds, whatever it was before; 0 opens it."""

    @abstractmethod
    async def audit(
        self, crawl: CrawlId | None = None, *, repair: bool = False
    ) -> list[Finding]:
        """Hold the books of a crawl, or of all, against what there is, in bounded steps.

        Each step looks at one moment: what it finds is no matter of timing, whatever goes
        on meanwhile.  With *repair* it is mended at once, and what is gone is booked as
        dropped, for the reason `lost`.
        """

    @abstractmethod
    async def events(self, after: str = "", limit: int = 100) -> list[Event]:
        """Return outbox entries behind *after*, oldest first."""
