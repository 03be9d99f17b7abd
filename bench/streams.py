"""The REST service's event streams: what a hundred browsers cost it, and a crawl beside it."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import urlopen

from bench.processes import SERVER_CORE, InVain, cpu_seconds, pinned, running
from bench.report import Table, spread
from bench.worker import ROOT
from bench.workers import PATIENCE, crawling
from tests.servers.kafka_server import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from subprocess import Popen

    from bench.site import RunningSite
    from bench.workers import Crawl

WORKERS, BROWSERS = 3, 100
#: Of a crawl's speed, with all browsers.
PROMISED = 0.97
SERVE = [sys.executable, "-m", "crawling.cli", "serve"]
ASK = b"GET /api/v1/events HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n"


@dataclass(frozen=True)
class Window:
    """Some seconds of one of the crawls: pages a second, and its service's share of a core.

    *events* are what the browser that got the fewest was sent.
    """

    browsers: int
    pages: float
    share: float
    events: int


@dataclass(frozen=True)
class Side:
    """A crawl with a REST service of its own."""

    site: RunningSite
    rest: Popen[bytes]
    port: int

    def spent(self) -> tuple[int, float]:
        """Return the pages that were served so far, and the service's seconds of CPU."""
        return self.site.served(), cpu_seconds(self.rest.pid)


def measure(rounds: int, seconds: float) -> dict[str, Any]:
    """Let two crawls run at once, the browsers at the service of one, then of the other."""
    with ExitStack() as stack:
        crawls = [stack.enter_context(crawling(WORKERS)) for _ in range(2)]
        sides = [
            stack.enter_context(_served(crawl, port))
            for crawl, port in zip(crawls, free_ports(2), strict=True)
        ]
        stack.enter_context(pinned(SERVER_CORE))
        windows = [
            [asdict(window) for window in asyncio.run(_windows(sides, heard, seconds))]
            for heard in [0, 1] * rounds
        ]
        workers = [worker for crawl in crawls for worker in crawl.workers]
        processes = [*workers, *(side.rest for side in sides)]
        if any(process.poll() is not None for process in processes):
            raise InVain("a process has ended")
    return {"rounds": rounds, "seconds": seconds, "windows": windows}


@contextmanager
def _served(crawl: Crawl, port: int) -> Iterator[Side]:
    env = {
        "PYTHONPATH": f"{ROOT}/crawler:{ROOT}/rest",
        "TRACKER": crawl.tracker,
        "KAFKA_HOSTS": "none",
        "REST_PORT": str(port),
        "LOG_LEVEL": "ERROR",
    }
    with running(SERVE, core=SERVER_CORE, cwd=ROOT, env=env) as rest:
        _await(port)
        yield Side(crawl.site, rest, port)


async def _windows(sides: Sequence[Side], heard: int, seconds: float) -> list[Window]:
    """Return a window of each side, with all browsers at that of number *heard*."""
    async with _listening(sides[heard].port, BROWSERS) as events:
        before, began = [side.spent() for side in sides], time.monotonic()
        await asyncio.sleep(seconds)
        after, took = [side.spent() for side in sides], time.monotonic() - began
    windows = []
    for number, (earlier, later) in enumerate(zip(before, after, strict=True)):
        pages, share = ((b - a) / took for a, b in zip(earlier, later, strict=True))
        windows.append(
            Window(BROWSERS, pages, share, min(events))
            if number == heard
            else Window(0, pages, share, 0)
        )
    print(windows, file=sys.stderr)
    return windows


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
    by_browsers = [
        [
            window
            for pair in result["windows"]
            for window in pair
            if window["browsers"] == number
        ]
        for number in (0, BROWSERS)
    ]
    rows = [
        [
            str(some[0]["browsers"]),
            spread([window["pages"] for window in some], "0f"),
            spread([100 * window["share"] for window in some], "1f") + " %",
            str(min(window["events"] for window in some)),
        ]
        for some in by_browsers
    ]
    ratio = f"{spread(_ratios(result['windows']), '3f')} (at least {PROMISED})"
    rows.append(["with : without", ratio, "", ""])
    title = (
        f"Event streams of the REST service of one of two crawls, each of {WORKERS} workers, "
        f"at once on one core, {result['rounds']} rounds of two windows of "
        f"{result['seconds']:.0f} s; min / median / max"
    )
    head = ["streams", "pages/s", "CPU of the service, of a core", "least events of a stream"]
    return [Table(title, head, rows)]


def _ratios(windows: Sequence[Sequence[Mapping[str, float]]]) -> list[float]:
    """Return what the browsers make of a crawl's speed, a round each.

    In the second window of a round they are with the other crawl: what else makes one
    crawl faster than the other does not count.
    """
    one, other = windows[0::2], windows[1::2]
    return [
        ((a["pages"] / b["pages"]) * (d["pages"] / c["pages"])) ** 0.5
        for (a, b), (c, d) in zip(one, other, strict=True)
    ]
