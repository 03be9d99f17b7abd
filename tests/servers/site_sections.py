"""Many small sites side by side: each host has sections, each of them what one crawl finds."""

from __future__ import annotations

from typing import NamedTuple

from tests.servers.site_pages import Reply, Visit, html_page

#: Links of a page, and levels below a section's first page.
FAN, LEVELS = 3, 2


class Totals(NamedTuple):
    """What the crawl of one section comes to."""

    done: int
    failed: int
    dropped: int


class SectionSite:
    """Sections as trees; each has a page that is missing, one that fails, one out of bounds.

    A crawl of section 7 starts at `/s/7/`, allows `/s/7/` alone and goes `LEVELS` deep.
    """

    def __init__(self, port: int, hosts: int, sections: int, delay: float = 0.0) -> None:
        self.hosts = [f"127.3.0.{number + 1}" for number in range(hosts)]
        self._port = port
        self._delay = delay
        self.sections = range(sections)

    def start(self, section: int) -> str:
        return f"http://{self.hosts[section % len(self.hosts)]}:{self._port}/s/{section}/"

    def allowed(self, section: int) -> str:
        return f"/s/{section}/"

    def pages(self, section: int) -> dict[str, int]:
        """Return every URL that a crawl of the section has a page of, with its status."""
        start = self.start(section)
        level, found = [start], {start: 200, f"{start}missing": 404}
        for _ in range(LEVELS):
            level = [f"{url}{number}/" for url in level for number in range(FAN)]
            found |= dict.fromkeys(level, 200)
        return found

    def totals(self, section: int) -> Totals:
        """Return the books of the section's crawl.

        Failed is the page that answers 500; dropped are the next section's first page and
        what is a level too deep.
        """
        return Totals(len(self.pages(section)), 1, 1 + FAN ** (LEVELS + 1))

    def reply(self, visit: Visit) -> Reply:
        if visit.path == "/robots.txt" or visit.path.endswith("/missing"):
            return Reply(404)
        if visit.path.endswith("/broken"):
            return Reply(500)
        _, _, section, *below = visit.path.split("/")
        links = [f"{visit.path}{number}/" for number in range(FAN)]
        links.append(f"/s/{section}/")
        if len(below) == 1:
            links += [f"{visit.path}missing", f"{visit.path}broken"]
            links.append(f"/s/{int(section) + 1}/")
        return Reply(200, html_page(visit.path, links), delay=self._delay)
