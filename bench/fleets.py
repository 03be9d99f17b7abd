"""Workers and Redis nodes as they are, and as `simulate` has them: how far it can be believed.

All workers share one core, and all Redis nodes the other with the site: what one worker and one
Redis cost a page goes into the simulation, which is held against the rest.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from bench.processes import cpu_seconds
from bench.report import Table, median, spread
from bench.simulate import Fleet, run
from bench.workers import crawling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Workers and Redis nodes; the first tells what a page costs.
FLEETS = ((1, 1), (2, 1), (4, 1), (1, 3), (4, 3))
#: Hosts of the site.
DOMAINS = 100


@dataclass(frozen=True)
class Measured:
    """Pages a second, and seconds of CPU a page: of all workers, all Redis nodes, the site."""

    pages: float
    worker: float
    redis: float
    site: float


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {}
    for _ in range(rounds):
        for workers, nodes in FLEETS:
            found = _measure(workers, nodes, seconds)
            runs.setdefault(f"{workers} {nodes}", []).append(asdict(found))
            print(f"{workers} workers, {nodes} nodes: {found}", file=sys.stderr)
    costs = {name: _median(runs["1 1"], name) for name in ("worker", "redis", "site")}
    return {
        "rounds": rounds,
        "seconds": seconds,
        "runs": runs,
        "simulated": {
            f"{workers} {nodes}": run(_fleet(workers, nodes, costs)).pages
            for workers, nodes in FLEETS
        },
    }


def _measure(workers: int, nodes: int, seconds: float) -> Measured:
    with crawling(workers, nodes=nodes) as crawl:
        pids = [[each.pid for each in crawl.workers], crawl.redis, [crawl.site.pid]]
        before, began = crawl.site.served(), time.monotonic()
        cpu = [sum(map(cpu_seconds, some)) for some in pids]
        time.sleep(seconds)
        pages, took = crawl.site.served() - before, time.monotonic() - began
        spent = [sum(map(cpu_seconds, some)) for some in pids]
    each = [(after - earlier) / pages for after, earlier in zip(spent, cpu, strict=True)]
    return Measured(pages / took, *each)


def _fleet(workers: int, nodes: int, costs: Mapping[str, float]) -> Fleet:
    return Fleet(
        workers,
        nodes,
        DOMAINS,
        gap=0.0,
        worker_cost=costs["worker"],
        # How Redis's time is divided between the two is no matter here.
        lease_cost=costs["redis"] / 2,
        settle_cost=costs["redis"] / 2,
        latency=0.0,
        site_cost=costs["site"],
        shared=True,
    )


def _median(runs: Sequence[Mapping[str, float]], name: str) -> float:
    return median([run[name] for run in runs])


def tables(result: dict[str, Any]) -> list[Table]:
    rows = []
    for name, runs in result["runs"].items():
        workers, nodes = name.split()
        simulated = result["simulated"][name]
        rows.append(
            [
                workers,
                nodes,
                spread([run["pages"] for run in runs], "0f"),
                f"{simulated:.0f}",
                f"{simulated / _median(runs, 'pages'):.2f}",
                spread([1000 * run["worker"] for run in runs], "2f"),
                spread([1000 * run["redis"] for run in runs], "2f"),
            ]
        )
    title = (
        f"Fleets on two cores, one for all workers and one for the servers, and what the "
        f"simulation makes of the first one's costs ({result['rounds']} rounds of "
        f"{result['seconds']:.0f} s, without Kafka; min / median / max)"
    )
    head = [
        "workers",
        "Redis nodes",
        "pages/s",
        "simulated",
        "simulated : median",
        "workers' CPU ms a page",
        "Redis ms",
    ]
    return [Table(title, head, rows)]
