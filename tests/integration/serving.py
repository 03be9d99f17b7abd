"""REST services in this process, on a port of their own, and what asks them."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from crawling import settings as fleet
from crawling.service.config import named
from rest_service import settings as rest
from rest_service.access import new_token
from rest_service.service import serve
from tests.integration.tracking import until
from tests.servers.kafka_server import free_ports

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from httpx import Response

    from crawling.tracker.tracker import Tracker


@dataclass
class Served:
    """A running service; *client* asks it, with a token if it was given one."""

    client: httpx.AsyncClient
    url: str
    settings: dict[str, Any]

    async def get(self, path: str, status: int = 200, **query: Any) -> Any:
        return answered(await self.client.get(f"/api/v1{path}", params=query), status)

    async def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        sent = {} if body is None else {"json": body}
        return answered(await self.client.post(f"/api/v1{path}", **sent), status)

    async def put(self, path: str, body: Any = None, status: int = 204) -> Any:
        sent = {} if body is None else {"json": body}
        return answered(await self.client.put(f"/api/v1{path}", **sent), status)

    async def delete(self, path: str, status: int = 204) -> Any:
        return answered(await self.client.delete(f"/api/v1{path}"), status)

    @asynccontextmanager
    async def events(self) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
        async with self.client.stream("GET", "/api/v1/events") as response:
            assert response.status_code == 200, await response.aread()
            yield _events(response)


def answered(response: Response, status: int) -> Any:
    """Return the JSON of an answer that must have this *status*."""
    assert response.status_code == status, response.text
    kind = response.headers.get("content-type", "")
    assert kind.startswith("application/problem+json") == (status >= 400), kind
    return response.json() if response.content else None


async def _events(response: Response) -> AsyncIterator[tuple[str, Any]]:
    """Yield each event with its data."""
    event = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield event, json.loads(line.removeprefix("data: "))


def settings_of(tracker: str, **changed: Any) -> dict[str, Any]:
    return {
        **named(fleet),
        **named(rest),
        "TRACKER": tracker,
        "KAFKA_HOSTS": None,
        "ALLOW_PRIVATE_ADDRESSES": True,
        "REST_PORT": free_ports(1)[0],
        **changed,
    }


@asynccontextmanager
async def serving(tracker: str, token: str = "", **changed: Any) -> AsyncIterator[Served]:
    """Run a service beside the block; it is there when the block begins."""
    settings = settings_of(tracker, **changed)
    scheme = "https" if settings["REST_TLS_CERTFILE"] else "http"
    url = f"{scheme}://127.0.0.1:{settings['REST_PORT']}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    stopping = asyncio.Event()
    running = asyncio.create_task(serve(settings, stopping))
    # A certificate is for the test that looks at it.
    async with httpx.AsyncClient(
        base_url=url, headers=headers, timeout=60, verify=False
    ) as client:
        try:
            await until(lambda: _is_there(client, running), timeout=60, every=0.05)
            yield Served(client, url, settings)
        finally:
            stopping.set()
            await running


@asynccontextmanager
async def serving_over(url: str, tracker: Tracker) -> AsyncIterator[Served]:
    """Run a service over the tracker of that *url*; it is ready when the block begins."""
    async with serving(url, TRACKER_SHARDS=tracker.config.shards, QUEUE_HITS=0) as served:
        await until(lambda: _is_ready(served), timeout=90)
        yield served


def tokens_file(folder: Path, *scopes: str) -> tuple[str, list[str]]:
    """Return a file of tokens, and one of each scope."""
    made = [new_token(scope, scope) for scope in scopes]
    (folder / "tokens").write_text("\n".join(line for _, line in made))
    return str(folder / "tokens"), [token for token, _ in made]


async def _is_ready(served: Served) -> bool:
    return (await served.client.get("/readyz")).status_code == 200


async def _is_there(client: httpx.AsyncClient, running: asyncio.Task[None]) -> bool:
    if running.done():
        await running
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False
