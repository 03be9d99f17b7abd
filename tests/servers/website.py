"""The simulated web of the tests, as a process of its own.

    python -m tests.servers.website --log access.jsonl

prints one line of JSON with its port when it answers, and ends on SIGTERM.  A line on its
standard input says what ails it from then on: a word of `TROUBLES`, or nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.servers.site_graph import HOSTS, PAGES, SiteGraph
from tests.servers.site_pages import FlatSite, GraphSite, Reply, Visit
from tests.servers.site_sections import SectionSite
from tests.servers.site_server import bind, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.servers.site_server import Site

ROOT = Path(__file__).parents[2]
#: What may ail a site, as changes of each of its replies.
TROUBLES: dict[str, dict[str, Any]] = {
    "hang": {"delay": 3600.0},
    "dribble": {"pace": 0.5},
    "reset": {"reset": True},
    "truncate": {"cut": 20},
}


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
    process: subprocess.Popen[bytes]
    log: Path

    def ail(self, trouble: str) -> None:
        """Have every reply from now on go wrong, or none if *trouble* is empty."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{trouble}\n".encode())
        self.process.stdin.flush()

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
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        try:
            port = json.loads(process.stdout.readline())["port"]
            yield Website(port, process, log)
        finally:
            process.terminate()


def make_site(options: argparse.Namespace, port: int) -> Site:
    if options.site == "flat":
        return FlatSite(port, options.pages, options.hosts, options.delay)
    if options.site == "sections":
        return SectionSite(port, options.hosts, options.sections, options.delay)
    return GraphSite(SiteGraph(port, options.seed, options.pages, options.hosts))


class AilingSite:
    """A site that answers well until a line on standard input says otherwise."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._changes: dict[str, Any] = {}

    @property
    def hosts(self) -> Sequence[str]:
        return self._site.hosts

    def reply(self, visit: Visit) -> Reply:
        reply = self._site.reply(visit)
        return replace(reply, **self._changes) if self._changes else reply

    def listen(self) -> None:
        """Take one line; an empty one is the end of the trouble."""
        line = sys.stdin.readline()
        if not line:
            asyncio.get_running_loop().remove_reader(sys.stdin)
        self._changes = TROUBLES.get(line.strip(), {})


async def run(options: argparse.Namespace) -> None:
    hosts = make_site(options, port=0).hosts
    sockets = bind(hosts, options.port)
    port = sockets[0].getsockname()[1]
    site = AilingSite(make_site(options, port))
    asyncio.get_running_loop().add_reader(sys.stdin, site.listen)
    with options.log.open("a", buffering=1, encoding="utf-8") as log:
        serving = asyncio.create_task(serve(site, sockets, log))
        print(json.dumps({"port": port, "hosts": hosts}), flush=True)  # noqa: T201 - the answer
        await serving


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, default=0)
    options.add_argument("--site", choices=["graph", "flat", "sections"], default="graph")
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--pages", type=int, default=PAGES)
    options.add_argument("--hosts", type=int, default=HOSTS)
    options.add_argument("--sections", type=int, default=1)
    options.add_argument("--delay", type=float, default=0.0, help="of each page")
    options.add_argument("--log", type=Path, required=True)
    return options


if __name__ == "__main__":
    asyncio.run(run(parser().parse_args()))
