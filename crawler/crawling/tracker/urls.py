"""What a URL is to the tracker: its domain, its canonical form, its fingerprint."""

from __future__ import annotations

import ipaddress
import re
from contextlib import suppress
from functools import lru_cache
from hashlib import sha1
from urllib.parse import urlsplit

from tldextract import TLDExtract
from w3lib.url import canonicalize_url

from crawling.exceptions import RequestError
from crawling.service.addresses import may_be_literal
from crawling.service.text import without_logins

#: Longest URL that is fetched, in characters: what browsers and servers agree on
#: (Scrapy's URLLENGTH_LIMIT).
MAX_URL_LENGTH = 2083

#: Of a host's name, in characters (RFC 1035).
MAX_HOST_LENGTH = 253

#: A port, or none, that no parser takes exception to; the few above 64999 go the long way.
PLAIN_PORT = r"(?::(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}))?"
#: URLs that `canonicalize_url` returns as they are, which takes it ten times as long:
#: a plain host, a path without escapes, at most one query argument; without dot segments.
_CANONICAL = re.compile(
    rf"https?://[a-z0-9\-]+(?:\.[a-z0-9\-]+)*{PLAIN_PORT}"
    r"/[A-Za-z0-9_~!$&()*+,=:@./\-]*(?:\?[A-Za-z0-9_.\-]+=[A-Za-z0-9_.\-]*)?"
)

#: Whose host is what it says, without parsing; a name of more than 253 characters is none.
_PLAIN_HOST = re.compile(
    rf"https?://([a-z0-9\-]{{1,63}}(?:\.[a-z0-9\-]{{1,63}})*){PLAIN_PORT}(?:[/?#]|\Z)"
)

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")

#: A name that can be looked up, or an IP address: at most 253 characters, labels of 1
#: to 63.  On others Twisted raises where nobody listens, and the download times out.
_HOST = re.compile(rf"(?!.{{{MAX_HOST_LENGTH + 1}}})[!-\-/-~]{{1,63}}(?:\.[!-\-/-~]{{1,63}})*")

# The list that came with the package: hosts that fetch their own at run time
# disagree about what a domain is.
_split_host = TLDExtract(suffix_list_urls=(), cache_dir=None).extract_str


def domain_of(url: str) -> str:
    """Return the registered domain of *url*: the unit of queueing and politeness.

    Lower case and punycode; an IP address or a single label stands for itself; below
    an unknown top level the last two labels count, as the public suffix rules say.
    """
    return host_domain(host_of(url))


def host_of(url: str) -> str:
    """Return the host of *url*; raise `RequestError` unless it is http or https with one."""
    plain = _PLAIN_HOST.match(url)
    if plain and len(plain[1]) <= MAX_HOST_LENGTH:
        return plain[1]
    return _parsed_host(url)


def _parsed_host(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise RequestError("scheme", f"not a URL ({error}): {url[:200]!r}") from error
    if parts.scheme not in {"http", "https"}:
        raise RequestError("scheme", f"must begin with http:// or https://: {url[:200]!r}")
    if "@" in parts.netloc:
        raise RequestError(
            "scheme", f"must have no user and password: {without_logins(url[:200])!r}"
        )
    if not host:
        raise RequestError("scheme", f"has no host: {url[:200]!r}")
    if not _HOST.fullmatch(ascii_host(host)):
        raise RequestError("scheme", f"{host[:200]!r} cannot be the name of a host")
    return host


@lru_cache(maxsize=100_000)
def host_domain(host: str) -> str:
    """Return the registered domain of a host name or IP address (without brackets)."""
    host = ascii_host(host)
    if may_be_literal(host):
        with suppress(ValueError):
            return str(ipaddress.ip_address(host))
    parts = _split_host(host)
    if parts.suffix:
        return f"{parts.domain}.{parts.suffix}" if parts.domain else host
    return ".".join(host.split(".")[-2:])


def with_scheme(url: str) -> str:
    """Return *url*, with http:// when it has no scheme."""
    return url if _SCHEME.match(url) else f"http://{url}"


def check_url(url: str) -> str:
    """Return the domain of *url*; raise `RequestError` when it can never be fetched."""
    if len(url) > MAX_URL_LENGTH:
        raise RequestError(
            "url_too_long",
            f"{len(url)} characters, at most {MAX_URL_LENGTH}: {url[:80]!r}…",
        )
    return domain_of(url)


def fingerprint(url: str, method: str = "GET", body: bytes = b"") -> bytes:
    """Return 8 bytes that are equal for requests that fetch the same thing.

    The beginning of Scrapy 1's fingerprint, so that the dupefilters of a Scrapy Cluster can
    be taken over.  64 bits: among 10⁹ URLs of one crawl the odds of a single false duplicate
    are 2.7 %.
    """
    plain = "/." not in url and _CANONICAL.fullmatch(url)
    canonical = url if plain else canonicalize_url(url)
    parts = f"{method}{canonical}".encode("utf-8", "surrogatepass") + body
    return sha1(parts, usedforsecurity=False).digest()[:8]


def ascii_host(host: str) -> str:
    """Return *host* as others are compared to it: lower case, punycode, no dot at the end."""
    host = host.rstrip(".").lower()
    if host.isascii():
        return host
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        return host
