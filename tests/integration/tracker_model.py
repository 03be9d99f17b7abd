"""What a tracker does, in plain Python: no store, no throttle, no clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

from crawling.tracker.tracker import PASSING_REASONS, CrawlOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crawling.tracker.tracker import CrawlId, Entry, Kind, Offer, State


@dataclass(eq=False)
class Request:
    crawl: Crawl
    offer: Offer
    charged: str
    priority: int
    age: int
    attempts: int = 0
    #: queued, delayed, leased; or how it ended: "done", "failed REASON", "dropped REASON"
    state: str = "queued"


@dataclass(eq=False)
class Crawl:
    name: CrawlId
    options: CrawlOptions
    state: State = "running"
    epoch: int = 1
    boost: int = 0
    reported: int = 0
    is_held: bool = False
    duplicates: int = 0
    size: int = 0
    #: What was refused at the door, by reason; what was taken back is subtracted.
    refused: Counter[str] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    #: fingerprint -> request, reason of a refusal, or fingerprint that it redirects to
    seen: dict[bytes, Request | str | bytes] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    failures: list[Request] = field(default_factory=list)
    #: The youngest request of before the last stop.
    void: int = 0

    @property
    def is_open(self) -> bool:
        return self.state in {"running", "paused"}

    def counted(self, *states: str) -> int:
        return sum(request.state.partition(" ")[0] in states for request in self.requests)

    @property
    def outstanding(self) -> int:
        return self.counted("queued", "delayed", "leased")

    @property
    def reasons(self) -> Counter[str]:
        ended = Counter(each.state.partition(" ")[2] for each in self.requests)
        del ended[""]
        return +(ended + self.refused)

    @property
    def by_depth(self) -> Counter[int]:
        ended = [each for each in self.requests if each.state.startswith(("done", "failed"))]
        return Counter(each.offer.depth for each in ended)

    def followed(self, fingerprint: bytes) -> tuple[bytes, Request | str | None]:
        while isinstance(state := self.seen.get(fingerprint), bytes):
            fingerprint = state
        return fingerprint, state


class Model:
    """The trackers' rules; *keeps_age*: a retry is as old as its request (in Redis)."""

    def __init__(
        self, options: dict[CrawlId, CrawlOptions], *, cap: int, max_queued: int, delays: bool
    ) -> None:
        self._options = options
        self._cap = cap
        self._max_queued = max_queued
        self._delays = delays
        self._ages = count(1)
        self.crawls: dict[CrawlId, Crawl] = {}
        self.events: list[tuple[CrawlId, int, str]] = []
        #: (spider type, domain) -> (crawl, priority) -> requests, first out first
        self._lanes: dict[str, dict[tuple[CrawlId, int], list[Request]]] = {}
        self._in_flight: Counter[str] = Counter()

    def submit(
        self, name: CrawlId, offers: Sequence[Offer], entry: Entry, *, hold: bool
    ) -> int:
        crawl = self.crawls.setdefault(name, Crawl(name, self._options[name]))
        crawl.is_held = hold
        queued = 0
        for offer in offers:
            if entry == "explored":
                crawl.seen.setdefault(offer.fingerprint, "done")
            elif entry == "seed":
                queued += self._accept(crawl, offer, self._judge(crawl, offer, entry))
            else:
                queued += self._discover(crawl, offer, entry)
        self._finish(crawl)
        return queued

    def lease(self, limit: int) -> list[Request]:
        leased: list[Request] = []
        while len(leased) < limit and (head := self._best()):
            lane = self._lanes[head.offer.domain][head.crawl.name, head.priority]
            lane.remove(head)
            head.state = "leased"
            self._in_flight[head.offer.domain] += 1
            leased.append(head)
        return leased

    def settle(
        self, request: Request, kind: Kind, links: Sequence[Offer], target: Offer | None
    ) -> None:
        crawl = request.crawl
        for link in links:
            self._discover(crawl, link, "link")
        self._in_flight[request.offer.domain] -= 1
        if kind == "done":
            request.state = "done"
            crawl.statuses[200] += 1
            crawl.size += 100
        elif kind == "failed":
            request.state = "failed timeout"
            crawl.failures.append(request)
        elif kind == "dropped":
            request.state = "dropped robots"
        elif not crawl.is_open:
            request.state = f"dropped {crawl.state}"
        elif kind == "retry":
            self._retry(request)
        elif kind == "redirect":
            assert target is not None
            self._redirect(request, target)
        else:
            self._return(request)
        self._finish(crawl)

    def give_back(self, requests: Sequence[Request]) -> None:
        """Release what a worker held that left or died."""
        for request in sorted(requests, key=lambda each: each.age):
            self.settle(request, "released", (), None)

    def end(self, name: CrawlId, state: State) -> int:
        crawl = self.crawls.get(name)
        if crawl is None or not crawl.is_open:
            return 0
        waiting = [each for each in crawl.requests if each.state in {"queued", "delayed"}]
        for request in waiting:
            request.state = f"dropped {state}"
        for lanes in self._lanes.values():
            for lane in [lane for lane in lanes if lane[0] == name]:
                del lanes[lane]
        crawl.state = state
        crawl.is_held = False
        crawl.void = next(self._ages)
        self._finish(crawl)
        return len(waiting)

    def flag(self, name: CrawlId, before: State, after: State) -> bool:
        crawl = self.crawls.get(name)
        if crawl is None or crawl.state != before:
            return False
        crawl.state = after
        return True

    def prioritize(self, name: CrawlId, boost: int) -> bool:
        crawl = self.crawls.get(name)
        if crawl is None or not crawl.is_open:
            return False
        crawl.boost = boost
        return True

    def retry(self, name: CrawlId) -> int:
        crawl = self.crawls.get(name)
        queued = 0
        for request in list(crawl.failures) if crawl else []:
            queued += self._retry_failed(request)
        return queued

    def _discover(self, crawl: Crawl, offer: Offer, entry: Entry | str) -> bool:
        reason = self._judge(crawl, offer, entry)
        if offer.fingerprint not in crawl.seen:
            return self._accept(crawl, offer, reason)
        if reason or not self._take_back(crawl, offer.fingerprint):
            crawl.duplicates += 1
            return False
        return self._queue(crawl, offer)

    def _judge(self, crawl: Crawl, offer: Offer, entry: Entry | str) -> str:
        options = crawl.options
        if offer.rule:
            return offer.rule
        if options.maxdepth is not None and offer.depth > options.maxdepth:
            return "depth"
        if entry == "link" and not crawl.is_open:
            return crawl.state
        if entry != "seed" and crawl.counted("queued", "delayed") >= self._max_queued:
            return "queue_full"
        return "page_limit" if self._is_over_budget(crawl, offer.domain) else ""

    def _is_over_budget(self, crawl: Crawl, domain: str) -> bool:
        charged = [
            each.charged
            for each in crawl.requests
            if each.state in {"queued", "delayed", "leased", "done"}
        ]
        total, of_domain = crawl.options.max_pages, crawl.options.domain_max_pages
        return (total is not None and len(charged) >= total) or (
            of_domain is not None and charged.count(domain) >= of_domain
        )

    def _accept(self, crawl: Crawl, offer: Offer, reason: str) -> bool:
        if not reason:
            return self._queue(crawl, offer)
        crawl.refused[reason] += 1
        if reason != "queue_full":
            crawl.seen.setdefault(offer.fingerprint, f"dropped {reason}")
        return False

    def _take_back(self, crawl: Crawl, fingerprint: bytes) -> bool:
        last, state = crawl.followed(fingerprint)
        if not self._has_passed(state):
            return False
        if isinstance(state, Request):
            crawl.requests.remove(state)
        else:
            crawl.refused[str(state).partition(" ")[2]] -= 1
        if last != fingerprint:
            del crawl.seen[last]
        return True

    def _has_passed(self, state: Request | str | None) -> bool:
        text = state.state if isinstance(state, Request) else state or ""
        kind, _, reason = text.partition(" ")
        return kind == "dropped" and reason in PASSING_REASONS

    def _queue(self, crawl: Crawl, offer: Offer, charged: str = "") -> bool:
        if not crawl.is_open:
            crawl.state = "running"
            crawl.epoch += 1
        request = Request(
            crawl, offer, charged or offer.domain, offer.priority, next(self._ages)
        )
        crawl.requests.append(request)
        crawl.seen[offer.fingerprint] = request
        self._lane(request).append(request)
        return True

    def _lane(self, request: Request) -> list[Request]:
        lanes = self._lanes.setdefault(request.offer.domain, {})
        return lanes.setdefault((request.crawl.name, request.priority), [])

    def _return(self, request: Request) -> None:
        """Put a request before all that is younger."""
        request.state = "queued"
        lane = self._lane(request)
        older = sum(each.age < request.age for each in lane)
        lane.insert(older, request)

    def _retry(self, request: Request) -> None:
        request.priority -= 10
        request.attempts += 1
        if self._delays:
            request.state = "delayed"
            return
        request.state = "queued"
        request.age = next(self._ages)
        self._lane(request).append(request)

    def _redirect(self, request: Request, target: Offer) -> None:
        crawl = request.crawl
        _, state = crawl.followed(target.fingerprint)
        if state not in {None, request} and not self._has_passed(state):
            request.state = "dropped duplicate"
            return
        before = request.offer.fingerprint
        if before != target.fingerprint:
            if crawl.seen.get(before) is request:
                crawl.seen[before] = target.fingerprint
            crawl.seen[target.fingerprint] = request
        request.offer = target._replace(depth=request.offer.depth)
        self._return(request)

    def _retry_failed(self, request: Request) -> bool:
        crawl = request.crawl
        if crawl.seen.get(request.offer.fingerprint) is not request:
            crawl.failures.remove(request)
            return False
        if self._is_over_budget(crawl, request.charged):
            return False
        crawl.failures.remove(request)
        crawl.requests.remove(request)
        priority = request.priority + 10 * request.attempts
        return self._queue(crawl, request.offer._replace(priority=priority), request.charged)

    def _best(self) -> Request | None:
        heads = [
            lane[0]
            for domain, lanes in self._lanes.items()
            for lane in lanes.values()
            if lane and self._in_flight[domain] < self._cap and lane[0].crawl.state == "running"
        ]
        return min(
            heads, key=lambda head: (-head.priority - head.crawl.boost, head.age), default=None
        )

    def _finish(self, crawl: Crawl) -> None:
        if crawl.outstanding or crawl.is_held or crawl.reported == crawl.epoch:
            return
        if crawl.is_open:
            crawl.state = "finished"
        crawl.reported = crawl.epoch
        self.events.append((crawl.name, crawl.epoch, crawl.state))
