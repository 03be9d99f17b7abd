from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from crawling.exceptions import ConfigError
from crawling.service.monitor import add_flags, monitor_settings
from kafka_monitor import settings as defaults

ROOT = Path(__file__).parents[2]


def settings_of(*flags: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    add_flags(parser)
    return monitor_settings(parser.parse_args(flags), defaults)


def test_a_monitor_has_the_settings_of_the_fleet_and_its_own() -> None:
    settings = settings_of()

    assert settings["LOGGER_NAME"] == "kafka-monitor"
    assert settings["TRACKER"] == "redis://localhost:6379/0"


def test_flags_go_over_all_else() -> None:
    settings = settings_of("-ll", "DEBUG", "-lf", "-lj", "-s", "LOG_LEVEL=ERROR")

    assert settings["LOG_LEVEL"] == "DEBUG"
    assert settings["LOG_STDOUT"] is False
    assert settings["LOG_JSON"] is True


def test_a_file_of_settings_and_single_ones_may_be_given(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("REDIS_HOST = 'r1'\nSTATS_DUMP = '5'\nPLUGINS = {'a.B': 7}\n")

    settings = settings_of("-s", str(file), "-s", "REDIS_DB=3", "-s", 'PLUGINS={"c.D": null}')

    assert settings["TRACKER"] == "redis://r1:6379/3"
    assert settings["STATS_DUMP"] == 5
    assert settings["PLUGINS"] == {**defaults.PLUGINS, "a.B": 7, "c.D": None}


def test_a_module_of_settings_may_be_named_as_in_scrapy_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine_as_module.py").write_text("STATS_TOTAL = False\n")
    monkeypatch.syspath_prepend(tmp_path)

    assert settings_of("-s", "mine_as_module.py")["STATS_TOTAL"] is False
    assert settings_of("-s", "mine_as_module")["STATS_TOTAL"] is False


def test_the_environment_goes_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("LOG_LEVEL = 'ERROR'\nSTATS_DUMP = 5\n")
    monkeypatch.setenv("LOG_LEVEL", "warning")

    settings = settings_of("-s", str(file))

    assert (settings["LOG_LEVEL"], settings["STATS_DUMP"]) == ("WARNING", 5)


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["nothing.here"], "-s: must be NAME=VALUE, a file or a module, not 'nothing.here'"),
        (["../x.py"], "-s: must be NAME=VALUE, a file or a module, not '../x.py'"),
        (["STATS_DUMP=often"], "STATS_DUMP: must be a number of seconds, at least 0, not"),
        (['PLUGINS={"a.B": "x"}'], "PLUGINS: the rank of a.B must be a whole number or None"),
        (["LOG_LEVEL=LOUD"], "LOG_LEVEL: must be one of DEBUG, INFO, "),
    ],
)
def test_what_makes_no_sense_is_one_line(flags: list[str], problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        settings_of(*(word for flag in flags for word in ("-s", flag)))

    assert str(error.value).startswith(problem)


LOG_ONE = """
import argparse, logging
from crawling.service.monitor import add_flags, install_logs, monitor_settings
from kafka_monitor import settings
parser = argparse.ArgumentParser()
add_flags(parser)
install_logs(monitor_settings(parser.parse_args(), settings))
logging.getLogger("kafka_monitor.x").info("Hello", extra={"action": "greet"})
logging.getLogger("somebody").info("Hello")
"""


def log_of(folder: Path, *flags: str) -> str:
    roots = f"{ROOT / 'crawler'}:{ROOT / 'kafka-monitor'}"
    done = subprocess.run(
        [sys.executable, "-c", LOG_ONE, *flags],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": roots},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == ""
    return done.stderr


def test_a_monitor_logs_under_its_name_as_text_or_json(tmp_path: Path) -> None:
    line, other = log_of(tmp_path).splitlines()
    assert line.endswith("[kafka-monitor] INFO: Hello action=greet")
    assert "[somebody] INFO" in other

    record = json.loads(log_of(tmp_path, "-lj").splitlines()[0])
    assert (record["logger"], record["action"]) == ("kafka-monitor", "greet")


def test_a_monitor_logs_to_its_file(tmp_path: Path) -> None:
    assert log_of(tmp_path, "-lf") == ""

    assert "Hello" in (tmp_path / "logs" / "kafka_monitor.log").read_text()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "LOG_LEVEL = 'INFO'\nLOG_JSON = tru\n",
            "line 2: NameError: name 'tru' is not defined",
        ),
        ("LOG_LEVEL = (\n", "line 1: SyntaxError: '(' was never closed"),
    ],
)
def test_an_error_in_a_file_of_settings_is_one_line(
    tmp_path: Path, text: str, problem: str
) -> None:
    file = tmp_path / "own.py"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "redis_monitor", "--settings", str(file)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [f"redis_monitor.py: {file}: {problem}"]
