"""Logs: text for people or one JSON object a line, on standard error or in a file."""

from __future__ import annotations

import copy
import logging
import sys
import time
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from crawling.exceptions import ConfigError
from crawling.service.config import read
from crawling.service.text import printable, without_logins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from crawling.service.config import Settings

#: Whose records bear the process's one name: dashboards look for it.
OURS = frozenset({"crawling", "kafka_monitor", "redis_monitor", "rest_service"})

#: What a record has of its own, and so is no field.
RESERVED = frozenset(RESERVED_ATTRS)
#: How many of those a new record has.
_OWN = len(vars(logging.makeLogRecord({})))

_installed: list[logging.Handler] = []


def install(
    settings: Settings, complete: Callable[[logging.LogRecord], bool] | None = None
) -> None:
    """Send the records of this process where the SC_LOG settings say; the first call counts.

    *complete* is a filter that adds fields to them.
    """
    if _installed:
        return
    handler = make_handler(settings)
    if complete is not None:
        handler.addFilter(complete)
    _installed.append(handler)
    logging.root.addHandler(handler)
    make_no_others()


def names_in(message: Mapping[str, Any]) -> dict[str, str]:
    """Return the fields by which the lines about a request to a monitor are found."""
    return {
        name: str(message[name])
        for name in ("appid", "crawlid", "spiderid", "uuid")
        if name in message
    }


def make_no_others() -> None:
    """Let no record be made that our handler would not take: ten a page, in a worker."""
    for handler in _installed:
        logging.root.setLevel(handler.level)


def make_handler(settings: Settings) -> logging.Handler:
    name = read(settings, "SC_LOGGER_NAME")
    handler = (
        logging.StreamHandler(sys.stderr)
        if read(settings, "SC_LOG_STDOUT")
        else _file(settings)
    )
    handler.setFormatter(JsonLines(name) if read(settings, "SC_LOG_JSON") else Text(name))
    handler.setLevel(read(settings, "SC_LOG_LEVEL"))
    return handler


class Text(logging.Formatter):
    """The message, and after it the fields that are text or numbers.

    What comes from a page or a client cannot begin a line or steer a terminal; a message
    may have lines, as Scrapy's have.
    """

    def __init__(self, name: str) -> None:
        # That there is a time; the rest is put together below.
        super().__init__("%(asctime)s")
        self._name = name
        #: The second of the last record, and how it is written.
        self._second, self._written = 0, ""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 logging's
        """Return the local time as logging does, which writes it anew for each record."""
        second = int(record.created)
        if second != self._second:
            self._second = second
            self._written = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))
        return f"{self._written},{int(record.msecs):03}"

    def format(self, record: logging.LogRecord) -> str:
        return without_logins(super().format(_explained(record)))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 logging's
        fields = "".join(f" {key}={value}" for key, value in _fields(record).items())
        origin = f"[{_name_of(record, self._name)}] {record.levelname}"
        message = f"{record.asctime} {origin}: {record.message}"
        return "\n".join(map(printable, message.split("\n"))) + printable(fields)


class JsonLines(JsonFormatter):
    """The message, the fields, and `level`, `timestamp`, `logger` unless they are among them."""

    def __init__(self, name: str) -> None:
        super().__init__("%(message)s", json_default=str)
        self._name = name

    def format(self, record: logging.LogRecord) -> str:
        return without_logins(super().format(_explained(record)))

    def add_fields(
        self,
        log_data: dict[str, Any],
        record: logging.LogRecord,
        message_dict: dict[str, Any],
    ) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data.setdefault("level", record.levelname)
        moment = datetime.fromtimestamp(record.created, timezone.utc)
        log_data.setdefault("timestamp", moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        log_data.setdefault("logger", _name_of(record, self._name))


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    # What a record has of its own comes first; a handler may have added some of it later.
    return {
        key: value
        for key, value in islice(vars(record).items(), _OWN, None)
        if key not in RESERVED and isinstance(value, (str, int, float))
    }


def _explained(record: logging.LogRecord) -> logging.LogRecord:
    """Return the record of an error in the settings as the one line that says what is wrong.

    Where Scrapy meets it asyncio logs it, with its own words and a traceback.
    """
    error = record.exc_info[1] if record.exc_info else None
    if not isinstance(error, ConfigError):
        return record
    record = copy.copy(record)
    record.msg, record.args, record.exc_info, record.exc_text = str(error), (), None, None
    return record


def _name_of(record: logging.LogRecord, name: str) -> str:
    """Return the process's one name if the record is ours."""
    return name if record.name.partition(".")[0] in OURS else record.name


def _file(settings: Settings) -> logging.Handler:
    from crawling.service.log_file import SharedLogFile  # noqa: PLC0415 not on Windows

    folder = Path(read(settings, "SC_LOG_DIR"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return SharedLogFile(
            folder / read(settings, "SC_LOG_FILE"),
            max_bytes=read(settings, "SC_LOG_MAX_BYTES"),
            backups=read(settings, "SC_LOG_BACKUPS"),
        )
    except OSError as error:
        raise ConfigError("SC_LOG_DIR", f"cannot log to {folder}: {error.strerror}") from error
