"""A crawl from outside reaches public addresses only.

What a name resolves to is filtered in the resolver: the addresses that were checked
are the ones connected to, for pages, redirects and robots.txt alike.  What a URL
spells out is refused by the middleware, also where a proxy would resolve it.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from scrapy.exceptions import IgnoreRequest
from scrapy.utils.httpobj import urlparse_cached
from scrapy.utils.reactor import is_reactor_installed

# zope's interfaces are no types to mypy: what implements one is Any here.
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer  # type: ignore[import-untyped]  # has no stubs

from crawling.exceptions import ConfigError
from crawling.outcomes import Dropped
from crawling.service.addresses import is_private, is_private_address
from crawling.service.config import explain_bad_settings, read, validate
from crawling.service.expiring import ExpiringCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrapy import Request
    from scrapy.crawler import Crawler
    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.internet.interfaces import IAddress

    from crawling.service.config import Settings

#: Seconds for which a refused host is remembered as refused: longer than it takes the
#: failed connection to come back to the middleware that names the reason.
REFUSAL_TTL = 60.0


class _Question(NamedTuple):
    host: str
    kinds: tuple[type[IAddress], ...]
    transport: str


@implementer(IHostnameResolver)
class GuardedResolver:
    """Twisted's resolver of names, with a cache of bounded size and age.

    Private addresses are left out unless every crawl of the process allows them.
    """

    def __init__(self, reactor: Any, *, size: int, ttl: float) -> None:
        self._reactor = reactor
        self._inner = reactor.nameResolver
        self._answers: ExpiringCache[list[IPv4Address | IPv6Address]] = ExpiringCache(size, ttl)
        self._refused: ExpiringCache[bool] = ExpiringCache(size, REFUSAL_TTL)
        self._allow_private: bool | None = None
        self._trusted: set[str] = set()

    @classmethod
    def from_crawler(cls, crawler: Crawler, reactor: Any) -> GuardedResolver:
        # Scrapy makes the resolver before anything else of ours, where an error still
        # ends the program: later ones leave it as tracebacks of tasks.
        explain_bad_settings()
        validate(crawler.settings)
        return cls.from_settings(crawler.settings, reactor)

    @classmethod
    def from_settings(cls, settings: Settings, reactor: Any) -> GuardedResolver:
        enabled = read(settings, "DNSCACHE_ENABLED")
        return cls(
            reactor,
            size=read(settings, "DNSCACHE_SIZE"),
            ttl=read(settings, "DNSCACHE_TTL") if enabled else 0.0,
        )

    def install_on_reactor(self) -> None:
        self._reactor.installNameResolver(self)

    def serve(self, *, allow_private: bool) -> None:
        """Note what one more crawl of this process allows: the strictest decides."""
        self._allow_private = allow_private and self._allow_private is not False
        if not self._allow_private:
            self._answers.clear()

    def trust(self, host: str) -> None:
        """Let *host* be private: the operator's own proxy usually is."""
        self._trusted.add(_normal(host))

    def refused(self, host: str) -> bool:
        """Return whether all addresses of *host* were private, the last time it was asked."""
        return self._refused.get(_normal(host)) is not None

    def resolveHostName(  # noqa: N802 Twisted's interface
        self,
        resolutionReceiver: Any,  # noqa: N803 as above
        hostName: str,  # noqa: N803 as above
        portNumber: int = 0,  # noqa: N803 as above
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: N803 as above
        transportSemantics: str = "TCP",  # noqa: N803 as above
    ) -> Any:
        question = _Question(_normal(hostName), tuple(addressTypes or ()), transportSemantics)
        known = self._answers.get(question)
        if known is not None:
            return _tell(resolutionReceiver, question.host, known, portNumber)
        return self._inner.resolveHostName(
            _Filter(self, resolutionReceiver, question),
            hostName,
            portNumber,
            addressTypes,
            transportSemantics,
        )

    def admits(self, name: str, address: IPv4Address | IPv6Address) -> bool:
        if self._allow_private or name in self._trusted:
            return True
        return not is_private_address(ip_address(address.host.partition("%")[0]))

    def remember(
        self,
        question: _Question,
        addresses: list[IPv4Address | IPv6Address],
        *,
        any_refused: bool,
    ) -> None:
        if addresses:
            self._answers.put(question, addresses)
            self._refused.discard(question.host)
        elif any_refused:
            self._refused.put(question.host, value=True)


@implementer(IResolutionReceiver)
class _Filter:
    """Hands on the addresses that the resolver admits."""

    def __init__(self, resolver: GuardedResolver, receiver: Any, question: _Question) -> None:
        self._resolver = resolver
        self._receiver = receiver
        self._question = question
        self._addresses: list[IPv4Address | IPv6Address] = []
        self._any_refused = False

    def resolutionBegan(self, resolution: Any) -> None:  # noqa: N802 Twisted's
        self._receiver.resolutionBegan(resolution)

    def addressResolved(self, address: IPv4Address | IPv6Address) -> None:  # noqa: N802 as above
        if self._resolver.admits(self._question.host, address):
            self._addresses.append(address)
            self._receiver.addressResolved(address)
        else:
            self._any_refused = True

    def resolutionComplete(self) -> None:  # noqa: N802 as above
        self._resolver.remember(self._question, self._addresses, any_refused=self._any_refused)
        self._receiver.resolutionComplete()


@implementer(IHostResolution)
class _Known:
    """A resolution that is over before it began."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Nothing is under way."""


def _tell(
    receiver: Any, host: str, addresses: list[IPv4Address | IPv6Address], port: int
) -> Any:
    resolution = _Known(host)
    receiver.resolutionBegan(resolution)
    for address in addresses:
        # An answer holds for every port; Twisted's address classes are built alike.
        receiver.addressResolved(type(address)(address.type, address.host, port))
    receiver.resolutionComplete()
    return resolution


def _normal(host: str) -> str:
    return host.rstrip(".").lower()


class AddressGuardMiddleware:
    """Drops requests for private addresses as `private_address`."""

    def __init__(self, crawler: Crawler) -> None:
        self._crawler = crawler
        self._allow_private = read(crawler.settings, "ALLOW_PRIVATE_ADDRESSES")
        self._resolver: GuardedResolver | None = None
        if not self._allow_private and not is_reactor_installed():
            raise ConfigError(
                "ALLOW_PRIVATE_ADDRESSES",
                "must be true without a Twisted reactor: addresses are checked in its resolver",
            )

    @classmethod
    def from_crawler(cls, crawler: Crawler) -> AddressGuardMiddleware:
        return cls(crawler)

    def process_request(self, request: Request) -> None:
        if self._resolver is None and is_reactor_installed():
            self._resolver = _install(self._crawler)
            self._resolver.serve(allow_private=self._allow_private)
        host = urlparse_cached(request).hostname or ""
        if not self._allow_private and is_private(host):
            raise Dropped("private_address", f"{host} is not public")
        if self._resolver is not None and "proxy" in request.meta:
            self._resolver.trust(urlsplit(request.meta["proxy"] or "").hostname or "")

    def process_exception(self, request: Request, exception: Exception) -> None:
        host = urlparse_cached(request).hostname or ""
        if self._resolver is None or isinstance(exception, IgnoreRequest):
            return
        if self._resolver.refused(host):
            raise Dropped("private_address", f"{host} is not public") from exception


def _install(crawler: Crawler) -> GuardedResolver:
    """Return the resolver of this process.

    The settings put it there when the process starts; where a crawl joins by the add-on
    the process had settings of its own.
    """
    from twisted.internet import reactor  # noqa: PLC0415 installs one when imported too early

    resolver = reactor.nameResolver
    if not isinstance(resolver, GuardedResolver):
        resolver = GuardedResolver.from_settings(crawler.settings, reactor)
        resolver.install_on_reactor()
    return resolver
