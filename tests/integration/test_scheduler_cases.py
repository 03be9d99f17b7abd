"""A lease ends when Scrapy is done with its request, in whatever way that happens.

Each case of `scheduler_cases` is one way, and one real crawl.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.integration.scheduler_cases.reports import Report, run_cases
from tests.integration.scheduler_cases.table import CASES

if TYPE_CHECKING:
    from tests.integration.scheduler_cases.case import Case

#: Seconds from the last settled lease until the spider is closed, on a busy machine.
PROMPT = 4.0
CLOSING = "callback closes the spider with 6 requests in flight"


@pytest.fixture(scope="module")
def reports(request: pytest.FixtureRequest) -> dict[str, Report]:
    """Return the reports of all cases that were asked for, from one run."""
    tests = [item for item in request.session.items if isinstance(item, pytest.Function)]
    wanted = {test.callspec.params.get("name") for test in tests if hasattr(test, "callspec")}
    return run_cases([name for name in CASES if name in wanted])


@pytest.mark.parametrize("name", CASES)
def test_each_lease_is_settled_once_when_its_request_is_over(
    name: str, reports: dict[str, Report]
) -> None:
    case, report = CASES[name], reports[name]

    assert report.closed, f"the spider never closed: {_open(report)}"
    assert report.error == ""
    assert report.noted("lease")
    for lease in report.leases():
        assert [note["accepted"] for note in lease.settled] == [True], lease
    _check_that_nothing_comes_later(report)
    _check_parents(case, report)
    _check_context(report)
    if not case.unwatched:
        _check_against_the_engine(report)
    if name == CLOSING:
        _check_the_closed_crawl(report)
    else:
        _check_the_finished_crawl(case, report)


def _check_that_nothing_comes_later(report: Report) -> None:
    # A URL may be leased again: for a retry, and with dont_filter.
    settled = {note["url"]: note["at"] for note in report.noted("settle")}
    for url, at in settled.items():
        mine = [note for note in report.notes if note["url"] == url]
        page = [note for note in mine if note["what"] in {"item", "item end", "child"}]
        assert [note for note in page if note["at"] > at] == []
        started, ended = (
            sorted(note["n"] for note in page if note["what"] == what)
            for what in ("item", "item end")
        )
        assert started == ended, url


def _check_parents(case: Case, report: Report) -> None:
    assert report.strangers() == []
    for lease in report.leases():
        (settled,) = lease.settled
        if settled["kind"] in {"done", "failed"}:
            expected = {url for url in report.children(lease.url) if case.refused not in url}
            assert set(settled["links"]) == expected, lease


def _check_context(report: Report) -> None:
    for note in report.noted("item") + report.noted("signal"):
        assert note["seen"] == note["url"], note


def _check_against_the_engine(report: Report) -> None:
    held = [lease for lease in report.leases() if lease.kind != "released"]
    assert not any(note["held"] for note in report.noted("removed")), "it ended before us"
    removed = Counter(note["url"] for note in report.noted("removed"))
    for url, times in Counter(lease.url for lease in held).items():
        assert removed[url] == times, url


def _check_the_finished_crawl(case: Case, report: Report) -> None:
    assert Counter(lease.kind for lease in report.leases()) == Counter(case.kinds)
    assert (report.books.balanced, report.books.outstanding, report.books.state) == (
        True,
        0,
        "finished",
    )
    if case.reasons is not None:
        assert report.books.reasons == case.reasons
    assert report.finish_reason == "finished"
    settled = max(note["at"] for note in report.noted("settle"))
    assert report.when("closed") - settled < PROMPT


def _check_the_closed_crawl(report: Report) -> None:
    kinds = Counter(lease.kind for lease in report.leases())
    assert report.finish_reason == "enough"
    assert (report.books.balanced, report.books.leased) == (True, 0)
    assert set(kinds) <= {"done", "released"}
    assert kinds["done"] >= 3


def _open(report: Report) -> list[str]:
    return [lease.url for lease in report.leases() if not lease.settled]
