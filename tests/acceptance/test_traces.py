"""Traces, as a collector gets them: from the crawl request to the page on Kafka."""

from __future__ import annotations

import json
import time
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest
from kafka import KafkaConsumer

from tests.acceptance.cluster import cluster
from tests.acceptance.crawls import PACKAGES, PATIENCE, fleet, stop
from tests.acceptance.dashboard import serve
from tests.servers.kafka_server import free_ports
from tests.servers.small_site import Answer, small_site
from tests.servers.trace_receiver import trace_receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.servers.small_site import SmallSite
    from tests.servers.trace_receiver import Span, TraceReceiver

PATHS = ("/", "/a", "/b")
CRAWL = ("--depth", "1", "--hits", "0", "--allow-private", "-s", "TRACING=1")


@pytest.fixture
def receiver() -> Iterator[TraceReceiver]:
    with trace_receiver() as receiver:
        yield receiver


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as site:
        site.answers = {path: Answer(headers={"Content-Type": "text/html"}) for path in PATHS}
        links = b'<a href="/a">a</a><a href="/b">b</a>'
        site.answers["/"] = Answer(body=links, headers={"Content-Type": "text/html"})
        yield site


def check_parts(spans: dict[str, Span], url: str) -> None:
    """Check the spans that a worker makes of a page that it has delivered."""
    page, download, deliver = (spans[name] for name in ("page", "download", "deliver"))
    assert (page.service, page.parent) == ("fleet-worker", "")
    assert page.id == download.parent == deliver.parent
    assert page.since <= download.since < download.until <= deliver.since
    assert deliver.since < deliver.until <= page.until
    attributes = page.attributes
    assert (attributes["url.full"], attributes["fleet.attempt"]) == (url, 1)
    assert (attributes["fleet.outcome"], attributes["http.response.status_code"]) == (
        "done",
        200,
    )


def test_each_page_has_one_trace_from_its_request_to_kafka(
    receiver: TraceReceiver, site: SmallSite, redis_url: str, kafka_hosts: str, tmp_path: Path
) -> None:
    prefix = f"traced{time.monotonic_ns()}"
    settings = {"TRACING": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    with cluster(kafka_hosts, prefix, redis_url, tmp_path, **settings) as running:
        running.make_topics(partitions=1)
        running.kafka_monitor()
        running.worker()
        running.feed(
            {"url": site.url("/"), "appid": "test", "crawlid": "traced", "maxdepth": 1}
        )
        with closing(
            KafkaConsumer(
                f"{prefix}.crawled_firehose",
                bootstrap_servers=kafka_hosts,
                auto_offset_reset="earliest",
                metadata_max_age_ms=500,
            )
        ) as consumer:
            records = [next(consumer) for _ in PATHS]
        # What has not been sent yet is sent when a process ends.
        assert [stop(process) for process in running.processes] == [0, 0]

    pages = {json.loads(record.value)["url"]: record for record in records}
    assert set(pages) == {site.url(path) for path in PATHS}
    for url, record in pages.items():
        trace = json.loads(record.value)["requestid"]
        spans = receiver.of(trace)
        check_parts(spans, url)
        header = dict(record.headers)["traceparent"].decode()
        assert header.startswith(f"00-{trace}-{spans['page'].id}-")
        assert int(header[-2:], 16) & 1, "it is sampled"
        assert ("feed" in spans) == (url == site.url("/"))
    seed = receiver.of(json.loads(pages[site.url("/")].value)["requestid"])
    assert (seed["feed"].service, seed["feed"].parent) == ("kafka-monitor", "")
    # A worker may have it before the monitor has heard that Redis does.
    assert seed["feed"].since < min(seed["feed"].until, seed["page"].since)
    assert seed["feed"].attributes["fleet.crawlid"] == "traced"
    traces = {json.loads(record.value)["requestid"] for record in records}
    assert {span.trace for span in receiver.spans} == traces


def test_the_trace_of_a_crawl_that_rest_takes_begins_there(
    receiver: TraceReceiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACING", "1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    before = time.time_ns()
    with serve(tmp_path, f"sqlite:///{tmp_path}/crawl.db", free_ports(1)[0]) as ui:
        asked = {"url": "http://127.0.0.1:1/", "appid": "demo", "crawlid": "traced"}
        httpx.post(ui.replace("/ui/", "/api/v1/crawls"), json=asked).raise_for_status()

    [span] = receiver.spans
    assert (span.name, span.service, span.parent) == ("feed", "rest-service", "")
    assert before < span.since < span.until < time.time_ns()
    assert span.attributes["fleet.crawlid"] == "traced"


def test_a_crawl_without_a_server_is_traced(
    receiver: TraceReceiver, site: SmallSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    fleet("crawl", site.url("/"), *CRAWL, "--save", "pages.jsonl", cwd=tmp_path)

    pages = [json.loads(line) for line in (tmp_path / "pages.jsonl").read_text().splitlines()]
    for page in pages:
        check_parts(receiver.of(page["requestid"]), page["url"])
    assert {span.trace for span in receiver.spans} == {page["requestid"] for page in pages}
    assert len(pages) == len(PATHS)


def test_a_sampler_takes_whole_traces(
    receiver: TraceReceiver, site: SmallSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0.5")
    site.answers["/"] = Answer(
        body="".join(f'<a href="/{n}">x</a>' for n in range(40)).encode(),
        headers={"Content-Type": "text/html"},
    )
    site.answers |= {f"/{n}": Answer() for n in range(40)}
    fleet("crawl", site.url("/"), *CRAWL, "--save", "pages.jsonl", cwd=tmp_path)

    lines = (tmp_path / "pages.jsonl").read_text().splitlines()
    traces = {json.loads(line)["requestid"] for line in lines}
    taken = {span.trace for span in receiver.spans}
    assert len(traces) == 41
    assert 5 < len(taken) < 36
    assert taken < traces
    for trace in taken:
        assert set(receiver.of(trace)) == {"page", "download", "deliver"}


def test_a_crawl_goes_on_while_the_collector_is_away(
    site: SmallSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [port] = free_ports(1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    began = time.monotonic()
    crawled = fleet("crawl", site.url("/"), *CRAWL, "--save", "pages.jsonl", cwd=tmp_path)

    assert len((tmp_path / "pages.jsonl").read_text().splitlines()) == len(PATHS)
    assert "Traceback" not in crawled.stderr
    assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize("what", ["crawl", "kafka-monitor"])
def test_without_the_extra_it_says_what_to_install(
    what: str, redis_url: str, kafka_hosts: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "opentelemetry.py").write_text("raise ImportError('not here')")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr("tests.acceptance.crawls.PACKAGES", f"{tmp_path}:{PACKAGES}")
    monkeypatch.setenv("TRACING", "1")
    monkeypatch.setenv("KAFKA_HOSTS", kafka_hosts)
    monkeypatch.setenv("TRACKER", redis_url)
    crawl = ("crawl", "http://127.0.0.1:9/", "--allow-private", "-s", "KAFKA_HOSTS=none")
    command = crawl if what == "crawl" else (what,)
    refused = fleet(*command, cwd=tmp_path, code=2)

    assert "TRACING: needs OpenTelemetry (not here): pip install" in refused.stderr
    assert "Traceback" not in refused.stderr
