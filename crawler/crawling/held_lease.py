"""A lease in this worker's hands, and which one the running code belongs to."""

from __future__ import annotations

import time
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrapy import Request
    from scrapy.http import Response
    from twisted.python.failure import Failure

    from crawling.tracker.tracker import Lease, Offer

T = TypeVar("T")

Phase = Literal["buffered", "handed", "downloading", "fetched", "parsing", "settled"]


@dataclass(eq=False, slots=True)
class HeldLease:
    """What is known of a leased request between `lease` and `settle`."""

    lease: Lease
    phase: Phase = "buffered"
    since: float = field(default_factory=time.monotonic)
    request: Request | None = None
    #: What the downloader gave at last: a Request when a middleware replaced the request.
    result: Response | Request | Failure | None = None
    #: Why the last download would count as failed, before any middleware had its say.
    trouble: tuple[str, str] = ("", "")
    links: list[Offer] = field(default_factory=list)
    #: Links that are not among them, because the tracker has them already.
    known: int = 0
    lost_items: list[BaseException] = field(default_factory=list)
    spider_errors: list[BaseException] = field(default_factory=list)
    #: What `process_spider_input` raised, as the errback got it.
    refusal: BaseException | None = None
    #: The audit found it in no part of the engine, last time.
    missed: bool = False

    def enter(self, phase: Phase) -> None:
        self.phase = phase
        self.since = time.monotonic()

    @property
    def open(self) -> bool:
        return self.phase != "settled"

    @property
    def late(self) -> bool:
        """Whether the lease's place in the throttle is lost."""
        return time.monotonic() > self.lease.latest


_current: ContextVar[HeldLease | None] = ContextVar("lease", default=None)


def held_here() -> HeldLease | None:
    return _current.get()


def current_lease() -> Lease | None:
    """Return the lease of the page that the running code works for.

    Right in callbacks, errbacks, pipelines, spider and downloader middlewares and in the
    handlers of item and spider_error signals.  Wrong in download handlers and in the
    handlers of signals about bytes: a finishing download starts the next one.
    """
    held = _current.get()
    return None if held is None else held.lease


def belong_to(held: HeldLease | None) -> None:
    """Let the rest of the running task work for *held*, or for no page."""
    _current.set(held)


def run_in(held: HeldLease, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call *function* so that every task it starts knows its lease."""
    context = copy_context()
    context.run(_current.set, held)
    return context.run(function, *args, **kwargs)
