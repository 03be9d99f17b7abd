"""Kafka messages: the monitor takes each or refuses it with its reason, and goes on."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crawling.service.kafka import KafkaReader, kafka_config
from tests.doors.cases import cases, json_values, utf8_texts
from tests.doors.urls import anything
from tests.integration.monitoring import monitored, raw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

    from tests.integration.monitoring import Monitored

#: Messages in one batch.
BATCH = 10
VALID: dict[str, dict[str, Any]] = {
    "crawl": {"url": "http://example.com/", "appid": "app", "crawlid": "c"},
    "action": {"uuid": "u", "appid": "app", "crawlid": "c", "spiderid": "link", "action": "info"},
    "stats": {"uuid": "u", "appid": "app", "stats": "all"},
    "zookeeper": {
        "uuid": "u", "appid": "app", "domain": "example.com", "action": "domain-update",
        "hits": 60, "window": 60, "scale": 1.0,
    },
}  # fmt: skip
FIELDS = (
    "url appid crawlid spiderid priority maxdepth domain_max_pages max_pages allowed_domains "
    "allow_regex deny_regex deny_extensions expires useragent cookie attrs method headers body "
    "cookies link_regex id_regex download_url_fmt uuid action reason domain stats hits window "
    "scale unknown"
).split()


def changed(message: dict[str, Any], changes: dict[str, Any], without: list[str]) -> Any:
    return {
        name: value for name, value in {**message, **changes}.items() if name not in without
    }


requests = st.builds(
    changed,
    st.sampled_from(list(VALID.values())),
    st.dictionaries(
        st.sampled_from(FIELDS), json_values | utf8_texts | anything.map(repr), max_size=3
    ),
    st.lists(st.sampled_from(FIELDS), max_size=1),
)
deep = st.integers(1, 3000).map(lambda depth: b'{"a":' * depth + b"1" + b"}" * depth)
messages = st.one_of(
    requests,
    requests,
    requests,
    json_values,
    st.binary(max_size=60),
    requests.map(lambda request: raw(request)[:-1]),
    requests.map(lambda request: raw(request).replace(b'"', b"'")),
    requests.map(lambda request: json.dumps(request).encode("utf-16")),
    st.sampled_from(
        [b'{"url": "a", "url": "b"}', b'{"priority": NaN}', b'{"a": "\\ud800"}', b""]
    ),
    deep,
)


class Door:
    """A monitor with real servers, and how many messages it has taken and refused."""

    def __init__(self, monitor: Monitored, loop: asyncio.AbstractEventLoop) -> None:
        self._monitor = monitor
        self._loop = loop
        self._fed = self._refused = 0
        topic = f"{monitor.settings['KAFKA_TOPIC_PREFIX']}.rejected"
        self._topic = topic
        self._reader = KafkaReader(kafka_config(monitor.settings), [topic], None)

    def enter(self, batch: list[Any]) -> None:
        self._loop.run_until_complete(self._enter(batch))

    async def open(self) -> None:
        await self._monitor.sender.ensure_topic(self._topic)
        await self._reader.open()

    async def close(self) -> None:
        await self._reader.close()

    async def _enter(self, batch: list[Any]) -> None:
        await self._monitor.feed(*batch)
        self._fed += len(batch)
        await asyncio.wait_for(self._all_handled(), 30)
        assert await self._taken() + self._refused == self._fed

    async def _all_handled(self) -> None:
        while await self._taken() + self._refused < self._fed:
            await self._read()

    async def _taken(self) -> int:
        """Return how many messages Redis has: each has left its digest."""
        tracker = self._monitor.tracker
        keys = [key async for key in tracker._redis.scan_iter("fleet:ingest:*")]
        return sum([await tracker._ask("HLEN", key) for key in keys])

    async def _read(self) -> None:
        for record in await self._reader.poll(100, 0.05):
            headers = dict(record.headers)
            assert headers["reason"].decode()
            assert {"path", "topic", "partition", "offset"} <= headers.keys()
            self._refused += 1


@pytest.fixture
def door(redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str) -> Iterator[Door]:
    loop = asyncio.new_event_loop()
    made = monitored(redis_url, kafka_hosts, topic_prefix)
    monitor = loop.run_until_complete(made.__aenter__())
    running = monitor.running()
    task = loop.run_until_complete(running.__aenter__())
    found = Door(monitor, loop)
    loop.run_until_complete(found.open())
    yield found
    assert not task.done()
    loop.run_until_complete(running.__aexit__(None, None, None))
    loop.run_until_complete(found.close())
    loop.run_until_complete(made.__aexit__(None, None, None))
    loop.close()


def test_each_message_is_taken_or_refused(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    @cases(BATCH)
    @given(st.lists(messages, min_size=BATCH, max_size=BATCH))
    def feed(batch: list[Any]) -> None:
        door.enter([message for message in batch if message is not None])

    feed()

    assert "Plugin failed" not in caplog.text
    assert "Traceback" not in caplog.text
