"""Redis behind Sentinels, in a cluster, over TLS, and with a user that may do little."""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from crawling.exceptions import ConfigError, Unavailable
from crawling.tracker.connect import close_tracker, open_tracker
from crawling.tracker.redis_connect import (
    BELIEVED,
    LocatedConnection,
    Locator,
    parse,
    shown,
    tag_of,
)
from crawling.tracker.redis_tracker import RedisTracker
from crawling.tracker.tracker import Outcome, TrackerConfig
from tests.acceptance.crawls import ROOT, fleet, fleet_json
from tests.integration.tracking import (
    CRAWL,
    WORKER,
    books,
    lease,
    offers,
    settle,
    submit,
    until,
)
from tests.servers.certificates import make_certificates
from tests.servers.kafka_server import free_ports
from tests.servers.redis_fleets import (
    Server,
    redis_alone,
    redis_cluster,
    redis_replicas,
    redis_sentinel,
    until_replicated,
)
from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

    from crawling.tracker.tracker import Tracker

EAGER = TrackerConfig(hits=0, concurrency=1000, retry_delay=0.0, lease_timeout=5.0)


def rule() -> list[str]:
    """Return the rule of docs/howto/secure_redis.md, whose first line names the user."""
    text = (ROOT / "docs/howto/secure_redis.md").read_text("utf-8")
    [found] = re.findall(r"^ACL SETUSER fleet on >secret\n((?:  .*\n)+)", text, re.MULTILINE)
    return str(found).split()


async def patiently(call: Callable[[], Awaitable[Any]], meanwhile: list[Unavailable]) -> Any:
    """Repeat *call* while Redis is away, as workers do."""

    async def tried() -> Any:
        try:
            return [await call()]
        except Unavailable as error:
            meanwhile.append(error)
            return None

    return (await until(tried, timeout=30.0, every=0.05))[0]


async def fetch_some(tracker: Tracker, count: int) -> None:
    for leased in (await lease(tracker, count))[:count]:
        assert await settle(tracker, leased)


async def outlive(url: str, servers: Sequence[Server], kill: Callable[[], None]) -> None:
    """Lose the master in the middle of a crawl, and go on with another."""
    tracker = await open_tracker(url, EAGER)
    try:
        await submit(tracker, *offers(100))
        await fetch_some(tracker, 30)
        # What has reached the replicas survives; a failover may take back the last moment.
        await asyncio.to_thread(until_replicated, servers)
        kill()
        meanwhile: list[Unavailable] = []
        held = await patiently(lambda: tracker.lease("worker-1", 10, "link"), meanwhile)

        assert meanwhile
        assert len(held.leases) == 10
        for leased in held.leases:
            assert await settle(tracker, leased)
        await fetch_some(tracker, 60)
        assert (await books(tracker)).state == "finished"
        assert (await books(tracker)).done == 100
    finally:
        await close_tracker(url)


async def test_a_crawl_outlives_the_master_behind_sentinels(tmp_path: Path) -> None:
    with redis_sentinel(tmp_path) as watched:
        await outlive(watched.url, watched.servers, watched.master().kill)


async def test_a_crawl_outlives_a_master_of_a_cluster(tmp_path: Path) -> None:
    with redis_cluster(tmp_path, replicas=True) as cluster:
        await outlive(cluster.url, cluster.servers, cluster.owner("{0}fleet").kill)


class Named(Locator):
    """Finds the server that the test has named."""

    def __init__(self, server: Server) -> None:
        super().__init__()
        self.server = server

    async def _ask(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.port


@pytest.mark.usefixtures("redis")
async def test_what_an_old_master_confirms_beside_the_new_one_does_not_count(
    tmp_path: Path,
) -> None:
    """It has not heard yet that it is none any more."""
    with redis_alone(tmp_path / "old") as old, redis_alone(tmp_path / "new") as new:
        locator = Named(old)
        pool = BlockingConnectionPool(connection_class=LocatedConnection, locator=locator)
        async with AsyncRedis.from_pool(pool) as redis, redis.client() as held:
            await held.set("place", "old")
            locator.server = new
            locator.forget()
            assert await redis.get("place") is None

            with pytest.raises(RedisConnectionError, match="another server has taken"):
                await held.set("place", "nowhere")

            await held.set("place", "new")
            assert await redis.get("place") == b"new"


class Asked(Named):
    keeps_asking = True


@pytest.mark.usefixtures("redis")
async def test_a_connection_that_lasts_does_not_outlast_its_master(tmp_path: Path) -> None:
    """It is asked now and then if it still is the master."""
    with redis_alone(tmp_path / "old") as old, redis_alone(tmp_path / "new") as new:
        locator = Asked(old)
        pool = BlockingConnectionPool(connection_class=LocatedConnection, locator=locator)
        async with AsyncRedis.from_pool(pool) as redis:
            await redis.set("place", "old")
            locator.server = new

            async def left() -> bool:
                try:
                    return await redis.get("place") is None
                except RedisConnectionError:
                    return False

            await until(left, timeout=5.0, every=0.05)
            locator.find = refused  # type: ignore[method-assign]
            await asyncio.sleep(BELIEVED + 0.2)
            for _ in range(3):
                assert await redis.get("place") is None
            assert locator._asked_again is not None
            await locator._asked_again


async def refused() -> tuple[str, int]:
    raise RedisConnectionError("no Sentinel answers")


async def test_a_history_breaks_with_another_server_not_with_another_connection(
    tmp_path: Path,
) -> None:
    with redis_replicas(tmp_path) as (master, *_):
        tracker = RedisTracker(f"redis://127.0.0.1:{master.port}/0", EAGER)
        try:
            assert await tracker.breaks() == 0
            master.client().client_kill_filter(_type="normal", skipme=True)
            assert await patiently(tracker.breaks, []) == 0

            master.kill()
            master.start()
            _wait(master.client())
            assert await patiently(tracker.breaks, []) == 1

            # One that becomes a master goes on with a history of its own.
            master.client().replicaof("127.0.0.1", 1)
            master.client().replicaof("NO", "ONE")
            master.client().client_kill_filter(_type="normal", skipme=True)
            assert await patiently(tracker.breaks, []) == 2
        finally:
            await tracker.close()


@contextmanager
def tls_server(folder: Path, *options: str) -> Iterator[Server]:
    """Run a Redis that speaks TLS alone, with the certificate authority at ca.pem."""
    make_certificates(folder)
    [port] = free_ports(1)
    server = Server(
        folder,
        0,
        (
            "--tls-port", str(port), "--tls-cert-file", str(folder / "server.pem"),
            "--tls-key-file", str(folder / "server.key"),
            "--tls-ca-cert-file", str(folder / "ca.pem"), "--tls-auth-clients", "no", *options,
        ),
    )  # fmt: skip
    server.start()
    server.port = port
    try:
        yield server
    finally:
        server.kill()


def test_a_user_that_may_do_little_crawls_over_tls(tmp_path: Path) -> None:
    with tls_server(tmp_path) as server, small_site() as site:
        trusted = f"ssl_ca_certs={tmp_path / 'ca.pem'}"
        root = f"rediss://127.0.0.1:{server.port}/0?{trusted}"
        with Redis.from_url(root) as client:
            _wait(client)
            client.execute_command("ACL", "SETUSER", "fleet", "on", ">secret", *rule())
            client.execute_command("ACL", "SETUSER", "default", "off")
        site.answers = {
            "/": Answer(body=b"<a href='/a'>a</a>", headers={"Content-Type": "text/html"}),
            "/a": Answer(body=b"<p>a</p>"),
        }
        url = f"rediss://fleet:secret@127.0.0.1:{server.port}/0?{trusted}"
        options = ("--tracker", url, "--allow-private", "--hits", "0", "--crawlid", "c1")

        summary = fleet_json("crawl", site.url("/"), *options, cwd=tmp_path)
        assert (summary["done"], summary["state"]) == (2, "finished")
        wrong = url.replace("secret", "guess")
        said = fleet("status", "--tracker", wrong, cwd=tmp_path, code=2).stderr

    assert said.startswith(f"fleet: TRACKER: rediss://127.0.0.1:{server.port}/0: ")
    assert "guess" not in said


async def test_that_user_tells_what_ends_also_where_there_are_replicas(tmp_path: Path) -> None:
    with redis_replicas(tmp_path) as (master, *_):
        with master.client() as client:
            client.execute_command("ACL", "SETUSER", "fleet", "on", ">secret", *rule())
        tracker = RedisTracker(f"redis://fleet:secret@127.0.0.1:{master.port}/0", EAGER)
        await tracker.open()
        try:
            [mailbox] = tracker.mailboxes("monitor", claim_after=30.0)
            await mailbox.open()
            # Directly: the tests' own helpers audit the books, which needs `+scan`.
            await tracker.submit(CRAWL, offers(1))
            [leased] = (await tracker.lease(WORKER, 1, "link")).leases
            await tracker.settle(WORKER, [Outcome(leased, "done", status=200)])

            [letter] = await mailbox.news(10, 5.0)

            assert letter.body["action"] == "finished"
        finally:
            await tracker.close()


def test_a_server_that_nobody_has_signed_for_is_refused(tmp_path: Path) -> None:
    with tls_server(tmp_path) as server:
        with Redis.from_url(
            f"rediss://127.0.0.1:{server.port}/0?ssl_ca_certs={tmp_path / 'ca.pem'}"
        ) as client:
            _wait(client)
        url = f"rediss://127.0.0.1:{server.port}/0"
        said = fleet("status", "--tracker", url, cwd=tmp_path, code=1).stderr

    assert "CERTIFICATE_VERIFY_FAILED" in said


def _wait(client: Redis) -> None:
    for _ in range(500):
        try:
            client.ping()
        except Exception:  # noqa: BLE001 until it has started
            continue
        return


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0",
        "rediss://user:secret@127.0.0.1:1/0",
        "redis+cluster://127.0.0.1:1,127.0.0.1:2",
        "redis+sentinel://127.0.0.1:1/fleet",
    ],
)
def test_a_redis_that_is_not_there_is_named_with_setting_address_and_remedy(
    url: str, tmp_path: Path
) -> None:
    [line] = fleet("status", "--tracker", url, cwd=tmp_path, code=1).stderr.splitlines()

    assert line.startswith(f"fleet: TRACKER: no answer from Redis at {shown(url)} (")
    assert line.endswith("set TRACKER, or REDIS_HOST and REDIS_PORT, to where it is")
    assert "secret" not in line


def test_a_service_that_no_sentinel_knows_is_named(tmp_path: Path) -> None:
    with redis_sentinel(tmp_path) as watched:
        url = watched.url.replace("/fleet/", "/other/")
        said = fleet("status", "--tracker", url, cwd=tmp_path, code=1).stderr

    assert "other" in said.partition("(")[2]


@pytest.mark.usefixtures("redis")
def test_a_single_redis_is_no_cluster(tmp_path: Path) -> None:
    server = Server(tmp_path / "redis", free_ports(1)[0], ())
    server.start()
    try:
        _wait(server.client())
        url = f"redis+cluster://127.0.0.1:{server.port}"
        said = fleet("status", "--tracker", url, cwd=tmp_path, code=1).stderr
    finally:
        server.kill()

    assert "cluster" in said.lower().partition("(")[2]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+sentinel://127.0.0.1:1", "name the service"),
        ("redis+cluster://127.0.0.1:1/3", "a cluster has no databases"),
        ("redis+cluster://", "is no HOST:PORT"),
        ("redis+cluster://a:b:c", "is no URL of a Redis"),
        ("redis+other://a:1", "must begin with redis://"),
        ("redis+cluster://u:secret@h:x", "is no URL of a Redis"),
    ],
)
def test_a_url_that_makes_no_sense_is_refused_without_its_password(
    url: str, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem) as error:
        parse(url)

    assert "secret" not in str(error.value)


def test_a_url_is_taken_apart() -> None:
    place = parse("rediss+sentinel://me:pa%40ss@h1:1,[::1]:2/main/7?ssl_ca_certs=ca.pem")

    assert place.addresses == [("h1", 1), ("::1", 2)]
    assert (place.kind, place.service) == ("sentinel", "main")
    assert (place.options["username"], place.options["password"]) == ("me", "pa@ss")
    assert (place.options["db"], place.options["ssl_ca_certs"]) == (7, "ca.pem")


def test_keys_are_tagged_where_a_cluster_or_shards_need_it() -> None:
    assert tag_of("redis://h") == ""
    assert tag_of("redis+cluster://h") == "{0}"
    assert tag_of("redis://h", 3, 16) == "{3}"


async def test_the_books_are_the_same_on_a_cluster(cluster: Any) -> None:
    tracker = await open_tracker(cluster.url, EAGER)
    try:
        await submit(tracker, *offers(50), *offers(50, "b.example"))
        await fetch_some(tracker, 100)
        assert (await tracker.crawl(CRAWL)) is not None
        assert (await books(tracker)).state == "finished"
    finally:
        await close_tracker(cluster.url)
