"""The quickstart's commands that need servers, as they stand there, one after the other."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx

from tests.acceptance.cluster import cluster
from tests.acceptance.crawls import ROOT, stop, until
from tests.acceptance.dashboard import answers
from tests.acceptance.documented import Reader, commands
from tests.servers.kafka_server import free_ports
from tests.servers.small_site import Answer, SmallSite, small_site

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

PAGE = "quickstart.md"
HTML = {"Content-Type": "text/html"}


def serve_two_pages(site: SmallSite) -> None:
    site.answers = {
        "/": Answer(body=b"<a href='/about.html'>about</a>", headers=HTML),
        "/about.html": Answer(body=b"<p>about</p>", headers=HTML),
    }


def test_the_cluster_of_the_quickstart_crawls(
    tmp_path: Path, redis: Redis, redis_url: str, kafka_hosts: str, topic_prefix: str
) -> None:
    own = {"PUBLIC_IP": "127.0.0.1"}
    with (
        cluster(kafka_hosts, topic_prefix, redis_url, tmp_path, **own) as settings,
        small_site() as site,
    ):
        serve_two_pages(site)
        reader = Reader(settings, tmp_path, {"https://example.com": site.url("/")})
        said = {}
        for command in commands(PAGE):
            said[command] = reader.type(command)
            if "maxdepth" in command:
                until(lambda: "/about.html" in site.paths(), "the crawl is done")
        answers = settings.listen("outbound")
        answers.until(
            lambda got: any(each.get("uuid") == "abc123" for each in got), "info is answered"
        )
        assert [stop(process) for process in reader.serving] == [0, 0, 0]

    [pages, ends] = [text for command, text in said.items() if "dump" in command]
    assert json.loads(pages)["appid"] == "demo"
    assert json.loads(ends)["action"] == "finished"
    [doctor] = [text for command, text in said.items() if "doctor" in command]
    assert "The cluster works from end to end." in doctor
    [status] = [text for command, text in said.items() if "status" in command]
    assert "first  finished" in status
    [workers] = [text for command, text in said.items() if "workers" in command]
    assert workers.count("  link  ") == 2
    print(doctor)  # noqa: T201 with -s, for the docs


def test_the_dashboard_of_the_quickstart_shows_the_crawl(tmp_path: Path) -> None:
    [serve] = [line for line in commands(PAGE, "console rest") if line.startswith("fleet")]
    tracker = serve.split()[-1]
    crawl = next(line for line in commands(PAGE, "console") if line.endswith(tracker))
    [port] = free_ports(1)
    base = f"http://127.0.0.1:{port}"
    with (
        cluster("none", "demo", tracker, tmp_path, REST_PORT=str(port)) as settings,
        small_site() as site,
    ):
        serve_two_pages(site)
        reader = Reader(settings, tmp_path, {"https://example.com": site.url("/")})
        reader.type(crawl)

        reader.type(serve)

        until(lambda: answers(f"{base}/readyz"), "the service is ready")
        assert "<title>" in httpx.get(f"{base}/ui/").text
        [shown] = httpx.get(f"{base}/api/v1/crawls").json()["crawls"]
        assert (shown["state"], shown["done"]) == ("finished", 2)
        assert [stop(process) for process in reader.serving] == [0]
    assert base in (ROOT / "docs" / PAGE).read_text("utf-8").replace("5343", str(port))


def test_a_worker_joins_the_crawl_of_the_quickstart(
    tmp_path: Path, redis: Redis, redis_url: str
) -> None:
    crawl, worker = commands(PAGE, "console redis")
    with cluster("none", "demo", redis_url, tmp_path) as settings, small_site() as site:
        serve_two_pages(site)
        words = {"https://example.com": site.url("/"), "redis://localhost:6379/0": redis_url}
        reader = Reader(settings, tmp_path, words)
        reader.type(worker)
        until(lambda: redis.zcard("fleet:workers"), "the worker serves")

        reader.type(crawl)

        assert "example  finished" in reader.type("fleet status")
        assert [stop(process) for process in reader.serving] == [0]
    saved = [tmp_path / name for name in ("pages.tar.gz", "worker1.tar.gz")]
    assert all(archive.exists() for archive in saved)
