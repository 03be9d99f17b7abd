"""`fleet status`, `trace`, `retry`, `audit`, `stop` …, on SQLite and on Redis."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.crawls import (
    ROOT,
    fleet,
    fleet_json,
    running_fleet,
    status_of,
    submit,
    until,
    worker,
)
from tests.chaos.arena import durable_redis
from tests.servers.small_site import Answer, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

NO_ROBOTS = ("--ignore-robots", "--allow-private", "--hits", "0")


@pytest.fixture
def pages() -> Iterator[SmallSite]:
    """Return a site of three pages, one of which is down at first."""
    with small_site() as site:
        site.answers = {
            "/": Answer(body=b'<a href="/a">a</a> <a href="/b">b</a>'),
            "/a": Answer(body=b"<p>a</p>"),
            "/b": [Answer(500), Answer(200, b"<p>b</p>")],
        }
        yield site


@pytest.fixture(params=["sqlite", "redis"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path, redis: Redis) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'crawl.db'}"
    url: str = request.getfixturevalue("redis_url")
    return url


def crawl(site: SmallSite, tracker: str, *options: str) -> list[str]:
    where = ("--tracker", tracker, "--crawlid", "c1")
    return ["crawl", site.url("/"), *where, *NO_ROBOTS, "-s", "RETRY_TIMES=0", *options]


def test_status_prints_the_books(pages: SmallSite, tracker: str, tmp_path: Path) -> None:
    fleet(*crawl(pages, tracker, "--quiet"), cwd=tmp_path)

    text = fleet("status", "--tracker", tracker, cwd=tmp_path).stdout
    [books] = fleet_json("status", "--tracker", tracker, cwd=tmp_path)

    assert "c1  finished" in text
    assert "failed     1  (http_500: 1)" in text
    assert (books["accepted"], books["done"], books["failed"]) == (3, 2, 1)
    assert books["statuses"] == {"200": 2}
    assert books["by_status"] == {"200": 2, "500": 1}
    assert books["by_depth"] == {"0": 1, "1": 2}
    assert set(books) == documented_keys()


def documented_keys() -> set[str]:
    """Return the keys of `fleet status --json` that programs may rely on."""
    text = (ROOT / "docs" / "reference" / "commands.md").read_text("utf-8")
    table = text.partition("This is what programs may rely on")[2].split("\n\n")[1]
    cells = [line.split(" | ")[0] for line in table.splitlines()]
    return {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}


def test_trace_says_where_a_url_is_and_why(
    pages: SmallSite, tracker: str, tmp_path: Path
) -> None:
    fleet(*crawl(pages, tracker, "--quiet"), cwd=tmp_path)

    failed = fleet("trace", pages.url("/b"), "--tracker", tracker, cwd=tmp_path).stdout
    unseen = fleet_json("trace", pages.url("/x"), "--tracker", tracker, cwd=tmp_path)

    assert failed.startswith(f"{pages.url('/b')}  failed  http_500")
    assert unseen["state"] == "unseen"
    assert set(unseen) == {
        "url", "state", "reason", "attempts", "depth",
        "priority", "worker", "since", "next_try",
    }  # fmt: skip


def test_what_failed_is_fetched_after_retry_and_the_same_command(
    pages: SmallSite, tracker: str, tmp_path: Path
) -> None:
    fleet(*crawl(pages, tracker, "--quiet"), cwd=tmp_path)

    other = fleet_json("retry", "--reason", "dns", "--tracker", tracker, cwd=tmp_path)
    queued = fleet_json("retry", "--reason", "http_500", "--tracker", tracker, cwd=tmp_path)
    end = fleet_json(*crawl(pages, tracker, "--quiet"), cwd=tmp_path)

    assert (other["queued"], queued["queued"]) == (0, 1)
    assert (end["state"], end["accepted"], end["done"], end["failed"]) == ("finished", 3, 3, 0)
    assert pages.paths().count("/") == 1


def test_a_running_crawl_is_paused_resumed_and_stopped_from_outside(
    tracker: str, tmp_path: Path
) -> None:
    with small_site() as site:
        links = "".join(f'<a href="/p{n}">x</a>' for n in range(300))
        site.answers = {"/": Answer(body=links.encode())}
        slowly = ("--hits", "10", "--window", "1")
        with running_fleet(*crawl(site, tracker), *slowly, cwd=tmp_path) as process:
            until(lambda: len(site.asked) > 3, "the crawl runs")
            fleet("pause", "--tracker", tracker, cwd=tmp_path)
            until(lambda: status_of(tracker, "c1").leased == 0, "what was in flight is done")
            asked = len(site.asked)
            assert fleet_json("resume", "--tracker", tracker, cwd=tmp_path)["changed"]
            until(lambda: len(site.asked) > asked, "the crawl goes on")
            stopped = fleet_json("stop", "--tracker", tracker, cwd=tmp_path)
            assert process.wait(30) == 0

    status = status_of(tracker, "c1")
    assert stopped["dropped"] > 0
    assert status.state == "stopped"
    # A lease whose request was not sent yet is dropped too, when it comes back.
    assert 0 <= status.reasons["stopped"] - stopped["dropped"] <= 8
    assert status.balanced


def test_an_audit_says_what_is_wrong_and_mends_it(
    pages: SmallSite, tracker: str, tmp_path: Path, redis: Redis
) -> None:
    fleet(*crawl(pages, tracker, "--quiet"), cwd=tmp_path)
    where = ("--tracker", tracker)
    assert fleet("audit", *where, cwd=tmp_path).stdout == "nothing is wrong\n"
    if tracker.startswith("sqlite"):
        with closing(sqlite3.connect(tmp_path / "crawl.db")) as db, db:
            db.execute("UPDATE crawls SET accepted = 9")
    else:
        redis.hset("fleet:crawl:1", "accepted", 9)

    shown = fleet("audit", *where, cwd=tmp_path, code=1)
    mended = fleet("audit", "--crawlid", "c1", "--repair", *where, cwd=tmp_path)
    after = fleet_json("audit", *where, cwd=tmp_path)

    wrong = "crawl c1: 9 accepted, but the columns sum up to 3: accepted would become 3\n"
    assert shown.stdout == wrong
    assert shown.stderr == "fleet: findings of the audit: 1; --repair mends it\n"
    assert mended.stdout == wrong + "mended 1 of 1\n"
    assert after == {"findings": [], "left": []}


def test_with_several_crawls_a_command_asks_which(
    pages: SmallSite, tracker: str, tmp_path: Path
) -> None:
    for crawlid in ("c1", "c2"):
        fleet(
            *crawl(pages, tracker, "--quiet", "--crawlid", crawlid, "--depth", "0"),
            cwd=tmp_path,
        )

    refused = fleet("stop", "--tracker", tracker, cwd=tmp_path, code=2)

    assert refused.stderr.startswith("fleet: --crawlid: which of these (spider/app/crawl): ")
    assert (
        len(json.loads(fleet("status", "--json", "--tracker", tracker, cwd=tmp_path).stdout))
        == 2
    )
    assert fleet("stop", "--tracker", tracker, "--crawlid", "c2", cwd=tmp_path).stdout


def test_an_unknown_crawl_and_a_tracker_that_is_away_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.db").touch()
    database = f"sqlite:///{tmp_path / 'x.db'}"
    unknown = fleet("trace", "http://a.com", "--tracker", database, cwd=tmp_path, code=2)
    away = fleet("status", "--tracker", "redis://127.0.0.1:1/0", cwd=tmp_path, code=1)

    assert unknown.stderr == "fleet: --crawlid: this tracker has no crawl\n"
    assert away.stderr.startswith(
        "fleet: TRACKER: no answer from Redis at redis://127.0.0.1:1/0 ("
    )
    assert len(away.stderr.splitlines()) == 1


def test_a_reason_that_is_none_is_refused_with_those_there_are(tmp_path: Path) -> None:
    where = ("--tracker", "sqlite:///x.db")
    refused = fleet("retry", "--reason", "time_out", *where, cwd=tmp_path, code=2)

    assert "argument --reason: must be bad_response, dns, " in refused.stderr
    assert refused.stderr.endswith("or http_500, not 'time_out'\n")


def test_status_says_why_a_worker_is_idle(tracker: str, tmp_path: Path) -> None:
    links = "".join(f'<a href="/p{n}">x</a>' for n in range(300))
    with small_site() as site, durable_redis(tmp_path / "pages") as pages:
        site.answers = {"/": Answer(body=links.encode())}
        target = f"redis://:secret@127.0.0.1:{pages.port}/0"
        with pages.client() as client:
            client.config_set("requirepass", "secret")
        options = ("--hits", "20", "--window", "1", "--save", target)
        with running_fleet(*crawl(site, tracker), *options, cwd=tmp_path):
            until(lambda: len(site.asked) > 10, "the crawl runs")
            pages.kill()
            until(
                lambda: status_of(tracker, "c1").leased == 0 or workers(tracker)[0]["trouble"],
                "the output is found down",
            )
            [found] = workers(tracker)
            text = fleet("status", "--tracker", tracker, cwd=tmp_path).stdout

    place = f"output redis://127.0.0.1:{pages.port}/0 is down: "
    assert found["why"] == "trouble"
    assert found["trouble"].startswith(place)
    assert place in text
    assert "127.0.0.1  " in text
    assert "secret" not in text


def test_a_worker_whose_kafka_is_away_from_the_start_says_so(
    tracker: str, tmp_path: Path
) -> None:
    submit(tracker, "c1", "http://127.0.0.1:1/")
    with worker(tmp_path, tracker, KAFKA_HOSTS="127.0.0.1:1"):
        found = until(
            lambda: [each for each in workers(tracker) if each["trouble"]],
            "the worker says what is wrong",
        )

    assert (found[0]["why"], found[0]["leased"]) == ("trouble", 0)
    assert found[0]["trouble"].startswith("output kafka is down: ")


def workers(tracker: str) -> list[dict[str, Any]]:
    answer = fleet("workers", "--json", "--tracker", tracker, cwd=Path.cwd())
    found: list[dict[str, Any]] = json.loads(answer.stdout)
    return found
