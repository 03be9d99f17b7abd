from __future__ import annotations

import pytest

from crawling.service.addresses import is_private


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        "192.0.2.1",
        "198.18.0.1",
    ],
)
def test_no_range_but_the_public_ones_is_public(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    [
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "127.1",
        "0",
        "127.0.0.1.",
        "①②⑦.0.0.1",
    ],
)
def test_loopback_is_known_in_every_form_that_connect_takes(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    [
        "::1",
        "[::1]",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fec0::1",
        "ff02::1",
        "::ffff:10.0.0.1",
        "::ffff:a00:1",
        "::10.0.0.1",
        "2002:a00:1::",
        "64:ff9b::a00:1",
        "64:ff9b:1::1",
    ],
)
def test_private_ipv6_and_private_ipv4_inside_it_are_known(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost.", "a.localhost"])
def test_localhost_is_never_looked_up(host: str) -> None:
    assert is_private(host)


@pytest.mark.parametrize(
    "host",
    [
        "8.8.8.8",
        "134744072",
        "0x8.8.8.8",
        "2606:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "example.com",
        "1and1.com",
        "127.0.0.1.example.com",
        "localhost.example.com",
        "",
    ],
)
def test_public_addresses_and_names_pass(host: str) -> None:
    assert not is_private(host)
