"""Metrics as Prometheus gets them: from real processes, by a real Prometheus where there is one."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote

import pytest
import yaml
from redis import Redis

from tests.acceptance.cluster import SPIDER, cluster
from tests.acceptance.crawls import PATIENCE, fleet_command
from tests.scraping import by_label, free_port, scraped, value
from tests.servers.site_sections import LEVELS, SectionSite
from tests.servers.website import website

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.acceptance.cluster import Cluster
    from tests.scraping import Samples

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "scrapy-fleet.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"
NAME = re.compile(r"fleet_[a-z_]+")


def names(samples: Samples) -> set[str]:
    return {name for name, _ in samples if name.startswith("fleet_")}


def until(ask: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:g} s"
        time.sleep(0.2)
    return found


def is_answered(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return bool(answer.status == 200)
    except (URLError, ConnectionError):
        return False


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    groups = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"]
    return [
        *(target["expr"] for panel in panels for target in panel["targets"]),
        *(rule["expr"] for group in groups for rule in group["rules"]),
    ]


class Watched:
    """A cluster that has crawled the simulated web, with the ports of its processes."""

    def __init__(self, fleet: Cluster, site: SectionSite) -> None:
        self.ports = {
            kind: free_port() for kind in ("worker", "kafka-monitor", "redis-monitor", "serve")
        }
        rest = free_port()
        for kind, port in self.ports.items():
            command = SPIDER if kind == "worker" else fleet_command(kind)
            fleet.start(*command, METRICS_PORT=str(port), REST_PORT=str(rest))
        fleet.make_topics(partitions=1)
        finished = fleet.listen("outbound")
        request = {"appid": "test", "crawlid": "watched", "maxdepth": LEVELS}
        allowed = {"allow_regex": [site.allowed(0)]}
        fleet.feed({"url": site.start(0), **request, **allowed}, {"appid": "test"})
        events = finished.until(
            lambda seen: [each for each in seen if each["action"] == "finished"], "the end"
        )
        self.finished = next(each for each in events if each["action"] == "finished")
        until(lambda: is_answered(f"http://127.0.0.1:{rest}/api/v1/stats"), "REST answers")

    def samples(self, kind: str) -> Samples:
        return scraped(self.ports[kind])


@pytest.fixture(scope="module")
def watched(
    redis_url: str, kafka_hosts: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    options = ("--site", "sections", "--hosts", "4", "--sections", "1")
    settings = {"RETRY_TIMES": "1", "RETRY_DELAY": "0.1"}
    with (
        website(folder, *options) as web,
        cluster(kafka_hosts, f"watched{free_port()}", redis_url, folder, **settings) as fleet,
    ):
        yield Watched(fleet, SectionSite(web.port, 4, 1))


def test_a_worker_tells_what_its_crawl_ended_with(watched: Watched) -> None:
    finished = watched.finished
    samples = until(
        lambda: (
            (now := watched.samples("worker"))
            and value(now, "fleet_leases_settled_total", kind="done") == finished["done"]
            and now
        ),
        f"the worker's count of {finished['done']} pages",
    )

    pages = by_label(samples, "fleet_pages_total", "status")
    assert sum(pages.values()) == finished["done"]
    assert value(samples, "fleet_failures_total", reason="http_5xx") == finished["failed"] > 0
    assert value(samples, "fleet_retries_total", reason="http_5xx") == finished["failed"]
    assert pages["2xx"] == sum(
        count for status, count in finished["statuses"].items() if status.startswith("2")
    )
    assert value(samples, "fleet_page_bytes_total") == finished["bytes"]
    assert value(samples, "fleet_download_seconds_count") >= finished["done"]
    assert value(samples, "fleet_delivery_seconds_count") == finished["done"]
    assert value(samples, "fleet_worker_leases") == 0
    for call in ("lease", "settle"):
        assert value(samples, "fleet_tracker_call_seconds_count", call=call) > 0
        assert value(samples, "fleet_tracker_call_seconds_sum", call=call) > 0


@pytest.mark.parametrize("kind", ["redis-monitor", "serve"])
def test_the_books_of_the_tracker_are_told(watched: Watched, kind: str) -> None:
    finished = watched.finished
    expected = {state: finished[state] for state in ("done", "failed", "dropped")}

    def books() -> bool:
        samples = watched.samples(kind)
        found = {state: value(samples, "fleet_requests", state=state) for state in expected}
        return found == expected and value(samples, "fleet_tracker_up") == 1

    until(books, f"books of {expected}")


def test_the_kafka_monitor_tells_its_lag_and_what_it_refused(watched: Watched) -> None:
    samples = watched.samples("kafka-monitor")

    count = "fleet_monitor_requests_total"
    assert value(samples, count, monitor="kafka-monitor", result="served") == 1
    assert value(samples, count, monitor="kafka-monitor", result="failed") == 1
    assert value(samples, "fleet_kafka_intake_seconds_count") == 2
    assert until(
        lambda: value(watched.samples("kafka-monitor"), "fleet_kafka_lag_messages") == 0,
        "no lag",
    )


def test_each_name_in_dashboard_and_alerts_is_told_by_a_process(watched: Watched) -> None:
    told = set[str]().union(*(names(watched.samples(kind)) for kind in watched.ports))
    used = set(NAME.findall(" ".join(expressions())))

    assert used <= told


def test_the_reference_has_each_metric_that_is_told(watched: Watched) -> None:
    told = set[str]().union(*(names(watched.samples(kind)) for kind in watched.ports))
    page = set(re.findall(r"^\| `(fleet_[a-z_]+)`", PAGE.read_text("utf-8"), re.MULTILINE))

    series = re.compile(r"_(bucket|count|sum|created)$")
    assert {series.sub("", name) for name in told} <= page | {
        name.removesuffix("_total") for name in page
    }
    assert page == declared()


def declared() -> set[str]:
    """Return the names that the code declares, counters with `_total`."""
    root = Path(__file__).parents[2]
    files = (
        root / "crawler/crawling/worker_metrics.py",
        root / "crawler/crawling/service/metrics.py",
        root / "kafka-monitor/kafka_monitor/metrics.py",
        root / "rest/rest_service/metrics.py",
    )
    text = " ".join(file.read_text("utf-8") for file in files)
    counters = set(re.findall(r'(?:Counter|CounterMetricFamily)\(\s*"(fleet_[a-z_]+)"', text))
    return {f"{name}_total" for name in counters} | (
        set(re.findall(r'"(fleet_[a-z_]+)"', text)) - counters
    )


def test_no_label_holds_a_domain_a_url_or_a_crawl(watched: Watched) -> None:
    labels = {
        label
        for kind in watched.ports
        for (name, pairs) in watched.samples(kind)
        if name.startswith("fleet_")
        for label, _ in pairs
    }

    assert labels <= {
        *(
            "state",
            "status",
            "kind",
            "reason",
            "call",
            "monitor",
            "result",
            "path",
            "method",
            "le",
        )
    }


def needed(program: str) -> str:
    """Return where *program* is; without it the test is skipped, and fails in CI."""
    found = shutil.which(program)
    if found is None:
        missing = pytest.fail if os.environ.get("CI") else pytest.skip
        missing(f"{program} is not on PATH: `make test` brings it")
    return found


@pytest.fixture(scope="module")
def prometheus(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of a real Prometheus that has scraped the cluster."""
    program = needed("prometheus")
    folder, port = tmp_path_factory.mktemp("prometheus"), free_port()
    targets = [
        {"job_name": kind, "static_configs": [{"targets": [f"127.0.0.1:{number}"]}]}
        for kind, number in watched.ports.items()
    ]
    config = {"global": {"scrape_interval": "1s"}, "scrape_configs": targets}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "data").mkdir()
    command = [
        program,
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def asked(address: str, expression: str) -> list[Any]:
    url = f"{address}/api/v1/query?query={quote(expression)}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            found: list[Any] = json.loads(answer.read())["data"]["result"]
            return found
    except HTTPError as refused:
        # While it starts; what is no expression is answered with 400.
        if refused.code != 503:
            raise
        return []
    except (URLError, ConnectionError):
        return []


def test_a_real_prometheus_answers_each_expression_of_the_dashboard(
    prometheus: str, watched: Watched
) -> None:
    until(lambda: len(asked(prometheus, "up == 1")) == len(watched.ports), "all targets up")
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    for panel in panels:
        for target in panel["targets"]:
            # A rate needs two scrapes of its process.
            until(partial(asked, prometheus, target["expr"]), target["expr"])


def test_each_alert_is_sent_when_it_is_due_and_not_before() -> None:
    promtool = needed("promtool")
    rules = yaml.safe_load(ALERTS.read_text("utf-8"))["groups"][0]["rules"]
    cases = ALERTS.with_name("alerts_test.yml")
    expected = [
        alert["alertname"]
        for test in yaml.safe_load(cases.read_text("utf-8"))["tests"]
        for alert in test["alert_rule_test"]
        if alert["exp_alerts"]
    ]

    for command in (["check", "config", "prometheus.yml"], ["test", "rules", cases.name]):
        told = subprocess.run(
            [promtool, *command], cwd=ALERTS.parent, capture_output=True, text=True, check=False
        )
        assert told.returncode == 0, told.stdout + told.stderr
    assert {rule["alert"] for rule in rules} == set(expected)


@pytest.mark.parametrize("kind", ["worker", "kafka-monitor", "redis-monitor"])
def test_a_port_that_is_taken_is_named_with_its_setting(
    kind: str, redis_url: str, kafka_hosts: str, tmp_path: Path
) -> None:
    with (
        socket.socket() as taken,
        cluster(kafka_hosts, f"taken{free_port()}", redis_url, tmp_path) as fleet,
    ):
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        command = SPIDER if kind == "worker" else fleet_command(kind)

        told = subprocess.run(
            command,
            cwd=Path(__file__).parents[2] / "crawler",
            env=fleet.environment(METRICS_PORT=str(port)),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    assert told.returncode != 0
    assert f"METRICS_PORT: cannot listen on 127.0.0.1:{port} (Address" in told.stderr
    assert "Traceback" not in told.stderr
