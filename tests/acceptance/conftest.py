from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.website import website

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.website import Website


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Website]:
    """Return the simulated web, visited by nobody yet."""
    with website(tmp_path) as running:
        yield running
