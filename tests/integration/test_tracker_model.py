"""Each tracker does what a model in plain Python does, whatever is done to it."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from crawling.tracker.connect import _make as tracker_at
from crawling.tracker.tracker import CrawlId, CrawlOptions, Outcome
from tests.integration.conftest import EAGER
from tests.integration.tracker_model import Model, Request
from tests.integration.tracking import finished, offer

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from crawling.tracker.tracker import Entry, Kind, Lease, Offer

_Result = TypeVar("_Result")

PLAIN, DEEP, SMALL = (CrawlId("link", "tests", name) for name in ("plain", "deep", "small"))
OPTIONS = {
    PLAIN: CrawlOptions(),
    DEEP: CrawlOptions(maxdepth=1, domain_max_pages=3),
    SMALL: CrawlOptions(max_pages=5),
}
CAP = 4
MAX_QUEUED = 12
WORKERS = ("ann", "bob", "cid")

crawls = st.sampled_from([PLAIN, PLAIN, DEEP, SMALL])
urls = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["x.example", "y.example"]))
priorities = st.sampled_from([50, 60, 60, 70])
rules = st.sampled_from([*[""] * 9, "deny"])


def link_to(url: tuple[str, str], priority: int, depth: int, rule: str = "") -> Offer:
    path, domain = url
    return offer(path, domain, priority, depth=depth, rule=rule)


def offers_of(depths: st.SearchStrategy[int]) -> st.SearchStrategy[list[Offer]]:
    one = st.builds(link_to, urls, priorities, depths, rules)
    return st.lists(one, max_size=6)


seeds = offers_of(st.just(0))
links = offers_of(st.integers(0, 2))


class Machine(RuleBasedStateMachine):
    """Drives a tracker and the model side by side."""

    def __init__(self, url: str, *, delays: bool) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        config = replace(
            EAGER,
            concurrency=CAP,
            max_queued=MAX_QUEUED,
            lease_timeout=0.02,
            # With it a retry is delayed for longer than any test takes.
            retry_delay=3600.0 if delays else 0.0,
            retry_delay_max=3600.0,
        )
        self.tracker = tracker_at(url, config)
        self.run(self.tracker.open())
        self.model = Model(OPTIONS, cap=CAP, max_queued=MAX_QUEUED, delays=delays)
        self._names = count()
        self.workers = {name: f"{name}-{next(self._names)}" for name in WORKERS}
        self.held: list[tuple[str, Lease, Request]] = []
        self.late: list[tuple[str, Lease]] = []

    def run(self, operation: Coroutine[Any, Any, _Result]) -> _Result:
        return self._loop.run_until_complete(operation)

    def teardown(self) -> None:
        self.run(self.tracker.close())
        self._loop.close()

    @rule(
        crawl=crawls,
        seeds=seeds,
        entry=st.sampled_from(["seed", "seed", "known", "explored"]),
        hold=st.booleans(),
    )
    def submit(self, crawl: CrawlId, seeds: list[Offer], entry: Entry, *, hold: bool) -> None:
        submitted = self.run(
            self.tracker.submit(
                crawl, seeds, OPTIONS[crawl], entry=entry, hold=3600.0 if hold else 0.0
            )
        )

        assert submitted.queued == self.model.submit(crawl, seeds, entry, hold=hold)

    @rule(name=st.sampled_from(WORKERS), limit=st.integers(1, 8))
    def lease(self, name: str, limit: int) -> None:
        worker = self.workers[name]
        leases, wait = self.run(self.tracker.lease(worker, limit, "link"))
        while wait == 0 and len(leases) < limit:
            more, wait = self.run(self.tracker.lease(worker, limit - len(leases), "link"))
            leases += more

        expected = self.model.lease(limit)

        assert [seen_in(lease) for lease in leases] == [seen_as(each) for each in expected]
        held = zip(leases, expected, strict=True)
        self.held += [(worker, lease, request) for lease, request in held]

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        kind=st.sampled_from(
            ["done", "done", "done", "failed", "retry", "redirect", "dropped", "released"]
        ),
        links=links,
        goal=urls,
    )
    def settle(
        self, data: st.DataObject, kind: Kind, links: list[Offer], goal: tuple[str, str]
    ) -> None:
        index = data.draw(st.integers(0, len(self.held) - 1))
        worker, lease, request = self.held.pop(index)
        to = link_to(goal, lease.priority, lease.depth) if kind == "redirect" else None
        reason = {"failed": "timeout", "dropped": "robots", "retry": "timeout"}.get(kind, "")
        status, size = (200, 100) if kind == "done" else (0, 0)
        outcome = Outcome(lease, kind, reason, "", status, size, links, next=to)

        assert self.run(self.tracker.settle(worker, [outcome])) == [True]

        self.model.settle(request, kind, links, to)
        self.late.append((worker, lease))

    @precondition(lambda self: self.late)
    @rule(data=st.data(), kind=st.sampled_from(["done", "released", "failed"]), links=links)
    def settle_late(self, data: st.DataObject, kind: Kind, links: list[Offer]) -> None:
        worker, lease = data.draw(st.sampled_from(self.late))
        outcome = Outcome(lease, kind, "timeout", status=200, size=100, links=links)

        assert self.run(self.tracker.settle(worker, [outcome])) == [False]

    @rule(name=st.sampled_from(WORKERS))
    def leave(self, name: str) -> None:
        held = self._lose(name)

        assert self.run(self.tracker.leave(self.workers[name])) == len(held)

        self.model.give_back(held)

    @rule(name=st.sampled_from(WORKERS))
    def die(self, name: str) -> None:
        held = self._lose(name)
        self.workers[name] = f"{name}-{next(self._names)}"

        assert self.run(self._reclaim(len(held))) == len(held)

        self.model.give_back(held)

    async def _reclaim(self, expected: int) -> int:
        """Reclaim, while all who live renew, until as much is back as the dead held."""
        reclaimed = 0
        for _ in range(1000):
            for worker in self.workers.values():
                await self.tracker.renew(worker)
            reclaimed += await self.tracker.reclaim()
            if reclaimed >= expected:
                break
            await asyncio.sleep(0.003)
        return reclaimed

    def _lose(self, name: str) -> list[Request]:
        lost = [each for each in self.held if each[0] == self.workers[name]]
        self.held = [each for each in self.held if each not in lost]
        self.late += [(worker, lease) for worker, lease, _ in lost]
        return [request for _, _, request in lost]

    @rule(crawl=crawls)
    def stop(self, crawl: CrawlId) -> None:
        assert self.run(self.tracker.stop(crawl)) == self.model.end(crawl, "stopped")

    @rule(crawl=crawls)
    def expire(self, crawl: CrawlId) -> None:
        assert self.run(self.tracker.expire(crawl)) == self.model.end(crawl, "expired")

    @rule(crawl=crawls)
    def pause(self, crawl: CrawlId) -> None:
        paused = self.run(self.tracker.pause(crawl))

        assert paused == self.model.flag(crawl, "running", "paused")

    @rule(crawl=crawls)
    def resume(self, crawl: CrawlId) -> None:
        resumed = self.run(self.tracker.resume(crawl))

        assert resumed == self.model.flag(crawl, "paused", "running")

    @rule(crawl=crawls, boost=st.sampled_from([-15, 0, 15]))
    def prioritize(self, crawl: CrawlId, boost: int) -> None:
        raised = self.run(self.tracker.prioritize(crawl, boost))

        assert raised == self.model.prioritize(crawl, boost)

    @rule(crawl=crawls)
    def retry(self, crawl: CrawlId) -> None:
        assert self.run(self.tracker.retry(crawl)) == self.model.retry(crawl)

    @rule()
    def sweep(self) -> None:
        for _ in range(100):
            if not self.run(self.tracker.sweep()):
                return
        pytest.fail("sweeping does not come to an end")

    @invariant()
    def books_agree(self) -> None:
        assert set(self.run(self.tracker.crawls())) == set(self.model.crawls)
        for name, crawl in self.model.crawls.items():
            status = self.run(self.tracker.crawl(name))
            assert status is not None
            assert status.balanced
            assert (status.state, status.epoch) == (crawl.state, crawl.epoch)
            assert status.queued == crawl.counted("queued")
            assert status.delayed == crawl.counted("delayed")
            assert status.leased == crawl.counted("leased")
            assert status.done == crawl.counted("done")
            assert status.failed == crawl.counted("failed")
            assert status.dropped == crawl.counted("dropped") + crawl.refused.total()
            assert (status.duplicates, status.size) == (crawl.duplicates, crawl.size)
            assert Counter(status.reasons) == crawl.reasons
            assert Counter(status.statuses) == crawl.statuses
            assert Counter(status.by_depth) == crawl.by_depth

    @invariant()
    def domains_and_workers_agree(self) -> None:
        domains = self.run(self.tracker.domains("link"))
        workers = self.run(self.tracker.workers())

        running = [crawl for crawl in self.model.crawls.values() if crawl.state == "running"]
        assert sum(each.queued for each in domains) >= sum(
            crawl.counted("queued") for crawl in running
        )
        assert sum(each.leased for each in domains) == len(self.held)
        assert sum(each.leased for each in workers) == len(self.held)

    @invariant()
    def an_audit_finds_nothing(self) -> None:
        assert self.run(self.tracker.audit()) == []

    @invariant()
    def each_end_is_one_event(self) -> None:
        events = self.run(finished(self.tracker))

        assert [
            (
                CrawlId(event.body["spiderid"], event.body["appid"], event.body["crawlid"]),
                event.body["epoch"],
                event.body["state"],
            )
            for event in events
        ] == self.model.events

    @rule(crawl=crawls, url=urls)
    def trace(self, crawl: CrawlId, url: tuple[str, str]) -> None:
        fingerprint = offer(*url).fingerprint
        trace = self.run(self.tracker.trace(crawl, fingerprint))

        known = self.model.crawls.get(crawl)
        _, state = known.followed(fingerprint) if known else (b"", None)
        text = state.state if isinstance(state, Request) else state
        expected, _, reason = (text or "unseen").partition(" ")
        assert (trace.state, trace.reason or "") == (expected, reason)


def seen_in(lease: Lease) -> tuple[CrawlId, str, int, int, int]:
    return (lease.crawl, lease.url, lease.priority, lease.depth, lease.attempts)


def seen_as(request: Request) -> tuple[CrawlId, str, int, int, int]:
    offer = request.offer
    return (request.crawl.name, offer.url, request.priority, offer.depth, request.attempts)


def empty_trackers(request: pytest.FixtureRequest, kind: str, folder: str) -> Iterator[str]:
    """Yield URLs of empty trackers of *kind*, one after the other."""
    for number in count():
        if kind == "redis":
            request.getfixturevalue("redis").flushall()
            yield str(request.getfixturevalue("redis_url"))
        elif kind == "file":
            yield f"sqlite:///{folder}/{number}.db"
        else:
            yield "sqlite://"


@pytest.mark.parametrize("delays", [False, True])
@pytest.mark.parametrize("kind", ["memory", "file", "redis"])
def test_whatever_is_done_to_it_a_tracker_does_what_the_model_does(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    kind: str,
    *,
    delays: bool,
) -> None:
    urls = empty_trackers(request, kind, str(tmp_path_factory.mktemp(kind)))

    class Here(Machine):
        def __init__(self) -> None:
            super().__init__(next(urls), delays=delays)

    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=int(os.environ.get("MODEL_EXAMPLES", "50")),
            stateful_step_count=40,
            deadline=None,
            derandomize=bool(os.environ.get("CI")),
            suppress_health_check=list(HealthCheck),
        ),
    )
