"""Settings, the environment, YAML and the command line: a value, or an error that names it."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from crawling import settings as fleet
from crawling.cli import make_parser, run
from crawling.domain_commands import read_settings
from crawling.exceptions import ConfigError
from crawling.service.config import MONITOR, environment, named, tracker_config, typed
from crawling.tracker.tracker import CrawlId, DomainSetting
from tests.acceptance.crawls import ask
from tests.doors.cases import cases, json_values, texts, utf8_texts
from tests.doors.urls import anything
from tests.integration.tracking import offer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NAMES = sorted(MONITOR)
numbers = st.integers() | st.floats() | st.integers().map(str) | st.floats().map(str)
values = texts | numbers | st.none() | st.booleans() | json_values | anything


@cases()
@given(st.sampled_from(NAMES), values)
def test_a_setting_has_a_value_or_an_error_that_names_it(name: str, value: Any) -> None:
    try:
        typed(name, value, MONITOR)
    except ConfigError as error:
        assert error.setting == name
        assert error.problem


@cases()
@given(st.sampled_from(NAMES), values)
def test_a_tracker_is_configured_or_an_error_names_the_setting(name: str, value: Any) -> None:
    try:
        tracker_config({**named(fleet), name: value})
    except ConfigError as error:
        assert error.setting.isupper()


@cases()
@given(
    st.sampled_from(NAMES),
    utf8_texts.filter(lambda text: "\0" not in text),
)
def test_the_environment_is_read_or_an_error_names_the_variable(name: str, value: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(name, value)
        try:
            environment(MONITOR)
        except ConfigError as error:
            assert error.setting == name


domains = st.dictionaries(
    anything | texts,
    st.dictionaries(
        st.sampled_from(["hits", "window", "scale", "other"]), numbers | texts, max_size=4
    )
    | json_values,
    max_size=3,
)
documents = st.one_of(
    st.builds(
        lambda limits, blacklist: yaml.safe_dump({"domains": limits, "blacklist": blacklist}),
        domains,
        st.lists(anything | texts, max_size=3) | json_values,
    ),
    json_values.map(yaml.safe_dump),
    texts,
    st.sampled_from(
        [
            "a: &a [*a]",
            "!!python/object/apply:os.system [id]",
            "- " * 2000,
            "domains: {a: b: c}",
        ]
    ),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doors") / "domains.yaml"


def test_yaml_is_read_or_an_error_says_what_is_wrong(file: Path) -> None:
    @cases()
    @given(documents)
    def read(text: str) -> None:
        file.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            found = read_settings(file)
        except ConfigError as error:
            assert error.problem
            return
        for domain, setting in found.items():
            assert isinstance(setting, DomainSetting)
            assert domain == setting.domain
            assert setting.hits > 0 or setting.blocked

    read()


#: Commands that only look at the tracker, or change it.
ON_TRACKER = "status trace stop pause resume prioritize retry audit workers domains".split()
FLAGS = (
    "--crawlid --spider --appid --json -s --reason --domain --repair --limit --dry-run --tracker "
    "--help --depth --save --hits --allow --max-pages --expires --cookie --file-name apply"
).split()
words = st.sampled_from(FLAGS) | texts | anything | numbers.map(str)
#: Nothing that argparse is given by a shell has a NUL in it.
lines = st.lists(words.filter(lambda word: "\0" not in word), max_size=5)


def said_by(argv: Sequence[str]) -> tuple[Any, str]:
    """Return the exit code of `fleet` and what it wrote to standard error."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = run(argv)
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, err.getvalue()


@pytest.fixture(scope="module")
def tracker(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('doors')}/crawl.db"
    crawl = CrawlId("link", "fleet", "c1")
    ask(url, lambda tracker: tracker.submit(crawl, [offer("a")]))
    return url


def test_a_command_works_or_says_what_is_wrong(tracker: str) -> None:
    @cases()
    @given(st.sampled_from(ON_TRACKER), lines)
    def command(name: str, line: list[str]) -> None:
        code, said = said_by([name, *line, "--tracker", tracker])
        assert code in {0, 1, 2}, said
        assert "Traceback" not in said
        assert code == 0 or said.strip()
        if code and not said.startswith("usage: "):
            assert re.fullmatch(r"fleet: .+\n", said), said

    command()


@cases()
@given(
    st.sampled_from(["crawl", "worker", "doctor", "alive", "startproject", "nonsense"]), lines
)
def test_a_command_line_is_parsed_or_refused(name: str, line: list[str]) -> None:
    err = io.StringIO()
    with redirect_stderr(err), redirect_stdout(io.StringIO()):
        try:
            make_parser().parse_args([name, *line])
        except SystemExit as ended:
            assert ended.code in {0, 2}
            assert ended.code == 0 or "error: " in err.getvalue()
