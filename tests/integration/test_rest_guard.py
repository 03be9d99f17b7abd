"""What a REST service refuses before it looks at a request, and its process."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from rest_service.access import new_token
from rest_service.service import _listen
from tests.integration.serving import answered, serving, tokens_file
from tests.servers.certificates import make_certificates
from tests.servers.kafka_server import free_ports

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
CRAWL = {"url": "http://a.example/", "appid": "tests", "crawlid": "first"}


@pytest.fixture
def tracker(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/crawl.db"


def test_no_answer_waits_for_another_packet_of_its_client() -> None:
    settings = {"REST_HOST": "127.0.0.1", "REST_PORT": free_ports(1)[0]}
    with (
        _listen(settings) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0] as served,
    ):
        assert served.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_the_dashboard_is_found_without_its_slash(tracker: str) -> None:
    async with serving(tracker) as served:
        answer = await served.client.get("/ui")

        # Also behind a proxy that serves all this under a prefix.
        assert (answer.status_code, answer.headers["location"]) == (307, "ui/")
        assert (await served.client.get("/ui/")).status_code == 200


#: Requests by the scope that they need.
NEEDED: dict[str, list[tuple[str, str]]] = {
    "read": [
        ("GET", "/api/v1/crawls"),
        ("GET", "/api/v1/crawls/link/tests/first"),
        ("GET", "/api/v1/crawls/link/tests/first/failed"),
        ("GET", "/api/v1/domains"),
        ("GET", "/api/v1/domain-settings"),
        ("GET", "/api/v1/workers"),
        ("GET", "/api/v1/workers/worker-1/requests"),
        ("GET", "/api/v1/stats"),
        ("GET", "/api/v1/events"),
        ("GET", "/metrics"),
        ("POST", "/poll"),
        # What its message needs beyond that is tested apart.
        ("POST", "/feed"),
    ],
    "submit": [("POST", "/api/v1/crawls")],
    "operate": [
        ("POST", "/api/v1/crawls/link/tests/first/stop"),
        ("POST", "/api/v1/crawls/link/tests/first/pause"),
        ("POST", "/api/v1/crawls/link/tests/first/resume"),
        ("POST", "/api/v1/crawls/link/tests/first/retry"),
        ("POST", "/api/v1/crawls/link/tests/first/prioritize"),
        ("DELETE", "/api/v1/crawls/link/tests/first"),
        ("PUT", "/api/v1/domains/a.example/limit"),
        ("DELETE", "/api/v1/domains/a.example/limit"),
        ("PUT", "/api/v1/domains/a.example/block"),
        ("DELETE", "/api/v1/domains/a.example/block"),
        ("POST", "/api/v1/domains/a.example/defer"),
    ],
}
OPEN = ["/", "/healthz", "/readyz", "/api/v1/openapi.json"]


async def test_every_path_needs_the_scope_that_it_should(tracker: str, tmp_path: Path) -> None:
    scopes = list(NEEDED)
    file, tokens = tokens_file(tmp_path, *scopes)
    async with serving(tracker, REST_TOKENS=file, REST_RATE_LIMIT=0) as served:
        described = (await served.client.get("/api/v1/openapi.json")).json()["paths"]
        known = {
            path.replace("{spiderid}/{appid}/{crawlid}", "link/tests/first")
            .replace("{domain}", "a.example")
            .replace("{name}", "worker-1")
            for path in described
        }
        asked = {path for requests in NEEDED.values() for _, path in requests}
        for path in known - asked - set(OPEN):
            assert path.startswith("/api/v1/crawls/link/tests/first/"), path
        for path in OPEN:
            assert (await served.client.get(path)).status_code == 200, path
        for scope, requests in NEEDED.items():
            for method, path in requests:
                found = [await status(served.client, method, path, None)]
                found += [await status(served.client, method, path, each) for each in tokens]
                refused = scopes.index(scope)
                assert found[0] == 401, path
                assert found[1 : 1 + refused] == [403] * refused, path
                assert not {401, 403} & set(found[1 + refused :]), path


async def status(client: httpx.AsyncClient, method: str, path: str, token: str | None) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with client.stream(method, path, headers=headers) as response:
        return response.status_code


async def test_feed_needs_the_scope_of_its_message(tracker: str, tmp_path: Path) -> None:
    file, tokens = tokens_file(tmp_path, "read", "submit", "operate")
    about = {"uuid": "u", "appid": "tests", "spiderid": "link", "crawlid": "first"}
    domain = {"uuid": "u", "appid": "tests", "domain": "a.example", "action": "domain-remove"}
    async with serving(tracker, REST_TOKENS=file) as served:

        async def refused(message: dict[str, Any]) -> list[bool]:
            answers = [
                await served.client.post(
                    "/feed", json=message, headers={"Authorization": f"Bearer {token}"}
                )
                for token in tokens
            ]
            assert {answer.status_code for answer in answers} <= {403, 500}
            assert {answer.json()["status"] for answer in answers} == {"FAILURE"}
            return [answer.status_code == 403 for answer in answers]

        # 500: there is no Kafka here.
        assert await refused({"uuid": "u", "appid": "tests"}) == [False, False, False]
        assert await refused({**about, "action": "info"}) == [False, False, False]
        assert await refused(CRAWL) == [True, False, False]
        assert await refused({**about, "action": "stop"}) == [True, True, False]
        assert await refused(domain) == [True, True, False]


async def test_a_token_that_asks_too_often_is_told_when_to_come_again(
    tracker: str, tmp_path: Path
) -> None:
    file, [token] = tokens_file(tmp_path, "read")
    async with serving(tracker, token, REST_TOKENS=file, REST_RATE_LIMIT=1) as served:
        answers = [await served.client.get("/api/v1/crawls") for _ in range(10)]

    statuses = [each.status_code for each in answers]
    assert statuses[:4] == [200] * 4
    assert 429 in statuses
    late = answers[statuses.index(429)]
    assert answered(late, 429)["detail"].startswith("more requests than REST_RATE_LIMIT")
    assert late.headers["retry-after"] in {"1", "2"}


async def test_a_body_that_is_too_large_is_not_read(tracker: str) -> None:
    async def endless() -> Any:
        for _ in range(100):
            yield b" " * 1000

    async with serving(tracker, REST_MAX_BODY=20_000) as served:
        said = await served.client.post("/api/v1/crawls", content=b" " * 20_001)
        assert "at most 20000 bytes" in answered(said, 413)["detail"]
        unsaid = await served.client.post("/api/v1/crawls", content=endless())
        assert "at most 20000 bytes" in answered(unsaid, 413)["detail"]
        path = "/api/v1/crawls/link/tests/first/prioritize"
        other = await served.client.post(path, content=endless())
        assert "at most 20000 bytes" in answered(other, 413)["detail"]
        old = await served.client.post(
            "/feed", content=endless(), headers={"Content-Type": "application/json"}
        )
        assert (old.status_code, old.json()["status"]) == (413, "FAILURE")
        # Nobody is harmed.
        await served.post("/crawls", CRAWL, 201)


@pytest.mark.parametrize(
    ("headers", "problem"),
    [
        ({"Host": "attacker.example"}, "only localhost is served"),
        ({"Origin": "https://attacker.example"}, "no requests of other sites"),
        ({"Origin": "null"}, "no requests of other sites"),
        ({"Origin": "http://localhost:1"}, "no requests of other sites"),
    ],
)
async def test_without_tokens_no_site_in_a_browser_may_ask(
    tracker: str, headers: dict[str, str], problem: str
) -> None:
    async with serving(tracker) as served:
        answer = await served.client.post("/api/v1/crawls", json=CRAWL, headers=headers)
        assert problem in answered(answer, 403)["detail"]
        assert (await served.get("/crawls"))["total"] == 0
        own = {"Origin": served.url}
        fine = await served.client.post("/api/v1/crawls", json=CRAWL, headers=own)
        assert fine.status_code == 201
        assert not [name for name in fine.headers if name.startswith("access-control")]


async def test_it_speaks_tls(tracker: str, tmp_path: Path) -> None:
    make_certificates(tmp_path)
    files = {
        "REST_TLS_CERTFILE": str(tmp_path / "server.pem"),
        "REST_TLS_KEYFILE": str(tmp_path / "server.key"),
    }
    async with serving(tracker, **files) as served:
        trusted = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        async with httpx.AsyncClient(base_url=served.url, verify=trusted) as client:
            assert (await client.get("/healthz")).json() == {"status": "ok"}
        async with httpx.AsyncClient(base_url=served.url) as stranger:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await stranger.get("/healthz")


async def test_no_secret_is_logged(
    tracker: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file, [token] = tokens_file(tmp_path, "operate")
    async with serving(tracker, token, REST_TOKENS=file) as served:
        secret = {"cookie": "session=hush-hush", "headers": {"Authorization": "hush-hush"}}
        await served.post("/crawls", {**CRAWL, **secret}, 201)
        refused = await served.post("/crawls", {**CRAWL, **secret, "maxdepth": 9}, 400)
        shown = await served.get("/crawls/link/tests/first")
        await served.client.get("/api/v1/crawls", headers={"Authorization": "Bearer hush-hush"})
        wrong = await served.post("/crawls", {**CRAWL, "cookie": "x", "headers": {"a": 1}}, 400)

    logged = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "Request answered" in logged
    for text in (logged, str(refused), str(shown), str(wrong)):
        assert "hush-hush" not in text
        assert token not in text


def run_serve(*flags: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "crawling.cli", "serve", *flags],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (
            ["--host", "0.0.0.0"],
            "REST_TOKENS: must name a file of tokens when REST_HOST is not",
        ),
        (["-s", "REST_TOKENS=nowhere"], "REST_TOKENS: cannot read 'nowhere'"),
        (["--port", "x"], "REST_PORT: must be a whole number, from 1 to 65535, not 'x'"),
        (["--host", "192.0.2.1", "-s", "REST_TOKENS=tokens"], "REST_PORT: cannot listen on"),
        (["--tracker", "sqlite://"], "TRACKER: say which: sqlite:///FILE"),
        (["--tracker", "mysql://x"], "TRACKER: must be sqlite://, sqlite:///FILE, redis://"),
        (["-s", "REST_TLS_CERTFILE=nowhere"], "REST_TLS_CERTFILE: cannot use 'nowhere'"),
        (["-s", "REST_TLS_KEYFILE=nowhere"], "REST_TLS_CERTFILE: must be given with"),
        (["--new-token", "one", "all"], "REST_TOKENS: --new-token: the scope must be"),
    ],
)
def test_it_does_not_start_with_settings_that_make_no_sense(
    tmp_path: Path, flags: Sequence[str], problem: str
) -> None:
    (tmp_path / "tokens").write_text(new_token("one", "read")[1])
    port = [] if "--port" in flags else ["--port", str(free_ports(1)[0])]
    tracker = [] if "--tracker" in flags else ["--tracker", "sqlite:///crawl.db"]

    done = run_serve(*tracker, *port, *flags, folder=tmp_path)

    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"fleet serve: {problem}")


def test_a_port_that_another_has_is_named(tmp_path: Path) -> None:
    async def twice() -> None:
        async with serving(f"sqlite:///{tmp_path}/crawl.db") as served:
            port = str(served.settings["REST_PORT"])
            flags = ("--tracker", "sqlite:///crawl.db", "--port", port)
            done = await asyncio.to_thread(lambda: run_serve(*flags, folder=tmp_path))
            assert done.returncode == 2
            assert f"REST_PORT: cannot listen on 127.0.0.1 port {port}" in done.stderr

    asyncio.run(twice())


def test_a_token_is_made_on_the_command_line(tmp_path: Path) -> None:
    done = run_serve("--new-token", "ann", "operate", folder=tmp_path)

    assert done.returncode == 0
    name, scope, digest = done.stdout.split()
    assert (name, scope, len(digest)) == ("ann", "operate", 64)
    assert len(done.stderr.strip()) == 43
