"""A Kafka broker of the tests' own (KRaft, one node), from Maven or from Docker.

The version is that of docker-compose.yml.  Topics are not made by themselves, so that a
test shows who makes them.
"""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import time
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VERSION = "4.1.1"
ROOT = Path(__file__).parents[2]
#: Where tools/need-kafka puts the broker's archives.
JARS = ROOT / ".cache" / f"kafka-{VERSION}"
#: A broker that the tests may use.  The variable is for them, not for what they test.
SHARED = os.environ.pop("KAFKA_HOSTS", "")
#: Seconds that a broker may take to answer.
PATIENCE = 90.0
#: How often a new broker gets ports: between their choice and its use of them lie seconds.
TRIES = 3


@dataclass
class KafkaServer:
    """A broker that can be killed and started again: folder and port stay the same.

    *listeners* are further ones by name and security protocol, on free ports; *options*
    go into server.properties.
    """

    folder: Path
    listeners: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    ports: dict[str, int] = field(init=False)
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self._configuration = self.folder / "server.properties"
        self._choose_ports()
        self._java("kafka.tools.StorageTool", "format", "-t", _cluster_id())

    @property
    def hosts(self) -> str:
        return f"127.0.0.1:{self.ports['PLAIN']}"

    def start(self) -> None:
        """Start the broker; for the first time on other ports, where one was taken meanwhile."""
        tries = TRIES if self.process is None else 1
        while True:
            command = self._command("kafka.Kafka", str(self._configuration))
            with (self.folder / "broker.log").open("ab") as log:
                self.process = subprocess.Popen(command, stdout=log, stderr=log)
            tries -= 1
            if self._answers():
                return
            assert tries, f"the broker ends: {(self.folder / 'broker.log').read_text()}"
            self._choose_ports()

    def kill(self) -> None:
        """End the broker as `kill -9` does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _choose_ports(self) -> None:
        names = ["PLAIN", "CONTROLLER", *self.listeners]
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._configuration.write_text(
            "".join(f"{name}={value}\n" for name, value in self._properties().items())
        )

    def _properties(self) -> dict[str, str]:
        protocols = {"PLAIN": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **self.listeners}
        places = {name: f"{name}://127.0.0.1:{port}" for name, port in self.ports.items()}
        outside = [place for name, place in places.items() if name != "CONTROLLER"]
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.ports['CONTROLLER']}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAIN",
            "listeners": ",".join(places.values()),
            "advertised.listeners": ",".join(outside),
            "listener.security.protocol.map": ",".join(
                f"{name}:{protocol}" for name, protocol in protocols.items()
            ),
            "log.dirs": str(self.folder / "data"),
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # Until then the controller refuses a broker that comes back after a kill.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "message.max.bytes": "67108864",
            **self.options,
        }

    def _command(self, main: str, *arguments: str) -> list[str]:
        heap = ("-Xms256m", "-Xmx512m", "-XX:TieredStopAtLevel=1")
        return ["java", *heap, "-cp", f"{JARS}/*", main, *arguments]

    def _java(self, main: str, *arguments: str) -> None:
        command = self._command(main, *arguments, "-c", str(self._configuration))
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)

    def _answers(self) -> bool:
        """Wait until the broker answers; False when it ends."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                KafkaAdminClient(
                    bootstrap_servers=self.hosts, bootstrap_timeout_ms=1000
                ).close()
            except KafkaError:
                assert self.process is not None
                if self.process.poll() is not None:
                    return False
                assert time.monotonic() < deadline, "the broker does not answer"
            else:
                return True
            _close_what_was_left()


def _close_what_was_left() -> None:
    """Close the sockets that kafka-python drops when it gives up while it connects them.

    Python warns of one that was connected after all when it finds it: in the middle of a test.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@contextmanager
def kafka_server(
    folder: Path,
    listeners: Mapping[str, str] | None = None,
    options: Mapping[str, str] | None = None,
) -> Iterator[KafkaServer]:
    server = KafkaServer(folder, listeners or {}, options or {})
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def kafka_container() -> Iterator[str]:
    """Run the broker of docker-compose.yml's image and yield its address."""
    port, controller = free_ports(2)
    name = f"scrapy-fleet-tests-{uuid4().hex[:12]}"
    environment = {
        "KAFKA_NODE_ID": "1",
        "KAFKA_PROCESS_ROLES": "broker,controller",
        "KAFKA_LISTENERS": f"PLAINTEXT://:{port},CONTROLLER://:{controller}",
        "KAFKA_ADVERTISED_LISTENERS": f"PLAINTEXT://127.0.0.1:{port}",
        "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        "KAFKA_CONTROLLER_QUORUM_VOTERS": f"1@127.0.0.1:{controller}",
        "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_MESSAGE_MAX_BYTES": "67108864",
    }
    given = [option for pair in environment.items() for option in ("-e", "=".join(pair))]
    published = ("-p", f"127.0.0.1:{port}:{port}")
    image = f"apache/kafka:{VERSION}"
    subprocess.run(
        ["docker", "run", "--rm", "-d", "--name", name, *published, *given, image],
        check=True,
        capture_output=True,
    )
    try:
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run(["docker", "rm", "-f", name], check=True, capture_output=True)


def has_docker() -> bool:
    """Whether a Docker daemon answers."""
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(["docker", "info"], capture_output=True, check=False, timeout=30)
    return asked.returncode == 0


def has_java() -> bool:
    return shutil.which("java") is not None and JARS.exists()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [bound.getsockname()[1] for bound in sockets]
    for bound in sockets:
        bound.close()
    return ports


@contextmanager
def any_kafka(folder: Path) -> Iterator[str | None]:
    """Yield the address of a broker: KAFKA_HOSTS, a container, or one of our own."""
    if SHARED:
        yield SHARED
    elif has_docker():
        with kafka_container() as hosts:
            yield hosts
    elif has_java():
        with kafka_server(folder) as server:
            yield server.hosts
    else:
        yield None


def _cluster_id() -> str:
    """Return what Kafka takes for the id of a new cluster: 16 bytes as base64."""
    return "c2NyYXB5LWZsZWV0LXRlcw"
