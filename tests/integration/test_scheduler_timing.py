"""When the scheduler leases, sends, holds back and gives back."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tests.integration.scheduler_cases.reports import Report, run_cases
from tests.integration.scheduler_cases.table import TIMING
from tests.integration.scheduler_cases.troubled import TROUBLE

#: How much is given back here is a matter of luck: what is in the buffer when the output
#: breaks down, and what misses its slot because the machine is busy.
RELEASING = {"output breaks down", "throttled leases"}


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return run_cases(TIMING)


@pytest.mark.parametrize("name", TIMING)
def test_no_lease_is_left_and_the_books_balance(name: str, reports: dict[str, Report]) -> None:
    report = reports[name]

    assert (report.closed, report.error) == (True, "")
    assert report.noted("lease")
    assert all(lease.settled for lease in report.leases())
    assert (report.books.balanced, report.books.outstanding) == (True, 0)


@pytest.mark.parametrize("name", [name for name in TIMING if TIMING[name].kinds])
def test_each_lease_is_settled_once(name: str, reports: dict[str, Report]) -> None:
    settled = [note for note in reports[name].noted("settle") if note["accepted"]]

    leases = Counter(note["lease"] for note in settled)

    assert set(leases) == {note["lease"] for note in reports[name].noted("lease")}
    assert set(leases.values()) == {1}
    kinds = Counter(note["kind"] for note in settled)
    if name in RELEASING:
        del kinds["released"]
    assert kinds == TIMING[name].kinds


@pytest.mark.parametrize(
    ("name", "begin", "end"),
    [("slow tracker", "slow", "slow end"), ("locked database", "locked", "unlocked")],
)
def test_the_reactor_turns_while_the_tracker_takes_its_time(
    name: str, begin: str, end: str, reports: dict[str, Report]
) -> None:
    report = reports[name]
    ticks = [note["at"] for note in report.noted("tick")]
    begun, ended = ([note["at"] for note in report.noted(what)] for what in (begin, end))

    during = [
        sum(first < at < last for at in ticks)
        for first, last in zip(begun, ended, strict=False)
    ]

    # 20 with nothing else to do; 0 or 1 if anything had waited for the answer.
    assert during
    assert min(during) >= 4


def test_a_crawl_waits_for_a_locked_database(reports: dict[str, Report]) -> None:
    report = reports["locked database"]

    last = max(note["at"] for note in report.noted("settle"))

    assert report.when("unlocked") - report.when("locked") >= TROUBLE
    assert last < report.when("closed")
    assert report.when("unlocked") < report.when("closed")


def test_outcomes_are_settled_again_until_the_tracker_answers(
    reports: dict[str, Report],
) -> None:
    report = reports["tracker is away"]

    answers = Counter(note["accepted"] for note in report.noted("settle"))

    # False: it was heard the first time, and only the answer got lost.
    assert answers[True] == 9
    assert answers[False] > 0


def test_what_was_taken_from_a_worker_is_fetched_again(reports: dict[str, Report]) -> None:
    report = reports["worker is declared dead"]

    refused = {note["url"] for note in report.noted("settle") if note["accepted"] is False}

    assert refused
    for url in refused:
        assert len([lease for lease in report.leases() if lease.url == url]) == 2
    assert (report.books.done, report.finish_reason) == (9, "finished")


def test_the_spider_stays_while_another_worker_holds_a_request(
    reports: dict[str, Report],
) -> None:
    report = reports["another worker holds a request"]

    elsewhere, *own = report.leases()

    assert max(lease.settled[0]["at"] for lease in own) < elsewhere.settled[0]["at"]
    assert elsewhere.settled[0]["at"] < report.when("closed")
    assert report.finish_reason == "finished"


def test_a_seed_wakes_an_idle_worker(reports: dict[str, Report]) -> None:
    report = reports["seed for an idle worker"]
    ((fetched, _),) = report.hits

    assert 0 < fetched - report.when("submit") < TROUBLE / 2
    assert report.finish_reason == "enough"


def test_the_spider_ends_when_its_crawl_is_stopped(reports: dict[str, Report]) -> None:
    report = reports["crawl is stopped"]

    assert (report.books.state, report.finish_reason) == ("stopped", "finished")
    assert report.books.reasons["stopped"] > 0


@pytest.mark.parametrize("name", ["late leases", "leases that grow late in the downloader"])
def test_a_late_lease_is_released_and_never_sent(name: str, reports: dict[str, Report]) -> None:
    report = reports[name]

    times = Counter(path for _, path in report.hits)

    assert len(times) == TIMING[name].kinds["done"]
    assert set(times.values()) == {1}


def test_a_lease_of_a_throttled_domain_is_not_sent_before_its_start(
    reports: dict[str, Report],
) -> None:
    report = reports["throttled leases"]
    start = {lease.url: lease.start for lease in report.leases() if lease.kind == "done"}

    sent = {path: at for at, path in report.hits}

    assert len(sent) == len(report.hits) == 9
    for url, first in start.items():
        (at,) = [at for path, at in sent.items() if url.endswith(path)]
        assert at >= first
    assert all(later - earlier >= 0.195 for earlier, later in pairwise(sorted(start.values())))


def test_nothing_is_leased_or_sent_while_the_output_is_down(
    reports: dict[str, Report],
) -> None:
    report = reports["output breaks down"]
    down, up = report.when("down"), report.when("up")

    meanwhile = [note["what"] for note in report.notes if down < note["at"] < up]

    assert "sent" not in meanwhile
    assert "ask" not in meanwhile
    assert max(note["at"] for note in report.noted("sent")) > up
