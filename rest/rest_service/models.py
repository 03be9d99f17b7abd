"""What the resource API answers: the JSON of its OpenAPI description."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from crawling.tracker.tracker import is_failure
from rest_service import examples

if TYPE_CHECKING:
    from crawling.tracker.tracker import CrawlStatus, Held


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


#: What a site has made up: URLs may have halves of surrogate pairs, which no UTF-8 has.
Foreign = Annotated[str, BeforeValidator(_encodable)]


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _like(example: examples.Example) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": example})


class Crawl(Model):
    """The books of a crawl: accepted is the sum of the six columns after it."""

    model_config = _like(examples.CRAWL)

    spiderid: str = Field(examples=["link"])
    appid: str = Field(examples=["demo"])
    crawlid: str = Field(examples=["first"])
    state: Literal["running", "paused", "stopped", "expired", "finished"]
    epoch: int = Field(description="How often the crawl has begun.")
    accepted: int
    queued: int
    delayed: int = Field(description="Waiting for a retry.")
    leased: int = Field(description="In flight.")
    done: int
    failed: int
    dropped: int
    duplicates: int = Field(description="Links met again; not accepted.")
    bytes: int = Field(description="Of the bodies of all pages.")
    reasons: dict[str, int] = Field(description="Why requests failed or were dropped.")
    failures: dict[str, int] = Field(description="Of `reasons`, those of what has failed.")
    statuses: dict[str, int] = Field(description="Pages by HTTP status.")
    by_status: dict[str, int] = Field(
        description="What is done or has failed, by the HTTP status of its last answer.",
        examples=[{"200": 110, "404": 3, "503": 1}],
    )
    by_depth: dict[str, int] = Field(
        description="What is done or has failed, by depth; the greatest stands for all below it.",
        examples=[{"0": 1, "1": 20, "2": 95}],
    )
    started: float = Field(description="Unix seconds.")
    ended: float | None
    elapsed: float = Field(description="Seconds.")
    progress: float = Field(description="The part of what was accepted that has ended, 0 to 1.")
    rate: float = Field(description="Pages a second over the last half minute.")
    eta: float | None = Field(
        description="Seconds until what is known would have ended at that rate."
    )
    maxdepth: int | None
    domain_max_pages: int | None
    max_pages: int | None
    expires: float | None = Field(description="Unix seconds.")
    priority: int = Field(description="Added to the priority of each request.")


def crawl_json(status: CrawlStatus, rate: float) -> dict[str, Any]:
    """Return a crawl as `Crawl` has it; cookies and attrs are nobody's business here."""
    options, outstanding = status.options, status.outstanding
    totals = status.totals()
    ended = status.accepted - outstanding
    return {
        **totals,
        "queued": status.queued,
        "delayed": status.delayed,
        "leased": status.leased,
        "started": status.started,
        "failures": {
            reason: count for reason, count in status.reasons.items() if is_failure(reason)
        },
        **status.breakdown(),
        "ended": status.ended,
        "elapsed": (status.ended or max(time.time(), status.started)) - status.started,
        "progress": round(ended / status.accepted, 4) if status.accepted else 0.0,
        "rate": round(rate, 3),
        "eta": round(outstanding / rate, 1) if rate and outstanding else None,
        "maxdepth": options.maxdepth,
        "domain_max_pages": options.domain_max_pages,
        "max_pages": options.max_pages,
        "expires": options.expires or None,
        "priority": status.boost,
    }


class CrawlPage(Model):
    model_config = _like(examples.CRAWLS)

    crawls: list[Crawl]
    total: int = Field(description="Crawls that the filter lets through.")
    next: str | None = Field(description="`after` of the next page.")


class Waiting(Model):
    """What a crawl has queued in a domain, and why nothing more of it is in flight."""

    domain: str
    queued: int
    why: str = Field(examples=["throttled"])
    until: float | None = Field(description="Unix seconds.")


class WaitingPage(Model):
    model_config = _like(examples.WAITING)

    domains: list[Waiting]
    total: int
    next: str | None


class Failed(Model):
    url: Foreign
    domain: Foreign
    reason: str = Field(examples=["timeout", "http_503"])
    detail: Foreign
    attempts: int


class FailedPage(Model):
    model_config = _like(examples.FAILED)

    failed: list[Failed]
    next: str | None = Field(
        description="`after` of the next page. A page may be shorter than `limit` and have one."
    )


class Changed(Model):
    """What an action has done."""

    model_config = _like(examples.CHANGED)

    changed: bool = Field(description="False where the crawl was so already, or has ended.")


class Stopped(Model):
    model_config = _like(examples.STOPPED)

    dropped: int = Field(description="Requests that were queued and are dropped.")


class Retried(Model):
    model_config = _like(examples.RETRIED)

    queued: int = Field(description="Requests that are queued again.")


class Trace(Model):
    model_config = _like(examples.TRACE)

    url: str
    state: Literal["unseen", "queued", "delayed", "leased", "done", "failed", "dropped"]
    reason: str | None
    attempts: int | None
    depth: int | None
    priority: int | None
    worker: str | None
    since: float | None
    next_try: float | None


class Domain(Model):
    """A domain with work, and how it is treated."""

    domain: str
    spiderid: str
    queued: int
    leased: int
    paused: int = Field(description="Queued requests that are of paused crawls.")
    why: str = Field(
        description="ready, elsewhere (as many in flight as may be), throttled, deferred "
        "(pushed back), paused, blocked.",
        examples=["ready"],
    )
    until: float | None = Field(description="When it may be asked next, Unix seconds.")
    blocked: bool
    hits: float = Field(description="Hits per window that count now; 0: no throttle.")
    window: float
    rate: float | None = Field(description="Hits a second at most; None: no throttle.")
    own: bool = Field(description="Whether the throttle is set for this domain alone.")


class DomainPage(Model):
    model_config = _like(examples.DOMAINS)

    domains: list[Domain]
    total: int
    as_of: float = Field(description="When all domains were looked at, Unix seconds.")
    next: str | None


class DomainSetting(Model):
    domain: str
    hits: int = Field(description="0: as all others.")
    window: float
    scale: float
    blocked: bool


class DomainSettings(Model):
    model_config = _like(examples.DOMAIN_SETTINGS)

    settings: list[DomainSetting]
    total: int
    next: str | None


class Limit(Model):
    model_config = _like(examples.LIMIT)

    hits: int = Field(ge=1, le=10**9, description="Requests in any window.", examples=[10])
    window: float = Field(gt=0, le=10**9, description="Seconds.", examples=[60])
    scale: float = Field(1.0, gt=0, le=1, description="The hits are multiplied by it.")


class Defer(Model):
    model_config = _like(examples.DEFER)

    seconds: float = Field(ge=0, le=10**7, description="0 opens the domain.", examples=[600])


class Retry(Model):
    model_config = _like(examples.RETRY)

    reason: str = Field("", description="Only what failed for this.", examples=["timeout"])
    domain: str = Field("", description="Only what failed of this domain.")


class Priority(Model):
    model_config = _like(examples.PRIORITY)

    priority: int = Field(
        ge=-100, le=100, description="Added to the priority of each request; 0 undoes it."
    )


class Worker(Model):
    worker: str
    host: str
    pid: str
    spiderid: str
    deadline: float = Field(description="When it counts as dead unless it is heard of.")
    alive: bool
    leased: int = Field(description="Requests that it holds.")
    trouble: str = Field(description="What keeps it from leasing, in its own words.")
    pages: int = Field(description="Pages that it has fetched, as it told last.")
    rate: float = Field(description="Of them a second lately, as it told last.")
    memory: int = Field(description="Bytes that it takes, as it told last; 0: not told.")
    why: str
    until: float | None


class WorkerPage(Model):
    model_config = _like(examples.WORKERS)

    workers: list[Worker]
    total: int
    next: str | None


class HeldRequest(Model):
    """A request that a worker works on, or has taken to work on next."""

    spiderid: str
    appid: str
    crawlid: str
    url: Foreign
    domain: Foreign
    priority: int = Field(description="As it was submitted or found, without the crawl's.")
    depth: int
    attempts: int = Field(description="How often it was tried before.")
    since: float = Field(description="When the worker took it, Unix seconds.")


class HeldRequests(Model):
    model_config = _like(examples.HELD)

    requests: list[HeldRequest]


def held_json(held: Held) -> dict[str, Any]:
    own = {name: value for name, value in vars(held).items() if name != "crawl"}
    return {**held.crawl._asdict(), **own}


class Totals(Model):
    """The sums over all crawls that the tracker knows."""

    time: float
    tracker: Literal["up", "down"]
    kafka: Literal["up", "down", "off"]
    crawls: dict[str, int] = Field(description="How many there are in each state.")
    queued: int
    delayed: int
    leased: int
    done: int
    failed: int
    dropped: int
    duplicates: int
    bytes: int
    pages_per_second: float
    failures_per_second: float
    workers: int
    workers_stalled: int = Field(description="Workers that cannot go on, and say why.")


class Stats(Model):
    model_config = _like(examples.STATS)

    overview: Totals
    history: list[tuple[float, float, float, int, int]] = Field(
        description="The last hour as this process saw it, every 10 s: time, pages a second, "
        "failures a second, queued, in flight."
    )
    services: dict[str, Any] = Field(
        description="What the processes of a cluster have counted, by service, as in the "
        "answers to `stats` requests. Empty without Redis."
    )


class Pages(Model):
    model_config = _like(examples.PAGES)

    pages: list[dict[str, Any]] = Field(description="Newest first.")
    looked_at: int = Field(description="Messages of the topic that were read.")
    complete: bool = Field(description="Whether older messages of the topic were read too.")
