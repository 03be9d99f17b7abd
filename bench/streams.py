"""The REST service's event streams: what a hundred browsers cost it, and a crawl beside it."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

from bench.processes import SERVER_CORE, InVain, cpu_seconds, pinned, running
from bench.report import Table, median, spread
from bench.worker import ROOT
from bench.workers import PATIENCE, crawling
from tests.servers.kafka_server import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from subprocess import Popen

    from bench.site import RunningSite

WORKERS, BROWSERS = 3, 100
SERVE = [sys.executable, "-m", "crawling.cli", "serve"]
ASK = b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"


@dataclass(frozen=True)
class Window:
    """Some seconds of one crawl: pages a second, and the service's share of a core.

    *events* are what the browser that got the fewest was sent.
    """

    browsers: int
    pages: float
    share: float
    events: int


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Crawl with nobody listening and with all browsers, by turns, for *seconds* each."""
    [port] = free_ports(1)
    with crawling(WORKERS) as crawl:
        env = {
            "PYTHONPATH": f"{ROOT}/crawler:{ROOT}/rest",
            "TRACKER": crawl.tracker,
            "KAFKA_HOSTS": "none",
            "REST_PORT": str(port),
            "LOG_LEVEL": "ERROR",
        }
        with running(SERVE, core=SERVER_CORE, cwd=ROOT, env=env) as rest, pinned(SERVER_CORE):
            _await(port)
            turns = [0, BROWSERS] * rounds
            found = asyncio.run(_windows(crawl.site, rest, port, turns, seconds))
            if any(process.poll() is not None for process in (*crawl.workers, rest)):
                raise InVain("a process has ended")
    windows = [asdict(window) for window in found]
    return {"rounds": rounds, "seconds": seconds, "windows": windows}


async def _windows(
    site: RunningSite,
    rest: Popen[bytes],
    port: int,
    turns: Sequence[int],
    seconds: float,
) -> list[Window]:
    """Return a window for each of *turns*, which are numbers of browsers."""
    found = []
    for browsers in turns:
        async with _listening(port, browsers) as events:
            before, cpu, began = site.served(), cpu_seconds(rest.pid), time.monotonic()
            await asyncio.sleep(seconds)
            took = time.monotonic() - began
            pages = (site.served() - before) / took
            share = (cpu_seconds(rest.pid) - cpu) / took
        found.append(Window(browsers, pages, share, min(events, default=0)))
        print(found[-1], file=sys.stderr)
    return found


@asynccontextmanager
async def _listening(port: int, browsers: int) -> AsyncIterator[list[int]]:
    """Open so many streams; yield how many events each has been sent."""
    events = [0] * browsers

    async def listen(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(ASK % port)
        while line := await reader.readline():
            events[number] += line.startswith(b"event:")

    listening = [asyncio.create_task(listen(number)) for number in range(browsers)]
    try:
        yield events
    finally:
        for task in listening:
            task.cancel()
        await asyncio.gather(*listening, return_exceptions=True)


def _await(port: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            urlopen(f"http://127.0.0.1:{port}/readyz").close()
        except URLError:
            time.sleep(0.1)
        else:
            return
    raise InVain("the REST service does not answer")


def tables(result: dict[str, Any]) -> list[Table]:
    windows = [
        [window for window in result["windows"] if window["browsers"] == browsers]
        for browsers in (0, BROWSERS)
    ]
    rows = [
        [
            str(some[0]["browsers"]),
            spread([window["pages"] for window in some], "0f"),
            spread([100 * window["share"] for window in some], "1f") + " %",
            str(min(window["events"] for window in some)),
        ]
        for some in windows
    ]
    alone, listened = (median([window["pages"] for window in some]) for some in windows)
    rows.append(["with : without", f"{listened / alone:.3f}", "", ""])
    title = (
        f"Event streams of the REST service beside a crawl of {WORKERS} workers, "
        f"{result['rounds']} rounds of {result['seconds']:.0f} s with and without; min / "
        "median / max"
    )
    head = ["streams", "pages/s", "CPU of the service, of a core", "least events of a stream"]
    return [Table(title, head, rows)]
