"""The simulated web as a graph: what there is, and what a crawl of it must come to.

Everything follows from the seed.  No outcome depends on the order in which a crawler
walks: a redirect leads either to a page that nothing else leads to, or to one that every
crawler has met before (`test_website.py` walks it in many orders).
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from w3lib.url import canonicalize_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

HOSTS = 20
PAGES = 2000
#: Scrapy's REDIRECT_MAX_TIMES.
MAX_REDIRECTS = 20
#: Tests hand this to `--deny`.
DENIED = "/forbidden/"
#: Hosts (by number, from 0) whose robots.txt forbids /private, and is down at first.
FORBIDDING, RECOVERING = 4, 6

#: How many of each kind hang from pages chosen at random.  Those with a status are done
#: with it in the end.
SPECIAL_PAGES = {
    "missing": (40, 404),
    "flaky": (12, 200),
    "limited": (4, 200),
    "slow": (10, 200),
    "malformed": (15, 200),
    "latin1": (15, 200),
    "image": (25, 200),
    "pdf": (15, 200),
    "empty": (5, 200),
    "big": (1, 200),
    "based": (5, 200),
}
FAILING = {"broken": (6, "http_500"), "reset": (5, "reset"), "truncated": (4, "truncated")}
#: What a browser does not take for a document.
NO_LINKS = ("mailto:somebody@example.com", "javascript:void(0)", "tel:+1-555")
#: Kinds that are HTML, so that other pages can hang from them.
HTML = frozenset({"page", "flaky", "limited", "slow", "malformed", "latin1", "big", "based"})
ENDINGS = {"image": ".png", "pdf": ".pdf"}
#: Redirects: to a page of their own, back to where they were linked, to a neighbour.
MOVED, BACK, BESIDE = 30, 12, 6


@dataclass
class Resource:
    url: str
    kind: str
    links: list[str] = field(default_factory=list)
    target: str = ""


class Expected(NamedTuple):
    """What must become of a request: *word* is a status when done, else the reason.

    *final* is the URL that is fetched in the end, where redirects led.
    """

    state: str
    word: str
    final: str


class SiteGraph:
    """All resources of the web, by canonical URL."""

    def __init__(
        self, port: int, seed: int = 1, pages: int = PAGES, hosts: int = HOSTS
    ) -> None:
        self.port = port
        self.hosts = [f"127.1.0.{number + 1}" for number in range(hosts)]
        self.resources: dict[str, Resource] = {}
        self._random = random.Random(seed)
        self._homes = [self._add(number, "/", "page") for number in range(hosts)]
        self._html = list(self._homes)
        self._link_homes()
        self._grow(pages)
        self._add_redirects()
        self._add_refused()
        self._tangle()

    @property
    def start(self) -> str:
        return self._homes[0].url

    def find(self, host: str, path: str) -> Resource | None:
        return self.resources.get(canonicalize_url(f"http://{host}:{self.port}{path}"))

    def url(self, number: int, path: str) -> str:
        return canonicalize_url(f"http://{self.hosts[number]}:{self.port}{path}")

    @cached_property
    def expected(self) -> Mapping[str, Expected]:
        """Every request that a crawl from `start` makes or refuses, by canonical URL."""
        return walk(self, lambda waiting: waiting.pop(0))

    def _add(self, number: int, path: str, kind: str, target: str = "") -> Resource:
        resource = Resource(self.url(number, path), kind, target=target)
        self.resources[resource.url] = resource
        return resource

    def _hang(self, parent: Resource, path: str, kind: str, target: str = "") -> Resource:
        """Add a resource on any host, linked from *parent* alone."""
        child = self._add(self._any_host(), path, kind, target)
        parent.links.append(child.url)
        return child

    def _any_host(self) -> int:
        return self._random.randrange(len(self.hosts))

    def _any_page(self) -> Resource:
        return self._random.choice(self._html)

    def _link_homes(self) -> None:
        for number, home in enumerate(self._homes[1:], 1):
            self._homes[self._random.randrange(number)].links.append(home.url)

    def _grow(self, pages: int) -> None:
        special = [kind for kind, (count, _) in SPECIAL_PAGES.items() for _ in range(count)]
        plain = pages - len(self._homes) - len(special) - MOVED
        kinds = special + ["page"] * plain
        self._random.shuffle(kinds)
        for index, kind in enumerate(kinds):
            child = self._hang(self._any_page(), _path(kind, index), kind)
            if kind in HTML:
                self._html.append(child)

    def _add_redirects(self) -> None:
        for index in range(MOVED):
            target = self._add(self._any_host(), f"/new/{index}", "page")
            for hop in range(index % 3):
                target = self._add(
                    self._any_host(), f"/hop/{index}/{hop}", "redirect", target.url
                )
            self._hang(self._any_page(), f"/moved/{index}", "redirect", target.url)
        for index in range(BACK):
            parent = self._any_page()
            self._hang(parent, f"/back/{index}", "redirect", parent.url)
        for index in range(BESIDE):
            parent, target = self._any_page(), self._any_page()
            parent.links.append(target.url)
            self._hang(parent, f"/beside/{index}", "redirect", target.url)
        there = self._hang(self._any_page(), "/loop/there", "redirect")
        there.target = self._add(self._any_host(), "/loop/back", "redirect", there.url).url
        self._hang(self._any_page(), "/passwd", "redirect", "file:///etc/passwd")
        private = self.url(FORBIDDING, "/private/behind-a-redirect")
        self._hang(self._any_page(), "/inside", "redirect", private)

    def _add_refused(self) -> None:
        for kind, (count, _) in FAILING.items():
            for index in range(count):
                self._hang(self._any_page(), f"/{kind}/{index}", kind)
        refused = [self.url(FORBIDDING, f"/private/{index}") for index in range(5)]
        refused += [self.url(self._any_host(), f"{DENIED}{index}") for index in range(5)]
        refused += [
            f"http://127.1.0.250:{self.port}/nobody-listens",
            self.url(0, "/long/" + "x" * 3000),
            "file:///etc/passwd",
            f"ftp://{self.hosts[0]}/pub",
            *NO_LINKS,
        ]
        for url in refused:
            self._any_page().links.append(url)

    def _tangle(self) -> None:
        """Link pages to pages: cycles, and many ways to each."""
        for page in self._html:
            page.links += [self._any_page().url for _ in range(self._random.randint(2, 6))]


def walk(site: SiteGraph, pick: Callable[[list[str]], str]) -> dict[str, Expected]:
    """Crawl the graph as the rules say; *pick* takes the next URL from those waiting."""
    waiting, seen = [site.start], {site.start}
    results: dict[str, Expected] = {}
    while waiting:
        url = pick(waiting)
        results[url] = _outcome(site, url, seen)
        if results[url].state == "done":
            links = site.resources[results[url].final].links
            found = [link for link in dict.fromkeys(links) if link not in NO_LINKS]
            waiting += [link for link in found if link not in seen]
            seen.update(found)
    return results


def _outcome(site: SiteGraph, url: str, seen: set[str]) -> Expected:
    chain = [url]
    while True:
        rule = _refused(site, url)
        if rule or len(chain) > MAX_REDIRECTS + 1:
            return Expected("dropped", rule or "redirect_limit", url)
        resource = site.resources.get(url)
        if resource is None:
            return Expected("failed", "robots_unreachable", url)
        if resource.kind in FAILING:
            return Expected("failed", FAILING[resource.kind][1], url)
        if resource.kind != "redirect":
            return Expected("done", str(SPECIAL_PAGES.get(resource.kind, (0, 200))[1]), url)
        url = resource.target
        if not _refused(site, url):
            if url in seen and url not in chain:
                return Expected("dropped", "duplicate", url)
            seen.add(url)
        chain.append(url)


def _refused(site: SiteGraph, url: str) -> str:
    if not url.startswith("http"):
        return "scheme"
    if len(url) > 2083:
        return "url_too_long"
    if DENIED in url:
        return "deny"
    if url.startswith(site.url(FORBIDDING, "/private")):
        return "robots"
    return ""


def _path(kind: str, index: int) -> str:
    """Return a path; some have queries and letters that URLs are written with in many ways."""
    if kind == "page" and index % 7 == 0:
        return f"/list?a={index}&b=2"
    if kind == "page" and index % 31 == 0:
        return f"/caf%C3%A9/{index}"
    return f"/{kind}/{index}{ENDINGS.get(kind, '')}"


def base_of(resource: Resource) -> str:
    """Return what relative links are relative to: a `based` page names another page."""
    return resource.links[1] if resource.kind == "based" else resource.url


def hrefs(resource: Resource) -> Iterator[str]:
    """Return the links of a page in the forms that people write them."""
    here = urlsplit(base_of(resource)).netloc
    for index, url in enumerate(resource.links):
        parts = urlsplit(url)
        if not parts.scheme.startswith("http"):
            yield url
        elif parts.query and index % 2:
            first, _, second = parts.query.partition("&")
            yield f"//{parts.netloc}{parts.path}?{second}&{first}"
        elif parts.netloc == here and index % 3:
            yield url.partition(here)[2].replace("%C3%A9", "é")
        else:
            yield f"{url}#part-{index}" if index % 5 == 0 else url
