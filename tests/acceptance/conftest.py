from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.dashboard import serve, usual
from tests.servers.browser import chromium
from tests.servers.kafka_server import free_ports
from tests.servers.redis_server import redis_server
from tests.servers.website import website

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.browser import Browser
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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the servers of a module keep their files."""
    return tmp_path_factory.mktemp("dashboard")


@pytest.fixture(scope="module")
def window(browsers: None, folder: Path) -> Iterator[Browser]:
    """Yield the one Chromium of a module."""
    with chromium(folder) as browser:
        yield browser


@pytest.fixture
def browser(window: Browser) -> Iterator[Browser]:
    with usual(window) as browser:
        yield browser


@pytest.fixture(scope="module")
def tracker(redis_needed: None, folder: Path) -> Iterator[str]:
    (folder / "redis").mkdir()
    with redis_server(folder / "redis") as url:
        yield url


@pytest.fixture(scope="module")
def ui(folder: Path, tracker: str) -> Iterator[str]:
    """Return where the dashboard is, of a service that has just begun, without a worker."""
    with serve(folder, tracker, free_ports(1)[0]) as url:
        yield url
