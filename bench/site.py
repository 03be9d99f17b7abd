"""The site of the benchmark: 2,000,003 pages of 15 KB with 50 links, on 100 loopback hosts.

Three of five links lead to the same thousand pages, as navigation does; the others anywhere.
No page is kept ready and none is logged, so that serving one costs a tenth of a
millisecond: the site must never be what is measured. As the number of pages is a prime,
every page can be reached from the first.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING
from urllib.request import urlopen

from bench.processes import InVain, running
from tests.servers.site_pages import Reply
from tests.servers.site_server import bind, serve

if TYPE_CHECKING:
    from collections.abc import Iterator
    from subprocess import Popen

    from tests.servers.site_pages import Visit

ROOT = Path(__file__).parents[1]
HOSTS, PAGES, LINKS, SIZE = 100, 2_000_003, 50, 15_000
#: Pages to which navigation leads, and which share of a page's links.
POPULAR, NAVIGATION = 1000, 0.6
#: Asked by the benchmark: how many pages were served.
COUNT = "/count"


class BenchSite:
    def __init__(
        self,
        port: int,
        pages: int = PAGES,
        links: int = LINKS,
        size: int = SIZE,
        latency: float = 0.0,
    ) -> None:
        self.pages, self.links, self.latency = pages, links, latency
        self.hosts = [f"127.3.0.{number + 1}" for number in range(HOSTS)]
        self.served = 0
        self._anchors = [
            f'<li><a href="http://{host}:{port}/page/%d">page %d</a></li>\n'
            for host in self.hosts
        ]
        words = b"<p>lorem ipsum dolor sit amet, consectetur adipiscing elit</p>\n"
        self._text = words * ((size - links * len(self._anchor(PAGES))) // len(words))

    def reply(self, visit: Visit) -> Reply:
        if visit.path == COUNT:
            return Reply(200, str(self.served).encode())
        if not visit.path.startswith("/page/"):
            return Reply(404)
        self.served += 1
        page = self._page(int(visit.path.removeprefix("/page/")))
        return Reply(200, page, delay=self.latency)

    def _page(self, page: int) -> bytes:
        """Return a page, the same at every visit."""
        first, step = page * 7919, page * 104_729 + 1
        menu = round(self.links * NAVIGATION)
        popular = min(POPULAR, self.pages)
        anchors = [self._anchor((first + 31 * i) % popular) for i in range(menu)]
        anchors += [
            self._anchor((first + step * i) % self.pages) for i in range(self.links - menu)
        ]
        head = b"<!doctype html><html><head><title>A page</title></head><body><ul>\n"
        links = "".join(anchors).encode()
        return b"".join([head, links, b"</ul>\n", self._text, b"</body></html>\n"])

    def _anchor(self, page: int) -> str:
        return self._anchors[page % HOSTS] % (page, page)


class RunningSite:
    def __init__(self, pid: int, port: int) -> None:
        self.pid = pid
        self._url = f"http://127.3.0.1:{port}"
        self.start = f"{self._url}/page/1"

    def served(self) -> int:
        with urlopen(self._url + COUNT) as response:
            return int(response.read())

    def reaches(self, pages: int, quiet: float, *workers: Popen[bytes]) -> bool:
        """Wait until so many pages were served; False when none came for *quiet* seconds.

        Raise `InVain` when one of *workers* has ended.
        """
        served, since = self.served(), time.monotonic()
        while served < pages:
            if any(worker.poll() is not None for worker in workers):
                raise InVain(f"a worker ended after {served} pages")
            if time.monotonic() > since + quiet:
                return False
            time.sleep(0.05)
            if (now := self.served()) > served:
                served, since = now, time.monotonic()
        return True

    def must_reach(self, pages: int, quiet: float, *workers: Popen[bytes]) -> None:
        if not self.reaches(pages, quiet, *workers):
            raise InVain(f"no page in {quiet:.0f} s, after {self.served()} of {pages}")


@contextmanager
def bench_site(core: int, pages: int = PAGES, *options: str) -> Iterator[RunningSite]:
    """Run the site; *pages* must be a prime, so that all can be reached."""
    command = [sys.executable, "-m", "bench.site", f"--pages={pages}", *options]
    with running(command, core=core, cwd=ROOT, stdout=PIPE) as process:
        assert process.stdout is not None
        yield RunningSite(process.pid, json.loads(process.stdout.readline())["port"])


async def main(options: argparse.Namespace) -> None:
    sockets = bind([f"127.3.0.{number + 1}" for number in range(HOSTS)], options.port)
    port = sockets[0].getsockname()[1]
    site = BenchSite(port, options.pages, options.links, options.size, options.latency)
    serving = asyncio.create_task(serve(site, sockets, None))
    print(json.dumps({"port": port}), flush=True)
    await serving


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--pages", type=int, default=PAGES)
    parser.add_argument("--links", type=int, default=LINKS, help="of a page")
    parser.add_argument("--size", type=int, default=SIZE, help="of a page, in bytes")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds to each page")
    asyncio.run(main(parser.parse_args()))
