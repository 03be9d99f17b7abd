from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, NoReturn
from uuid import uuid4

import pytest
from redis import Redis

from tests.servers.browser import has_chromium
from tests.servers.kafka_server import any_kafka, has_java
from tests.servers.redis_fleets import redis_cluster
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.redis_fleets import Cluster


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a Redis that this test session started."""
    _need_redis()
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """Return a client of an empty Redis."""
    with Redis.from_url(redis_url) as client:
        client.flushall()
        yield client


@pytest.fixture(scope="session")
def running_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    _need_redis()
    with redis_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(running_cluster: Cluster) -> Cluster:
    """Return an empty Redis Cluster of three masters."""
    running_cluster.flush()
    return running_cluster


@pytest.fixture(scope="session")
def kafka_hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a broker that all tests of this session share."""
    with any_kafka(tmp_path_factory.mktemp("kafka")) as hosts:
        if hosts is None:
            _no_server("there is no Kafka: `make test` brings one")
        yield hosts


@pytest.fixture
def topic_prefix() -> str:
    """Return what the topics of one test begin with."""
    return f"test-{uuid4().hex[:12]}"


@pytest.fixture
def kafka_folder(tmp_path: Path) -> Path:
    """Return a folder for a broker of the test's own, which it may kill."""
    _need_brokers()
    return tmp_path


@pytest.fixture(scope="session")
def arena_servers() -> None:
    """Make sure that a test can start what a whole cluster needs."""
    _need_brokers()
    _need_redis()


@pytest.fixture(scope="session")
def redis_needed() -> None:
    """Make sure that a test can start a Redis of its own."""
    _need_redis()


@pytest.fixture(scope="session")
def browsers() -> None:
    """Make sure that a test can start a browser."""
    if not has_chromium():
        _no_server("chromium or chromedriver is not on PATH: `make test` installs them")


def _need_redis() -> None:
    if shutil.which("redis-server") is None:
        _no_server("redis-server is not on PATH: `make test` installs it")


def _need_brokers() -> None:
    if not has_java():
        _no_server("Java or Kafka's archives are missing: `make test` brings them")


def _no_server(reason: str) -> NoReturn:
    """Skip at a desk; in CI a missing server is a failure."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
