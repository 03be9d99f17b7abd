"""A name server's answers without a name server: a resolver for Twisted's reactor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from zope.interface import implementer  # type: ignore[import-untyped]  # has no stubs

from crawling.service.addresses import literal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@implementer(IHostnameResolver)
class StaticNames:
    """Knows the addresses of *names*, and that no other name exists."""

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self._names = names
        self.asked: list[str] = []

    def resolveHostName(  # noqa: N802 Twisted's interface
        self,
        resolutionReceiver: Any,  # noqa: N803 as above
        hostName: str,  # noqa: N803 as above
        portNumber: int = 0,  # noqa: N803 as above
        *_args: object,
    ) -> Any:
        self.asked.append(hostName)
        resolution = _Resolution(hostName)
        resolutionReceiver.resolutionBegan(resolution)
        for address in [hostName] if literal(hostName) else self._names.get(hostName, ()):
            kind = IPv6Address if ":" in address else IPv4Address
            resolutionReceiver.addressResolved(kind("TCP", address, portNumber))
        resolutionReceiver.resolutionComplete()
        return resolution


@implementer(IHostResolution)
class _Resolution:
    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        """Nothing is under way."""


def install_names(names: Mapping[str, Sequence[str]]) -> None:
    """Let the installed reactor know *names* and nothing else."""
    from twisted.internet import reactor  # noqa: PLC0415 only when one is installed

    reactor.installNameResolver(StaticNames(names))
