from __future__ import annotations

import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis import ConnectionError as RedisConnectionError
from redis import Redis

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def redis_server(folder: Path, *options: str, timeout: float = 10.0) -> Iterator[str]:
    """Run a Redis of our own and yield its URL.

    Tests flush the database between themselves, so they must never be pointed
    at a Redis that somebody else uses.
    """
    socket = folder / "redis.sock"
    process = subprocess.Popen(
        [
            "redis-server",
            "--port",
            "0",
            "--unixsocket",
            str(socket),
            "--save",
            "",
            "--dir",
            str(folder),
            *options,
        ],
        stdout=subprocess.DEVNULL,
    )
    try:
        url = f"unix://{socket}"
        _wait_until_it_answers(url, timeout)
        yield url
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_answers(url: str, timeout: float) -> None:
    deadline = time.monotonic() + timeout
    with Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except RedisConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return
