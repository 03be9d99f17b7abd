"""The options of a crawl that choose links: regexes, and lists of domains."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import re2

from crawling.exceptions import ConfigError
from crawling.tracker.urls import ascii_host, host_domain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

#: Links of one page; what is beyond them is not looked at.
MAX_LINKS = 100_000

# A name or an IP address: no scheme, port, path or wildcard.
_DOMAIN = re.compile(r"[a-z0-9_\-]+(?:\.[a-z0-9_\-]+)*|[0-9a-f.]*:[0-9a-f:.]*:[0-9a-f:.]*")


@lru_cache(maxsize=1000)
def compile_regex(option: str, pattern: str) -> Any:
    """Return *pattern* compiled by re2, for bytes; its time is linear whatever it says."""
    quiet = re2.Options()
    quiet.log_errors = False
    try:
        return re2.compile(pattern.encode("utf-8"), quiet)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0]
        said = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else error
        raise ConfigError(option, f"cannot use the pattern {pattern!r}: {said}") from error


def find_all(pattern: Any, text: str) -> Iterator[str]:
    """Yield what the first group of *pattern* matched, or all of it where it has none."""
    group = min(pattern.groups, 1)
    for match in islice(pattern.finditer(text.encode("utf-8", "replace")), MAX_LINKS):
        if match[group]:
            yield match[group].decode("utf-8", "replace")


def texts_of(shared: Mapping[str, Any], option: str) -> list[str]:
    value = shared.get(option)
    texts = [value] if isinstance(value, str) else list(value or ())
    for text in texts:
        if not isinstance(text, str) or not text:
            raise ConfigError(option, f"must be a list of texts, not {value!r}")
    return texts


def domain(text: str) -> str:
    """Return an allowed domain as hosts are compared to it."""
    host = ascii_host(text.strip().removeprefix("."))
    if not _DOMAIN.fullmatch(host):
        raise ConfigError(
            "allowed_domains", f"must be domains such as example.com, not {text!r}"
        )
    return host


def registered_domain(text: str) -> str:
    """Return a domain as the tracker names it: what is set for a part of one would do nothing."""
    host = domain(text)
    registered = host_domain(host)
    if host.endswith(f".{registered}"):
        raise ConfigError(
            "domain", f"must be a registered domain, here {registered}, not {text!r}"
        )
    return registered
