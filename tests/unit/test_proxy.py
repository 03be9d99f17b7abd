"""The tests' own proxy does to connections what it says."""

from __future__ import annotations

import socket
import time

import pytest

from tests.servers.nasty_site import NastySite
from tests.servers.proxy import Proxy


def exchange(port: int, timeout: float = 2.0) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as wire:
        wire.sendall(b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n")
        return wire.recv(10)


def test_it_forwards_cuts_delays_and_swallows() -> None:
    with NastySite() as site, Proxy(int(site.url.rpartition(":")[2])) as proxy:
        assert exchange(proxy.port) == b"HTTP/1.1 2"

        proxy.delay(0.3)
        since = time.monotonic()
        assert exchange(proxy.port) == b"HTTP/1.1 2"
        assert time.monotonic() - since >= 0.6
        proxy.delay(0.0)

        proxy.swallow(swallowing=True)
        with pytest.raises(TimeoutError):
            exchange(proxy.port, timeout=0.3)
        proxy.swallow(swallowing=False)
        assert exchange(proxy.port) == b"HTTP/1.1 2"

        with socket.create_connection(("127.0.0.1", proxy.port), timeout=2.0) as wire:
            wire.sendall(b"GET /page")
            time.sleep(0.1)
            proxy.cut(refusing=True)
            assert broken(wire)
        with socket.create_connection(("127.0.0.1", proxy.port), timeout=2.0) as wire:
            assert broken(wire)
        proxy.cut(refusing=False)
        assert exchange(proxy.port) == b"HTTP/1.1 2"


def broken(wire: socket.socket) -> bool:
    try:
        return not wire.recv(10)
    except ConnectionError:
        return True
