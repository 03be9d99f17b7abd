from __future__ import annotations

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crawling import settings as defaults
from crawling.exceptions import ConfigError
from crawling.service.log_file import SharedLogFile
from crawling.service.logs import make_handler

if TYPE_CHECKING:
    import pytest

ROOT = Path(__file__).parents[2]


def settings(**changed: Any) -> dict[str, Any]:
    return {
        **{name: value for name, value in vars(defaults).items() if name.isupper()},
        **changed,
    }


def record(message: str, name: str = "crawling.pipelines", **fields: Any) -> logging.LogRecord:
    return logging.getLogger(name).makeRecord(
        name, logging.ERROR, __file__, 1, message, (), None, extra=fields
    )


def formatted(made: logging.LogRecord, **changed: Any) -> str:
    return make_handler(settings(**changed)).format(made)


def test_text_has_the_crawlers_name_the_message_and_the_fields() -> None:
    line = formatted(record("Scraper Retry", action="retry", retry_count=2, spider=object()))

    assert line.endswith("[sc-crawler] ERROR: Scraper Retry action=retry retry_count=2")


def test_what_a_page_or_a_client_says_cannot_steer_a_terminal_or_begin_a_line() -> None:
    line = formatted(record("a\x1b[2Jb", status_msg="OK\x1b]0;x\x07", crawlid="c\n2026 forged"))

    assert line.endswith(r"ERROR: a\x1b[2Jb status_msg=OK\x1b]0;x\x07 crawlid=c\n2026 forged")


def test_an_error_in_the_settings_is_one_line_whoever_logs_it() -> None:
    made = record("Task exception was never retrieved\nfuture: <Task>", "asyncio")
    error = ConfigError("METRICS_PORT", "is taken")
    made.exc_info = (ConfigError, error, None)

    assert formatted(made).endswith("[asyncio] ERROR: METRICS_PORT: is taken")
    assert json.loads(formatted(made, SC_LOG_JSON=True))["message"] == str(error)


def test_each_record_has_its_own_time() -> None:
    handler, plain = make_handler(settings()), logging.Formatter("%(asctime)s ")
    for moment in (1_700_000_000.25, 1_700_000_000.75, 1_700_000_001.0, 1_700_000_000.25):
        made = record("x")
        made.created, made.msecs = moment, moment % 1 * 1000

        assert handler.format(made).startswith(plain.format(made))


def test_records_of_others_keep_their_names() -> None:
    assert "[scrapy.core.engine] ERROR: " in formatted(record("x", "scrapy.core.engine"))


def test_json_has_message_fields_level_timestamp_and_logger() -> None:
    line = json.loads(formatted(record("Scraped page", action="emit"), SC_LOG_JSON=True))

    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "message": "Scraped page",
        "action": "emit",
        "level": "ERROR",
        "logger": "sc-crawler",
    }


def test_a_field_of_the_record_wins_over_what_json_adds() -> None:
    made = record("Sent page", timestamp="2026-01-01T00:00:00", logger="other")

    line = json.loads(formatted(made, SC_LOG_JSON=True))

    assert (line["timestamp"], line["logger"]) == ("2026-01-01T00:00:00", "other")


def test_what_json_cannot_hold_is_written_as_text() -> None:
    made = record("x", thing=sys, body=b"\xff", error=ValueError("no"))

    line = json.loads(formatted(made, SC_LOG_JSON=True))

    assert "module 'sys'" in line["thing"]


def test_logs_never_go_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    make_handler(settings()).handle(record("Hello"))

    assert capsys.readouterr().out == ""


WRITER = """
import logging, sys
from pathlib import Path
from crawling.service.log_file import SharedLogFile
handler = SharedLogFile(Path(sys.argv[1]), max_bytes=2000, backups=99)
handler.setFormatter(logging.Formatter("%(message)s"))
for n in range(200):
    handler.handle(logging.makeLogRecord({"msg": f"{sys.argv[2]} {n} {'x' * 90}", "levelno": 20}))
"""


def test_workers_that_share_a_rotating_file_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], cwd=ROOT / "crawler")
        for name in "abc"
    ]
    for writer in writers:
        assert writer.wait(timeout=30) == 0

    lines = [
        line for file in tmp_path.glob("worker.log*") for line in file.read_text().split("\n")
    ]
    assert sorted(line[:-91] for line in lines if line) == sorted(
        f"{writer} {n}" for writer in "abc" for n in range(200)
    )
    # 600 lines of at most 97 bytes, 20 a file; whoever rotated alone would leave more.
    assert len(list(tmp_path.glob("worker.log*[!k]"))) <= 31


def test_a_worker_follows_when_another_rotates_the_file(tmp_path: Path) -> None:
    path = tmp_path / "worker.log"
    mine, theirs = (SharedLogFile(path, max_bytes=500, backups=9) for _ in range(2))
    mine.handle(record("before"))
    while not (tmp_path / "worker.log.1").exists():
        theirs.handle(record("x" * 100))

    mine.handle(record("after"))
    mine.close()
    theirs.close()

    assert "after" in path.read_text()
