"""What a worker's metrics count, without a worker."""

from __future__ import annotations

from prometheus_client import CollectorRegistry

from crawling.service.metrics import reason_label
from crawling.tracker.tracker import CrawlId, CrawlOptions, Lease, Outcome
from crawling.worker_metrics import WorkerMetrics


def lease(token: str, rid: bytes = b"1") -> Lease:
    return Lease(
        crawl=CrawlId("link", "app", "crawl"),
        options=CrawlOptions(),
        rid=rid,
        token=token,
        url="http://example.com/",
        domain="example.com",
        fingerprint=b"12345678",
        priority=1,
        depth=0,
        attempts=0,
    )


def test_statuses_are_told_by_class_and_unknown_reasons_as_other() -> None:
    reasons = ["http_503", "http_404", "http_999", "http_", "timeout", "x_mine", "anything", ""]

    assert [reason_label(reason) for reason in reasons] == [
        "http_5xx",
        "http_4xx",
        "http_other",
        "http_other",
        "timeout",
        "other",
        "other",
        "other",
    ]


def test_a_lease_that_another_worker_got_is_held_no_longer_and_no_page() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry, slots=4, busy=lambda: 3)
    ours, lost = lease("a"), lease("b")
    metrics.taken([ours, lost])
    assert registry.get_sample_value("fleet_worker_leases") == 2

    metrics.settled([Outcome(each, "done", status=200) for each in (ours, lost)], [True, False])

    assert registry.get_sample_value("fleet_worker_leases") == 0
    assert registry.get_sample_value("fleet_oldest_lease_seconds") == 0
    assert registry.get_sample_value("fleet_pages_total", {"status": "2xx"}) == 1
    assert registry.get_sample_value("fleet_leases_lost_total") == 1
    assert registry.get_sample_value("fleet_worker_busy_slots") == 3


def test_leases_of_one_call_are_counted_each() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry, slots=4, busy=lambda: 0)
    leases = [lease("a", b"1"), lease("a", b"2"), lease("b", b"2")]

    metrics.taken(leases)
    assert registry.get_sample_value("fleet_worker_leases") == 3

    metrics.settled([Outcome(leases[0], "released")], [True])
    assert registry.get_sample_value("fleet_worker_leases") == 2


def test_an_output_is_down_until_it_is_up_however_often_it_says_so() -> None:
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry, slots=1, busy=lambda: 0)

    metrics.output_down("kafka")
    metrics.output_down("kafka")
    assert registry.get_sample_value("fleet_outputs_down") == 1

    metrics.output_up("kafka")
    assert registry.get_sample_value("fleet_outputs_down") == 0
