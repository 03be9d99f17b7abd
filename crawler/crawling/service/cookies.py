"""The text of cookies: what a Cookie header holds, and what people paste for one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from crawling.exceptions import RequestError
from crawling.tracker.urls import domain_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

#: What stands beside the cookie in a Set-Cookie header, and is none itself (RFC 6265bis).
ATTRIBUTES = frozenset(
    "path domain expires max-age secure httponly samesite partitioned priority".split()
)


def parse_cookies(text: str) -> dict[str, str]:
    """Return the cookies of *text*, a Cookie or Set-Cookie header with or without its name.

    The first pair is always a cookie; later ones are unless they are attributes.
    """
    name, colon, rest = text.partition(":")
    if colon and name.strip().lower() in {"cookie", "set-cookie"}:
        text = rest
    cookies: dict[str, str] = {}
    for pair in text.split(";"):
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name or (cookies and name.lower() in ATTRIBUTES):
            continue
        cookies[name] = value
    return cookies


def cookie_header(cookies: Mapping[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())


def bound_to_seeds(shared: Mapping[str, Any], seeds: Iterable[str]) -> dict[str, Any]:
    """Return a crawl's *shared* options with the domains that its `cookie` may go to.

    Without them the cookie goes to the seeds alone: a request knows its crawl, but not
    where the crawl began.
    """
    if not shared.get("cookie"):
        return dict(shared)
    domains = {*shared.get("cookie_domains", ()), *_domains(seeds)}
    return {**shared, "cookie_domains": sorted(domains)}


def _domains(urls: Iterable[str]) -> Iterator[str]:
    for url in urls:
        # What can never be fetched has no domain.
        with suppress(RequestError):
            yield domain_of(url)
