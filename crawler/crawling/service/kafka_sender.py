"""Messages to Kafka: idempotent, acknowledged, with little work for Python."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import KafkaError as ProducerError
from confluent_kafka import KafkaException, Producer
from kafka import KafkaAdminClient
from kafka.errors import TopicAlreadyExistsError

from crawling.exceptions import ConfigError, TooLarge, Unavailable
from crawling.service.kafka import (
    ANSWER_TIMEOUT,
    MAX_BACKOFF,
    SECURITY,
    KafkaClient,
    KafkaConfig,
    no_answer,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Seconds for which the client tries to deliver a message before it is ours again.
DELIVERY_TIMEOUT = 15.0
#: Seconds for which a topic that was not there may still come to be.
TOPIC_PATIENCE = 5.0
#: Seconds between two looks at what was delivered, while something is on its way, and else.
TICK, IDLE = 0.02, 1.0
TOO_LARGE = (ProducerError.MSG_SIZE_TOO_LARGE, ProducerError.RECORD_LIST_TOO_LARGE)
#: What kafka-python calls it, and what librdkafka does.
_SECURITY = {
    "security_protocol": "security.protocol",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
}


class _Message(NamedTuple):
    topic: str
    value: bytes
    key: bytes | None
    headers: list[tuple[str, str | bytes | None]]


class _Line:
    """librdkafka's producer, looked after by the event loop: it wakes no thread of Python."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._producer = Producer({**options, "error_cb": self._hear})
        self._loop = asyncio.get_running_loop()
        #: Of messages that are on their way.
        self._out: set[asyncio.Future[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._timer = self._loop.call_later(TICK, self._look)
        #: What it last heard of the brokers that was wrong.
        self.trouble = ""
        #: It will never deliver anything any more.
        self.dead = False

    def connect(self) -> None:
        """Ask the brokers for something; blocks."""
        self._producer.list_topics(timeout=ANSWER_TIMEOUT)

    async def send(self, message: _Message) -> None:
        """Return when the brokers have acknowledged the message."""
        delivered: asyncio.Future[None] = self._loop.create_future()
        told = partial(self._told, delivered)
        while True:
            try:
                self._producer.produce(
                    message.topic,
                    message.value,
                    message.key,
                    headers=message.headers,
                    on_delivery=told,
                )
            except BufferError:
                await asyncio.sleep(TICK)
            else:
                break
        if not self._out:
            self._timer.cancel()
            self._timer = self._loop.call_later(TICK, self._look)
            self._idle.clear()
        self._out.add(delivered)
        await delivered

    async def close(self, limit: float = 0.0) -> None:
        """Deliver what is on its way, and give up what is left after *limit* seconds."""
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), limit)
        self._timer.cancel()
        self._producer.purge()
        self._poll()
        self._fail(KafkaException(ProducerError(ProducerError._PURGE_QUEUE)))

    def _poll(self) -> None:
        try:
            self._producer.poll(0)
        except KafkaException as error:
            # So it tells of what is fatal.
            self.dead, self.trouble = True, str(error)
            self._fail(error)

    def _fail(self, error: KafkaException) -> None:
        for delivered in self._out:
            if not delivered.done():
                delivered.set_exception(error)
        self._out.clear()
        self._idle.set()

    def _look(self) -> None:
        self._poll()
        self._timer = self._loop.call_later(TICK if self._out else IDLE, self._look)

    def _told(
        self, delivered: asyncio.Future[None], error: ProducerError | None, _: object
    ) -> None:
        self._out.discard(delivered)
        if not self._out:
            self._idle.set()
        if delivered.done():
            return
        if error is None:
            self.trouble = ""
            delivered.set_result(None)
        else:
            delivered.set_exception(KafkaException(error))

    def _hear(self, error: ProducerError) -> None:
        # That all are down says less than why the last one is.
        if error.code() != ProducerError._ALL_BROKERS_DOWN:
            self.trouble = error.str()


class KafkaSender(KafkaClient):
    """Sends messages that all in-sync replicas have when `send` returns; idempotent."""

    def __init__(self, config: KafkaConfig) -> None:
        super().__init__(config, "kafka-sender")
        self._line: _Line | None = None
        #: Sends each message by itself.
        self._single: _Line | None = None
        self._topics: set[str] = set()
        self._making: dict[str, asyncio.Task[None]] = {}

    async def open(self) -> None:
        """Connect; raise `Unavailable` when no broker answers."""
        line = self._ready()
        try:
            await self.run(line.connect)
        except KafkaException as error:
            why = line.trouble or error.args[0].str()
            await self._give_up(line)
            raise no_answer(self.config, why) from error

    def _ready(self) -> _Line:
        if self._line is None:
            self._line = self._new_line()
        return self._line

    def _new_line(self, **options: object) -> _Line:
        try:
            return _Line({**self._options(), **options})
        except KafkaException as error:
            why = error.args[0].str()
            raise ConfigError(_setting_of(why), why) from error

    def _options(self) -> dict[str, Any]:
        security = {_SECURITY[option]: value for option, value in self.config.security.items()}
        if "ssl.certificate.location" in security:
            # As kafka-python has it: one file may hold both.
            security.setdefault("ssl.key.location", security["ssl.certificate.location"])
        return {
            **security,
            "bootstrap.servers": ",".join(self.config.hosts),
            "acks": "all",
            "enable.idempotence": True,
            "compression.type": self.config.compression or "none",
            "linger.ms": int(self.config.linger * 1000),
            "batch.size": 131_072,
            "message.max.bytes": self.config.max_request_size,
            # As kafka-python and Kafka's own client: a crawl stays in its partition.
            "partitioner": "murmur2_random",
            "request.timeout.ms": int(ANSWER_TIMEOUT * 1000),
            "delivery.timeout.ms": int(DELIVERY_TIMEOUT * 1000),
            "topic.metadata.propagation.max.ms": int(TOPIC_PATIENCE * 1000),
            "reconnect.backoff.max.ms": int(MAX_BACKOFF * 1000),
            # What comes of it reaches us as an error.
            "log_level": 0,
        }

    async def ensure_topic(self, topic: str) -> None:
        """Make the topic unless there is one; all who want the same share one attempt."""
        if topic in self._topics:
            return
        if topic not in self._making:
            self._making[topic] = asyncio.create_task(self.run(self._make_topic, topic))
            self._making[topic].add_done_callback(lambda making: self._made(topic, making))
        await asyncio.shield(self._making[topic])

    def _made(self, topic: str, making: asyncio.Task[None]) -> None:
        del self._making[topic]
        if not making.cancelled() and making.exception() is None:
            self._topics.add(topic)

    def _make_topic(self, topic: str) -> None:
        options = {
            "num_partitions": self.config.partitions,
            "replication_factor": self.config.replication,
        }
        admin = KafkaAdminClient(**self.options())
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
        line = self._ready()
        try:
            await line.send(message)
        except KafkaException as error:
            if error.args[0].code() not in TOO_LARGE:
                raise await self._away(line, error) from error
            # The brokers refuse all that came together with one that is.
            await self._send_alone(message)

    async def _send_alone(self, message: _Message) -> None:
        if self._single is None:
            self._single = self._new_line(**{"batch.num.messages": 1})
        line = self._single
        try:
            await line.send(message)
        except KafkaException as error:
            if error.args[0].code() in TOO_LARGE:
                raise TooLarge(error.args[0].str()) from error
            raise await self._away(line, error) from error

    async def _away(self, line: _Line, error: KafkaException) -> Unavailable:
        reason = error.args[0]
        # A topic may have been deleted.
        self._topics.clear()
        if line.dead or reason.code() == ProducerError._FATAL:
            await self._give_up(line)
        return no_answer(self.config, f"{reason.str()} {line.trouble}".strip())

    async def _give_up(self, line: _Line) -> None:
        """Let go of a producer that will never deliver anything any more."""
        if line is self._line:
            self._line = None
        elif line is self._single:
            self._single = None
        await line.close()

    async def close(self) -> None:
        """Send what is on its way, and let go of the brokers."""
        for line in (self._line, self._single):
            if line is not None:
                await line.close(ANSWER_TIMEOUT)
        self.thread.shutdown(wait=False)


def _setting_of(why: str) -> str:
    """Return the setting that librdkafka complains of."""
    for name, option in SECURITY.items():
        if _SECURITY[option] in why:
            return name
    return "KAFKA_SASL_MECHANISM" if "SASL mechanism" in why else "KAFKA_HOSTS"
