"""Pages on Kafka, one message each; a page is safe when the brokers have acknowledged it."""

from __future__ import annotations

import logging
import os
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import ujson

from crawling.exceptions import OutputError, RequestError, TooLarge, Unavailable
from crawling.savers.saver import Saver
from crawling.service.config import read
from crawling.service.kafka import kafka_config, topic_of
from crawling.service.kafka_sender import KafkaSender

if TYPE_CHECKING:
    from collections.abc import Callable

    from crawling.messages.page import Page
    from crawling.service.config import Settings
    from crawling.service.kafka import KafkaConfig

    Headers = Callable[[], list[tuple[str, bytes]]]

logger = logging.getLogger(__name__)

#: Bytes of a request beside the value and the key of its one message.
OVERHEAD = 512
#: Applications of which is remembered that they cannot name a topic.
MOST_APPIDS = 10_000


@dataclass(frozen=True)
class Encoding:
    """How a page becomes a message of at most *limit* bytes."""

    limit: int
    base64: bool = False
    oversize: str = "truncate"
    folder: Path = Path("oversize")

    @classmethod
    def from_settings(cls, settings: Settings, config: KafkaConfig) -> Encoding:
        return cls(
            limit=config.max_request_size - OVERHEAD,
            base64=read(settings, "KAFKA_BASE_64_ENCODE"),
            oversize=read(settings, "KAFKA_OVERSIZE"),
            folder=Path(read(settings, "KAFKA_OVERSIZE_FOLDER")),
        )

    def encode(self, page: Page) -> bytes:
        """Return the message; raise `TooLarge` when there is none.

        With `file` the body is on disk when this returns.
        """
        limit = self.limit - len(page.crawlid.encode("utf-8", "surrogatepass"))
        # JSON takes no fewer bytes than the body: most that is too large is so at sight.
        if len(page.body) <= limit:
            message = _dump(page.to_json(base64=self.base64))
            if len(message) <= limit:
                return message
        if self.oversize == "fail":
            raise TooLarge(f"the page is larger than a message may be ({limit} bytes)")
        if self.oversize == "file":
            return self._in_file(page, limit)
        return self._truncated(page, limit)

    def _in_file(self, page: Page, limit: int) -> bytes:
        path = self.folder / page.requestid
        fields = {"body_file": str(path), "body_size": len(page.body)}
        message = {**page.metadata(), "body": "", "body_encoding": "text", **fields}
        _make_room(message, limit)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(path, page.body)
        except OSError as error:
            raise Unavailable(f"{path}: {error.strerror}") from error
        return _dump(message)

    def _truncated(self, page: Page, limit: int) -> bytes:
        text = None if self.base64 else page.text()
        encoding = "base64" if text is None else "text"
        fields = {"truncated": True, "body_size": len(page.body), "body_encoding": encoding}
        message = {**page.metadata(), "body": "", **fields}
        room = _make_room(message, limit)
        if text is None:
            beginning = _prefix(b64encode(page.body[:room]).decode("ascii"), room)
            # Whole groups of four characters, so that what there is decodes.
            message["body"] = beginning[: len(beginning) // 4 * 4]
        else:
            message["body"] = _prefix(text, room)
        return _dump(message)


def _make_room(message: dict[str, Any], limit: int) -> int:
    """Return how many bytes a body may take; links go where there would be none."""
    if len(_dump(message)) > limit:
        message["links"] = []
    room = limit - len(_dump(message))
    if room < 0:
        raise TooLarge(f"the page is larger than a message may be ({limit} bytes)")
    return room


def _prefix(text: str, room: int) -> str:
    """Return a beginning of *text* that takes at most *room* bytes as JSON."""
    text = text[:room]
    while (size := len(_dump(text)) - 2) > room:
        text = text[: min(len(text) - 1, len(text) * room // size)]
    return text


def _dump(value: Any) -> bytes:
    """Return *value* as JSON in UTF-8: a tenth of the time that ASCII takes, and fewer bytes.

    Half of a surrogate pair, or a number of more than 64 bits, is written by ujson.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        pass
    try:
        return ujson.dumps(value, sort_keys=True).encode("ascii")
    except (TypeError, ValueError, OverflowError) as error:
        raise OutputError(f"the page cannot be written as JSON: {error}") from error


def _write(path: Path, body: bytes) -> None:
    """Put *body* at *path* so that it is there whole or not at all, and stays."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(body)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


class KafkaSaver(Saver):
    """Sends pages to `<prefix>.crawled_firehose`, and to `<prefix>.crawled_<appid>` if asked."""

    def __init__(self, settings: Settings, headers: Headers = list) -> None:
        """*headers* returns those of the message of the page that is being saved."""
        self._headers = headers
        self._config = kafka_config(settings)
        self._encoding = Encoding.from_settings(settings, self._config)
        self._for_apps: bool = read(settings, "KAFKA_APPID_TOPICS")
        self._firehose = topic_of(self._config.prefix, "crawled")
        self._nameless: set[str] = set()
        self._sender = KafkaSender(self._config)

    async def open(self) -> None:
        await self._sender.open()
        await self._sender.ensure_topic(self._firehose)

    async def save(self, page: Page) -> None:
        value = self._encoding.encode(page)
        key = page.crawlid.encode("utf-8", "surrogatepass")
        headers = self._headers()
        # One after the other: a page that comes again, because its own topic has failed,
        # is then on the firehose once all the same.
        refused = None
        for topic in (*self._topics_of(page.appid), self._firehose):
            try:
                await self._sender.send(topic, value, key=key, headers=headers)
            except TooLarge as error:
                refused = error
        if refused is not None:
            raise refused

    async def close(self) -> None:
        await self._sender.close()

    def _topics_of(self, appid: str) -> list[str]:
        if not self._for_apps or appid in self._nameless:
            return []
        try:
            return [topic_of(self._config.prefix, "crawled", appid)]
        except RequestError as error:
            if len(self._nameless) < MOST_APPIDS:
                self._nameless.add(appid)
            logger.warning(
                "Pages go to the firehose alone",
                extra={"action": "emit", "appid": appid, "reason": str(error)},
            )
            return []
