"""The REST service as a process: from its settings to its end."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from contextlib import AsyncExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import uvicorn

from crawling.exceptions import ConfigError
from crawling.service.metrics import serve_registry
from crawling.service.servers import opened_traces
from rest_service.app import make_app, make_parts
from rest_service.backends import Backends
from rest_service.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from starlette.types import ASGIApp

logger = logging.getLogger(__name__)

#: Seconds for which requests may still be answered when the service is told to end.
GRACE = 10
#: Seconds between two looks whether the tracker can ever be opened.
LOOK = 0.2


class Server(uvicorn.Server):
    """uvicorn without its own handlers of signals: ours set an event."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


async def serve(settings: Mapping[str, Any], stopping: asyncio.Event) -> None:
    """Answer until *stopping* is set, and end what was begun."""
    async with AsyncExitStack() as stack:
        backends = Backends(settings)
        stack.push_async_callback(backends.close)
        traces = opened_traces(settings, stack, "rest-service")
        parts = make_parts(settings, backends, traces)
        if parts.pages is not None:
            stack.callback(parts.pages.close)
        listening = stack.enter_context(_listen(settings))
        await backends.open()
        node = backends.node.id.rpartition(":")[2] if backends.node else "embedded"
        metrics = Metrics(backends, parts.events)
        if settings["METRICS_PORT"]:
            serve_registry(settings, stack, metrics.registry)
        server = Server(_config(make_app(parts, metrics, node), settings))
        looking = asyncio.create_task(
            parts.overview.run(parts.events.watched, parts.events.publish)
        )
        stack.push_async_callback(_end, looking)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        _say(settings, listening)
        try:
            await _until(stopping, serving, looking, backends)
        finally:
            logger.info("Closing Rest Service", extra={"action": "close"})
            parts.events.close()
            server.should_exit = True
            await serving


async def _until(
    stopping: asyncio.Event,
    serving: asyncio.Task[None],
    looking: asyncio.Task[None],
    backends: Backends,
) -> None:
    """Return when it is time to end; raise what keeps the service from ever working."""
    while not stopping.is_set() and not serving.done():
        if error := backends.failed():
            raise error
        if looking.done():
            await looking
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(stopping.wait(), LOOK)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _listen(settings: Mapping[str, Any]) -> socket.socket:
    host, port = settings["REST_HOST"], settings["REST_PORT"]
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ConfigError(
            "REST_PORT", f"cannot listen on {host} port {port}: {error.strerror or error}"
        ) from error
    # Connections have it from here.  Without it the body of an answer, which is sent after its
    # head, waits some 40 ms for the client's word that it has the head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _config(app: ASGIApp, settings: Mapping[str, Any]) -> uvicorn.Config:
    certificate, key = settings["REST_TLS_CERTFILE"], settings["REST_TLS_KEYFILE"]
    if key and not certificate:
        raise ConfigError("REST_TLS_CERTFILE", "must be given with REST_TLS_KEYFILE")
    # Its records are of every connection, and ours are of every request.
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )
    try:
        config.load()
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            "REST_TLS_CERTFILE", f"cannot use {certificate!r}: {error}"
        ) from error
    return config


def _say(settings: Mapping[str, Any], listening: socket.socket) -> None:
    scheme = "https" if settings["REST_TLS_CERTFILE"] else "http"
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    logger.info(
        "Rest Service listens on %s://%s:%d", scheme, shown, port, extra={"action": "open"}
    )
