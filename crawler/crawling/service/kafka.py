"""Kafka for asyncio: kafka-python's clients on threads of their own, its errors as ours."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    KafkaConfigurationError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    TopicAlreadyExistsError,
    UnsupportedCodecError,
)
from kafka.structs import OffsetAndMetadata

from crawling.exceptions import ConfigError, RequestError, TooLarge, Unavailable
from crawling.service.config import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from crawling.service.config import Settings

Result = TypeVar("Result")

# Every try of a broker that is away is an error to it, with a traceback; what comes of it
# reaches us as an exception.
logging.getLogger("kafka").setLevel(logging.CRITICAL)

#: Seconds until a broker that does not answer counts as away.
ANSWER_TIMEOUT = 10.0
#: Seconds at most between two attempts to connect: who waits goes on soon after.
MAX_BACKOFF = 1.0
#: Seconds for which the client tries to deliver a message before it is ours again.
DELIVERY_TIMEOUT = 15.0
#: Seconds for which a group keeps the partitions of a reader that was killed.
SESSION_TIMEOUT = 10.0
TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
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
_SECURITY = {
    "KAFKA_SECURITY_PROTOCOL": "security_protocol",
    "KAFKA_SSL_CAFILE": "ssl_cafile",
    "KAFKA_SSL_CERTFILE": "ssl_certfile",
    "KAFKA_SSL_KEYFILE": "ssl_keyfile",
    "KAFKA_SASL_MECHANISM": "sasl_mechanism",
    "KAFKA_SASL_USERNAME": "sasl_plain_username",
    "KAFKA_SASL_PASSWORD": "sasl_plain_password",
}


def _security(settings: Settings) -> dict[str, Any]:
    given = {option: read(settings, name) for name, option in _SECURITY.items()}
    return {option: value for option, value in given.items() if value is not None}


def topic_of(prefix: str, kind: str, appid: str = "") -> str:
    """Return the topic of *kind* for all, or for one *appid*.

    Raise `RequestError` for an appid that cannot be part of a topic's name.
    """
    topic = f"{prefix}.{kind}_{appid or 'firehose'}"
    if not _TOPIC.fullmatch(topic):
        raise RequestError("bad_appid", f"appid {appid!r} cannot name a Kafka topic")
    return topic


class _Client:
    """A blocking client whose calls run, one by one, on one thread."""

    def __init__(self, config: KafkaConfig, name: str) -> None:
        self._config = config
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)

    def _options(self) -> dict[str, Any]:
        return {
            "bootstrap_servers": list(self._config.hosts),
            "bootstrap_timeout_ms": int(ANSWER_TIMEOUT * 1000),
            "reconnect_backoff_max_ms": int(MAX_BACKOFF * 1000),
            **self._config.security,
        }

    async def _run(self, call: Callable[..., Result], *args: Any) -> Result:
        with kafka_errors(self._config):
            return await asyncio.get_running_loop().run_in_executor(self._thread, call, *args)


class _Producer(KafkaProducer):  # type: ignore[misc]  # kafka-python has no types
    """One that can be closed with messages that it never delivers."""

    def flush(self, timeout: float | None = None) -> None:
        with suppress(KafkaTimeoutError):
            super().flush(timeout)


class _Message(NamedTuple):
    topic: str
    value: bytes
    key: bytes | None
    headers: list[tuple[str, bytes]]


class _Refused(TooLarge):
    """By the brokers: a topic takes less than the producer does."""


def _let_go(producer: _Producer) -> None:
    threading.Thread(target=producer.close, args=(0,), daemon=True).start()


class KafkaSender(_Client):
    """Sends messages that all in-sync replicas have when `send` returns; idempotent.

    A producer that has failed to deliver one message may never deliver another: its
    sequence numbers are then broken.  It is given up, with all that it still has, and the
    next message goes by a new one.  What the brokers find too large is such a failure.
    """

    def __init__(self, config: KafkaConfig) -> None:
        super().__init__(config, "kafka-sender")
        self._producer: _Producer | None = None
        self._opening: asyncio.Task[_Producer] | None = None
        self._topics: set[str] = set()
        self._making: dict[str, asyncio.Task[None]] = {}
        #: One by one goes what was refused together with others.
        self._suspects = asyncio.Lock()

    async def open(self) -> None:
        await self._ready()

    async def _ready(self) -> _Producer:
        """Return the producer, made by the first of those who need one."""
        if self._producer is not None:
            return self._producer
        if self._opening is None:
            self._opening = asyncio.create_task(self._run(self._connect))
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[_Producer]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._producer = opening.result()

    def _give_up(self, producer: _Producer) -> None:
        if producer is self._producer:
            self._producer = None
            # It may have failed because a topic was deleted.
            self._topics.clear()
            _let_go(producer)

    def _connect(self) -> _Producer:
        return _Producer(
            **self._options(),
            acks="all",
            enable_idempotence=True,
            compression_type=self._config.compression,
            linger_ms=int(self._config.linger * 1000),
            batch_size=131_072,
            max_request_size=self._config.max_request_size,
            max_block_ms=int(ANSWER_TIMEOUT * 1000),
            request_timeout_ms=int(ANSWER_TIMEOUT * 1000),
            delivery_timeout_ms=int(DELIVERY_TIMEOUT * 1000),
            metrics_enabled=False,
        )

    async def ensure_topic(self, topic: str) -> None:
        """Make the topic unless there is one; all who want the same share one attempt."""
        if topic in self._topics:
            return
        if topic not in self._making:
            self._making[topic] = asyncio.create_task(self._run(self._make_topic, topic))
            self._making[topic].add_done_callback(lambda making: self._made(topic, making))
        await asyncio.shield(self._making[topic])

    def _made(self, topic: str, making: asyncio.Task[None]) -> None:
        del self._making[topic]
        if not making.cancelled() and making.exception() is None:
            self._topics.add(topic)

    def _make_topic(self, topic: str) -> None:
        options = {
            "num_partitions": self._config.partitions,
            "replication_factor": self._config.replication,
        }
        admin = KafkaAdminClient(**self._options())
        try:
            admin.create_topics({topic: options}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            return
        finally:
            admin.close()

    async def send(
        self,
        topic: str,
        value: bytes,
        *,
        key: bytes | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Return when the brokers have acknowledged the message.

        Raise `Unavailable` when they did not in time: it may have arrived all the same.
        Raise `TooLarge` for a message that is.
        """
        await self.ensure_topic(topic)
        message = _Message(topic, value, key, list(headers))
        producer = await self._ready()
        try:
            await self._deliver(producer, message)
        except Unavailable:
            self._give_up(producer)
            raise
        except _Refused:
            # So is all that the producer had: alone it shows whether it was this one.
            self._give_up(producer)
            await self._deliver_alone(message)

    async def _deliver_alone(self, message: _Message) -> None:
        async with self._suspects:
            producer = await self._run(self._connect)
            try:
                await self._deliver(producer, message)
            finally:
                _let_go(producer)

    async def _deliver(self, producer: _Producer, message: _Message) -> None:
        try:
            with kafka_errors(self._config):
                sending = self._send(producer, message)
                await asyncio.wait_for(sending, DELIVERY_TIMEOUT + 1)
        except asyncio.TimeoutError as error:
            raise Unavailable(f"KAFKA_HOSTS: no answer from {self._config.address}") from error

    async def _send(self, producer: _Producer, message: _Message) -> None:
        loop = asyncio.get_running_loop()
        acknowledged: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            if acknowledged.done():
                return
            if error is None:
                acknowledged.set_result(None)
            else:
                acknowledged.set_exception(error)

        def send() -> None:
            sent = producer.send(**message._asdict())
            # Too large for the producer itself: nothing was sent, and it is as good as new.
            if sent.failed() and isinstance(sent.exception, TOO_LARGE):
                raise sent.exception
            sent.add_callback(lambda _: loop.call_soon_threadsafe(settle, None))
            sent.add_errback(lambda error: loop.call_soon_threadsafe(settle, error))

        await self._run(send)
        try:
            await acknowledged
        except TOO_LARGE as error:
            raise _Refused(str(error)) from error

    async def close(self) -> None:
        """Send what is on its way, and let go of the brokers."""
        if self._producer is not None:
            await self._run(self._producer.close, ANSWER_TIMEOUT)
        self._thread.shutdown(wait=False)


class KafkaReader(_Client):
    """Reads topics: with a *group* shared with its other members, else all by itself.

    A member with the name *instance* takes over at once from an earlier one of that name.
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
        self._consumer = await self._run(self._connect)

    def _connect(self) -> Any:
        consumer = KafkaConsumer(
            **self._options(),
            group_id=self._group,
            group_instance_id=self._instance,
            session_timeout_ms=int(SESSION_TIMEOUT * 1000),
            auto_offset_reset=self._reset,
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            fetch_max_bytes=max(self._config.max_fetch_bytes, 52_428_800),
            max_partition_fetch_bytes=self._config.max_fetch_bytes,
            metadata_max_age_ms=5000,
            metrics_enabled=False,
        )
        if self._group is not None:
            consumer.subscribe(self._topics)
            return consumer
        partitions = [
            TopicPartition(topic, partition)
            for topic in self._topics
            for partition in consumer.partitions_for_topic(topic) or ()
        ]
        consumer.assign(partitions)
        for partition in partitions:
            consumer.position(partition)
        return consumer

    async def poll(self, limit: int, timeout: float) -> list[Record]:
        """Return up to *limit* messages, none after *timeout* seconds."""
        found = await self._run(self._poll, limit, timeout)
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
        found: Mapping[Any, Sequence[Any]] = self._consumer.poll(
            timeout_ms=int(timeout * 1000), max_records=limit
        )
        return found

    async def commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        """Let the group go on at *offsets*, (topic, partition) to the next offset to read."""
        await self._run(self._commit, offsets)

    def _commit(self, offsets: Mapping[tuple[str, int], int]) -> None:
        places = {
            TopicPartition(*place): OffsetAndMetadata(offset, "", -1)
            for place, offset in offsets.items()
        }
        ours = self._consumer.assignment()
        places = {place: offset for place, offset in places.items() if place in ours}
        try:
            if places:
                self._consumer.commit(places)
        except CommitFailedError:
            # The group has been dealt anew; whoever has the partition reads it again.
            return

    async def assignment(self) -> set[tuple[str, int]]:
        """Return the (topic, partition) pairs that are read here."""
        places = await self._run(self._consumer.assignment)
        return {(place.topic, place.partition) for place in places}

    async def ends(self) -> dict[tuple[str, int], int]:
        """Return (topic, partition) to the offset behind its last message."""
        found = await self._run(self._ends)
        return {(place.topic, place.partition): end for place, end in found.items()}

    def _ends(self) -> Mapping[Any, int]:
        found: Mapping[Any, int] = self._consumer.end_offsets(self._consumer.assignment())
        return found

    async def topics(self) -> set[str]:
        """Return the names of all topics."""
        return set(await self._run(self._consumer.topics))

    async def close(self) -> None:
        if self._consumer is not None:
            await self._run(self._close)
        self._thread.shutdown(wait=False)

    def _close(self) -> None:
        self._consumer.close(autocommit=False)


@contextmanager
def kafka_errors(config: KafkaConfig) -> Iterator[None]:
    """Turn errors of kafka-python into ours, which name the setting and the address."""
    try:
        yield
    except TOO_LARGE as error:
        raise TooLarge(str(error)) from error
    except FencedInstanceIdError as error:
        raise ConfigError(
            "KAFKA_GROUP_INSTANCE", "another process has this name; each needs its own"
        ) from error
    except (KafkaConfigurationError, UnsupportedCodecError) as error:
        raise ConfigError("KAFKA_HOSTS", f"{config.address}: {error}") from error
    except (KafkaError, OSError) as error:
        raise Unavailable(
            f"KAFKA_HOSTS: no answer from the broker at {config.address} ({error}); "
            "start Kafka, or set KAFKA_HOSTS to where it is"
        ) from error
