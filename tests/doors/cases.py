"""How many cases a door gets, and what may stand anywhere."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

CASES = int(os.environ.get("DOOR_CASES", "200"))


def cases(share: int = 1) -> settings:
    """Return how a test is given its part of the cases, each of which has *share* of them."""
    return settings(
        max_examples=max(1, CASES // share),
        deadline=None,
        database=None,
        derandomize=bool(os.environ.get("CI")) and CASES <= 200,
        suppress_health_check=list(HealthCheck),
    )


#: Text that somebody once choked on.
NASTY = st.sampled_from(
    [
        "", " ", "\0", "\x1b[31m", "\r\nX: y", "../../etc/passwd", "%00", "%", "%zz", "\ud800",
        "\u202e", "\ufeff", "İ", "ß", "💥", "null", "None", "NaN", "1e999", "-1", "0x7f000001",
        "127.0.0.1", "[::1]", "a" * 300, "{}", "[", "{{}}", "$(id)", "'; --", "é", "xn--a",
        "2147483648", "9007199254740993", "1_000", "٣", "true", "redis://", "sqlite://",
    ]
)  # fmt: skip
texts = NASTY | st.text(max_size=40)
#: The same without halves of surrogate pairs, which no UTF-8 has.
utf8_texts = texts.map(lambda text: text.encode("utf-8", "replace").decode("utf-8"))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 1, 2**31, 2**53 + 1, 2**70, 1.5, -0.0, 1e300])
    | utf8_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(utf8_texts, inner, max_size=3),
    max_leaves=8,
)
