"""A fleet in simulation: workers and shards with the costs that were measured.

A page is fetched once it is leased, costs its worker CPU and its shard some, and its
domain rests for the throttle's gap.  Domains have as many pages as Zipf's law gives them,
and lie on shards as hashing throws them.  Events are batches of leases, not pages; while
one is worked on, a worker has another on its way to or from a shard.
"""

from __future__ import annotations

import heapq
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import simpy

from bench.report import Table, median

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

#: Seconds that are simulated, those before the counting begins, and seconds of a
#: worker that found nothing.
SPAN, WARM_UP, REST = 40.0, 10.0, 0.25
#: Requests in one lease, and leases that a worker works on at once; seconds to the site;
#: seconds that a throttled start may lie ahead.
BATCH, AT_ONCE, LATENCY, AHEAD = 32, 2, 0.2, 0.5


@dataclass(frozen=True)
class Fleet:
    """*gap*: seconds between two requests to a domain; costs are seconds of CPU a page.

    With *shared* all workers have one core together, and all shards another with the site.
    """

    workers: int
    shards: int
    domains: int
    gap: float
    worker_cost: float
    lease_cost: float
    settle_cost: float
    skew: float = 0.8
    pages: int = 100_000_000
    latency: float = LATENCY
    site_cost: float = 0.0
    shared: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of it, after the warm-up; shares are of the time or of the leases."""

    pages: float
    worker_busy: float
    shard_busy: float
    busiest_shard: float
    leases: float
    empty: float
    fairness: float
    closest: float


class Core:
    """Who works on it waits for its turn."""

    def __init__(self, env: simpy.Environment) -> None:
        self._env = env
        self._turns = simpy.Resource(env)

    def work(self, seconds: float) -> Generator[simpy.Event, Any, None]:
        with self._turns.request() as turn:
            yield turn
            yield self._env.timeout(seconds)


class Shard:
    """One Redis, and when each of its domains may be asked."""

    def __init__(self, env: simpy.Environment, fleet: Fleet, core: Core) -> None:
        self.busy = 0.0
        self._env = env
        self._core = core
        self._fleet = fleet
        #: (when it opens, domain), and how many pages a domain still has.
        self._open: list[tuple[float, int]] = []
        self._pages: dict[int, int] = {}
        self._last: dict[int, float] = {}
        self.closest = float("inf")

    def add(self, domain: int, pages: int) -> None:
        self._pages[domain] = pages
        self._open.append((0.0, domain))

    def lend(self, now: float) -> list[float]:
        """Return the starts of up to `BATCH` requests."""
        starts: list[float] = []
        while self._open and self._open[0][0] <= now + AHEAD and len(starts) < BATCH:
            opens, domain = heapq.heappop(self._open)
            start = max(now, opens)
            starts.append(start)
            if domain in self._last:
                self.closest = min(self.closest, start - self._last[domain])
            self._last[domain] = start
            self._pages[domain] -= 1
            if self._pages[domain]:
                heapq.heappush(self._open, (start + self._fleet.gap, domain))
        return starts

    def work(self, seconds: float) -> Generator[simpy.Event, Any, None]:
        yield from self._core.work(seconds)
        if self._env.now > WARM_UP:
            self.busy += seconds


def run(fleet: Fleet, seed: int = 1) -> Outcome:
    env, random = simpy.Environment(), Random(seed)
    servers, workers = Core(env), Core(env)

    def core(of_all: Core) -> Core:
        return of_all if fleet.shared else Core(env)

    shards = [Shard(env, fleet, core(servers)) for _ in range(fleet.shards)]
    total = sum((rank + 1) ** -fleet.skew for rank in range(fleet.domains))
    for rank in range(fleet.domains):
        pages = max(1, round(fleet.pages * (rank + 1) ** -fleet.skew / total))
        random.choice(shards).add(rank, pages)
    done: Counter[int] = Counter()
    asked: Counter[bool] = Counter()

    def worker(number: int, cpu: Core) -> Generator[simpy.Event, Any, None]:
        turn, idle = random.randrange(fleet.shards), 0
        yield env.timeout(random.uniform(0.0, 1.0))
        while True:
            shard, turn = shards[turn % fleet.shards], turn + 1
            starts = shard.lend(env.now)
            yield from shard.work(fleet.lease_cost * max(1, len(starts)))
            if env.now > WARM_UP:
                asked[bool(starts)] += 1
            if not starts:
                idle += 1
                # Each shard is asked once before the worker rests.
                if idle % fleet.shards == 0:
                    yield env.timeout(REST * random.uniform(0.8, 1.2))
                continue
            idle = 0
            # Downloads overlap: a batch takes as long as its CPU, or its share of the slots.
            began, ready = env.now, max(starts) + fleet.latency - min(starts)
            yield from cpu.work(fleet.worker_cost * len(starts))
            yield from servers.work(fleet.site_cost * len(starts))
            rest = began + ready * len(starts) / BATCH - env.now
            if rest > 0:
                yield env.timeout(rest)
            if env.now > WARM_UP:
                done[number] += len(starts)
            yield from shard.work(fleet.settle_cost * len(starts))

    for number in range(fleet.workers):
        cpu = core(workers)
        for _ in range(AT_ONCE):
            env.process(worker(number, cpu))
    env.run(SPAN)
    return _outcome(fleet, shards, done, asked)


def _outcome(
    fleet: Fleet, shards: list[Shard], done: Mapping[int, int], asked: Mapping[bool, int]
) -> Outcome:
    counted = SPAN - WARM_UP
    pages = sum(done.values())
    squares = sum(count * count for count in done.values())
    busy = [shard.busy / counted for shard in shards]
    calls = asked[True] + asked[False]
    return Outcome(
        pages=pages / counted,
        worker_busy=pages * fleet.worker_cost / counted / fleet.workers,
        shard_busy=sum(busy) / fleet.shards,
        busiest_shard=max(busy),
        leases=calls / counted / fleet.shards,
        empty=asked[False] / max(calls, 1),
        # Jain's index: 1 when all workers did as much.
        fairness=pages * pages / (fleet.workers * squares) if squares else 0.0,
        closest=min(shard.closest for shard in shards),
    )


def measure(costs: Mapping[str, Any]) -> dict[str, Any]:
    """Simulate fleets with *costs*: the latest results of `crawl` and `frontier`."""
    cluster = costs["crawl"]["runs"]["cluster"]
    cores = costs["frontier"]["cores"]
    worker = median([each["crawler"] for each in cluster]) / 1000
    lease = 1 / median(cores["with"])
    settle = max(median([each["redis"] for each in cluster]) / 1000 - lease, lease)
    fleets = {
        f"{workers} workers, {shards} shards, {domains:,} domains": Fleet(
            workers, shards, domains, 1.0, worker, lease, settle
        )
        for workers, shards, domains in (
            (1, 1, 100_000),
            (2, 1, 100_000),
            (4, 1, 100_000),
            (4, 3, 100_000),
            (1000, 64, 100_000),
            (1000, 64, 1_000_000),
        )
    }
    outcomes = {}
    for name, fleet in fleets.items():
        began = time.monotonic()
        outcomes[name] = asdict(run(fleet))
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
    return {
        "costs": {"worker": worker, "lease": lease, "settle": settle},
        "outcomes": outcomes,
    }


def tables(result: dict[str, Any]) -> list[Table]:
    costs = {name: 1000 * value for name, value in result["costs"].items()}
    title = (
        f"Simulated for {SPAN:.0f} s, one request a second and domain; measured costs: worker "
        f"{costs['worker']:.2f} ms a page, Redis {costs['lease']:.3f} ms a lease and "
        f"{costs['settle']:.2f} ms a settled page"
    )
    head = [
        "",
        "pages/s",
        "workers busy",
        "shards busy",
        "busiest shard",
        "leases/s a shard",
        "of them empty",
        "fairness (Jain)",
        "closest two requests to a domain, s",
    ]
    rows = [
        [
            name,
            f"{each['pages']:,.0f}",
            f"{each['worker_busy']:.0%}",
            f"{each['shard_busy']:.0%}",
            f"{each['busiest_shard']:.0%}",
            f"{each['leases']:,.0f}",
            f"{each['empty']:.0%}",
            f"{each['fairness']:.3f}",
            f"{each['closest']:.2f}",
        ]
        for name, each in result["outcomes"].items()
    ]
    return [Table(title, head, rows)]
