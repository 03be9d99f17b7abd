from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from crawling.exceptions import ConfigError
from tests.integration.monitoring import monitored
from tests.integration.tracking import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from redis import Redis

    from tests.integration.monitoring import Monitored

#: What docs/howto/add_a_plugin.md shows, and a few that misbehave.
PLUGINS = '''
import json
from pathlib import Path
from crawling.exceptions import MessageError, Problem, Unavailable
from crawling.messages.crawl import submission
from crawling.messages.validation import load_schema

class Noted:
    """One of Scrapy Cluster's: its schema is a file beside it."""
    schema = "note_schema.json"

    def setup(self, settings):
        self.notes = Path(settings["LOG_DIR"]) / "notes"

    def handle(self, message):
        with self.notes.open("a") as notes:
            notes.write(json.dumps(message) + "\\n")
        self.logger.info("Noted")

class Passing(Noted):
    async def handle(self, message):
        super().handle(message)
        return message

class Failing:
    schema = {"type": "object", "required": ["fail"]}
    def setup(self, settings): ...
    def handle(self, message):
        raise ZeroDivisionError("oops")

class Refusing:
    schema = {"type": "object", "required": ["refuse"]}
    def setup(self, settings): ...
    def handle(self, message):
        raise MessageError([Problem("refuse", "not today", message["refuse"])])

class Waiting:
    schema = {"type": "object", "required": ["wait"]}
    tries = 0
    def setup(self, settings): ...
    def handle(self, message):
        self.tries += 1
        if self.tries < 3:
            raise Unavailable("the other server is away")

class Splitting:
    schema = {"type": "object", "required": ["sites"]}
    def setup(self, settings):
        self.crawl = load_schema("crawl", settings)
    def handle(self, message):
        for site in message["sites"]:
            fields = {"url": site, "appid": "testapp", "crawlid": site}
            crawl = submission(
                self.crawl.validate(fields), self.intake.source, private_allowed=False
            )
            self.intake.submit(crawl, "Split", fields)
        self.intake.post("stats", {"uuid": "u", "appid": "testapp"}, "Asked")

class NoSchema:
    schema = "nowhere.json"
    def setup(self, settings): ...
    def handle(self, message): ...
'''
SCHEMA = {
    "type": "object",
    "properties": {
        "note": {"type": "string"},
        "more": {
            "type": "object",
            "properties": {"size": {"type": "integer", "default": 1}},
            "default": {},
        },
    },
    "required": ["note"],
    "additionalProperties": False,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a module of plugins, on Python's path."""
    (tmp_path / "my_plugins.py").write_text(PLUGINS)
    (tmp_path / "note_schema.json").write_text(json.dumps(SCHEMA))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "my_plugins", raising=False)
    return tmp_path


@pytest.fixture
async def kafka(
    redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str, folder: Path
) -> AsyncIterator[Monitored]:
    redis.ping()
    many = monitored(redis_url, kafka_hosts, topic_prefix, LOG_DIR=str(folder))
    async with many as made:
        yield made


def notes(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "notes").read_text().splitlines()]


def plugins_of(kafka: Monitored, ranks: dict[str, int | None]) -> dict[str, int | None]:
    return {**kafka.settings["PLUGINS"], **{f"my_plugins.{n}": r for n, r in ranks.items()}}


async def serve(kafka: Monitored, ranks: dict[str, int | None], *messages: object) -> None:
    """Run a monitor with these plugins of the module until it has served *messages*."""
    last = {"url": "http://last.com/", "appid": "testapp", "crawlid": "last"}
    await kafka.feed(*messages, last)
    async with kafka.running(PLUGINS=plugins_of(kafka, ranks)):
        await kafka.has_crawls(1)


async def test_a_plugin_handles_what_its_schema_accepts(kafka: Monitored, folder: Path) -> None:
    await serve(kafka, {"Noted": 50}, {"note": "a"}, {"note": "b", "more": {}}, {"note": 5})

    found = notes(folder)
    assert all(isinstance(note.pop("ts"), float) for note in found)
    assert found == [{"note": "a", "more": {}}, {"note": "b", "more": {"size": 1}}]
    (refused,) = await kafka.read("rejected", 1)
    assert dict(refused.headers)["reason"] == b"note: must be text, not 5"


async def test_the_next_plugin_gets_what_one_has_not_finished_with(
    kafka: Monitored, folder: Path, redis: Redis
) -> None:
    await serve(kafka, {"Passing": 50, "Noted": 60}, {"note": "a"})

    assert [note["note"] for note in notes(folder)] == ["a", "a"]
    assert redis.get("stats:kafka-monitor:Passing:lifetime") == b"1"
    assert redis.get("stats:kafka-monitor:Noted:lifetime") == b"1"
    assert redis.get("stats:kafka-monitor:total:lifetime") == b"2"


async def test_a_plugin_that_fails_or_refuses_stops_nothing(kafka: Monitored) -> None:
    await serve(kafka, {"Failing": 1, "Refusing": 2}, {"fail": 1}, {"refuse": "x"})

    failed, refused = await kafka.read("rejected", 2)
    assert dict(failed.headers)["reason"] == (
        b"message: Failing failed: ZeroDivisionError('oops')"
    )
    assert dict(refused.headers)["reason"] == b"refuse: not today"


async def test_a_message_waits_for_a_plugin_whose_server_is_away(
    kafka: Monitored, redis: Redis
) -> None:
    await serve(kafka, {"Waiting": 1}, {"wait": 1})

    assert redis.get("stats:kafka-monitor:Waiting:lifetime") == b"1"
    assert redis.get("stats:kafka-monitor:fail:lifetime") is None


async def test_one_message_can_become_many_things_each_of_them_once(
    kafka: Monitored, redis: Redis
) -> None:
    message = {"sites": ["a.com", "b.com", "c.com"]}
    await serve(kafka, {"Splitting": 1}, message)
    # Nothing was committed yet: it is all delivered again.

    async def served_again() -> bool:
        return redis.get("stats:kafka-monitor:Splitting:lifetime") == b"2"

    plugins = plugins_of(kafka, {"Splitting": 1})
    async with kafka.running(PLUGINS=plugins, STATS_CYCLE=0.05):
        await until(served_again, timeout=30)

    statuses = await kafka.statuses()
    assert set(statuses) == {"a.com", "b.com", "c.com", "last"}
    assert all(statuses[site].accepted == 1 for site in message["sites"])
    assert len(await kafka.letters(1)) == 1


@pytest.mark.parametrize(
    ("plugins", "problem"),
    [
        ({"my_plugins.Nobody": 1}, r"PLUGINS: there is no class 'my_plugins\.Nobody'"),
        ({"my_plugins.NoSchema": 1}, r"PLUGINS: NoSchema has no schema .*nowhere\.json"),
    ],
)
async def test_a_plugin_that_cannot_be_set_up_ends_the_monitor_at_its_start(
    kafka: Monitored, plugins: dict[str, int], problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        async with kafka.running(PLUGINS=plugins):
            pass
