"""Why a worker, or a domain, has nothing in flight at this moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawling.tracker.tracker import DomainStatus, WorkerStatus

#: ready: nothing keeps it back.  busy: it has work in flight.  empty: there is nothing to
#: lease.  elsewhere: all that there is, or all that QUEUE_CONCURRENCY allows, is in flight.
Why = Literal[
    "ready",
    "busy",
    "empty",
    "elsewhere",
    "throttled",
    "deferred",
    "paused",
    "blocked",
    "trouble",
]
#: What comes first when the domains of a worker have several reasons.
_ORDER: tuple[Why, ...] = (
    "ready", "throttled", "deferred", "elsewhere", "paused", "blocked", "empty",
)  # fmt: skip


class Idle(NamedTuple):
    """A reason, and until when it holds (Unix seconds by the tracker's clock)."""

    why: Why
    until: float | None = None
    detail: str = ""


def of_domain(domain: DomainStatus) -> Idle:
    """Return why nothing more of *domain* is leased."""
    if domain.blocked:
        return Idle("blocked")
    if not domain.queued:
        return Idle("elsewhere" if domain.leased else "empty")
    if domain.paused == domain.queued:
        return Idle("paused")
    if domain.opens is not None:
        return Idle("deferred" if domain.deferred else "throttled", domain.opens)
    return Idle("elsewhere") if domain.capped else Idle("ready")


def of_worker(worker: WorkerStatus, domains: Sequence[DomainStatus]) -> Idle:
    """Return why *worker* holds nothing; *domains* are those of its kind of spider.

    With several reasons, that which ends first: a domain that opens soonest.
    """
    if worker.trouble:
        return Idle("trouble", None, worker.trouble)
    if worker.leased:
        return Idle("busy")
    reasons = [Idle("empty"), *map(of_domain, domains)]
    return min(reasons, key=lambda idle: (_ORDER.index(idle.why), idle.until or 0.0))
