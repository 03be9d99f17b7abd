from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from scrapy.settings import Settings

from crawling import settings as defaults
from crawling.exceptions import ConfigError
from crawling.service.config import (
    load_settings,
    read,
    tracker_config,
    tracker_url,
    typed,
    typed_settings,
    validate,
)
from crawling.service.options import MISSPELLED, MONITOR_OPTIONS, OPTIONS, RETIRED
from crawling.tracker.tracker import TrackerConfig
from kafka_monitor import settings as kafka_defaults
from redis_monitor import settings as redis_defaults
from rest_service import settings as rest_defaults

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "settings.md"
#: Chosen by Scrapy's version, and no operator's business.
RESOLVERS = {"TWISTED_DNS_RESOLVER", "DNS_RESOLVER"}

NAMES = {name for name in vars(defaults) if name.isupper()} - RESOLVERS


#: Defaults of the monitors and of the REST service.
MODULES = (kafka_defaults, redis_defaults, rest_defaults)
#: Names of their own settings.
MONITORS = set(MONITOR_OPTIONS)


def fleet_settings(**changed: Any) -> Settings:
    settings = Settings()
    settings.setmodule("crawling.settings", priority="project")
    settings.setdict(changed, priority="cmdline")
    return settings


def run(code: str, *, path: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Return what *code* prints in a Python of its own, with *env* added."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'crawler'}:{path or ''}", **(env or {})},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    return done.stdout.strip()


def test_every_setting_has_a_kind_and_every_kind_a_setting() -> None:
    assert set(OPTIONS) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_default_is_already_what_its_kind_makes_of_it(name: str) -> None:
    default = getattr(defaults, name)

    assert typed(name, default) == default


def test_every_setting_of_a_monitor_has_a_kind_and_every_kind_a_setting() -> None:
    named = {name for module in MODULES for name in vars(module)}
    assert set(MONITOR_OPTIONS) == {name for name in named if name.isupper()}


@pytest.mark.parametrize("module", MODULES)
def test_a_default_of_a_monitor_is_already_what_its_kind_makes_of_it(
    module: ModuleType,
) -> None:
    for name in MONITORS & set(vars(module)):
        assert MONITOR_OPTIONS[name](getattr(module, name)) == getattr(module, name)


def test_the_trackers_own_defaults_are_those_of_the_settings() -> None:
    assert tracker_config(fleet_settings()) == TrackerConfig()


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("QUEUE_HITS", "20", 20),
        ("QUEUE_WINDOW", "1.5", 1.5),
        ("QUEUE_MODERATED", "0", False),
        ("QUEUE_MODERATED", "False", False),
        ("QUEUE_MODERATED", " true ", True),
        ("GLOBAL_PAGE_PER_DOMAIN_LIMIT", "none", None),
        ("GLOBAL_PAGE_PER_DOMAIN_LIMIT", "5", 5),
        ("STATS_RESPONSE_CODES", "200, 404", [200, 404]),
        ("SAVERS", "pages/,pages.tar.gz", ["pages/", "pages.tar.gz"]),
        ("SAVERS", "", []),
        ("SC_LOG_LEVEL", "debug", "DEBUG"),
        ("EXTENSIONS", '{"a.B": null}', {"a.B": None}),
        ("SCHEUDLER_ITEM_RETRIES", "2", 2),
        ("A_SETTING_OF_SOMEBODY_ELSE", "1", "1"),
    ],
)
def test_text_is_read_as_the_setting_wants_it(name: str, text: str, value: object) -> None:
    assert typed(name, text) == value


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("QUEUE_HITS", "ten", "must be a whole number, at least 0, not 'ten'"),
        ("QUEUE_HITS", "1.5", "must be a whole number, at least 0, not '1.5'"),
        ("QUEUE_HITS", -1, "must be at least 0, not -1"),
        ("QUEUE_HITS", True, "must be a whole number, at least 0, not True"),
        ("QUEUE_WINDOW", "0", "must be more than 0 seconds, not '0'"),
        ("QUEUE_WINDOW", "nan", "must be more than 0 seconds, not 'nan'"),
        ("REDIS_PORT", "70000", "must be from 1 to 65535, not '70000'"),
        ("QUEUE_MODERATED", "maybe", "must be 0, 1, true or false, not 'maybe'"),
        ("QUEUE_MODERATED", 2, "must be 0, 1, true or false, not 2"),
        ("STATS_RESPONSE_CODES", "200,ok", "must be a whole number, from 100 to 599"),
        ("STATS_TIMES", ["SECONDS_2_DAY"], "must be one of SECONDS_1_MINUTE, "),
        ("SAVERS", 5, "must be a list, or text with commas, not 5"),
        ("EXTENSIONS", "[1]", "must be a dict, or a JSON object, not '[1]'"),
        ("USER_AGENT", 5, "must be text, not 5"),
    ],
)
def test_a_bad_value_is_named_with_what_would_be_right(
    name: str, value: object, problem: str
) -> None:
    with pytest.raises(ConfigError) as error:
        typed(name, value)

    assert str(error.value).startswith(f"{name}: {problem}")


def test_what_a_command_line_sets_is_typed_where_it_is_read() -> None:
    settings = fleet_settings(SCHEDULER_TYPE_ENABLED="False", QUEUE_HITS="3")

    assert read(settings, "SCHEDULER_TYPE_ENABLED") is False
    assert tracker_config(settings).hits == 3
    assert tracker_config(settings).by_type is False


def test_a_setting_that_nobody_gave_is_an_error_that_says_so() -> None:
    with pytest.raises(ConfigError, match="ROBOTSTXT_CACHE_TTL: is not set"):
        read({}, "ROBOTSTXT_CACHE_TTL")


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="RETRY_DELAY_MAX: must be at least RETRY_DELAY"):
        validate(fleet_settings(RETRY_DELAY=10, RETRY_DELAY_MAX=5))


def test_the_whole_of_the_settings_can_be_checked_at_once() -> None:
    validate(fleet_settings())

    with pytest.raises(ConfigError, match="DNSCACHE_SIZE"):
        validate(fleet_settings(DNSCACHE_SIZE="many"))


def test_a_throttle_per_address_uses_the_address_that_is_given() -> None:
    settings = fleet_settings(SCHEDULER_IP_ENABLED="1", PUBLIC_IP="198.51.100.7")

    assert tracker_config(settings).ip == "198.51.100.7"


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, "redis://localhost:6379/0"),
        ({"REDIS_HOST": "r1", "REDIS_PORT": "7000", "REDIS_DB": "2"}, "redis://r1:7000/2"),
        ({"REDIS_PASSWORD": "a/b@c"}, "redis://:a%2Fb%40c@localhost:6379/0"),
        ({"REDIS_HOST": "::1"}, "redis://[::1]:6379/0"),
        ({"REDIS_HOST": "r1", "TRACKER": "sqlite://"}, "sqlite://"),
    ],
)
def test_the_tracker_is_the_redis_of_the_older_settings_unless_named(
    given: dict[str, str], url: str
) -> None:
    assert tracker_url(fleet_settings(**given)) == url


def test_settings_load_without_scrapy_and_with_the_trackers_url() -> None:
    assert load_settings(["REDIS_HOST=r1"])["TRACKER"] == "redis://r1:6379/0"
    assert run(
        "import sys; from crawling.service.config import load_settings;"
        "load_settings(); print('scrapy' in sys.modules, 'twisted' in sys.modules)"
    ) == ("False False")


def test_options_of_a_command_line_are_names_and_values() -> None:
    assert typed_settings(["QUEUE_HITS=3", "USER_AGENT=a=b"]) == {
        "QUEUE_HITS": 3,
        "USER_AGENT": "a=b",
    }

    with pytest.raises(ConfigError, match="-s: must be NAME=VALUE, not 'QUEUE_HITS'"):
        typed_settings(["QUEUE_HITS"])


SHOW = "from crawling import settings as s; print(s.QUEUE_HITS, s.QUEUE_WINDOW, s.SAVERS)"


def test_local_settings_go_over_the_defaults_and_the_environment_over_both(
    tmp_path: Path,
) -> None:
    (tmp_path / "localsettings.py").write_text("QUEUE_HITS = '5'\nQUEUE_WINDOW = 30\n")

    shown = run(SHOW, path=tmp_path, env={"QUEUE_WINDOW": "15", "SAVERS": "a/,b/"})

    assert shown == "5 15.0 ['a/', 'b/']"


def test_a_variable_that_is_set_but_empty_counts_as_not_set() -> None:
    assert run(SHOW, env={"QUEUE_HITS": ""}) == "10 60 []"


def test_an_error_in_the_local_settings_is_not_mistaken_for_their_absence(
    tmp_path: Path,
) -> None:
    (tmp_path / "localsettings.py").write_text("import no_such_module\n")

    with pytest.raises(subprocess.CalledProcessError) as error:
        run(SHOW, path=tmp_path)

    assert "no_such_module" in error.value.stderr


def test_the_misspellings_of_scrapy_cluster_are_accepted() -> None:
    for wrong, right in MISSPELLED.items():
        assert right in RETIRED
        assert run(
            f"from crawling import settings as s; print(s.{right})", env={wrong: "7"}
        ).startswith("7")


@pytest.mark.parametrize("origin", ["environment", "option"])
def test_a_bad_value_ends_scrapy_in_one_line(origin: str) -> None:
    options = ["-s", "QUEUE_HITS=ten"] if origin == "option" else []
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "scrapy",
            "runspider",
            "crawling/spiders/link_spider.py",
            *options,
        ],
        cwd=ROOT / "crawler",
        env={**os.environ, **({} if options else {"QUEUE_HITS": "ten"})},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )

    assert done.returncode == 1
    assert done.stderr == "QUEUE_HITS: must be a whole number, at least 0, not 'ten'\n"


def documented() -> dict[str, str]:
    """Return the names and defaults in the tables of the reference page."""
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \| (.*?) \|", PAGE.read_text("utf-8"), re.MULTILINE)
    return {name: default.replace("`", "") for name, default in rows}


def test_the_reference_page_and_the_settings_agree() -> None:
    expected = {name: shown(defaults, name) for name in NAMES}
    of_monitors = {name: shown_of_monitors(name) for name in MONITORS}

    page = documented()
    assert {name: text for name, text in page.items() if name in NAMES} == expected
    assert {name: text for name, text in page.items() if name in MONITORS} == of_monitors
    assert set(page) - NAMES - MONITORS == set(RETIRED)


def shown_of_monitors(name: str) -> str:
    modules = [module for module in MODULES if hasattr(module, name)]
    return ", ".join(dict.fromkeys(shown(module, name) for module in modules))


def shown(module: ModuleType, name: str) -> str:
    value = getattr(module, name)
    if isinstance(value, dict):
        return "see below"
    if isinstance(value, list):
        return ",".join(map(str, value)) or "(empty)"
    if value == "":
        return "(empty)"
    return str(value)
