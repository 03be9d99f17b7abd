"""Several Redis servers together: a cluster, a master with replicas and Sentinels, TLS."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis import Redis
from redis.exceptions import RedisError

from tests.servers.kafka_server import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

#: Seconds after which a server that does not answer counts as down, for the others.
DOWN_AFTER = 1.0
PATIENCE = 60.0


@dataclass
class Server:
    """One redis-server on a port, which can be killed and started again."""

    folder: Path
    port: int
    options: Sequence[str]
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        command = ["redis-server", "--port", str(self.port), "--dir", str(self.folder)]
        command += ["--save", "", *self.options]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def client(self) -> Redis:
        return Redis(port=self.port, socket_timeout=2.0)


@contextmanager
def redis_alone(folder: Path, *options: str) -> Iterator[Server]:
    """Run a Redis on a port; it may be killed and started again."""
    server = Server(folder, free_ports(1)[0], options)
    server.start()
    try:
        _until(lambda: answers(server), "the server answers")
        yield server
    finally:
        server.kill()


@dataclass
class Cluster:
    """A Redis Cluster: three masters, and as many replicas if asked for."""

    servers: list[Server]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{server.port}" for server in self.servers[:3])
        return f"redis+cluster://{hosts}"

    def flush(self) -> None:
        for server in self.servers:
            with server.client() as client:
                if client.info("replication")["role"] == "master":
                    client.flushall()

    def owner(self, key: str) -> Server:
        """Return the server that has the slot of *key* now."""
        with self.servers[0].client() as client:
            slot = client.cluster("KEYSLOT", key)
        for server in self.servers:
            try:
                with server.client() as client:
                    nodes = client.cluster("NODES")
            except RedisError:
                continue
            for address, about in nodes.items():
                spans = [tuple(map(int, span)) for span in about["slots"]]
                if "fail" not in about["flags"] and any(a <= slot <= b for a, b in spans):
                    port = int(address.rpartition(":")[2].partition("@")[0])
                    return next(each for each in self.servers if each.port == port)
        raise AssertionError(f"nobody has the slot of {key}")


@contextmanager
def redis_cluster(folder: Path, *, replicas: bool = False) -> Iterator[Cluster]:
    count = 6 if replicas else 3
    ports = free_ports(2 * count)
    with ExitStack() as stack:
        servers = [
            Server(
                folder / str(port),
                port,
                ("--cluster-enabled", "yes", "--cluster-port", str(bus),
                 "--cluster-node-timeout", str(int(DOWN_AFTER * 1000)),
                 "--repl-diskless-sync-delay", "0"),
            )
            for port, bus in zip(ports[:count], ports[count:], strict=True)
        ]  # fmt: skip
        for server in servers:
            server.start()
            stack.callback(server.kill)
        for server in servers:
            _until(lambda server=server: answers(server), "the server answers")  # type: ignore[misc]
        addresses = [f"127.0.0.1:{server.port}" for server in servers]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
        if replicas:
            create += ["--cluster-replicas", "1"]
        subprocess.run(create, check=True, capture_output=True, timeout=PATIENCE)
        for server in servers:
            _until(lambda server=server: _is_ready(server), "the cluster is ready")  # type: ignore[misc]
        yield Cluster(servers)


@dataclass
class Watched:
    """A master with two replicas, and three Sentinels that watch them."""

    servers: list[Server]
    sentinels: list[Server]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/fleet/0"

    def master(self) -> Server:
        for server in self.servers:
            if is_master(server):
                return server
        raise AssertionError("there is no master")


@contextmanager
def redis_replicas(folder: Path) -> Iterator[list[Server]]:
    """Run a master and two replicas, in this order."""
    first, *others = free_ports(3)
    with ExitStack() as stack:
        servers = [Server(folder / str(first), first, ())]
        follow = ("--replicaof", f"127.0.0.1 {first}", "--repl-diskless-sync-delay", "0")
        servers += [Server(folder / str(port), port, follow) for port in others]
        for server in servers:
            server.start()
            stack.callback(server.kill)
        for server in servers:
            _until(lambda server=server: answers(server), "the server answers")  # type: ignore[misc]
        until_replicated(servers)
        # A replica says that it follows before its master knows.
        _until(lambda: _online(servers[0]) == len(others), "the master knows its replicas")
        yield servers


def _online(master: Server) -> int:
    with master.client() as client:
        told = client.info("replication")
    replicas = [told[f"slave{number}"] for number in range(told["connected_slaves"])]
    return sum(replica["state"] == "online" for replica in replicas)


@contextmanager
def redis_sentinel(folder: Path) -> Iterator[Watched]:
    with ExitStack() as stack:
        servers = stack.enter_context(redis_replicas(folder))
        sentinels = [Server(folder / str(port), port, ()) for port in free_ports(3)]
        for sentinel in sentinels:
            _start_sentinel(sentinel, servers[0].port)
            stack.callback(sentinel.kill)
        watched = Watched(servers, sentinels)
        _until(lambda: all(map(_sees_all, sentinels)), "the Sentinels know each other")
        yield watched


def _start_sentinel(sentinel: Server, master: int) -> None:
    sentinel.folder.mkdir(parents=True, exist_ok=True)
    configuration = sentinel.folder / "sentinel.conf"
    configuration.write_text(
        f"port {sentinel.port}\n"
        f"dir {sentinel.folder}\n"
        f"sentinel monitor fleet 127.0.0.1 {master} 2\n"
        f"sentinel down-after-milliseconds fleet {int(DOWN_AFTER * 1000)}\n"
        "sentinel failover-timeout fleet 3000\n"
    )
    with (sentinel.folder / "log").open("ab") as log:
        sentinel.process = subprocess.Popen(
            ["redis-server", str(configuration), "--sentinel"], stdout=log, stderr=log
        )


def _sees_all(sentinel: Server) -> bool:
    try:
        with sentinel.client() as client:
            seen = client.sentinel_masters()["fleet"]
    except RedisError:
        return False
    return bool(seen["num-slaves"] == 2 and seen["num-other-sentinels"] == 2)


def is_master(server: Server) -> bool:
    try:
        with server.client() as client:
            return bool(client.info("replication")["role"] == "master")
    except RedisError:
        return False


def until_replicated(servers: Sequence[Server]) -> None:
    """Return when every replica has what its master has now."""
    offsets: dict[int, int] = {}
    for server in servers:
        if is_master(server):
            with server.client() as client:
                offsets[server.port] = client.info("replication")["master_repl_offset"]
    _until(
        lambda: all(_has_what(offsets, server) for server in servers),
        "the replicas have what the masters have",
    )


def _has_what(offsets: Mapping[int, int], server: Server) -> bool:
    try:
        with server.client() as client:
            told = client.info("replication")
    except RedisError:
        return False
    if told["role"] == "master":
        return server.port in offsets
    offset = offsets.get(told["master_port"])
    linked = told["master_link_status"] == "up"
    return linked and offset is not None and bool(told["slave_repl_offset"] >= offset)


def answers(server: Server) -> bool:
    """Whether a Redis serves: it runs, has read its files, and is not busy."""
    try:
        with server.client() as client:
            return bool(client.ping())
    except RedisError:
        return False


def _is_ready(server: Server) -> bool:
    with server.client() as client:
        info = client.cluster("INFO")
    return bool(info["cluster_state"] == "ok") and _is_synced(server)


def _is_synced(server: Server) -> bool:
    with server.client() as client:
        return bool(client.info("replication").get("master_link_status", "up") == "up")


def _until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        time.sleep(0.02)
