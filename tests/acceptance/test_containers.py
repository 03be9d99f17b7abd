"""The Dockerfile and the compose file, followed step by step without Docker."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import yaml
from redis import Redis

from crawling.service.options import MONITOR_OPTIONS, OPTIONS
from rest_service.access import new_token
from tests.acceptance.crawls import until
from tests.servers.kafka_server import VERSION, free_ports
from tests.servers.redis_server import redis_server
from tests.servers.small_site import Answer, small_site

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "rest" / "rest_service" / "static"
DASHBOARD = {str(file.relative_to(STATIC)) for file in STATIC.rglob("*") if file.is_file()}


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))[
        "services"
    ]
    return found


def ours() -> dict[str, Any]:
    return {name: each for name, each in services().items() if each["image"] == "scrapy-fleet"}


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = [
        name for word, rest in instructions() if word == "COPY" for name in rest.split()[:-1]
    ]

    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


def test_the_compose_file_has_what_a_cluster_needs() -> None:
    ours_ = {"kafka-monitor", "redis-monitor", "rest", "crawler"}
    watching = {"prometheus", "grafana"}
    assert {name for name, each in services().items() if "profiles" in each} == {
        "rest",
        *watching,
    }
    assert set(services()) == {"redis", "kafka", *ours_, *watching}
    volumes = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["volumes"]
    for name, each in services().items():
        assert set(each) <= KEYS, name
        assert each["healthcheck"]["test"][0] == "CMD", name
        assert set(each.get("depends_on", {})) <= set(services()), name
        mounted = {volume.partition(":")[0] for volume in each.get("volumes", ())}
        files = {volume for volume in mounted if volume.startswith(".")}
        assert mounted - files <= set(volumes), name
        assert all((ROOT / file).exists() for file in files), name
    # Those that may be scaled.
    assert all("container_name" not in each for each in ours().values())
    assert [name for name, each in ours().items() if "ports" in each] == ["rest"]
    assert all(port.startswith("127.0.0.1:") for port in services()["rest"]["ports"])


#: What Compose knows and is used here.
KEYS = set(
    "image build init restart depends_on command environment healthcheck ports volumes "
    "stop_grace_period profiles secrets".split()
)


def test_the_compose_file_sets_settings_that_exist() -> None:
    known = {**OPTIONS, **MONITOR_OPTIONS}
    for name, each in ours().items():
        assert set(each["environment"]) <= set(OPTIONS if name == "crawler" else known), name


def test_the_versions_are_those_of_the_tests() -> None:
    assert services()["kafka"]["image"] == f"apache/kafka:{VERSION}"
    assert f"version={VERSION}\n" in (ROOT / "tools" / "need-kafka").read_text("utf-8")


def test_nothing_of_ours_runs_as_root() -> None:
    words = [word for word, _ in instructions()]
    [user] = [rest for word, rest in instructions() if word == "USER"]

    assert user != "root"
    assert words.index("USER") < words.index("CMD")
    assert not any("user" in each for each in services().values())


def test_the_steps_of_the_image_make_the_cluster_of_the_compose_file(
    tmp_path: Path, kafka_hosts: str, topic_prefix: str
) -> None:
    image, python = tmp_path / "image", tmp_path / "venv" / "bin"
    for word, rest in instructions():
        if word == "COPY":
            *names, to = rest.split()
            for name in names:
                copy(ROOT / name, image / to / ("" if (ROOT / name).is_dir() else name))
    [install] = [rest for word, rest in instructions() if word == "RUN"]
    assert install.split("&&")[0].strip() == 'pip install --no-cache-dir ".[rest,otel]"'
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    subprocess.run([python / "pip", "install", "--quiet", f"{image}[rest,otel]"], check=True)
    [command] = [json.loads(rest) for word, rest in instructions() if word == "CMD"]
    options = shlex.split(services()["redis"]["command"])[1:]

    with redis_server(tmp_path, *options) as url, small_site() as site, ExitStack() as stack:
        site.answers = {"/": Answer(200, b"<p>home</p>", {"Content-Type": "text/html"})}
        own = {
            "TRACKER": url,
            "KAFKA_HOSTS": kafka_hosts,
            "KAFKA_TOPIC_PREFIX": topic_prefix,
            "KAFKA_INCOMING_TOPIC": f"{topic_prefix}.incoming",
            "ALLOW_PRIVATE_ADDRESSES": "1",
        }
        token, line = new_token("test", "operate")
        (tmp_path / "tokens").write_text(line)
        port = free_ports(1)[0]
        here = {"REST_HOST": "127.0.0.1", "REST_PORT": str(port)}
        here["REST_TOKENS"] = str(tmp_path / "tokens")

        def environment(name: str) -> dict[str, str]:
            given = services()[name]["environment"]
            assert {*own} - {"ALLOW_PRIVATE_ADDRESSES"} <= set(given)
            plain = {key: value for key, value in given.items() if "$" not in value}
            # In containers each has an address of its own.
            plain |= {"METRICS_PORT": str(free_ports(1)[0]), "METRICS_HOST": "127.0.0.1"}
            inherited = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
            path = {"PATH": f"{python}:{os.environ['PATH']}"}
            return {**inherited, **path, **plain, **own, **(here if name == "rest" else {})}

        running = {
            name: stack.enter_context(
                subprocess.Popen(
                    each.get("command", command), cwd=image / "crawler", env=environment(name)
                )
            )
            for name, each in ours().items()
        }
        for process in running.values():
            stack.callback(process.kill)
        for name, each in ours().items():
            until(
                lambda each=each, name=name: _succeeds(  # type: ignore[misc]
                    each["healthcheck"]["test"][1:], environment(name)
                ),
                f"{name} is healthy",
            )
        request = {"url": site.url("/"), "appid": "demo", "crawlid": "compose"}
        assert _succeeds(["fleet", "feed", json.dumps(request)], environment("crawler"))
        dump = ["fleet", "dump", "-b", "-n", "1", "-t", f"{topic_prefix}.crawled_firehose"]
        until(lambda: site.paths().count("/"), "the page is fetched")
        asked = httpx.get(
            f"http://127.0.0.1:{port}/api/v1/crawls/link/demo/compose",
            headers={"Authorization": f"Bearer {token}"},
        )
        assert asked.status_code == 200
        assert asked.json()["accepted"] == 1
        assert seen(f"http://127.0.0.1:{port}/ui/") == DASHBOARD
        said = subprocess.run(
            dump, env=environment("crawler"), capture_output=True, check=True, timeout=60
        )
        for process in running.values():
            process.send_signal(signal.SIGTERM)
        assert [process.wait(60) for process in running.values()] == [0, 0, 0, 0]
        with Redis.from_url(url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

    assert json.loads(said.stdout)["body"] == "<p>home</p>"


def seen(ui: str) -> set[str]:
    """Return the files of the dashboard that are served as they are in the checkout."""
    return {
        name
        for name in DASHBOARD
        if httpx.get(ui + name).content == (STATIC / name).read_bytes()
    }


def _succeeds(command: list[str], environment: dict[str, str]) -> bool:
    done = subprocess.run(
        command, env=environment, capture_output=True, check=False, timeout=60
    )
    return done.returncode == 0


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(source, target, ignore=ignore)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
