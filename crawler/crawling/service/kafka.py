"""Kafka for asyncio: kafka-python's clients on threads of their own, its errors as ours.

What is sent goes by librdkafka: `kafka_sender`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    KafkaConfigurationError,
    KafkaError,
    UnsupportedCodecError,
)
from kafka.structs import OffsetAndMetadata

from crawling.exceptions import ConfigError, RequestError, Unavailable
from crawling.service.config import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from crawling.service.config import Settings

Result = TypeVar("Result")

# Every try of a broker that is away is an error to it, with a traceback; what comes of it
# reaches us as an exception.
logging.getLogger("kafka").setLevel(logging.CRITICAL)

#: Seconds until a broker that does not answer counts as away.
ANSWER_TIMEOUT = 10.0
#: Seconds at most between two attempts to connect: who waits goes on soon after.
MAX_BACKOFF = 1.0
#: Seconds for which a group keeps the partitions of a reader that was killed.
SESSION_TIMEOUT = 10.0
#: What makes a topic's name, as Kafka has it.
_TOPIC = re.compile(r"[a-zA-Z0-9._\-]{1,249}")


@dataclass(frozen=True)
class KafkaConfig:
    """How to reach the brokers and what to ask of them; see the KAFKA_ settings."""

    hosts: tuple[str, ...]
    prefix: str = "demo"
    #: Of all clients: TLS and SASL.
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)
    compression: str | None = None
    #: Seconds that a message may wait for others to travel with.
    linger: float = 0.025
    max_request_size: int = 1_048_576
    max_fetch_bytes: int = 10_485_760
    partitions: int = 4
    #: -1: as the broker's default says.
    replication: int = -1

    @property
    def address(self) -> str:
        return ", ".join(self.hosts)


class Record(NamedTuple):
    """A message as it came; *timestamp* is Unix seconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp: float


def kafka_config(settings: Settings) -> KafkaConfig:
    """Return the settings' Kafka; raise `ConfigError`, also when there is to be none."""
    hosts = read(settings, "KAFKA_HOSTS")
    if not hosts:
        raise ConfigError("KAFKA_HOSTS", "is none: name a broker, such as localhost:9092")
    for host in hosts:
        name, _, port = host.rpartition(":")
        if not name or not port.isdigit():
            raise ConfigError("KAFKA_HOSTS", f"must be HOST:PORT, not {host!r}")
    compression = read(settings, "KAFKA_COMPRESSION")
    prefix = read(settings, "KAFKA_TOPIC_PREFIX")
    if not _TOPIC.fullmatch(prefix):
        raise ConfigError(
            "KAFKA_TOPIC_PREFIX", f"must be letters, digits, dots, - and _, not {prefix!r}"
        )
    return KafkaConfig(
        hosts=tuple(hosts),
        prefix=prefix,
        security=_security(settings),
        compression=None if compression == "none" else compression,
        linger=read(settings, "KAFKA_PRODUCER_BATCH_LINGER_MS") / 1000,
        max_request_size=read(settings, "KAFKA_PRODUCER_MAX_REQUEST_SIZE"),
        max_fetch_bytes=read(settings, "KAFKA_CONSUMER_FETCH_MESSAGE_MAX_BYTES"),
        partitions=read(settings, "KAFKA_TOPIC_PARTITIONS"),
        replication=read(settings, "KAFKA_TOPIC_REPLICATION"),
    )


#: Setting -> option of kafka-python's clients.
SECURITY = {
    "KAFKA_SECURITY_PROTOCOL": "security_protocol",
    "KAFKA_SSL_CAFILE": "ssl_cafile",
    "KAFKA_SSL_CERTFILE": "ssl_certfile",
    "KAFKA_SSL_KEYFILE": "ssl_keyfile",
    "KAFKA_SASL_MECHANISM": "sasl_mechanism",
    "KAFKA_SASL_USERNAME": "sasl_plain_username",
    "KAFKA_SASL_PASSWORD": "sasl_plain_password",
}


def _security(settings: Settings) -> dict[str, Any]:
    given = {option: read(settings, name) for name, option in SECURITY.items()}
    return {option: value for option, value in given.items() if value is not None}


def topic_of(prefix: str, kind: str, appid: str = "") -> str:
    """Return the topic of *kind* for all, or for one *appid*.

    Raise `RequestError` for an appid that cannot be part of a topic's name.
    """
    topic = f"{prefix}.{kind}_{appid or 'firehose'}"
    if not _TOPIC.fullmatch(topic):
        raise RequestError("bad_appid", f"appid {appid!r} cannot name a Kafka topic")
    return topic


class KafkaClient:
    """A blocking client whose calls run, one by one, on one thread."""

    def __init__(self, config: KafkaConfig, name: str) -> None:
        self.config = config
        self.thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def options(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": list(self.config.hosts),
            "bootstrap_timeout_ms": int(ANSWER_TIMEOUT * 1000),
            "reconnect_backoff_max_ms": int(MAX_BACKOFF * 1000),
            **self.config.security,
        }

    async def run(self, call: Callable[..., Result], *args: Any) -> Result:
        with kafka_errors(self.config):
            return await asyncio.get_running_loop().run_in_executor(self.thread, call, *args)


class KafkaReader(KafkaClient):
    """Reads topics: with a *group* shared with its other members, else all by itself.

    A member with the name *instance* takes over at once from an earlier one of that name.
    Partitions that a topic gets later are read too, within seconds and from their beginning.
    Offsets are committed by `commit` alone.  Partitions that the group has given to
    another member are no longer read here, and committing them raises nothing.
    """

    def __init__(
        self,
        config: KafkaConfig,
        topics: Sequence[str],
        group: str | None,
        *,
        from_beginning: bool = True,
        instance: str | None = None,
    ) -> None:
        super().__init__(config, "kafka-reader")
        self._topics = list(topics)
        self._group = group
        self._instance = instance
        self._reset = "earliest" if from_beginning else "latest"
        self._consumer: Any = None

    async def open(self) -> None:
        """Connect; without a group the place to read from is then fixed."""
        self._consumer = await self.run(self._connect)

    def _connect(self) -> Any:
        consumer = KafkaConsumer(
            **self.options(),
            group_id=self._group,
            group_instance_id=self._instance,
            session_timeout_ms=int(SESSION_TIMEOUT * 1000),
            auto_offset_reset=self._reset,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            fetch_max_bytes=max(self.config.max_fetch_bytes, 52_428_800),
            max_partition_fetch_bytes=self.config.max_fetch_bytes,
            metadata_max_age_ms=5000,
            metrics_enabled=False,
        )
        if self._group is not None:
            consumer.subscribe(self._topics)
            return consumer
        partitions = _partitions(consumer, self._topics)
        consumer.assign(partitions)
        for partition in partitions:
            consumer.position(partition)
        return consumer

    async def poll(self, limit: int, timeout: float) -> list[Record]:
        """Return up to *limit* messages, none after *timeout* seconds."""
        found = await self.run(self._poll, limit, timeout)
        return [
            Record(
                record.topic,
                record.partition,
                record.offset,
                record.key,
                record.value,
                record.headers,
                record.timestamp / 1000,
            )
            for records in found.values()
            for record in records
        ]

    def _poll(self, limit: int, timeout: float) -> Mapping[Any, Sequence[Any]]:
        if self._group is None:
            self._add_partitions()
        found: Mapping[Any, Sequence[Any]] = self._consumer.poll(
            timeout_ms=int(timeout * 1000), max_records=limit
        )
        return found

    def _add_partitions(self) -> None:
        """Read also what a topic has been given since; the client asks for it regularly."""
        known = self._consumer.assignment()
        # For a topic that is not there the brokers would be asked each time.
        topics = {place.topic for place in known}
        new = [place for place in _partitions(self._consumer, topics) if place not in known]
        if new:
            self._consumer.assign([*known, *new])
            self._consumer.seek_to_beginning(*new)

    async def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Let the group go on at *offsets*, (topic, partition) to the next offset to read."""
        await self.run(self._commit, offsets)

    def _commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        places = {
            place: OffsetAndMetadata(offset, "", -1)
            for place, offset in self._ours(offsets).items()
        }
        try:
            if places:
                self._consumer.commit(places)
        except CommitFailedError:
            # The group has been dealt anew; whoever has the partition reads it again.
            return

    async def rewind(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Read on at *offsets*, (topic, partition) to offset, where that is read here."""
        await self.run(self._rewind, offsets)

    def _rewind(self, offsets: Mapping[tuple[str, int], int]) -> None:
        for place, offset in self._ours(offsets).items():
            self._consumer.seek(place, offset)

    def _ours(self, offsets: Mapping[tuple[str, int], int]) -> dict[TopicPartition, int]:
        """Return those of *offsets* that are of partitions read here."""
        ours = self._consumer.assignment()
        places = {TopicPartition(*place): offset for place, offset in offsets.items()}
        return {place: offset for place, offset in places.items() if place in ours}

    async def assignment(self) -> set[tuple[str, int]]:
        """Return the (topic, partition) pairs that are read here."""
        places = await self.run(self._consumer.assignment)
        return {(place.topic, place.partition) for place in places}

    async def ends(self) -> dict[tuple[str, int], int]:
        """Return (topic, partition) to the offset behind its last message."""
        found = await self.run(self._ends)
        return {(place.topic, place.partition): end for place, end in found.items()}

    def _ends(self) -> Mapping[Any, int]:
        found: Mapping[Any, int] = self._consumer.end_offsets(self._consumer.assignment())
        return found

    async def lag(self) -> int:
        """Return how many messages there are that were not read yet, of what is read here."""
        return await self.run(self._lag)

    def _lag(self) -> int:
        ends = self._ends()
        return sum(max(0, end - self._consumer.position(place)) for place, end in ends.items())

    async def topics(self) -> set[str]:
        """Return the names of all topics."""
        return set(await self.run(self._consumer.topics))

    async def close(self) -> None:
        if self._consumer is not None:
            await self.run(self._close)
        self.thread.shutdown(wait=False)

    def _close(self) -> None:
        self._consumer.close(autocommit=False)


def _partitions(consumer: Any, topics: Iterable[str]) -> list[TopicPartition]:
    return [
        TopicPartition(topic, partition)
        for topic in topics
        for partition in consumer.partitions_for_topic(topic) or ()
    ]


@contextmanager
def kafka_errors(config: KafkaConfig) -> Iterator[None]:
    """Turn errors of kafka-python into ours, which name the setting and the address."""
    try:
        yield
    except FencedInstanceIdError as error:
        raise ConfigError(
            "KAFKA_GROUP_INSTANCE", "another process has this name; each needs its own"
        ) from error
    except (KafkaConfigurationError, UnsupportedCodecError) as error:
        raise ConfigError("KAFKA_HOSTS", f"{config.address}: {error}") from error
    except (KafkaError, OSError) as error:
        raise no_answer(config, error) from error


def no_answer(config: KafkaConfig, why: object) -> Unavailable:
    return Unavailable(
        f"KAFKA_HOSTS: no answer from the broker at {config.address} ({why}); "
        "start Kafka, or set KAFKA_HOSTS to where it is"
    )
