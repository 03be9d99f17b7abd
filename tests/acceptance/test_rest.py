"""`fleet serve` as a process beside workers, and the commands of its how-to page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.acceptance.cluster import Cluster, cluster
from tests.acceptance.crawls import (
    CRAWLER,
    background,
    environment,
    fleet_command,
    stop,
    until,
)
from tests.acceptance.documented import commands
from tests.servers.kafka_server import free_ports
from tests.servers.small_site import Answer, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

HTML = {"Content-Type": "text/html"}
PAGE = "howto/use_the_rest_service.md"


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as running:
        links = "".join(f'<a href="/{name}">x</a>' for name in ("a", "b", "gone"))
        running.answers = {
            "/": Answer(200, links.encode(), HTML),
            "/a": Answer(200, b"<p>a</p>", HTML),
            "/b": Answer(200, b"<p>b</p>", HTML),
            "/gone": Answer(500, b"", HTML),
        }
        yield running


@pytest.fixture
def fleet(
    tmp_path: Path, redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str
) -> Iterator[Cluster]:
    """Return a cluster of which nothing runs yet."""
    del redis  # it is empty
    with cluster(kafka_hosts, topic_prefix, redis_url, tmp_path, RETRY_TIMES="0") as running:
        yield running


class Asked:
    """A client of a service that a test has started."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._client = httpx.Client(base_url=self.url, timeout=60)

    def get(self, path: str) -> Any:
        answer = self._client.get(f"/api/v1{path}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def send(self, method: str, path: str, body: Any = None) -> Any:
        answer = self._client.request(method, path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json() if answer.content else None

    def is_ready(self) -> bool:
        try:
            return self._client.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def close(self) -> None:
        self._client.close()


@contextmanager
def asked(port: int) -> Iterator[Asked]:
    client = Asked(port)
    try:
        until(client.is_ready, "the service is ready")
        yield client
    finally:
        client.close()


def test_a_crawl_without_servers_is_submitted_watched_and_retried(
    site: SmallSite, tmp_path: Path
) -> None:
    tracker = ["--tracker", f"sqlite:///{tmp_path}/crawl.db"]
    [port] = free_ports(1)
    own = environment(
        ALLOW_PRIVATE_ADDRESSES="1", QUEUE_HITS="0", RETRY_TIMES="0", KAFKA_HOSTS="none"
    )
    own["SAVERS"] = f"{tmp_path}/pages/"
    with ExitStack() as stack:
        serve = fleet_command("serve", *tracker, "--port", str(port))
        serving = stack.enter_context(background(serve, CRAWLER, own, tmp_path))
        client = stack.enter_context(asked(port))
        request = {"url": site.url("/"), "appid": "demo", "crawlid": "first", "maxdepth": 1}
        client.send("POST", "/api/v1/crawls", request)
        work = fleet_command("worker", *tracker, "--processes", "1")
        working = stack.enter_context(background(work, CRAWLER, own, tmp_path))

        one = "/crawls/link/demo/first"
        until(lambda: client.get(one)["state"] == "finished", "the crawl finishes")
        found = client.get(one)
        assert (found["accepted"], found["done"], found["failed"]) == (4, 3, 1)
        assert (found["progress"], found["reasons"]) == (1, {"http_500": 1})
        [failed] = client.get(f"{one}/failed")["failed"]
        assert failed["url"] == site.url("/gone")
        site.answers["/gone"] = Answer(200, b"<p>back</p>", HTML)
        assert client.send("POST", f"/api/v1{one}/retry") == {"queued": 1}
        until(lambda: client.get(one)["done"] == 4, "what failed is fetched")
        assert client.get("/workers")["total"] == 1

        assert stop(working) == 0
        assert stop(serving) == 0


def test_a_client_of_scrapy_cluster_works_with_a_whole_cluster(
    site: SmallSite, fleet: Cluster
) -> None:
    [port] = free_ports(1)
    fleet.kafka_monitor()
    fleet.redis_monitor()
    fleet.worker()
    fleet.start(*fleet_command("serve", "--port", str(port)))
    with asked(port) as client:
        request = {"url": site.url("/"), "appid": "demo", "crawlid": "first", "maxdepth": 1}
        assert client.send("POST", "/feed", request)["status"] == "SUCCESS"
        one = "/crawls/link/demo/first"

        def is_over() -> bool:
            crawls = client.get("/crawls")["crawls"]
            return [row["state"] for row in crawls] == ["finished"]

        until(is_over, "the crawl finishes")
        assert client.get(one)["done"] == 3
        info = {"appid": "demo", "crawlid": "first", "spiderid": "link", "uuid": "u1"}
        answer = client.send("POST", "/feed", {**info, "action": "info"})
        if "poll_id" in answer["data"]:
            until(lambda: is_answered(client, "u1"), "the answer comes")
        until(lambda: len(client.get(f"{one}/pages")["pages"]) == 3, "the pages are there")
    assert fleet.stop_all() == [0, 0, 0, 0]


def is_answered(client: Asked, uuid: str) -> bool:
    found = httpx.post(f"{client.url}/poll", json={"poll_id": uuid}, timeout=60)
    return found.status_code == 200


def test_the_commands_of_the_how_to_page_do_what_it_says(tmp_path: Path) -> None:
    [port] = free_ports(1)
    own = environment(TRACKER=f"sqlite:///{tmp_path}/crawl.db")
    own["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    with background(
        fleet_command("serve", "--port", str(port)), CRAWLER, own, tmp_path
    ) as serving:
        with asked(port):
            said = []
            for command in commands(PAGE, "console rest"):
                here = command.replace("localhost:5343", f"127.0.0.1:{port}")
                done = subprocess.run(
                    ["bash", "-c", here],
                    cwd=tmp_path,
                    env=own,
                    capture_output=True,
                    text=True,
                    check=True,
                    timeout=120,
                )
                said.append(done.stdout)
        assert stop(serving) == 0

    answers = [json.loads(text) for text in said if text.startswith("{")]
    assert all("status" not in answer or answer["status"] == "SUCCESS" for answer in answers), (
        said
    )
    assert len((tmp_path / "tokens.txt").read_text().splitlines()) == 3
    assert len(answers) == 7
