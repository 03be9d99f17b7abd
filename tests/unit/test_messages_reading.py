from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawling.exceptions import MessageError
from crawling.messages.reading import DEEPEST, LARGEST_MESSAGE, read_message

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(JSON)
def test_whatever_is_json_is_read_as_it_is(message: Any) -> None:
    assert read_message(json.dumps(message).encode()) == message


@given(st.binary() | st.text().map(str.encode) | JSON.map(json.dumps).map(str.encode))
def test_no_bytes_at_all_raise_anything_but_a_message_error(raw: bytes) -> None:
    for cut in (raw, raw[:-1], raw + raw, b"[" * 100_000 + raw):
        try:
            read_message(cut)
        except MessageError as error:
            assert len(error.errors) == 1  # noqa: PT017 there may be none


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        (None, "has no value"),
        (b"", "is not JSON: Expecting value"),
        (b"{", "is not JSON: "),
        (b"{'a': 1}", "is not JSON: "),
        (b'{"a": 1} x', "is not JSON: Extra data"),
        (b'{"a": "\xff"}', "is not UTF-8: invalid start byte at byte 7"),
        (b'{"a": NaN}', "is not JSON: NaN is no number"),
        (b'{"a": -Infinity}', "is not JSON: -Infinity is no number"),
        (b'{"a": 1e999}', "is not JSON: 1e999 is too large"),
        (b'{"a": %s}' % (b"1" * 5000), "is not JSON: Exceeds the limit"),
        (b'{"a": 1, "b": 2, "a": 3}', "is not JSON: 'a' stands twice in an object"),
        (b'{"a": {"b": 1, "b": 1}}', "is not JSON: 'b' stands twice in an object"),
        (rb'{"a": ["\ud800"]}', r"has half of a surrogate pair in '\ud800'"),
        (rb'{"\udfff": 1}', r"has half of a surrogate pair in '\udfff'"),
        (b"[" * 1_000_000, "is nested too deeply"),
        (b'{"a":' * 60 + b"1" + b"}" * 60, "is nested too deeply: at most 50"),
        (b'"%s"' % (b"x" * 50_000_000), "has 50000002 bytes, at most 2097152 are read"),
    ],
)
def test_poison_is_refused_with_its_reason(raw: bytes | None, problem: str) -> None:
    with pytest.raises(MessageError) as error:
        read_message(raw)

    assert str(error.value).startswith(f"message: {problem}")


def test_what_is_just_within_the_bounds_is_read() -> None:
    deepest = b"[" * DEEPEST + b"]" * DEEPEST

    assert json.dumps(read_message(deepest)).encode() == deepest
    assert read_message(b'"%s"' % (b"x" * (LARGEST_MESSAGE - 2)))
    assert read_message(rb'"\ud83d\ude00"') == "\U0001f600"
    assert len(read_message(b"[" + b",".join([b"[]"] * 1000) + b"]")) == 1000
