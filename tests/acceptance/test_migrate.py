"""A Redis as a Scrapy Cluster, or scrapy-redis, has left it, taken over and finished."""

from __future__ import annotations

import base64
import json
import pickle
from hashlib import sha1
from typing import TYPE_CHECKING, Any

import pytest
import ujson
from redis import Redis
from w3lib.url import canonicalize_url

from crawling.tracker.tracker import CrawlId
from tests.acceptance.crawls import (
    ask,
    background,
    environment,
    fleet,
    fleet_command,
    fleet_json,
    stop,
    until,
    worker,
)
from tests.servers.redis_server import redis_server
from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.small_site import SmallSite

CRAWL = CrawlId("link", "testapp", "c1")
PRIVATE = ("-s", "ALLOW_PRIVATE_ADDRESSES=1")


@pytest.fixture
def old(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "old"
    folder.mkdir()
    with redis_server(folder) as url:
        yield url


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as running:
        html = {"Content-Type": "text/html"}
        running.answers = {
            "/seed": Answer(
                body=b"<a href='/seen'>seen</a> <a href='/new'>new</a>", headers=html
            ),
            "/deep": Answer(body=b"<p>deep</p>", headers=html),
            "/seen": Answer(body=b"<p>seen</p>", headers=html),
            "/new": Answer(body=b"<p>new</p>", headers=html),
            "/plain": Answer(body=b"<p>plain</p>", headers=html),
        }
        yield running


def fed(url: str, crawlid: str = "c1", **fields: Any) -> str:
    """Return a member as Scrapy Cluster's Kafka monitor writes it."""
    member: dict[str, Any] = {
        "url": url,
        "appid": "testapp",
        "crawlid": crawlid,
        "spiderid": "link",
    }
    member |= {"priority": 1, "maxdepth": 1, "domain_max_pages": None, "allowed_domains": None}
    member |= {"allow_regex": None, "deny_regex": None, "deny_extensions": None, "expires": 0}
    return ujson.dumps(
        {**member, "useragent": None, "cookie": None, "attrs": None, "ts": 1.5, **fields}
    )


def serialized(url: str, crawlid: str = "c1", **meta: Any) -> str:
    """Return a member as Scrapy Cluster's scheduler writes it."""
    about: dict[str, Any] = {
        "priority": 40,
        "curdepth": 1,
        "appid": "testapp",
        "crawlid": crawlid,
    }
    about |= {"spiderid": "link", "maxdepth": 1, "domain_max_pages": None, "expires": 0}
    about |= {"allowed_domains": None, "allow_regex": None, "deny_regex": None, "attrs": None}
    about |= {"deny_extensions": None, "useragent": "MyUA/1", "cookie": "sess=secret; Path=/"}
    about |= {"ts": 1.5, "url": url, "retry_times": 1, "download_slot": "127.0.0.1", **meta}
    headers = {"User-Agent": ["MyUA/1"], "X-Mine": ["a", "b"], "Cookie": ["sess=secret"]}
    request: dict[str, Any] = {
        "url": url,
        "callback": "parse",
        "errback": None,
        "method": "GET",
    }
    request |= {"headers": headers, "body": "", "cookies": {}, "meta": about}
    request |= {"_encoding": "utf-8", "priority": 0, "dont_filter": False, "flags": []}
    return ujson.dumps(request)


def scrapys_fingerprint(url: str) -> str:
    return sha1(b"GET" + canonicalize_url(url).encode()).hexdigest()


def fill(old: str, site: SmallSite) -> None:
    queue = "link:127.0.0.1.:queue"
    with Redis.from_url(old) as client:
        client.zadd(queue, {fed(site.url("/seed")): -1, serialized(site.url("/deep")): -40})
        client.zadd(queue, {"no json": -1, '{"url":"http://a.com/"}': -1})
        client.zadd(queue, {fed(site.url("/plain"), "stopped"): -1})
        client.sadd("link:blacklist", "testapp||stopped")
        for path in ("/deep", "/seen"):
            client.sadd("link:dupefilter:c1", scrapys_fingerprint(site.url(path)))
        client.sadd("link:dupefilter:gone", scrapys_fingerprint("http://a.com/"))
        client.set("timeout:link:testapp:c1", "99999999999")
        client.zadd("127.0.0.1:throttle_window", {"1.5": 1.5})
        client.set("stats:rest:self:h:u", "1")


def contents(url: str) -> dict[bytes, bytes | None]:
    with Redis.from_url(url) as client:
        return {key: client.dump(key) for key in client.scan_iter()}


def test_a_dry_run_says_what_there_is_and_changes_nothing(
    old: str, site: SmallSite, tmp_path: Path
) -> None:
    fill(old, site)
    before = contents(old)
    new = f"sqlite:///{tmp_path / 'new.db'}"

    said = fleet("migrate", "--from", old, "--tracker", new, *PRIVATE, cwd=tmp_path).stdout

    assert said.splitlines() == [
        "2 requests of 1 crawls in 1 domains",
        "  link/testapp/c1: 2 requests, 2 URLs seen",
        "1 requests of crawls that were stopped: left out",
        "1 dupefilters of crawls with nothing left to do",
        "2 members of link:127.0.0.1.:queue cannot be read",
        "Nothing was changed: --go does it.",
    ]
    assert contents(old) == before
    assert not (tmp_path / "new.db").exists()


@pytest.mark.usefixtures("redis")
def test_a_crawl_that_was_taken_over_is_finished(
    old: str, site: SmallSite, redis_url: str, tmp_path: Path
) -> None:
    fill(old, site)
    before = contents(old)
    where = ("--from", old, "--tracker", redis_url, *PRIVATE, "--go")

    first = fleet_json("migrate", *where, cwd=tmp_path)
    again = fleet_json("migrate", *where, cwd=tmp_path)

    assert (first["queued"], again["queued"]) == (2, 0)
    rejected = [json.loads(line) for line in lines_of(tmp_path / "migrate-rejected.jsonl")]
    assert {base64.b64decode(each["member"]) for each in rejected} == {
        b"no json",
        b'{"url":"http://a.com/"}',
    }
    assert contents(old) == before
    saved = tmp_path / "pages.jsonl"
    with worker(tmp_path, redis_url, SAVERS=str(saved)) as running:
        until(lambda: status(redis_url).state == "finished", "the crawl is finished")
        assert stop(running) == 0
    assert status(redis_url).options.expires == 99999999999
    fetched = {line["url"]: line for line in map(json.loads, lines_of(saved))}
    assert fetched.keys() == {site.url(path) for path in ("/seed", "/deep", "/new")}
    deep = fetched[site.url("/deep")]
    assert (deep["depth"], deep["request_headers"]["X-Mine"]) == (1, ["a", "b"])
    assert deep["request_headers"]["User-Agent"] == ["MyUA/1"]


def lines_of(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()


def status(url: str) -> Any:
    return ask(url, lambda tracker: tracker.crawl(CRAWL))


@pytest.mark.usefixtures("redis")
def test_a_takeover_that_is_killed_is_finished_by_the_next_one(
    old: str, redis_url: str, tmp_path: Path
) -> None:
    count = 30_000
    with Redis.from_url(old) as client:
        for host in range(100):
            members = {
                fed(f"http://h{host}.example/{number}", maxdepth=0): -1
                for number in range(count // 100)
            }
            client.zadd(f"link:h{host}.example:queue", members)
    where = ("migrate", "--from", old, "--tracker", redis_url, "--go", "--json")
    for enough in (5_000, 15_000):
        with background(fleet_command(*where), tmp_path, environment(), tmp_path) as running:
            until(lambda enough=enough: queued(redis_url) >= enough, "some are queued")  # type: ignore[misc]
            running.kill()

    last = fleet_json(*where[:-1], cwd=tmp_path)

    assert 0 < last["queued"] < count
    assert (status(redis_url).accepted, status(redis_url).queued) == (count, count)
    assert status(redis_url).state == "running"


def queued(url: str) -> int:
    books = status(url)
    return books.queued if books else 0


def test_requests_of_scrapy_redis_are_taken_over_without_running_their_pickles(
    old: str, site: SmallSite, tmp_path: Path
) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "trapped"), "w"))

    plain = {
        "url": site.url("/plain"),
        "callback": "parse",
        "method": "GET",
        "headers": {b"X-Mine": [b"1"]},
        "body": b"",
        "cookies": {},
        "meta": {"depth": 2},
        "priority": 7,
    }
    with Redis.from_url(old) as client:
        trapped = pickle.dumps({**plain, "meta": {"x": Trap()}})
        client.zadd("shop:requests", {pickle.dumps(plain): -7, trapped: 0})
        client.lpush(
            "shop:start_urls", site.url("/seed"), json.dumps({"url": site.url("/new")})
        )
        client.sadd("shop:dupefilter", scrapys_fingerprint(site.url("/seen")))
    url = f"sqlite:///{tmp_path / 'new.db'}"

    report = fleet_json(
        "migrate", "--from", old, "--tracker", url, *PRIVATE, "--go", cwd=tmp_path
    )

    assert (report["queued"], report["unreadable"]) == (3, {"shop:requests": 1})
    assert not (tmp_path / "trapped").exists()
    [line] = (tmp_path / "migrate-rejected.jsonl").read_text().splitlines()
    assert "is a pickle that wants to call" in json.loads(line)["reason"]
    crawl = CrawlId("shop", "scrapy-redis", "shop")
    leased = ask(url, lambda tracker: tracker.lease("w", 10, "shop")).leases
    first = leased[0]
    assert (first.url, first.priority, first.depth) == (site.url("/plain"), 7, 2)
    assert ask(url, lambda tracker: tracker.crawl(crawl)).accepted == 3  # type: ignore[union-attr]


def test_a_tracker_in_the_same_database_is_refused(old: str, tmp_path: Path) -> None:
    [line] = fleet(
        "migrate", "--from", old, "--tracker", old, cwd=tmp_path, code=2
    ).stderr.splitlines()

    assert line.startswith("fleet: --tracker: is the database that --from names")
    fleet("migrate", "--from", old, "--tracker", f"{old}?db=1", cwd=tmp_path)


def test_an_old_redis_that_is_not_there_is_named(tmp_path: Path) -> None:
    [line] = fleet(
        "migrate",
        "--from",
        "redis://127.0.0.1:1",
        "--tracker",
        "sqlite:///x.db",
        cwd=tmp_path,
        code=1,
    ).stderr.splitlines()

    assert "127.0.0.1:1" in line
