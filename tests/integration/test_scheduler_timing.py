"""When the scheduler leases, sends, holds back and gives back."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from tests.integration.scheduler_cases.reports import Report, run_cases
from tests.integration.scheduler_cases.table import TIMING
from tests.integration.scheduler_cases.timing import TROUBLE


@pytest.fixture(scope="module")
def reports() -> dict[str, Report]:
    return run_cases(TIMING)


@pytest.mark.parametrize("name", TIMING)
def test_each_lease_is_settled_once(name: str, reports: dict[str, Report]) -> None:
    report = reports[name]

    assert report.closed
    assert report.noted("lease")
    for lease in report.leases():
        assert [note["accepted"] for note in lease.settled] == [True], lease
    assert (report.books.balanced, report.books.outstanding, report.finish_reason) == (
        True,
        0,
        "finished",
    )


@pytest.mark.parametrize("name", ["slow tracker", "locked database"])
def test_the_reactor_turns_while_the_tracker_takes_its_time(
    name: str, reports: dict[str, Report]
) -> None:
    ticks = [note["at"] for note in reports[name].noted("tick")]

    longest = max(later - earlier for earlier, later in pairwise(ticks))

    assert longest < TROUBLE / 2


def test_the_locked_database_was_locked_during_the_crawl(reports: dict[str, Report]) -> None:
    report = reports["locked database"]

    assert report.when("unlocked") - report.when("locked") >= TROUBLE
    assert report.when("unlocked") < report.when("closed")


def test_the_spider_stays_while_another_worker_holds_a_request(
    reports: dict[str, Report],
) -> None:
    report = reports["another worker holds a request"]

    elsewhere, *own = report.leases()

    assert max(lease.settled[0]["at"] for lease in own) < elsewhere.settled[0]["at"]
    assert elsewhere.settled[0]["at"] < report.when("closed")
    assert Counter(lease.kind for lease in report.leases()) == TIMING[report.name].kinds


def test_the_spider_ends_when_its_crawl_is_stopped(reports: dict[str, Report]) -> None:
    report = reports["crawl is stopped"]

    assert report.books.state == "stopped"
    assert report.books.reasons["stopped"] > 0


def test_a_late_lease_is_released_and_never_sent(reports: dict[str, Report]) -> None:
    report = reports["late leases"]

    late = report.leases()[:3]

    assert [lease.kind for lease in late] == ["released"] * 3
    assert Counter(lease.kind for lease in report.leases()) == TIMING[report.name].kinds
    sent = Counter(note["url"] for note in report.noted("sent"))
    assert set(sent.values()) == {1}


def test_a_lease_of_a_throttled_domain_is_sent_at_its_start(reports: dict[str, Report]) -> None:
    report = reports["throttled leases"]
    sent = {note["url"]: note["at"] for note in report.noted("sent")}

    delays = [sent[lease.url] - lease.start for lease in report.leases()]

    assert min(delays) >= 0
    times = sorted(sent.values())
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.15


def test_nothing_is_leased_or_sent_while_the_output_is_down(reports: dict[str, Report]) -> None:
    report = reports["output breaks down"]
    down, up = report.when("down"), report.when("up")

    meanwhile = [note["what"] for note in report.notes if down < note["at"] < up]

    assert "sent" not in meanwhile
    assert "ask" not in meanwhile
    assert max(note["at"] for note in report.noted("sent")) > up
    kinds = Counter(lease.kind for lease in report.leases())
    assert kinds["done"] == TIMING[report.name].kinds["done"]
    assert set(kinds) <= {"done", "released"}
