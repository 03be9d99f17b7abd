"""Which addresses a crawl from outside must never reach."""

from __future__ import annotations

import socket
import unicodedata
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

#: IPv6 ranges whose last 32 bits are an IPv4 address that a gateway or the kernel may
#: connect to: NAT64 (RFC 6052) and the "compatible" form that mapped ones replaced.
_EMBEDDING = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))
#: NAT64 inside one network (RFC 8215): what it leads to is local by definition.
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")


def is_private(host: str) -> bool:
    """Return whether *host*, as it stands in a URL, names an address that is not public.

    A name that must be looked up is not private here: its addresses are checked when
    they are known.  Decimal, octal, hex and short IPv4 forms count as what `connect`
    takes them for, and `localhost` never means anything else.
    """
    host = unicodedata.normalize("NFKC", host).strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = literal(host)
    return address is not None and is_private_address(address)


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that *host* spells in any of its forms, None for a name."""
    if not may_be_literal(host):
        return None
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    # inet_aton would read "1.2.3.4 and more" too.
    if not host[:1].isdigit() or not host.isascii() or " " in host:
        return None
    try:
        return IPv4Address(socket.inet_aton(host))
    except OSError:
        return None


def may_be_literal(host: str) -> bool:
    """Return whether *host* begins as addresses do; of others `ip_address` raises, slowly."""
    return host[:1].isdigit() or ":" in host


@lru_cache(maxsize=10_000)
def is_private_address(address: IPv4Address | IPv6Address) -> bool:
    """Return whether *address* is anything but one public host."""
    inner = _embedded(address)
    if inner is not None:
        return is_private_address(inner)
    return (
        not address.is_global
        or address.is_multicast
        or address.is_reserved
        or (isinstance(address, IPv6Address) and _is_local(address))
    )


def _is_local(address: IPv6Address) -> bool:
    return address.is_site_local or address in _LOCAL_NAT64


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    if isinstance(address, IPv4Address):
        return None
    mapped = address.ipv4_mapped or address.sixtofour
    if mapped is not None:
        return mapped
    if any(address in network for network in _EMBEDDING):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None
