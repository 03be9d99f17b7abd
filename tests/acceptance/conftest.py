from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.website import website

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.website import Website


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--soak", type=float, default=0.0, metavar="MINUTES", help="go on killing for so long"
    )
    parser.addoption(
        "--screenshots", default="", metavar="FOLDER", help="keep pictures of the dashboard"
    )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Website]:
    """Return the simulated web, visited by nobody yet."""
    with website(tmp_path) as running:
        yield running
