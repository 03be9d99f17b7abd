"""Links on their way from a page to the tracker: one batch, judged in one pass."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple

from crawling.exceptions import ConfigError, RequestError
from crawling.service.addresses import is_private
from crawling.service.config import typed
from crawling.service.patterns import compile_regex, domain, texts_of
from crawling.tracker.extras import inherited
from crawling.tracker.tracker import Offer
from crawling.tracker.urls import MAX_URL_LENGTH, ascii_host, fingerprint, host_domain, host_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from crawling.service.config import Settings
    from crawling.tracker.tracker import CrawlOptions, Lease

#: How much less urgent a discovered link is than the page it stands on.
PRIORITY_STEP = 10
#: Origins (`https://host:port`) whose verdict is remembered, per crawl.
ORIGINS = 20_000


class LinkBatch:
    """The links of one page: absolute URLs, unfiltered, in place of a Request for each."""

    __slots__ = ("urls",)

    def __init__(self, urls: Iterable[str]) -> None:
        self.urls = tuple(urls)

    def __repr__(self) -> str:
        return f"<LinkBatch of {len(self.urls)}>"


class Link(Offer):
    """An offer whose fingerprint is that of its URL alone."""

    __slots__ = ()


class Judged(NamedTuple):
    """The links of a page: what to offer, and how many others the tracker has already."""

    offers: list[Offer]
    known: int


class LinkRules:
    """Which links a crawl follows, compiled once from its options and the settings.

    Raises `ConfigError` for a pattern or domain that makes no sense.  Extensions are
    denied only where the crawl lists some: images and PDFs are pages like others.
    """

    def __init__(self, options: CrawlOptions, settings: Settings) -> None:
        shared = options.shared
        private = settings.get("ALLOW_PRIVATE_ADDRESSES")
        self._private_allowed = private is not None and typed(
            "ALLOW_PRIVATE_ADDRESSES", private
        )
        self._domains = tuple(domain(text) for text in texts_of(shared, "allowed_domains"))
        self._subdomains = tuple(f".{domain}" for domain in self._domains)
        self._extensions = tuple(
            f".{text.removeprefix('.').lower()}" for text in texts_of(shared, "deny_extensions")
        )
        self._allow = _union(shared, "allow_regex")
        self._deny = _union(shared, "deny_regex")
        self._has_patterns = bool(self._extensions or self._allow or self._deny)
        self._origin = lru_cache(maxsize=ORIGINS)(self._judge_origin)
        for option in ("link_regex", "id_regex"):
            pattern = shared.get(option) or ""
            if not isinstance(pattern, str):
                raise ConfigError(option, f"must be text, not {pattern!r}")
            compile_regex(option, pattern)

    def judge(
        self,
        urls: Iterable[str],
        lease: Lease,
        known: tuple[Mapping[str, bytes], Mapping[str, bytes]] = ({}, {}),
    ) -> Judged:
        """Return one offer for each distinct page among *urls*, found on the leased one.

        *known* are URLs, with their fingerprints, that would be duplicates for sure.
        """
        priority, depth = lease.priority - PRIORITY_STEP, lease.depth + 1
        extras = inherited(lease)
        offers: dict[bytes, Offer] = {}
        met: set[bytes] = set()
        young, old = known
        verdict = self._judge if self._has_patterns else self.place
        for url in urls:
            seen_as = young.get(url) or old.get(url)
            if seen_as is not None:
                met.add(seen_as)
                continue
            offer = _offer(url, verdict(url), priority, depth, extras)
            offers.setdefault(offer.fingerprint, offer)
        for seen_as in met & offers.keys():
            del offers[seen_as]
        return Judged(list(offers.values()), len(met))

    def seed(self, url: str, priority: int) -> Offer:
        """Return the offer of a seed, which is refused only where no redirect may lead."""
        return _offer(url, self.place(url), priority, 0, b"")

    def rule(self, url: str) -> str:
        """Return the reason for which *url* is not followed, "" when it is."""
        return self._judge(url)[1]

    def redirect_rule(self, url: str) -> str:
        """Return the same for the target of a redirect, which no regex or extension stops."""
        return self.place(url)[1]

    def _judge(self, url: str) -> tuple[str, str]:
        verdict = self.place(url)
        if verdict[1] or not self._has_patterns:
            return verdict
        domain = verdict[0]
        if self._extensions and _file_name(url).endswith(self._extensions):
            return domain, "extension"
        text = url.encode("utf-8", "replace")
        if self._deny and self._deny.search(text):
            return domain, "deny"
        if self._allow and not self._allow.search(text):
            return domain, "deny"
        return verdict

    def place(self, url: str) -> tuple[str, str]:
        """Return the domain of *url*, and the reason for which nothing there is fetched."""
        if len(url) > MAX_URL_LENGTH:
            domain, rule = self._judge_origin(url)
            return domain, "scheme" if rule == "scheme" else "url_too_long"
        # Behind `https://` the next slash ends the origin.
        end = url.find("/", 8)
        return self._origin(url if end < 0 else url[:end])

    def _judge_origin(self, url: str) -> tuple[str, str]:
        try:
            host = host_of(url)
        except RequestError as error:
            return "", error.reason
        if not self._private_allowed and is_private(host):
            return host_domain(host), "private_address"
        return host_domain(host), "" if self._is_allowed(ascii_host(host)) else "offsite"

    def _is_allowed(self, host: str) -> bool:
        return not self._domains or host in self._domains or host.endswith(self._subdomains)


def _union(shared: Mapping[str, Any], option: str) -> Any:
    """Return one pattern for the option's many, None for none: each is tried in one pass."""
    patterns = texts_of(shared, option)
    for pattern in patterns:
        compile_regex(option, pattern)
    if not patterns:
        return None
    return compile_regex(option, "|".join(f"(?:{pattern})" for pattern in patterns))


def _file_name(url: str) -> str:
    """Return the last segment of the path, without parameters, in lower case."""
    parts = url.partition("#")[0].partition("?")[0].split("/", 3)
    return parts[3].rpartition("/")[2].partition(";")[0].lower() if len(parts) > 3 else ""


def _offer(
    url: str, verdict: tuple[str, str], priority: int, depth: int, extras: bytes
) -> Offer:
    domain, rule = verdict
    try:
        seen_as = fingerprint(url)
    except ValueError:
        rule, seen_as = rule or "scheme", _digest(url)
    if len(url) > MAX_URL_LENGTH:
        # What is only recorded needs no more of a URL than what is fetched.
        return Offer(url[:MAX_URL_LENGTH], domain, seen_as, priority, depth, b"", rule)
    return Link(url, domain, seen_as, priority, depth, b"" if rule else extras, rule)


def _digest(url: str) -> bytes:
    return blake2b(url.encode("utf-8", "surrogatepass"), digest_size=8).digest()
