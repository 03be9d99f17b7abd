"""How often Python looks for garbage that reference counts do not find."""

from __future__ import annotations

import gc

#: What `gc.get_threshold` begins with where nobody has set it.
PYTHONS_THRESHOLD = gc.get_threshold()[0]


def collect_seldom() -> None:
    """Look for cycles after 50,000 new objects, not 700: pages and messages have hardly any."""
    if gc.get_threshold()[0] == PYTHONS_THRESHOLD:
        gc.freeze()
        gc.set_threshold(50_000, 10, 10)
