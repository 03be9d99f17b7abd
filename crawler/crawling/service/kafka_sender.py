"""Messages to Kafka: idempotent, acknowledged, handed over in groups."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaTimeoutError, TopicAlreadyExistsError

from crawling.exceptions import ConfigError, OutputError, TooLarge, Unavailable
from crawling.service.kafka import (
    ANSWER_TIMEOUT,
    TOO_LARGE,
    KafkaClient,
    KafkaConfig,
    kafka_errors,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds for which the client tries to deliver a message before it is ours again.
DELIVERY_TIMEOUT = 15.0


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


class _Line:
    """A producer: messages go to it, and its answers come back, in groups.

    One by one, each page would wake two threads.
    """

    def __init__(self, client: KafkaClient, producer: _Producer) -> None:
        self._client = client
        self._producer = producer
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[_Message, asyncio.Future[None]]] = []
        self._handing_over: asyncio.Task[None] | None = None
        #: Filled by the producer's threads.
        self._answers: deque[tuple[asyncio.Future[None], Exception | None]] = deque()
        self._telling = False
        #: Its messages fail with whatever kafka-python stumbles over.
        self.given_up = False

    async def send(self, message: _Message) -> None:
        """Return when the brokers have acknowledged the message."""
        acknowledged: asyncio.Future[None] = self._loop.create_future()
        self._waiting.append((message, acknowledged))
        if self._handing_over is None:
            self._handing_over = asyncio.create_task(self._hand_over())
        await acknowledged

    def let_go(self) -> None:
        """Give up what was not delivered, in a thread of its own."""
        self.given_up = True
        threading.Thread(target=self._producer.close, args=(0,), daemon=True).start()

    async def close(self) -> None:
        """Deliver what is on its way."""
        await self._client.run(self._producer.close, ANSWER_TIMEOUT)

    async def _hand_over(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting, []
            try:
                await self._client.run(self._send, group)
            except Exception as error:  # noqa: BLE001 - it is for who sends the messages
                for _, acknowledged in group:
                    self._answer(acknowledged, error)
        self._handing_over = None

    def _send(self, group: Sequence[tuple[_Message, asyncio.Future[None]]]) -> None:
        away: KafkaTimeoutError | None = None
        for message, acknowledged in group:
            if acknowledged.done():
                # Nobody waits for it any more.
                continue
            if away is not None:
                self._answer(acknowledged, away)
                continue
            try:
                sent = self._producer.send(**message._asdict())
            except KafkaTimeoutError as error:
                # The others would wait as long, one after the other.
                away = error
                self._answer(acknowledged, error)
            except Exception as error:  # noqa: BLE001 - it is for who sends the message
                self._answer(acknowledged, error)
            else:
                self._listen(sent, acknowledged)

    def _listen(self, sent: Any, acknowledged: asyncio.Future[None]) -> None:
        # Too large for the producer itself: nothing was sent, and it is as good as new.
        if sent.failed() and isinstance(sent.exception, TOO_LARGE):
            self._answer(acknowledged, sent.exception)
            return

        def failed(error: Exception) -> None:
            refused = isinstance(error, TOO_LARGE)
            self._answer(acknowledged, _Refused(str(error)) if refused else error)

        sent.add_callback(lambda _: self._answer(acknowledged, None))
        sent.add_errback(failed)

    def _answer(self, acknowledged: asyncio.Future[None], error: Exception | None) -> None:
        self._answers.append((acknowledged, error))
        if not self._telling:
            self._telling = True
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        # First: what is added from here on calls again.
        self._telling = False
        while self._answers:
            acknowledged, error = self._answers.popleft()
            if acknowledged.done():
                continue
            if error is None:
                acknowledged.set_result(None)
            else:
                acknowledged.set_exception(error)


class KafkaSender(KafkaClient):
    """Sends messages that all in-sync replicas have when `send` returns; idempotent.

    A producer that has failed to deliver one message may never deliver another: its
    sequence numbers are then broken.  It is given up, with all that it still has, and the
    next message goes by a new one.  What the brokers find too large is such a failure.
    """

    def __init__(self, config: KafkaConfig) -> None:
        super().__init__(config, "kafka-sender")
        self._line: _Line | None = None
        self._opening: asyncio.Task[_Line] | None = None
        self._topics: set[str] = set()
        self._making: dict[str, asyncio.Task[None]] = {}
        #: One by one goes what was refused together with others.
        self._suspects = asyncio.Lock()

    async def open(self) -> None:
        await self._ready()

    async def _ready(self) -> _Line:
        """Return the producer, made by the first of those who need one."""
        if self._line is not None:
            return self._line
        if self._opening is None:
            self._opening = asyncio.create_task(self._new_line())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[_Line]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._line = opening.result()

    def _give_up(self, line: _Line) -> None:
        if line is self._line:
            self._line = None
            # It may have failed because a topic was deleted.
            self._topics.clear()
            line.let_go()

    async def _new_line(self) -> _Line:
        return _Line(self, await self.run(self._connect))

    def _connect(self) -> _Producer:
        try:
            return self._producer()
        except RuntimeError as error:
            # kafka-python's, of a codec whose package is missing.
            raise ConfigError("KAFKA_COMPRESSION", str(error)) from error

    def _producer(self) -> _Producer:
        return _Producer(
            **self.options(),
            acks="all",
            enable_idempotence=True,
            compression_type=self.config.compression,
            linger_ms=int(self.config.linger * 1000),
            batch_size=131_072,
            max_request_size=self.config.max_request_size,
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
        line = await self._ready()
        try:
            await self._deliver(line, message)
        except Unavailable:
            self._give_up(line)
            raise
        except _Refused:
            # So is all that the producer had: alone it shows whether it was this one.
            self._give_up(line)
            await self._deliver_alone(message)

    async def _deliver_alone(self, message: _Message) -> None:
        async with self._suspects:
            line = await self._new_line()
            try:
                await self._deliver(line, message)
            finally:
                line.let_go()

    async def _deliver(self, line: _Line, message: _Message) -> None:
        try:
            with kafka_errors(self.config):
                await asyncio.wait_for(line.send(message), DELIVERY_TIMEOUT + 1)
        except asyncio.TimeoutError as error:
            raise Unavailable(f"KAFKA_HOSTS: no answer from {self.config.address}") from error
        except (Unavailable, OutputError):
            raise
        except Exception as error:
            if not line.given_up:
                raise
            raise Unavailable("KAFKA_HOSTS: the producer was given up meanwhile") from error

    async def close(self) -> None:
        """Send what is on its way, and let go of the brokers."""
        if self._line is not None:
            await self._line.close()
        self.thread.shutdown(wait=False)
