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
from pathlib import Path
from typing import Any

import yaml
from redis import Redis

from crawling.service.options import OPTIONS
from tests.acceptance.crawls import status_of, submit, until
from tests.servers.redis_server import redis_server
from tests.servers.small_site import Answer, small_site

ROOT = Path(__file__).parents[2]


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text("utf-8"))
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def service(name: str) -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"][name]


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    copied = [
        name for word, rest in instructions() if word == "COPY" for name in rest.split()[:-1]
    ]

    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in ignored


def test_the_compose_file_sets_settings_that_exist() -> None:
    assert set(service("crawler")["environment"]) <= set(OPTIONS)


def test_the_steps_of_the_image_make_a_worker_that_serves_the_compose_files_redis(
    tmp_path: Path,
) -> None:
    image, pages = tmp_path / "image", tmp_path / "pages"
    for word, rest in instructions():
        if word == "COPY":
            *names, to = rest.split()
            for name in names:
                copy(ROOT / name, image / to / ("" if (ROOT / name).is_dir() else name))
    [install] = [rest for word, rest in instructions() if word == "RUN"]
    assert install.split("&&")[0].strip() == "pip install --no-cache-dir ."
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    bin_folder = tmp_path / "venv" / "bin"
    subprocess.run([bin_folder / "pip", "install", "--quiet", image], check=True)
    [command] = [json.loads(rest) for word, rest in instructions() if word == "CMD"]
    options = shlex.split(service("redis")["command"])[1:]

    with redis_server(tmp_path, *options) as url, small_site() as site:
        site.answers = {"/": Answer(200, b"<p>home</p>", {"Content-Type": "text/html"})}
        environment = {
            **os.environ,
            **{name: value for name, value in service("crawler")["environment"].items()
               if "$" not in value},
            "TRACKER": url,
            "SAVERS": f"{pages}/",
            "ALLOW_PRIVATE_ADDRESSES": "1",
        }  # fmt: skip
        environment.pop("PYTHONPATH", None)
        with subprocess.Popen(
            [bin_folder / command[0], *command[1:]], cwd=image / "crawler", env=environment
        ) as worker:
            submit(url, "compose", site.url("/"))
            until(lambda: status_of(url, "compose").state == "finished", "the crawl ends")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(30) == 0
        with Redis.from_url(url) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}

    assert [path.read_bytes() for path in pages.rglob("index.html")] == [b"<p>home</p>"]


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(source, target, ignore=ignore)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
