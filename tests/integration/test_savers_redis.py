from __future__ import annotations

import asyncio
import json
from hashlib import sha1
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from crawling.exceptions import ConfigError, OutputError, Unavailable
from crawling.savers.targets import make_saver
from tests.integration.tracking import until
from tests.pages import make_page
from tests.servers.redis_fleets import redis_sentinel
from tests.servers.redis_server import redis_server

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_page_is_the_page_message_under_its_key(redis: Redis, redis_url: str) -> None:
    saver = make_saver(redis_url)
    await saver.open()

    page = make_page(1, attrs={"a": "é"})
    await saver.save(page)

    value = redis.get(f"page:crawl:{page.requestid}")
    assert isinstance(value, bytes)
    assert json.loads(value) == page.to_json()
    await saver.close()


async def test_the_key_is_made_from_a_scheme(redis: Redis, redis_url: str) -> None:
    saver = make_saver(f"{redis_url}?key=%7Bhost%7D/{{path}}:{{status}}&db=0")
    await saver.open()

    await saver.save(make_page(1))

    assert redis.keys() == [b"example.com/page/1.html:200"]
    await saver.close()


async def test_pages_that_come_together_are_all_there(redis: Redis, redis_url: str) -> None:
    saver = make_saver(redis_url)
    await saver.open()

    pages = [*map(make_page, range(300)), make_page(attrs={"x": float("inf")})]
    results = await asyncio.gather(*map(saver.save, pages), return_exceptions=True)

    assert redis.dbsize() == 300
    assert [type(result) for result in results[-2:]] == [type(None), OutputError]
    await saver.close()


async def test_a_full_redis_keeps_the_page_waiting(redis: Redis, redis_url: str) -> None:
    saver = make_saver(redis_url)
    await saver.open()
    redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable, match="maxmemory"):
            await saver.save(make_page())
    finally:
        redis.config_set("maxmemory", 0)

    await saver.save(make_page())

    assert redis.dbsize() == 1
    await saver.close()


async def test_redis_may_restart_meanwhile(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url:
        saver = make_saver(url)
        await saver.open()
        await saver.save(make_page(1))
    with pytest.raises(Unavailable, match=r"redis\.sock"):
        await saver.save(make_page(2))
    with redis_server(tmp_path):
        await saver.save(make_page(2))
        await saver.close()


async def test_an_idle_connection_may_have_died(redis: Redis, redis_url: str) -> None:
    saver = make_saver(redis_url)
    await saver.open()
    await saver.save(make_page(1))
    redis.client_kill_filter(_type="normal", skipme=True)

    await saver.save(make_page(2))

    assert redis.dbsize() == 2
    await saver.close()


async def test_pages_go_to_whoever_is_the_master_behind_sentinels(tmp_path: Path) -> None:
    with redis_sentinel(tmp_path) as watched:
        saver = make_saver(f"{watched.url}?key=%7Bsha1%7D")
        await saver.open()
        await saver.save(make_page(1))
        watched.master().kill()

        async def saved() -> bool:
            try:
                await saver.save(make_page(2))
            except Unavailable:
                return False
            return True

        await until(saved, timeout=30, every=0.1)
        await saver.close()
        with watched.master().client() as client:
            assert client.exists(sha1(make_page(2).url.encode()).hexdigest())


async def test_a_wrong_password_is_a_mistake_not_an_outage(tmp_path: Path) -> None:
    with redis_server(tmp_path) as url, Redis.from_url(url) as client:
        client.config_set("requirepass", "secret")
        saver = make_saver(f"{url}?password=wrong")

        with pytest.raises(ConfigError) as refused:
            await saver.open()

    assert "password=" not in str(refused.value)
