"""What is on a topic, printed."""

from __future__ import annotations

import json
import logging
import sys
from base64 import b64decode
from typing import TYPE_CHECKING, Any

from crawling.exceptions import ConfigError
from crawling.service.kafka import KafkaReader, kafka_config

if TYPE_CHECKING:
    import argparse
    import asyncio
    from collections.abc import Mapping

    from crawling.service.kafka import Record

logger = logging.getLogger(__name__)

#: Records in one answer of the broker, and seconds to wait for one.
BATCH, POLL = 500, 0.5
FORMATS = ("json", "pretty", "repr", "body", "raw")


def add_flags(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("-t", "--topic", required=True, help="which topic")
    add("-c", "--consumer", metavar="GROUP", help="go on where this consumer group stopped")
    add("-b", "--from-beginning", action="store_true", help="from the oldest message")
    add("-n", "--count", type=int, default=0, metavar="N", help="end after N messages")
    add(
        "--format",
        choices=FORMATS,
        help="json (a line each, the default), pretty, repr (Python's), body, raw (as it is)",
    )
    add("-nb", "--no-body", action="store_true", help="without the page's body")
    add("-jb", "--just-body", action="store_true", help="the page's body alone: --format body")
    add("-p", "--pretty", action="store_true", help="--format pretty")
    add("-d", "--decode-base64", action="store_true", help="decode a body that is base64")


async def list_topics(
    args: argparse.Namespace, settings: Mapping[str, Any], _: asyncio.Event
) -> None:
    reader = KafkaReader(kafka_config(settings), (), None)
    await reader.open()
    try:
        topics = sorted(await reader.topics())
    finally:
        await reader.close()
    sys.stdout.write("".join(["Topics:\n", *(f"- {topic}\n" for topic in topics)]))


async def dump_topic(
    args: argparse.Namespace, settings: Mapping[str, Any], stopping: asyncio.Event
) -> None:
    """Print messages until there are enough, or until Ctrl-C; what it was goes to the log."""
    reader = KafkaReader(
        kafka_config(settings),
        [args.topic],
        args.consumer,
        from_beginning=args.from_beginning,
    )
    await reader.open()
    dump = Dump(args)
    try:
        if args.topic not in await reader.topics():
            raise ConfigError("--topic", f"there is no topic {args.topic!r}")
        while not stopping.is_set() and not dump.is_complete:
            records = await reader.poll(dump.wanted, POLL)
            for record in records:
                dump.print(record)
            if args.consumer and records:
                await reader.commit(
                    {(record.topic, record.partition): record.offset + 1 for record in records}
                )
    except BrokenPipeError:
        # `dump | head` has seen enough.
        sys.stdout = None
    finally:
        dump.summarize()
        await reader.close()


class Dump:
    """Prints records as the flags say, and counts them."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        # As in Scrapy Cluster, -p wins over -jb.
        flagged = "pretty" if args.pretty else "body" if args.just_body else "json"
        self._format: str = args.format or flagged
        self._count = self._size = 0

    @property
    def wanted(self) -> int:
        return min(BATCH, self._args.count - self._count) if self._args.count else BATCH

    @property
    def is_complete(self) -> bool:
        return bool(self._args.count) and self._count >= self._args.count

    def print(self, record: Record) -> None:
        value = record.value or b""
        self._count += 1
        self._size += len(value)
        if self._format == "raw":
            sys.stdout.buffer.write(value + b"\n")
            sys.stdout.buffer.flush()
        else:
            text = self._text(value)
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def summarize(self) -> None:
        if not self._count:
            logger.info("No records consumed", extra={"action": "dump"})
            return
        megabytes = self._size / 2**20
        kilobytes = self._size / 1024 / self._count
        logger.info(
            "Num Records: %d, Total MBs: %.3f, kb per message: %.3f",
            self._count,
            megabytes,
            kilobytes,
            extra={"action": "dump"},
        )

    def _text(self, value: bytes) -> str:
        try:
            message = json.loads(value)
        except ValueError:
            logger.info("Message is not a JSON object", extra={"action": "dump"})
            message = value.decode("utf-8", "replace")
        if isinstance(message, dict):
            self._change(message)
            if self._format == "body":
                return str(message.get("body", ""))
        if self._format == "repr":
            return repr(message)
        return json.dumps(message, indent=4 if self._format == "pretty" else None)

    def _change(self, message: dict[str, Any]) -> None:
        if self._args.no_body:
            message.pop("body", None)
        is_base64 = message.get("body_encoding", "base64") == "base64"
        if self._args.decode_base64 and is_base64 and isinstance(message.get("body"), str):
            message["body"] = _decoded(message["body"], message.get("encoding"))


def _decoded(body: str, encoding: Any) -> str:
    """Return the text of a body; one that was not base64 after all is left as it is."""
    try:
        return b64decode(body, validate=True).decode(str(encoding or "utf-8"), "replace")
    except (ValueError, LookupError):
        return body
