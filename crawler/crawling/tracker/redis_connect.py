"""Connections to Redis: one server, the master of a Sentinel service, a slot of a cluster.

The scripts of a shard, its streams and its wake-ups all live in one slot.  So also on a
cluster each shard speaks with one server, found through redis-py's cluster client; a
connection that hears that the slot (or the master's role) has moved is given up, and the
next one is made to where it is then.
"""

from __future__ import annotations

import asyncio
import re
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Connection, Redis, RedisCluster, SSLConnection
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    SlotNotCoveredError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from crawling.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from redis.asyncio.connection import AbstractConnection

#: Seconds for which what a cluster or Sentinel said of itself is believed.
BELIEVED = 1.0
SCHEMES = (
    "redis rediss unix redis+sentinel rediss+sentinel redis+cluster rediss+cluster".split()
)
_SENTINEL_PORT = 26379
#: What tells the history of a server's data from any other, in its INFO.
_HISTORY = re.compile(rb"^(?:run_id|master_replid):(\w+)", re.MULTILINE)
#: Options of a connection that also go to those that ask where to connect to.
_CLIENT = (
    "username password ssl_ca_certs ssl_certfile ssl_keyfile ssl_cert_reqs ssl_check_hostname"
).split()


class Place(NamedTuple):
    """A URL of a Redis, taken apart; *kind* is "", sentinel or cluster."""

    kind: str
    addresses: Sequence[tuple[str, int]]
    service: str
    #: Of each connection, as redis-py takes them.
    options: dict[str, Any]


def is_redis(url: str) -> bool:
    return url.partition("://")[0] in SCHEMES


def is_cluster(url: str) -> bool:
    return url.partition("://")[0].endswith("+cluster")


def tag_of(url: str, shard: int = 0, shards: int = 1) -> str:
    """Return what the keys of a shard begin with: nothing on one Redis that is not split."""
    return f"{{{shard}}}" if shards > 1 or is_cluster(url) else ""


def shown(url: str) -> str:
    """Return *url* without what is secret in it."""
    return re.sub(r"(://)[^/@]*@", r"\1", url.partition("?")[0])


class Histories:
    """Counts how often a server may have lost what it had confirmed.

    It has when it was started anew, when another took its place, and when it has copied
    another as its replica.  New connections tell: none lasts through the first, a `Locator`
    ends those to a server that was replaced, and Sentinels close all when they do the last.
    """

    def __init__(self) -> None:
        self.breaks = 0
        self._seen: dict[str, list[bytes]] = {}

    def watch(self, tag: str) -> Callable[[AbstractConnection], Awaitable[None]]:
        """Return what is to be called for each new connection to the server with *tag*."""

        async def made(connection: AbstractConnection) -> None:
            await connection.on_connect()
            about = b""
            for section in ("server", "replication"):
                await connection.send_command("INFO", section)
                about += await connection.read_response()
            history = _HISTORY.findall(about)
            if self._seen.setdefault(tag, history) != history:
                self._seen[tag] = history
                self.breaks += 1

        return made


def redis_client(
    url: str,
    *,
    tag: str = "",
    timeout: float,
    connections: int,
    setting: str = "TRACKER",
    histories: Histories | None = None,
) -> Redis:
    """Return a client of the Redis at *url*, on a cluster of the server that has *tag*'s slot.

    Repeating is the caller's business: it alone knows whether it still wants it.
    """
    place = parse(url, setting)
    options = {
        "redis_connect_func": histories and histories.watch(tag),
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "max_connections": connections,
        "decode_responses": False,
    }
    if not place.kind:
        return Redis.from_pool(BlockingConnectionPool.from_url(url, **options))
    pool = {**options, **place.options}
    is_tls = pool.pop("connection_class", None) is SSLConnection
    located = LocatedTlsConnection if is_tls else LocatedConnection
    locator = _locator(place, tag, is_tls=is_tls)
    return Redis.from_pool(
        BlockingConnectionPool(connection_class=located, locator=locator, **pool)
    )


def parse(url: str, setting: str = "TRACKER") -> Place:
    """Take *url* apart; raise `ConfigError` for one that makes no sense."""
    scheme, _, rest = url.partition("://")
    kind = scheme.partition("+")[2]
    if scheme not in SCHEMES:
        raise ConfigError(
            setting, f"must begin with {'://, '.join(SCHEMES)}://, not {scheme}://"
        )
    try:
        if not kind:
            return Place("", (), "", dict(parse_url(url)))
        return _parse_many(scheme.partition("+")[0], kind, rest)
    except ValueError as error:
        raise ConfigError(setting, f"{shown(url)} is no URL of a Redis: {error}") from error


def _parse_many(scheme: str, kind: str, rest: str) -> Place:
    """Take apart `[user:password@]host:port,host:port/service/db?options`."""
    parts = urlsplit(f"{scheme}://{rest}")
    login, at, hosts = parts.netloc.rpartition("@")
    path = [part for part in parts.path.split("/") if part]
    service = path.pop(0) if kind == "sentinel" and path else ""
    if kind == "sentinel" and not service:
        raise ValueError("name the service: redis+sentinel://HOST:PORT/SERVICE")
    if kind == "cluster" and path and path != ["0"]:
        raise ValueError("a cluster has no databases")
    addresses = [_address(host, kind) for host in hosts.split(",")]
    one = f"{scheme}://{login}{at}localhost/{'/'.join(path)}?{parts.query}"
    options = dict(parse_url(one))
    for name in ("host", "port"):
        options.pop(name, None)
    return Place(kind, addresses, service, options)


def _address(text: str, kind: str) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return parts.hostname, parts.port or (_SENTINEL_PORT if kind == "sentinel" else 6379)


class Locator(ABC):
    """Finds the server to speak with, asked anew when it has moved."""

    #: Whether to ask also while connections last.  Without, servers must be such that one
    #: knows at once that another has taken its place.
    keeps_asking = False

    def __init__(self) -> None:
        self._asking = asyncio.Lock()
        self._found: tuple[str, int] | None = None
        self._since = self._again = 0.0
        self._asked_again: asyncio.Task[None] | None = None
        #: What it last found, believed or not.
        self.latest: tuple[str, int] | None = None

    async def find(self) -> tuple[str, int]:
        async with self._asking:
            if self._found is None or time.monotonic() > self._since + BELIEVED:
                try:
                    self._found = await self._ask()
                except (RedisError, RedisClusterException, OSError) as error:
                    raise RedisConnectionError(str(error)) from error
                self._since = time.monotonic()
                self.latest = self._found
            return self._found

    def forget(self) -> None:
        self._found = None

    def used(self) -> None:
        """Ask now and then, beside what goes on, if a connection that is used still counts."""
        if not self.keeps_asking or (self._asked_again and not self._asked_again.done()):
            return
        now = time.monotonic()
        if now > max(self._since, self._again) + BELIEVED:
            self._again = now
            self._asked_again = asyncio.create_task(self._ask_again())

    async def _ask_again(self) -> None:
        # Without an answer nothing is known, and connections last.
        with suppress(RedisConnectionError):
            await self.find()

    @abstractmethod
    async def _ask(self) -> tuple[str, int]: ...


class MasterOfService(Locator):
    # A master that had stopped learns only seconds later that it is none any more.
    keeps_asking = True

    def __init__(self, place: Place, options: dict[str, Any]) -> None:
        super().__init__()
        self._addresses = list(place.addresses)
        self._service = place.service
        # Sentinels have passwords of their own, if any.
        self._options = {name: options[name] for name in options if name.startswith("ssl")}

    async def _ask(self) -> tuple[str, int]:
        once = {"socket_timeout": 2.0, "retry": Retry(NoBackoff(), 0)}
        sentinel = Sentinel(  # type: ignore[no-untyped-call]  # redis-py's
            self._addresses, sentinel_kwargs={**self._options, **once}
        )
        try:
            host, port = await sentinel.discover_master(self._service)
        finally:
            for client in sentinel.sentinels:
                await client.aclose()
        return str(host), int(port)


class OwnerOfSlot(Locator):
    def __init__(self, place: Place, tag: str, options: dict[str, Any]) -> None:
        super().__init__()
        self._nodes = [ClusterNode(host, port) for host, port in place.addresses]
        self._options = options
        self._key = f"{tag}fleet"

    async def _ask(self) -> tuple[str, int]:
        # Made anew each time: one that has once found no node gives up its start nodes.
        nodes = [ClusterNode(node.host, node.port) for node in self._nodes]
        cluster = RedisCluster(
            startup_nodes=nodes,
            require_full_coverage=False,
            socket_timeout=2.0,
            **self._options,
        )
        try:
            await cluster.initialize()
            node = cluster.get_node_from_key(self._key)
        finally:
            await cluster.aclose()
        if node is None:
            raise SlotNotCoveredError(f"nobody has the slot of {self._key}")
        return str(node.host), int(node.port)


def _locator(place: Place, tag: str, *, is_tls: bool) -> Locator:
    options = {name: place.options[name] for name in _CLIENT if name in place.options}
    if is_tls:
        options["ssl"] = True
    if place.kind == "sentinel":
        return MasterOfService(place, options)
    return OwnerOfSlot(place, tag, options)


class LocatedConnection(Connection):
    """A connection to whoever the locator names at the moment it is made.

    Once the locator has named another, what the old one still says does not count: it may
    be a master that has not heard yet that it is none, and what it confirms is lost.
    """

    def __init__(self, *, locator: Locator, **options: Any) -> None:
        self._locator = locator
        super().__init__(**options)

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        if not self.is_connected:
            self.host, self.port = await self._locator.find()
        try:
            await super().connect_check_health(*args, **options)
        except RedisError:
            self._locator.forget()
            raise

    async def read_response(self, *args: Any, **options: Any) -> Any:
        self._locator.used()
        try:
            response = await super().read_response(*args, **options)
        except (AskError, ClusterDownError, ReadOnlyError) as error:
            # Also MOVED: the slot, or the role of master, is somebody else's now.
            self._locator.forget()
            await self.disconnect()
            raise RedisConnectionError(f"the server has given it up: {error}") from error
        if self._locator.latest != (self.host, self.port):
            await self.disconnect()
            raise RedisConnectionError("another server has taken its place")
        return response


class LocatedTlsConnection(LocatedConnection, SSLConnection):
    """The same over TLS."""
