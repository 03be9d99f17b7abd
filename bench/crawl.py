"""Pages a second, and CPU a page: ours and the peers, on sites that are the same.

By turns for the figures of each; for how many times one is as fast as another both run at
once, on the same core: what slows the machine then slows both.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from bench.kafka import kafka_on
from bench.peers import PAIRS, PEERS, Pair, Peer, Race, install
from bench.processes import (
    CRAWLER_CORE,
    SERVER_CORE,
    InVain,
    cpu_seconds,
    peak_rss,
    pin_redis,
    running,
)
from bench.report import Table, median, spread
from bench.site import bench_site
from bench.worker import CONCURRENCY
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from subprocess import Popen

    from bench.site import RunningSite

#: Pages before the clock starts: imports, connections and the first links are over.
WARM_UP = 300
#: Seconds that the warm-up may take.
PATIENCE = 90.0


@dataclass(frozen=True)
class Run:
    """One contestant's run: pages a second, and milliseconds of CPU a page."""

    pages: float
    crawler: float
    redis: float
    site: float
    rss: int


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    install()
    runs: dict[str, list[Run]] = {name: [] for name in PEERS}
    for _ in range(rounds):
        for name, peer in PEERS.items():
            runs[name].append(_run(peer, seconds))
            print(f"{name}: {runs[name][-1].pages:.0f} pages/s", file=sys.stderr)
    ratios = {}
    for pair in PAIRS:
        ratios[str(pair)] = _at_once(pair, rounds, seconds)
        print(f"{pair}: {ratios[str(pair)]}", file=sys.stderr)
    return {
        "rounds": rounds,
        "seconds": seconds,
        "runs": {name: [asdict(run) for run in some] for name, some in runs.items()},
        "ratios": ratios,
    }


@dataclass(frozen=True)
class Contestant:
    site: RunningSite
    crawler: Popen[bytes]
    redis_pid: int | None

    def spent(self) -> tuple[int, float]:
        """Return the pages that were served so far, and the crawler's seconds of CPU."""
        return self.site.served(), cpu_seconds(self.crawler.pid)


@contextmanager
def crawling(peer: Peer, at_once: int = CONCURRENCY) -> Iterator[Contestant]:
    """Let *peer* crawl a site of its own; it is warm when the block is entered."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        site = stack.enter_context(bench_site(SERVER_CORE))
        url = stack.enter_context(redis_server(folder)) if peer.on_redis else ""
        redis_pid = pin_redis(url, SERVER_CORE) if url else None
        kafka = stack.enter_context(kafka_on(SERVER_CORE, folder)) if peer.on_kafka else ""
        race = Race(site.start, folder, url, kafka, at_once)
        crawler = stack.enter_context(
            running(
                peer.command(race),
                core=CRAWLER_CORE,
                cwd=folder,
                env=peer.env(race),
            )
        )
        _wait_for_pages(site.served, crawler)
        yield Contestant(site, crawler, redis_pid)


def _run(peer: Peer, seconds: float) -> Run:
    with crawling(peer) as one:
        pids = [one.crawler.pid, one.redis_pid, one.site.pid]
        before, began, cpu = one.site.served(), time.monotonic(), _cpu(pids)
        time.sleep(seconds)
        pages = one.site.served() - before
        took = time.monotonic() - began
        ours, redis, served = (
            1000 * (b - a) / pages for a, b in zip(cpu, _cpu(pids), strict=True)
        )
        return Run(pages / took, ours, redis, served, peak_rss(one.crawler.pid))


def _at_once(pair: Pair, windows: int, seconds: float) -> list[float]:
    """Return how many times the pages of theirs ours makes of a second of CPU."""
    ours, theirs = PEERS[pair.ours], PEERS[pair.theirs]
    ratios = []
    with crawling(theirs, pair.at_once) as slow, crawling(ours, pair.at_once) as fast:
        for _ in range(windows):
            before = [one.spent() for one in (slow, fast)]
            # Pages that are served and not yet parsed have to be few among those of a window.
            time.sleep(2 * seconds * max(1.0, pair.at_once / 64))
            each = [
                (cpu - earlier_cpu) / (pages - earlier)
                for (pages, cpu), (earlier, earlier_cpu) in zip(
                    [one.spent() for one in (slow, fast)], before, strict=True
                )
            ]
            ratios.append(each[0] / each[1])
    return ratios


def _wait_for_pages(served: Callable[[], int], crawler: Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while (pages := served()) < WARM_UP:
        if crawler.poll() is not None:
            raise InVain(f"it ended after {pages} pages: {crawler.args!r}")
        if time.monotonic() > deadline:
            raise InVain(f"{pages} pages in {PATIENCE:.0f} s: {crawler.args!r}")
        time.sleep(0.05)


def _cpu(pids: list[int | None]) -> list[float]:
    return [0.0 if pid is None else cpu_seconds(pid) for pid in pids]


def tables(result: dict[str, Any]) -> list[Table]:
    runs = result["runs"]
    title = (
        f"Crawling ({result['rounds']} rounds by turns, {result['seconds']:g} s each; "
        "min / median / max)"
    )
    head = ["", "pages/s", "CPU ms a page", "Redis ms", "site ms", "peak MB"]
    rows = [
        [
            name,
            spread([run["pages"] for run in some], "0f"),
            spread([run["crawler"] for run in some], "2f"),
            spread([run["redis"] for run in some], "2f"),
            spread([run["site"] for run in some], "2f"),
            f"{max(run['rss'] for run in some) / 1e6:.0f}",
        ]
        for name, some in runs.items()
    ]
    return [Table(title, head, rows), _comparison(runs, result["ratios"])]


def _comparison(runs: dict[str, Any], ratios: dict[str, list[float]]) -> Table:
    rows = []
    for pair in PAIRS:
        names = (pair.ours, pair.theirs)
        rates = [median([run["pages"] for run in runs[name]]) for name in names]
        by_rate = f"{rates[0] / rates[1]:.2f}" if pair.at_once == CONCURRENCY else ""
        promised = f"at least {pair.promised:g}" if pair.promised else ""
        rows.append([str(pair), by_rate, spread(ratios[str(pair)], "2f"), promised])
    head = ["", "pages/s, by turns", "pages/s of CPU, both at once", "promised"]
    return Table("How many times faster (medians; min / median / max)", head, rows)
