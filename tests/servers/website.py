"""The simulated web of the tests, as a process of its own.

    python -m tests.servers.website --log access.jsonl

prints one line of JSON with its port when it answers, and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tests.servers.site_graph import HOSTS, PAGES, SiteGraph
from tests.servers.site_pages import FlatSite, GraphSite
from tests.servers.site_server import bind, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.site_server import Site

ROOT = Path(__file__).parents[2]


class Access(NamedTuple):
    """One line of the access log; *time* is `time.monotonic` when the request arrived."""

    time: float
    host: str
    path: str
    status: int
    agent: str


@dataclass(frozen=True)
class Website:
    port: int
    pid: int
    log: Path

    def accesses(self, *, robots: bool = False) -> list[Access]:
        """Return what was asked for until now, in order; *robots* with robots.txt."""
        lines = self.log.read_text("utf-8").splitlines()
        accesses = [Access(**json.loads(line)) for line in lines]
        return [access for access in accesses if robots or access.path != "/robots.txt"]

    def url(self, access: Access) -> str:
        return f"http://{access.host}:{self.port}{access.path}"


@contextmanager
def website(folder: Path, *options: str) -> Iterator[Website]:
    """Run the website with command-line *options*; its log is kept in *folder*."""
    log = folder / "access.jsonl"
    command = [sys.executable, "-m", "tests.servers.website", "--log", str(log), *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            port = json.loads(process.stdout.readline())["port"]
            yield Website(port, process.pid, log)
        finally:
            process.terminate()


def make_site(options: argparse.Namespace, port: int) -> Site:
    if options.site == "flat":
        return FlatSite(port, options.pages, options.hosts, options.delay)
    return GraphSite(SiteGraph(port, options.seed, options.pages, options.hosts))


async def run(options: argparse.Namespace) -> None:
    hosts = make_site(options, port=0).hosts
    sockets = bind(hosts, options.port)
    port = sockets[0].getsockname()[1]
    site = make_site(options, port)
    with options.log.open("a", buffering=1, encoding="utf-8") as log:
        serving = asyncio.create_task(serve(site, sockets, log))
        print(json.dumps({"port": port, "hosts": hosts}), flush=True)  # noqa: T201 - the answer
        await serving


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--site", choices=["graph", "flat"], default="graph")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--pages", type=int, default=PAGES)
    options.add_argument("--hosts", type=int, default=HOSTS)
    options.add_argument("--delay", type=float, default=0.0, help="of each page, if flat")
    options.add_argument("--log", type=Path, required=True)
    return options


if __name__ == "__main__":
    asyncio.run(run(parser().parse_args()))
