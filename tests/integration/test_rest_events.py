"""Server-sent events: what changes, told to all who listen."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from crawling.tracker.connect import _make as tracker_at
from crawling.tracker.tracker import CrawlId, TrackerConfig
from rest_service.backends import Backends
from rest_service.events import MOST_CRAWLS, MOST_LISTENERS, MOST_WAITING, Events
from rest_service.overview import Overview
from tests.integration.serving import serving, settings_of, tokens_file
from tests.integration.tracking import CRAWL, WORKER, lease, offer, offers, settle, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from crawling.tracker.tracker import Tracker
    from tests.integration.serving import Served


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/crawl.db"


@pytest.fixture
async def tracker(url: str) -> AsyncIterator[Tracker]:
    tracker = tracker_at(url, TrackerConfig(hits=0))
    await tracker.open()
    yield tracker
    await tracker.close()


@pytest.fixture
async def rest(url: str, tracker: Tracker) -> AsyncIterator[Served]:
    async with serving(url) as served:
        yield served


async def receive(
    stream: AsyncIterator[tuple[str, Any]], enough: Callable[[Any], Any]
) -> dict[str, Any]:
    """Return the data of the first event for which *enough* is true."""

    async def first() -> dict[str, Any]:
        async for _, data in stream:
            if enough(data):
                return dict(data)
        raise AssertionError("the stream has ended")

    return await asyncio.wait_for(first(), 60)


async def test_a_stream_begins_with_all_and_goes_on_with_what_changes(
    rest: Served, tracker: Tracker
) -> None:
    await tracker.submit(CRAWL, offers(3))
    async with rest.events() as stream:
        event, data = await anext(stream)
        assert event == "snapshot"
        assert data["more"] is False
        # The look that all share may be a second old.
        if not data["crawls"]:
            data = await receive(stream, lambda data: data["crawls"])
        assert data["overview"]["queued"] == 3
        assert [row["crawlid"] for row in data["crawls"]] == ["first"]

        [page, *_] = await lease(tracker, 1)
        await settle(tracker, page)

        update = await receive(stream, lambda data: data["overview"]["done"] == 1)
        assert update["overview"]["queued"] == 2
        [row] = update["crawls"]
        assert (row["crawlid"], row["done"], row["statuses"]) == ("first", 1, {"200": 1})
        status = await tracker.crawl(CRAWL)
        assert status is not None
        assert row["queued"] == status.queued


async def test_a_crawl_that_is_deleted_is_told(rest: Served, tracker: Tracker) -> None:
    await tracker.submit(CRAWL, [offer("x")])
    async with rest.events() as stream:
        await receive(stream, lambda data: data["crawls"])
        await rest.post("/crawls/link/tests/first/stop")
        await rest.delete("/crawls/link/tests/first")

        update = await receive(stream, lambda data: data.get("gone"))

    assert update["gone"] == [CRAWL._asdict()]


async def test_the_number_of_the_last_event_may_be_sent(rest: Served, tracker: Tracker) -> None:
    headers = {"Last-Event-ID": "41"}
    async with rest.client.stream("GET", "/api/v1/events", headers=headers) as response:
        lines = response.aiter_lines()
        found = [await asyncio.wait_for(anext(lines), 30) for _ in range(4)]

    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert "event: snapshot" in found


async def test_streams_end_when_the_service_does(url: str, tracker: Tracker) -> None:
    async with serving(url) as served:
        listening = [asyncio.create_task(until_the_end(served)) for _ in range(3)]
        await until(lambda: has_listeners(served, 3), timeout=90, every=0.1)

    assert await asyncio.gather(*listening) == [True, True, True]


async def until_the_end(served: Served) -> bool:
    async with served.events() as stream:
        async for _ in stream:
            pass
    return True


async def has_listeners(served: Served, count: int) -> bool:
    return f"fleet_rest_listeners {count}.0" in (await served.client.get("/metrics")).text


async def test_who_has_gone_is_forgotten(rest: Served) -> None:
    async with rest.events() as stream:
        await anext(stream)
        await until(lambda: has_listeners(rest, 1), timeout=90, every=0.1)

    await until(lambda: has_listeners(rest, 0), timeout=90, every=0.1)


class Board:
    """Events over a tracker, with nobody's clock: each test says when to look."""

    def __init__(self, backends: Backends) -> None:
        self.overview = Overview(backends)
        self.events = Events(self.overview)

    async def look(self) -> None:
        self.overview.touch()
        await self.overview.fresh()
        self.events.publish()

    async def listener(self) -> AsyncIterator[bytes]:
        stream = self.events.listen()
        assert await anext(stream) == b"retry: 2000\n\n"
        assert kind(await anext(stream)) == "snapshot"
        return stream


@pytest.fixture
async def board(url: str, tracker: Tracker) -> AsyncIterator[Board]:
    backends = Backends(settings_of(url))
    await backends.open()
    yield Board(backends)
    await backends.close()


def kind(message: bytes) -> str:
    return message.split(b"\n")[1].removeprefix(b"event: ").decode()


def data_of(message: bytes) -> Any:
    return json.loads(message.split(b"\n")[2].removeprefix(b"data: "))


async def test_a_slow_listener_gets_everything_in_place_of_what_it_missed(
    board: Board, tracker: Tracker
) -> None:
    slow, quick = await board.listener(), await board.listener()
    told = 0
    for number in range(MOST_WAITING + 3):
        await tracker.submit(CRAWL, [offer(str(number))])
        await board.look()
        told += kind(await anext(quick)) == "update"

    waiting = [await anext(slow)]
    while kind(waiting[-1]) != "update" and len(waiting) < 5:
        waiting.append(await anext(slow))

    assert told == MOST_WAITING + 3
    assert kind(waiting[0]) == "snapshot"
    assert data_of(waiting[0])["overview"]["queued"] == MOST_WAITING + 3


async def test_nothing_is_told_when_nothing_has_changed(board: Board, tracker: Tracker) -> None:
    await tracker.submit(CRAWL, [offer("x")])
    await board.look()
    stream = await board.listener()
    await board.look()
    await board.look()
    await tracker.submit(CRAWL, [offer("y")])
    await board.look()

    message = await anext(stream)

    assert data_of(message)["overview"]["queued"] == 2


async def test_what_has_changed_is_named(board: Board, tracker: Tracker) -> None:
    await tracker.submit(CRAWL, offers(2))
    [page] = await lease(tracker, 1)
    await board.look()
    stream = await board.listener()

    async def named(change: Awaitable[object]) -> list[str]:
        await change
        await board.look()
        return list(data_of(await anext(stream))["changed"])

    assert await named(tracker.block("a.example")) == ["domain-settings", "domains"]
    assert await named(tracker.defer("a.example", 60.0)) == ["domains"]
    assert await named(tracker.renew(WORKER, "no room")) == ["workers"]
    assert await named(tracker.pause(CRAWL)) == ["crawls", "domains"]
    assert await named(settle(tracker, page)) == ["crawls", "domains", "workers"]


async def test_a_message_has_so_many_crawls_and_says_that_there_are_more(
    board: Board, tracker: Tracker
) -> None:
    stream = await board.listener()
    for number in range(MOST_CRAWLS + 1):
        await tracker.submit(CrawlId("link", "tests", str(number)), [offer("x")])
    await board.look()

    data = data_of(await anext(stream))

    assert len(data["crawls"]) == MOST_CRAWLS
    assert data["more"] is True
    assert data["overview"]["crawls"] == {"running": MOST_CRAWLS + 1}


async def test_no_more_than_so_many_may_listen(board: Board) -> None:
    streams = [await board.listener() for _ in range(MOST_LISTENERS - 1)]
    assert not board.events.is_full

    streams.append(await board.listener())

    assert board.events.is_full


async def test_who_comes_when_it_is_full_is_told_to_come_again(
    rest: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rest_service.events.MOST_LISTENERS", 1)
    path = "/api/v1/events"
    async with rest.client.stream("GET", path) as first:
        # Kept: with the iterator the stream would end.
        begun = first.aiter_bytes()
        await anext(begun)
        # Not read to its end either, which would never come if it were let in.
        async with rest.client.stream("GET", path) as refused:
            assert refused.status_code == 503
            detail = json.loads(await refused.aread())["detail"]
        await begun.aclose()  # type: ignore[attr-defined]  # a generator

    assert refused.headers["Retry-After"]
    assert detail.startswith("too many listen already")


@pytest.mark.usefixtures("tracker")
async def test_one_token_cannot_take_all_places(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rest_service.events.MOST_OF_TOKEN", 1)
    file, tokens = tokens_file(tmp_path, "read", "submit")
    one, other = ({"Authorization": f"Bearer {token}"} for token in tokens)
    path = "/api/v1/events"
    async with serving(url, REST_TOKENS=file) as served:
        async with served.client.stream("GET", path, headers=one) as first:
            begun = first.aiter_bytes()
            await anext(begun)
            async with served.client.stream("GET", path, headers=one) as refused:
                assert refused.status_code == 429
                detail = json.loads(await refused.aread())["detail"]
            async with served.client.stream("GET", path, headers=other) as second:
                assert second.status_code == 200
            await begun.aclose()  # type: ignore[attr-defined]  # a generator

        async def is_let_in() -> bool:
            async with served.client.stream("GET", path, headers=one) as third:
                return third.status_code == 200

        await until(is_let_in)

    assert refused.headers["Retry-After"] == "10"
    assert detail.startswith("read has ")
