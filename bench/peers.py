"""Who is measured: ours and the peers, each as a good user would run it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from redis import Redis

from bench.worker import CONCURRENCY, ROOT, RUN_SPIDER, SETTINGS, submit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CACHE = ROOT / ".cache" / "bench"
SPIDERS = ROOT / "bench" / "spiders"
SCRAPY_REDIS, CRAWLEE = "0.9.1", "1.11.0"
#: What a page does not need, as one who tunes would switch off.
TUNED = (
    "CONCURRENT_ITEMS=1 COOKIES_ENABLED=0 RETRY_ENABLED=0 REDIRECT_ENABLED=0 "
    "METAREFRESH_ENABLED=0 COMPRESSION_ENABLED=0 REFERER_ENABLED=0 DOWNLOADER_STATS=0 "
    "TELNETCONSOLE_ENABLED=0"
).split()


@dataclass(frozen=True)
class Race:
    """What one contestant is given for one run."""

    start: str
    folder: Path
    redis: str = ""
    kafka: str = ""
    #: Requests at once.
    at_once: int = CONCURRENCY


@dataclass(frozen=True)
class Peer:
    """One contestant, with the servers that it needs."""

    name: str
    command: Callable[[Race], list[str]]
    on_redis: bool = False
    on_kafka: bool = False
    env: Callable[[Race], dict[str, str]] = lambda _: {"PYTHONPATH": f"{ROOT}/crawler:{ROOT}"}


def fleet(race: Race, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "crawling.cli", "crawl", race.start),
        *("--depth", "1000", "--hits", "0", "--concurrency", str(race.at_once)),
        *("--ignore-robots", "--allow-private", "--quiet"),
        *options,
    ]


def scrapy(race: Race, *options: str, python: str = sys.executable) -> list[str]:
    return [
        *(python, "-m", "scrapy", "runspider"),
        *("-s", "LOG_LEVEL=ERROR", "-s", f"CONCURRENT_REQUESTS={race.at_once}"),
        *options,
    ]


def scrapy_redis(race: Race, spider: str = "on_scrapy_redis.py") -> list[str]:
    with Redis.from_url(race.redis) as client:
        client.lpush("bare:start_urls", race.start)
    python = str(CACHE / "scrapy-redis" / "bin" / "python")
    return scrapy(race, "-s", f"REDIS_URL={race.redis}", str(SPIDERS / spider), python=python)


def scrapy_redis_items(race: Race) -> list[str]:
    """Return scrapy-redis with its RedisPipeline: it too sends each page somewhere."""
    return scrapy_redis(race, "saving_on_scrapy_redis.py")


def worker(race: Race) -> list[str]:
    submit(race.redis, race.start)
    return RUN_SPIDER


def worker_env(race: Race) -> dict[str, str]:
    return {
        **SETTINGS,
        "CONCURRENT_REQUESTS": str(race.at_once),
        "TRACKER": race.redis,
        "KAFKA_HOSTS": race.kafka or "none",
    }


def compressing(race: Race) -> dict[str, str]:
    return {**worker_env(race), "KAFKA_COMPRESSION": "zstd"}


def crawlee(race: Race) -> list[str]:
    python = str(CACHE / "crawlee" / "bin" / "python")
    return [python, str(SPIDERS / "on_crawlee.py"), race.start, str(race.at_once)]


def _bare(race: Race, *options: str) -> list[str]:
    return scrapy(race, *options, str(SPIDERS / "bare.py"), "-a", f"first={race.start}")


def _tuned(race: Race) -> list[str]:
    return _bare(race, *(part for setting in TUNED for part in ("-s", setting)))


PEERS = {
    peer.name: peer
    for peer in (
        Peer("cluster", worker, on_redis=True, on_kafka=True, env=worker_env),
        Peer("cluster, zstd", worker, on_redis=True, on_kafka=True, env=compressing),
        Peer("cluster without Kafka", worker, on_redis=True, env=worker_env),
        Peer("fleet", fleet),
        Peer("fleet, WARC", lambda race: fleet(race, "--save", f"{race.folder}/x.warc.gz")),
        Peer("scrapy", _bare),
        Peer("scrapy, tuned", _tuned),
        Peer("scrapy, JSON lines", lambda race: _bare(race, "-O", f"{race.folder}/x.jsonl")),
        Peer("scrapy-redis", scrapy_redis, on_redis=True),
        Peer("scrapy-redis, items", scrapy_redis_items, on_redis=True),
        Peer("crawlee", crawlee),
    )
}


class Pair(NamedTuple):
    """Ours, whose it is compared to, and how many times faster it has to be, if that was asked."""

    ours: str
    theirs: str
    promised: float | None
    #: Requests at once: 64 are a worker's default, and 256 is what `latency` measures with.
    at_once: int = CONCURRENCY

    def __str__(self) -> str:
        return f"{self.ours} : {self.theirs}, {self.at_once} requests at once"


PAIRS = (
    Pair("cluster", "scrapy", 6.0),
    Pair("cluster", "scrapy-redis", 12.0),
    Pair("cluster", "scrapy-redis", 12.0, 64),
    Pair("cluster", "scrapy-redis", 12.0, 256),
    Pair("cluster", "scrapy-redis, items", None),
    Pair("fleet, WARC", "scrapy, JSON lines", 5.0),
)


def install() -> None:
    """Make the environments of the peers, with the Scrapy that ours runs on."""
    _install("scrapy-redis", f"scrapy=={version('scrapy')}", f"scrapy-redis=={SCRAPY_REDIS}")
    _install("crawlee", f"crawlee[parsel]=={CRAWLEE}")


def _install(name: str, *packages: str) -> None:
    folder = CACHE / name
    if not (folder / "installed").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([ROOT / "tools" / "make-venv", sys.executable, folder], check=True)
        pip = folder / "bin" / "pip"
        subprocess.run([pip, "install", "--quiet", *packages], check=True)
        (folder / "installed").touch()
