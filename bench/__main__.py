"""`python -m bench [NAME…]`: measure, and print the figures.

With `--save` they also go to docs/reference/benchmarks.md, which is made from
benchmarks.json beside it, where the latest run of each is kept.
"""

from __future__ import annotations

import argparse
import json
import platform
from datetime import datetime, timezone
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from bench import (
    books,
    crawl,
    fleets,
    frontier,
    ingest,
    kafka,
    kills,
    outage,
    plots,
    profile,
    requests,
    scale,
    simulate,
    streams,
    workers,
)
from bench.peers import SCRAPY_REDIS
from bench.processes import machine
from bench.worker import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

DATA = ROOT / "docs" / "reference" / "benchmarks.json"
TABLES = {
    "crawl": crawl.tables,
    "frontier": frontier.tables,
    "requests": requests.tables,
    "ingest": ingest.tables,
    "kafka": kafka.tables,
    "workers": workers.tables,
    "latency": workers.latency_tables,
    "profile": profile.tables,
    "memory": workers.memory_tables,
    "streams": streams.tables,
    "kills": kills.tables,
    "outage": outage.tables,
    "books": books.tables,
    "scale": scale.tables,
    "simulate": simulate.tables,
    "fleets": fleets.tables,
}
INTRODUCTION = """\
# Benchmarks

Made by `make bench ARGS=--save`; not written by hand.
The site has 15 kB a page and 50 links, of which 30 lead to the same thousand pages, on 100
loopback hosts, with no throttle and no robots.txt.
The crawler has one core, the site and Redis share the other.
Both sides of a comparison ran by turns; compare medians, and trust no difference under 15 %.
"""


def main() -> None:
    parser = make_parser()
    options = parser.parse_args()
    for name in set(options.names) - TABLES.keys():
        parser.error(f"there is no {name!r}, only {', '.join(TABLES)}")
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "crawl": lambda: crawl.measure(options.rounds, options.seconds),
        "frontier": lambda: frontier.measure(options.rounds),
        "requests": requests.measure,
        "ingest": ingest.measure,
        "kafka": kafka.measure,
        "workers": lambda: workers.measure(options.rounds, options.seconds),
        "latency": lambda: workers.measure_latency(options.rounds, options.seconds),
        "profile": lambda: profile.measure(4 * options.seconds),
        "memory": lambda: workers.measure_memory(options.pages),
        "streams": lambda: streams.measure(options.rounds, 6 * options.seconds),
        "kills": lambda: kills.measure(options.rounds),
        "outage": lambda: outage.measure(options.away),
        "books": books.measure,
        "scale": lambda: scale.measure(saved()),
        "simulate": lambda: simulate.measure(saved()),
        "fleets": lambda: fleets.measure(options.rounds, options.seconds),
    }
    results = {}
    for name in options.names or measures:
        results[name] = {**circumstances(), **measures[name]()}
        if not options.json:
            print("\n" + section(name, results[name]) + "\n", flush=True)
    if options.json:
        print(json.dumps(results))
    if options.save:
        save(results)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(TABLES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each crawl")
    parser.add_argument("--pages", type=int, default=100_000, help="of the memory's crawl")
    parser.add_argument("--away", type=float, default=120.0, help="seconds of an outage")
    parser.add_argument("--json", action="store_true", help="print JSON, not Markdown")
    parser.add_argument("--save", action="store_true", help=f"write {DATA.name} and its page")
    return parser


def circumstances() -> dict[str, str]:
    return {
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "machine": machine(),
        "versions": f"Python {platform.python_version()}, Scrapy {version('scrapy')}, "
        f"scrapy-redis {SCRAPY_REDIS}",
    }


def section(name: str, result: dict[str, Any]) -> str:
    tables = "\n\n".join(table.markdown() for table in TABLES[name](result))
    return f"{tables}\n\n{result['date']}, {result['machine']}, {result['versions']}."


def saved() -> dict[str, Any]:
    """Return the latest result of each benchmark."""
    known: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {}
    return known


def save(results: dict[str, Any]) -> None:
    DATA.parent.mkdir(parents=True, exist_ok=True)
    known = saved() | results
    DATA.write_text(json.dumps(known, indent=1) + "\n")
    page = [
        INTRODUCTION,
        *(section(name, known[name]) + "\n" for name in TABLES if name in known),
    ]
    DATA.with_suffix(".md").write_text("\n".join([*page, *plots.draw(known, DATA.parent)]))


if __name__ == "__main__":
    main()
