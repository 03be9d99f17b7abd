"""A service whose dashboard a browser opens."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from tests.acceptance.crawls import CRAWLER, background, environment, fleet_command, stop, until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

#: A request a second, so that there is time to look.
SLOW = {"QUEUE_HITS": "5", "QUEUE_WINDOW": "5", "RETRY_TIMES": "0"}


@contextmanager
def serve(folder: Path, tracker: str, port: int, *options: str) -> Iterator[str]:
    """Run `fleet serve`; return where its dashboard is."""
    command = fleet_command("serve", "--tracker", tracker, "--port", str(port), *options)
    settings = {"KAFKA_HOSTS": "none", "ALLOW_PRIVATE_ADDRESSES": "1", **SLOW}
    url = f"http://127.0.0.1:{port}"
    with background(command, CRAWLER, environment(**settings), folder) as process:
        until(lambda: answers(f"{url}/readyz"), "the service is ready")
        yield f"{url}/ui/"
        end(process)


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        assert stop(process) == 0


def answers(url: str) -> bool:
    """Whether the service is there, and ready."""
    try:
        return httpx.get(url, timeout=30).status_code == 200
    except httpx.TransportError:
        return False
