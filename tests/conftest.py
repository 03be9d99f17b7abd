from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a Redis that this test session started."""
    if shutil.which("redis-server") is None:
        _no_server("redis-server is not on PATH: `make test` installs it")
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """Return a client of an empty Redis."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


def _no_server(reason: str) -> None:
    """Skip at a desk; in CI a missing server is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
