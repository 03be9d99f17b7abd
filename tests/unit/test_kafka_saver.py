"""A page as a message that Kafka takes, whatever its size."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from crawling.exceptions import TooLarge
from crawling.savers.kafka_saver import Encoding
from tests.pages import make_page

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 5000
BODIES = {
    "text": "<p>a page</p>" * 1000,
    "escaped": '"\\\n\x01' * 3000,
    "wide": "ü€😀" * 3000,
}


def encoded(page: Any, **how: Any) -> tuple[dict[str, Any], int]:
    message = Encoding(limit=LIMIT, **how).encode(page)
    return json.loads(message), len(message)


def test_a_message_is_utf_8_with_its_keys_sorted() -> None:
    message = Encoding(limit=LIMIT).encode(make_page(body=b"<p>\xc3\xbc</p>", encoding="utf-8"))

    assert list(json.loads(message)) == sorted(json.loads(message))
    assert '"body":"<p>ü</p>"'.encode() in message


def test_what_utf_8_or_64_bits_cannot_hold_is_written_as_well() -> None:
    attrs = {"half": "\ud800", "much": 2**70}

    message, _ = encoded(make_page(body=b"<p>", encoding="utf-8", attrs=attrs))

    assert message["attrs"] == attrs


@pytest.mark.parametrize("kind", BODIES)
def test_too_long_a_text_is_cut_where_the_message_is_full(kind: str) -> None:
    body = BODIES[kind].encode()

    message, size = encoded(make_page(body=body, encoding="utf-8"))

    assert LIMIT - 20 < size <= LIMIT - len("crawl")
    assert BODIES[kind].startswith(message["body"])
    assert (message["truncated"], message["body_size"]) == (True, len(body))
    assert message["body_encoding"] == "text"


@pytest.mark.parametrize("base64", [True, False])
def test_too_many_bytes_are_cut_where_they_still_decode(base64: bool) -> None:
    body = bytes(range(256)) * 100

    message, size = encoded(make_page(body=body, encoding=None), base64=base64)

    assert size <= LIMIT
    assert body.startswith(b64decode(message["body"], validate=True))
    assert len(message["body"]) > 3000
    assert message["body_encoding"] == "base64"


def test_links_go_before_the_page_does() -> None:
    links = [{"text": "there", "url": f"http://a.example/{n}"} for n in range(1000)]

    message, size = encoded(make_page(body=b"<p>", encoding="utf-8", links=links))

    assert (message["links"], message["body"], message["truncated"]) == ([], "<p>", True)
    assert size <= LIMIT


def test_the_body_goes_into_a_file_that_the_message_names(tmp_path: Path) -> None:
    page = make_page(body=b"x" * 10_000)

    message, _ = encoded(page, oversize="file", folder=tmp_path / "bodies")

    assert (tmp_path / "bodies" / page.requestid).read_bytes() == page.body
    assert message["body_file"] == str(tmp_path / "bodies" / page.requestid)
    assert (message["body"], message["body_size"]) == ("", 10_000)


def test_a_page_may_fail_for_its_size() -> None:
    with pytest.raises(TooLarge, match="larger than a message may be"):
        encoded(make_page(body=b"x" * 10_000), oversize="fail")


def test_what_has_no_room_without_its_body_fails() -> None:
    with pytest.raises(TooLarge):
        encoded(make_page(body=b"", attrs={"k": "x" * 10_000}))


def test_a_page_that_fits_is_sent_whole() -> None:
    message, _ = encoded(make_page(body=b"<p>here</p>", encoding="utf-8"), oversize="fail")

    assert message["body"] == "<p>here</p>"
    assert "truncated" not in message
