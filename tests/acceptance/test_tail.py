"""`fleet tail` beside crawls that run, with Kafka and without."""

from __future__ import annotations

import json
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from crawling.tracker.tracker import Outcome
from tests.acceptance.cluster import Cluster, cluster
from tests.acceptance.crawls import (
    PATIENCE,
    ask,
    environment,
    fleet,
    fleet_command,
    running_fleet,
    status_of,
    submit,
    until,
)
from tests.acceptance.terminals import COLOUR, in_terminal
from tests.servers.small_site import Answer, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from redis import Redis

    from crawling.tracker.tracker import Tracker

PAGES = 40


@pytest.fixture
def site() -> Iterator[SmallSite]:
    """Return a site of 40 pages, and one that is down."""
    with small_site() as running:
        links = "".join(f'<a href="/p{n}">x</a>' for n in range(1, PAGES))
        html = {"Content-Type": "text/html"}
        running.answers = {
            **{f"/p{n}": Answer(body=b"<p>x</p>", headers=html) for n in range(1, PAGES)},
            "/": Answer(body=f'{links}<a href="/down">x</a>'.encode(), headers=html),
            "/down": Answer(500),
        }
        yield running


@pytest.fixture
def brokers(kafka_hosts: str, topic_prefix: str) -> tuple[str, str]:
    return kafka_hosts, topic_prefix


class Tail:
    """`fleet tail --json` beside the test; *said* is its lines so far."""

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> list[dict[str, Any]]:
        whole = self._log.read_text().rpartition("\n")[0]
        return [json.loads(line) for line in whole.splitlines()]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.said if line["event"] == event]


@contextmanager
def tail(folder: Path, env: dict[str, str], *arguments: str) -> Iterator[Tail]:
    log = folder / "tail.jsonl"
    with (
        log.open("w") as output,
        subprocess.Popen(
            fleet_command("tail", "--json", *arguments), cwd=folder, env=env, stdout=output,
            text=True,
        ) as process,
    ):  # fmt: skip
        try:
            yield Tail(process, log)
        finally:
            process.kill()


def crawl(site: SmallSite, tracker: str) -> tuple[str, ...]:
    options = ("--crawlid", "c1", "--ignore-robots", "--allow-private", "--quiet")
    slowly = ("--hits", "10", "--window", "1", "-s", "RETRY_TIMES=0")
    return ("crawl", site.url("/"), "--tracker", tracker, *options, *slowly)


def test_an_embedded_crawl_is_counted_to_its_end(site: SmallSite, tmp_path: Path) -> None:
    tracker = f"sqlite:///{tmp_path / 'crawl.db'}"
    with running_fleet(*crawl(site, tracker), cwd=tmp_path) as process:
        until(lambda: len(site.asked) > 2, "the crawl runs")
        with tail(tmp_path, environment(), "c1", "--tracker", tracker) as tailing:
            until(lambda: tailing.of("counts"), "the counts are told")
            assert tailing.process.poll() is None
            assert tailing.process.wait(PATIENCE) == 0
        assert process.wait(PATIENCE) == 0

    status = status_of(tracker, "c1")
    done = [line["done"] for line in tailing.of("counts")]
    [failure], [end] = tailing.of("failure"), tailing.of("end")
    assert done == sorted(done)
    assert len(set(done)) > 1
    assert (failure["url"], failure["reason"]) == (site.url("/down"), "http_500")
    assert (end["state"], end["done"], end["failed"]) == ("finished", PAGES, 1)
    assert (end["done"], end["accepted"]) == (status.done, status.accepted)
    assert tailing.said[-1] == end


def test_pages_of_a_cluster_come_from_kafka(
    site: SmallSite, tmp_path: Path, redis: Redis, redis_url: str, brokers: tuple[str, str]
) -> None:
    own = {"PUBLIC_IP": "127.0.0.1", "RETRY_TIMES": "0"}
    with cluster(*brokers, redis_url, tmp_path, **own) as fleet_:
        fleet_.make_topics(1)
        # Another crawl's pages are on the same topic.
        feed(fleet_, site, "other")
        feed(fleet_, site, "c1")
        fleet_.kafka_monitor()
        until(lambda: len(ask(redis_url, lambda tracker: tracker.crawls())) == 2, "crawls")
        with tail(tmp_path, fleet_.environment(), "c1") as tailing:
            fleet_.worker()
            until(lambda: tailing.of("page"), "a page is told")
            assert tailing.process.wait(PATIENCE) == 0
        sent = fleet_.listen("crawled").until(
            lambda messages: len(messages) == 2 * PAGES, "all pages"
        )

    told = tailing.of("page")
    ours = [page for page in sent if page["crawlid"] == "c1"]
    assert sorted(page["requestid"] for page in told) == sorted(
        page["requestid"] for page in ours
    )
    assert {page["status_code"] for page in told} == {200}
    assert [failure["url"] for failure in tailing.of("failure")] == [site.url("/down")]
    assert tailing.said[-1]["event"] == "end"
    assert tailing.said[-1]["done"] == PAGES


def feed(fleet_: Cluster, site: SmallSite, crawlid: str) -> None:
    fleet_.feed({"url": site.url("/"), "appid": "fleet", "crawlid": crawlid, "maxdepth": 1})


def test_without_a_kafka_that_answers_pages_are_counted(
    site: SmallSite, tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    with running_fleet(*crawl(site, redis_url), cwd=tmp_path):
        until(lambda: len(site.asked) > 2, "the crawl runs")
        said = fleet(
            "tail", "c1", "--tracker", redis_url, "-s", "KAFKA_HOSTS=127.0.0.1:1", cwd=tmp_path
        )

    assert said.stderr.startswith("fleet: pages are only counted: KAFKA_HOSTS: no answer from ")
    assert len(said.stderr.splitlines()) == 1
    assert f"failed  {site.url('/down')}: http_500" in said.stdout
    assert f"  done       {PAGES}  (200: {PAGES})" in said.stdout.splitlines()


def test_a_crawl_that_has_ended_or_is_unknown_is_not_waited_for(
    site: SmallSite, tmp_path: Path
) -> None:
    tracker = f"sqlite:///{tmp_path / 'crawl.db'}"
    submit(tracker, "c1", site.url("/"))
    fleet("stop", "--tracker", tracker, cwd=tmp_path)

    ended = fleet("tail", "c1", "--tracker", tracker, cwd=tmp_path)
    unknown = fleet("tail", "c2", "--tracker", tracker, cwd=tmp_path, code=2)

    assert ended.stdout.startswith("c1  stopped")
    assert unknown.stderr == "fleet: --crawlid: this tracker has no crawl 'c2'\n"


@pytest.mark.parametrize(("no_color", "is_coloured"), [("", True), ("1", False)])
def test_failures_are_coloured_in_a_terminal_that_wants_it(
    tmp_path: Path, no_color: str, *, is_coloured: bool
) -> None:
    tracker = f"sqlite:///{tmp_path / 'crawl.db'}"
    evil = "http://a.example/\x1b[32m"
    submit(tracker, "c1", evil, "http://a.example/b")
    command = fleet_command("tail", "c1", "--tracker", tracker)
    with in_terminal(command, tmp_path, NO_COLOR=no_color) as session:
        session.until_shown("0 done, 2 queued")
        ask(tracker, _fail)
        session.until_shown(r"failed  http://a.example/\x1b[32m: timeout (\x1b]0;x\x07)")
        session.press("\x03")
        assert session.end() == 130

    assert bool(COLOUR.search(session.written)) is is_coloured
    assert b"\x1b[32m" not in session.written
    assert b"\x1b]0;" not in session.written


async def _fail(tracker: Tracker) -> None:
    """Let the first request of the crawl fail."""
    [lease] = (await tracker.lease("w", 1, "link")).leases
    outcome = Outcome(lease, "failed", reason="timeout", detail="\x1b]0;x\x07")
    assert await tracker.settle("w", [outcome]) == [True]
