"""Who is measured: ours and the peers, each as a good user would run it."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "bench"
SPIDERS = ROOT / "bench" / "spiders"
SCRAPY_REDIS = "0.9.1"
#: The same for all: requests at once, robots.txt not asked, only errors logged.
CONCURRENCY = 32


@dataclass(frozen=True)
class Race:
    """What one contestant is given for one run."""

    start: str
    folder: Path
    redis: str = ""


@dataclass(frozen=True)
class Peer:
    """One contestant; *saves* says that every page goes to a file of JSON lines."""

    name: str
    command: Callable[[Race], list[str]]
    on_redis: bool = False


def fleet(race: Race, *options: str) -> list[str]:
    return [
        *(sys.executable, "-m", "crawling.cli", "crawl", race.start),
        *("--depth", "1000", "--hits", "0", "--concurrency", str(CONCURRENCY)),
        *("--ignore-robots", "--allow-private", "--quiet"),
        *options,
    ]


def scrapy(race: Race, *options: str, python: str = sys.executable) -> list[str]:
    return [
        *(python, "-m", "scrapy", "runspider"),
        *("-s", "LOG_LEVEL=ERROR", "-s", f"CONCURRENT_REQUESTS={CONCURRENCY}"),
        *options,
    ]


def scrapy_redis(race: Race) -> list[str]:
    with Redis.from_url(race.redis) as client:
        client.lpush("bare:start_urls", race.start)
    spider = str(SPIDERS / "on_scrapy_redis.py")
    python = str(CACHE / "scrapy-redis" / "bin" / "python")
    return scrapy(race, "-s", f"REDIS_URL={race.redis}", spider, python=python)


def _bare(race: Race, *options: str) -> list[str]:
    return scrapy(race, *options, str(SPIDERS / "bare.py"), "-a", f"first={race.start}")


PEERS = {
    peer.name: peer
    for peer in (
        Peer("fleet", fleet),
        Peer("scrapy", _bare),
        Peer("fleet, saving", lambda race: fleet(race, "--save", f"{race.folder}/x.jsonl")),
        Peer("scrapy, saving", lambda race: _bare(race, "-O", f"{race.folder}/x.jsonl")),
        Peer(
            "fleet on Redis", lambda race: fleet(race, "--tracker", race.redis), on_redis=True
        ),
        Peer("scrapy-redis", scrapy_redis, on_redis=True),
    )
}
#: Ours, whose it is compared to, and how many times faster it has to be.
PAIRS = (
    ("fleet", "scrapy", 1.5),
    ("fleet, saving", "scrapy, saving", 1.5),
    ("fleet on Redis", "scrapy-redis", 4.0),
)


def install() -> None:
    """Make the environment of scrapy-redis, with the Scrapy that ours runs on."""
    folder = CACHE / "scrapy-redis"
    if not (folder / "installed").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([ROOT / "tools" / "make-venv", sys.executable, folder], check=True)
        packages = [f"scrapy=={version('scrapy')}", f"scrapy-redis=={SCRAPY_REDIS}"]
        pip = folder / "bin" / "pip"
        subprocess.run([pip, "install", "--quiet", *packages], check=True)
        (folder / "installed").touch()
