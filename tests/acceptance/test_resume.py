"""Interrupting a crawl, going on with it, and the exit codes."""

from __future__ import annotations

import shlex
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.archives import read_jsonl
from tests.acceptance.crawls import UNTHROTTLED, fleet, fleet_json, running_fleet, until
from tests.servers.website import website

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.website import Website

PAGES = 600


@pytest.fixture
def flat(tmp_path: Path) -> Iterator[Website]:
    """Return a site on which a crawl takes some seconds."""
    options = ("--site", "flat", "--pages", str(PAGES), "--hosts", "5", "--delay", "0.2")
    with website(tmp_path, *options) as site:
        yield site


def command(site: Website) -> list[str]:
    seed = f"http://127.2.0.1:{site.port}/"
    tracker = ("--tracker", "sqlite:///crawl.db")
    return ["crawl", seed, *tracker, *UNTHROTTLED, "--save", "x.jsonl"]


def saved(folder: Path) -> Counter[str]:
    return Counter(page.requested for page in read_jsonl(folder / "x.jsonl"))


def interrupt(site: Website, folder: Path, *signals: signal.Signals) -> str:
    """Send the signals in the middle of the crawl; return what it says in the end."""
    with running_fleet(*command(site), cwd=folder) as process:
        until(lambda: len(site.accesses()) > 100, "the crawl is under way")
        for sent in signals:
            process.send_signal(sent)
        assert process.wait(30) == 130
    return next(folder.glob("stderr-*.txt")).read_text()


def test_one_interrupt_ends_the_crawl_in_order_and_nothing_is_fetched_twice(
    flat: Website, tmp_path: Path
) -> None:
    said = interrupt(flat, tmp_path, signal.SIGINT)
    before = saved(tmp_path)

    assert 100 < before.total() < PAGES
    assert shlex.join(["fleet", *command(flat)]) in said
    fleet(*command(flat), cwd=tmp_path)
    assert set(saved(tmp_path).values()) == {1}
    assert saved(tmp_path).total() == PAGES + 1
    assert len(flat.accesses()) == PAGES + 1


def test_two_interrupts_end_the_crawl_at_once_and_nothing_on_disk_is_lost(
    flat: Website, tmp_path: Path
) -> None:
    interrupt(flat, tmp_path, signal.SIGINT, signal.SIGINT)
    before = saved(tmp_path)

    summary = fleet_json(*command(flat), cwd=tmp_path)

    assert (summary["state"], summary["done"]) == ("finished", PAGES + 1)
    assert before.keys() <= saved(tmp_path).keys()
    assert len(saved(tmp_path)) == PAGES + 1


def test_a_finished_crawl_is_not_crawled_again(flat: Website, tmp_path: Path) -> None:
    fleet(*command(flat), cwd=tmp_path)

    fleet(*command(flat), cwd=tmp_path)

    assert len(flat.accesses()) == PAGES + 1


def test_a_crawl_of_which_no_seed_can_be_fetched_fails(tmp_path: Path) -> None:
    nobody = ("http://127.1.0.250:9/", "--ignore-robots", "-s", "RETRY_TIMES=0")

    said = fleet("crawl", *nobody, *UNTHROTTLED, cwd=tmp_path, code=1).stderr

    assert "refused" in said


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ([], "URL"),
        (["ftp://127.0.0.1/"], "ftp://127.0.0.1/"),
        (["http://127.0.0.1/"], "--allow-private"),
        (["http://127.0.0.1/", "--allow-private", "--deny", "("], "deny"),
        (["http://127.0.0.1/", "--allow-private", "--save", "x.zip"], "x.zip"),
        (["http://127.0.0.1/", "--allow-private", "--depth", "-1"], "--depth"),
        (["http://127.0.0.1/", "--allow-private", "-s", "QUEUE_HITS=many"], "QUEUE_HITS"),
    ],
)
def test_what_makes_no_sense_is_refused_with_its_name(
    tmp_path: Path, arguments: list[str], wrong: str
) -> None:
    said = fleet("crawl", *arguments, cwd=tmp_path, code=2).stderr

    assert wrong in said
