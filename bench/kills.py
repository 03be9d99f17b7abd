"""What is lost when workers are killed: ours and scrapy-redis, on the same site."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from redis import Redis

from bench.peers import CACHE, SPIDERS, Race, install, scrapy
from bench.processes import CRAWLER_CORE, SERVER_CORE, running
from bench.report import Table
from bench.site import bench_site
from bench.worker import ROOT, RUN_SPIDER, SETTINGS, submit
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen

#: A prime, so that every page is reached from the first, which has a second URL.
PAGES = 5003
URLS = PAGES + 1
WORKERS, KILLS = 2, 5
LEASE_TIMEOUT = 5
#: Seconds without a page after which a crawl is over.
QUIET = 20.0


@dataclass(frozen=True)
class Run:
    """What became of all pages of a site whose crawlers were killed."""

    saved: int
    lost: int
    #: Requests that reached the site.
    served: int


class Fleet:
    name = "fleet on Redis"

    def begin(self, race: Race) -> None:
        submit(race.redis, race.start)

    def worker(self, race: Race) -> dict[str, Any]:
        settings = {"LEASE_TIMEOUT": str(LEASE_TIMEOUT), "SAVERS": race.redis}
        env = {**SETTINGS, **settings, "TRACKER": race.redis}
        return {"command": RUN_SPIDER, "cwd": ROOT / "crawler", "env": env}

    def saved(self, redis: Redis) -> Iterator[bytes]:
        for key in redis.scan_iter("page:*", count=1000):
            yield redis.get(key)  # type: ignore[misc]  # redis-py's


class ScrapyRedis:
    """With the pipeline that comes with it: an item is in Redis when it is done."""

    name = "scrapy-redis"

    def begin(self, race: Race) -> None:
        with Redis.from_url(race.redis) as client:
            client.lpush("bare:start_urls", race.start)

    def worker(self, race: Race) -> dict[str, Any]:
        spider = str(SPIDERS / "saving_on_scrapy_redis.py")
        python = str(CACHE / "scrapy-redis" / "bin" / "python")
        command = scrapy(race, "-s", f"REDIS_URL={race.redis}", spider, python=python)
        env = {"PYTHONPATH": str(ROOT)}
        return {"command": command, "cwd": race.folder, "env": env}

    def saved(self, redis: Redis) -> Iterator[bytes]:
        yield from redis.lrange("bare:items", 0, -1)  # type: ignore[misc]  # redis-py's


PEERS = (Fleet(), ScrapyRedis())


def measure(rounds: int) -> dict[str, Any]:
    install()
    runs: dict[str, list[Run]] = {peer.name: [] for peer in PEERS}
    for _ in range(rounds):
        for peer in PEERS:
            runs[peer.name].append(run := _run(peer))
            print(f"{peer.name}: {run}", file=sys.stderr)
    about = {"pages": URLS, "workers": WORKERS, "kills": KILLS, "rounds": rounds}
    return {
        **about,
        "runs": {name: [asdict(run) for run in some] for name, some in runs.items()},
    }


def _run(peer: Fleet | ScrapyRedis) -> Run:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        site = stack.enter_context(bench_site(SERVER_CORE, PAGES))
        race = Race(site.start, folder, stack.enter_context(redis_server(folder)))
        peer.begin(race)

        def worker() -> Popen[bytes]:
            return stack.enter_context(running(**peer.worker(race), core=CRAWLER_CORE))

        workers = [worker() for _ in range(WORKERS)]
        for kill in range(KILLS):
            site.must_reach((kill + 1) * URLS // (KILLS + 1), QUIET)
            victim = workers[kill % WORKERS]
            victim.send_signal(signal.SIGKILL)
            victim.wait()
            workers[kill % WORKERS] = worker()
        site.reaches(sys.maxsize, QUIET)
        with Redis.from_url(race.redis) as client:
            urls = {json.loads(page)["url"] for page in peer.saved(client)}
        return Run(len(urls), URLS - len(urls), site.served())


def tables(result: dict[str, Any]) -> list[Table]:
    title = (
        f"Killed with SIGKILL: {result['kills']} times one of {result['workers']} workers, "
        f"started again at once, {result['pages']:,} pages; {result['rounds']} rounds by turns"
    )
    head = ["", "pages saved", "pages lost", "requests that reached the site"]
    rows = [
        [
            name,
            *(
                " / ".join(f"{run[column]:,}" for run in runs)
                for column in ("saved", "lost", "served")
            ),
        ]
        for name, runs in result["runs"].items()
    ]
    return [Table(title, head, rows)]
