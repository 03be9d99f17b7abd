from __future__ import annotations

import struct

import pytest

from crawling.tracker.redis_records import offer_row, unpack_request
from crawling.tracker.tracker import Offer

FINGERPRINT = b"12345678"


def queued(offer: Offer, head: bytes) -> bytes:
    """Return a request as offers.lua queues it, behind its head."""
    body = offer_row(offer)[4]
    raw = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    assert isinstance(raw, bytes)
    return head + raw


@pytest.mark.parametrize("extras", [b"", b"\x81\xa1a\x01"], ids=["plain", "extras"])
@pytest.mark.parametrize(
    ("url", "domain", "kept"),
    [
        ("https://www.a.example/x", "a.example", 3),
        ("https://a.example", "a.example", 1),
        ("http://www.a.example?x", "a.example", 3),
        ("http://a.example:8000/", "a.example", 7),
        ("https://sub.a.example/", "a.example", 22),
        ("https://a.example.org/", "a.example", 6),
        ("https://www.example/", "www.example", 2),
        ("ftp://a.example/", "a.example", 16),
        ("www.a.example", "a.example", 13),
        ("https://\xe4.example/\udc80", "\xe4.example", 5),
        ("", "", 0),
    ],
)
def test_a_url_is_what_it_was_before_its_beginning_was_left_out(
    url: str, domain: str, kept: int, extras: bytes
) -> None:
    offer = Offer(url, domain, FINGERPRINT, priority=5, depth=3, extras=extras)
    member = queued(offer, struct.pack(">6s8sBB", b"number", FINGERPRINT, 0, 3))

    request = unpack_request(member, domain.encode())

    assert (request.url, request.extras) == (url, extras)
    assert (request.rid, request.fingerprint) == (b"number", FINGERPRINT)
    assert (request.attempts, request.depth) == (0, 3)
    assert len(member) == 16 + kept + (3 + len(extras) if extras else 0)


def test_what_was_tried_before_or_is_deep_has_a_longer_head() -> None:
    offer = Offer("https://a.example/", "a.example", FINGERPRINT, priority=5, depth=300)
    head = struct.pack(">6s8sBBBH", b"number", FINGERPRINT, 8, 2, 1, 300)

    request = unpack_request(queued(offer, head), b"a.example")

    assert (request.attempts, request.depth) == (2, 300)
    assert request.url == "https://a.example/"
