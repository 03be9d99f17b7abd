"""`fleet top` in a terminal, beside crawls that run."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from crawling.tracker.tracker import CrawlId, Offer
from crawling.tracker.urls import fingerprint
from tests.acceptance.crawls import (
    ask,
    crawl_id,
    fleet,
    fleet_command,
    running_fleet,
    submit,
    until,
)
from tests.acceptance.terminals import COLOUR, in_terminal
from tests.chaos.arena import durable_redis
from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis
    from redis.client import Monitor

    from crawling.tracker.tracker import CrawlStatus
    from tests.acceptance.terminals import Session
    from tests.servers.small_site import SmallSite

SHARDS = {"sqlite": 1, "redis": 1, "sharded": 4}


@pytest.fixture(params=SHARDS)
def place(request: pytest.FixtureRequest, tmp_path: Path, redis: Redis) -> tuple[str, int]:
    """Return the URL of an empty tracker, and its shards."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'crawl.db'}", 1
    return request.getfixturevalue("redis_url"), SHARDS[request.param]


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Return the URL of a tracker with one crawl that nobody works on."""
    url = f"sqlite:///{tmp_path / 'crawl.db'}"
    submit(url, "c1", "http://a.example/")
    return url


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as running:
        links = "".join(f'<a href="/p{n}">x</a>' for n in range(300))
        running.answers = {"/": Answer(body=links.encode()), "/p0": Answer(500)}
        yield running


def top(*options: str) -> list[str]:
    return fleet_command("top", *options)


def books(place: tuple[str, int], crawlid: str = "c1") -> CrawlStatus:
    url, shards = place
    status = ask(url, lambda tracker: tracker.crawl(crawl_id(crawlid)), shards)
    assert status is not None
    return status


def numbers(status: CrawlStatus) -> list[str]:
    counts = (status.done, status.queued, status.leased, status.failed)
    return [status.crawl.crawlid, status.state, *map(str, counts)]


def shown(session: Session, crawlid: str = "c1") -> list[str]:
    """Return the row of a crawl at 60 columns, without its rate."""
    row = session.row(crawlid)
    return [*row[:3], *row[4:]]


def test_numbers_are_the_trackers_and_keys_act(
    place: tuple[str, int], site: SmallSite, tmp_path: Path
) -> None:
    url, shards = place
    where = ("--tracker", url, "-s", f"TRACKER_SHARDS={shards}")
    options = ("--crawlid", "c1", "--ignore-robots", "--allow-private", "--quiet")
    slowly = ("--hits", "10", "--window", "1", "-s", "RETRY_TIMES=0")
    crawl = ("crawl", site.url("/"), *where, *options, *slowly)
    with running_fleet(*crawl, cwd=tmp_path) as process, ExitStack() as stack:
        until(lambda: len(site.asked) > 5, "the crawl runs")
        session = stack.enter_context(in_terminal(top(*where), tmp_path, size=(60, 24)))
        session.until(lambda: session.row("c1"), "the crawl is shown")
        session.press("p")
        session.until_shown("Pause c1? y/n")
        session.press("y")
        session.until_shown("c1: paused")
        until(lambda: books(place).leased == 0, "what was in flight is done")
        session.until(lambda: shown(session) == numbers(books(place)), "the tracker's numbers")
        assert shown(session)[1] == "paused"
        assert books(place).failed == 1

        session.press("ty")
        session.until_shown("c1: 1 requests queued again")
        assert books(place).failed == 0
        session.press("w")
        session.until_shown(str(process.pid))
        session.press("cry")
        session.until_shown("c1: goes on")
        session.press("x")
        session.until_shown("Stop c1, and drop the")
        session.press("y")
        session.until_shown("c1: stopped, ")
        assert process.wait(60) == 0
        session.until(lambda: shown(session) == numbers(books(place)), "the tracker's numbers")
        assert shown(session)[1] == "stopped"
        session.press("q")

        assert session.end() == 0
        assert session.is_as_before()


def test_what_is_not_answered_with_y_is_not_done(database: str, tmp_path: Path) -> None:
    with in_terminal(top("--tracker", database), tmp_path) as session:
        session.until_shown("c1")
        session.press("xn")
        session.until_shown("c1: nothing was changed")
        session.press("d")
        session.until_shown("a.example")
        session.press("xy")
        session.press("q")
        assert session.end() == 0

    assert books((database, 1)).state == "running"


@pytest.mark.parametrize(
    ("how", "code"), [("q", 0), ("\x03", 130), (signal.SIGTERM, 0), (signal.SIGHUP, 0)]
)
def test_the_terminal_is_left_as_it_was(
    database: str, tmp_path: Path, how: str | signal.Signals, code: int
) -> None:
    with in_terminal(top("--tracker", database), tmp_path) as session:
        session.until_shown("c1")
        assert not session.is_as_before()
        if isinstance(how, str):
            session.press(how)
        else:
            session.process.send_signal(how)

        assert session.end() == code
        assert session.is_as_before()
        assert b"Traceback" not in session.written


def test_ctrl_z_gives_the_terminal_back_until_it_is_continued(
    database: str, tmp_path: Path
) -> None:
    with in_terminal(top("--tracker", database), tmp_path) as session:
        session.until_shown("c1")
        session.press("\x1a")
        session.until(session.is_as_before, "the terminal is given back")
        stat = Path(f"/proc/{session.process.pid}/stat")
        session.until(lambda: stat.read_text().rpartition(") ")[2][:1] == "T", "it has stopped")
        session.process.send_signal(signal.SIGCONT)
        session.until(lambda: not session.is_as_before(), "it goes on")
        session.press("q")

        assert session.end() == 0
        assert session.is_as_before()


def test_a_tracker_that_is_away_is_waited_for_and_then_named(tmp_path: Path) -> None:
    with durable_redis(tmp_path / "redis") as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        submit(url, "c1", "http://a.example/")
        with in_terminal(top("--tracker", url, "--patience", "60"), tmp_path) as session:
            session.until_shown("c1")
            server.kill()
            session.until_shown("the tracker does not answer: ")
            session.press("py")
            session.until_shown("the tracker does not answer: ")
            server.start()
            # What is said of the key that was pressed stays: "pause c1: Redis does not answer".
            session.until(
                lambda: not any("the tracker does not" in line for line in session.lines),
                "the tracker is back",
            )
            session.press("q")
            assert session.end() == 0
        with in_terminal(top("--tracker", url, "--patience", "0"), tmp_path) as session:
            session.until_shown("c1")
            server.kill()

            assert session.end() == 1
            assert session.is_as_before()
            assert session.until_shown("fleet: ")
            assert b"Traceback" not in session.written


def test_no_name_steers_the_terminal(tmp_path: Path) -> None:
    evil = "\x1b]0;evil\x07\x1b[31m\u202e"
    url = f"sqlite:///{tmp_path / 'crawl.db'}"
    crawl = CrawlId("link", "fleet", f"c1{evil}")
    offer = Offer(
        "http://a.example/", f"a{evil}.example", fingerprint("http://a.example/"), 1, 0
    )
    ask(url, lambda tracker: tracker.submit(crawl, [offer]))
    ask(url, lambda tracker: tracker.lease(f"h{evil}:1:link:0", 1, "link"))
    ask(url, lambda tracker: tracker.renew(f"h{evil}:1:link:0", f"out{evil} is down"))
    with in_terminal(top("--tracker", url), tmp_path, size=(160, 24), NO_COLOR="1") as session:
        session.until_shown(r"c1\x1b]0;evil\x07\x1b[31m\u202e")
        session.press("d")
        session.until_shown(r"a\x1b]0;evil\x07")
        session.press("w")
        session.until_shown(r"out\x1b]0;evil\x07")
        session.press("cp")
        session.until_shown(r"Pause c1\x1b]0;evil\x07")
        session.press("y")
        session.until_shown(r"u202e: paused")
        session.press("q")
        assert session.end() == 0

    assert b"evil\x07" not in session.written
    assert "\u202e".encode() not in session.written


def test_colours_are_off_with_no_color(database: str, tmp_path: Path) -> None:
    for no_color, has_colours in (("", True), ("1", False)):
        command = top("--tracker", database)
        with in_terminal(command, tmp_path, NO_COLOR=no_color) as session:
            session.until_shown("running")
            session.press("q")
            session.end()

        assert bool(COLOUR.search(session.written)) is has_colours


def test_a_terminal_that_changes_its_size_is_filled_anew(database: str, tmp_path: Path) -> None:
    with in_terminal(top("--tracker", database), tmp_path, size=(120, 24)) as session:
        session.until_shown("dropped")
        session.resize(60, 10)
        heads = "crawl state done /s queued flight failed".split()
        session.until(lambda: session.lines[3].split() == heads, "less needed columns are gone")
        assert session.until_shown("q quit") == session.lines[-1]
        session.press("q")
        session.end()


def test_rows_are_sorted_by_the_column_that_keys_choose(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'crawl.db'}"
    for name, count in (("few", 1), ("many", 30), ("some", 4)):
        submit(url, name, *(f"http://{name}.example/{n}" for n in range(count)))

    def order() -> list[str]:
        return [line.split()[0] for line in session.lines[4:7]]

    with in_terminal(top("--tracker", url), tmp_path, size=(60, 24)) as session:
        session.until_shown("few")
        session.press("s" * 5)
        session.until(lambda: order() == ["many", "some", "few"], "most queued first")
        session.press("o")
        session.until(lambda: order() == ["few", "some", "many"], "fewest queued first")
        session.press("p")
        # The cursor has stayed with its crawl, which was the newest.
        session.until_shown("Pause some?")
        session.press("nd")
        session.until(lambda: session.row("many.example")[1:3] == ["30", "0"], "a queue")
        session.press("q")
        assert session.end() == 0


def test_a_hundred_thousand_domains_are_paged_through(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    submit_domains(redis_url, 100_000)
    with in_terminal(top("--tracker", redis_url), tmp_path, size=(60, 24)) as session:
        session.until_shown("100000")
        session.press("d")
        session.until_shown("d0.example")
        with redis.monitor() as monitor:  # type: ignore[no-untyped-call]  # redis-py's
            for page in range(1, 21):
                began = time.monotonic()
                session.press("\x1b[6~")
                # 18 rows a page: the cursor is on the last row of what is shown.
                session.until_shown(f"d{page * 18}.example")
                assert time.monotonic() - began < 5
            asked = limits_asked(monitor, 360)
        session.press("s")
        session.until_shown("domain↑")
        session.press("q")
        assert session.end() == 0

    assert max(asked) < 600


def limits_asked(monitor: Monitor, least: int) -> list[int]:
    """Return how many domains Redis was asked for, up to the first look for so many.

    It must have come: `fleet top` stands still when nobody reads its terminal.
    """
    found: list[int] = []
    while not found or found[-1] < least:
        words = monitor.next_command()["command"].split()  # type: ignore[no-untyped-call]
        if words[0] == "EVALSHA" and words[-4:-2] == ["link", "link"]:
            found.append(int(words[-2]))
    return found


def submit_domains(url: str, count: int) -> None:
    urls = [f"http://d{number}.example/" for number in range(count)]
    offers = [Offer(each, each[7:-1], fingerprint(each), 50, 0) for each in urls]
    for first in range(0, count, 2000):
        part = offers[first : first + 2000]
        ask(url, lambda tracker, part=part: tracker.submit(crawl_id("big"), part))  # type: ignore[misc]


def test_without_a_terminal_it_says_what_is_for_programs(database: str, tmp_path: Path) -> None:
    refused = fleet("top", "--tracker", database, cwd=tmp_path, code=2)
    with in_terminal(top("--tracker", database), tmp_path, TERM="dumb") as session:
        assert session.end() == 2

    assert "must be a terminal; `fleet status --json` is for programs" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert session.until_shown("TERM: must name a terminal")
