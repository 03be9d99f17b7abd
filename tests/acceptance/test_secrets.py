"""Passwords, cookies and Authorization: in no log, no status, no message of an error."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from crawling.messages.crawl import submission
from crawling.messages.validation import load_schema
from kafka_monitor import settings as monitor
from tests.acceptance.cluster import cluster
from tests.acceptance.crawls import ask, fleet, running_fleet, until
from tests.chaos.arena import durable_redis
from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.small_site import Asked

SECRETS = {
    "redis": "pass-of-redis",
    "pages": "pass-of-pages",
    "cookie": "value-of-cookie",
    "cookies": "value-of-cookies",
    "authorization": "value-of-authorization",
    "userinfo": "pass-of-userinfo",
}


def leaked(text: str) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret in text]


def test_no_log_and_no_answer_tells_a_secret(
    tmp_path: Path, kafka_hosts: str, topic_prefix: str
) -> None:
    with durable_redis(tmp_path / "redis") as redis, durable_redis(tmp_path / "pages") as pages:
        for server, secret in ((redis, "redis"), (pages, "pages")):
            with server.client() as client:
                client.config_set("requirepass", SECRETS[secret])
        tracker = f"redis://:{SECRETS['redis']}@127.0.0.1:{redis.port}/0"
        settings = {
            "SC_LOG_LEVEL": "DEBUG",
            "SC_LOG_JSON": "1",
            "LOG_JSON": "1",
            "LOG_LEVEL": "DEBUG",
            "SAVERS": f"redis://:{SECRETS['pages']}@127.0.0.1:{pages.port}/0",
            "RETRY_TIMES": "1",
            "STATS_DUMP": "1",
        }
        with (
            small_site() as site,
            cluster(kafka_hosts, topic_prefix, tracker, tmp_path, **settings) as running,
        ):
            site.answers = {
                "/": Answer(body=b'<a href="/a">a</a> <a href="/broken">b</a>'),
                "/a": Answer(body=b"<p>a</p>"),
                "/broken": Answer(500),
            }
            running.make_topics(partitions=1)
            for start in (running.kafka_monitor, running.redis_monitor, running.worker):
                start()
            replies = running.listen("outbound", "failed")
            request = {
                "url": site.url("/"),
                "appid": "app",
                "crawlid": "c1",
                "maxdepth": 1,
                "cookie": f"session={SECRETS['cookie']}",
                "cookies": {"own": SECRETS["cookies"]},
                "headers": {"Authorization": SECRETS["authorization"]},
            }
            # Refused: neither the log nor the answer repeats what is in it.
            running.feed(
                request,
                {**request, "maxdepth": "deep"},
                {**request, "url": f"http://user:{SECRETS['userinfo']}@127.0.0.1/"},
                {**request, "cookie": SECRETS["cookie"]},
                {**request, "cookies": [SECRETS["cookies"]]},
                {**request, "headers": {"Authorization": SECRETS["authorization"] + "\0"}},
            )
            running.feed({"action": "info", "uuid": "u", "appid": "app", "spiderid": "link"})
            replies.until(
                lambda got: (
                    {"finished"} <= {each.get("action") for each in got}
                    and any(each.get("uuid") == "u" for each in got)
                ),
                "the crawl ends",
            )
            pages.kill()
            running.feed({**request, "crawlid": "c3"})
            until(lambda: "down" in said(tmp_path), "the output is down")
            asked = "".join(
                fleet(*command, "--tracker", tracker, cwd=tmp_path).stdout
                for command in (
                    ("status",),
                    ("status", "--json"),
                    ("status", "--crawlid", "c3"),
                    ("workers",),
                    ("domains",),
                    ("audit",),
                )
            )

        log = said(tmp_path)
        assert "Added crawl to Redis" in log
        assert "c3" in asked
        assert "/broken" in log
        assert leaked(log + asked) == []
        told = [each for each in replies.received if each.get("action") or each.get("uuid")]
        assert leaked(str(told)) == []


def said(folder: Path) -> str:
    return "".join(path.read_text() for path in folder.glob("stderr-*.txt"))


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "--tracker", "redis://:pass-of-redis@127.0.0.1:1/0"),
        ("status", "--tracker", "redis://:pass-of-redis@127.0.0.1:port/0"),
        ("status", "--tracker", "http://:pass-of-redis@127.0.0.1/"),
        (
            "crawl",
            "http://127.0.0.1:1/",
            "--allow-private",
            "--save",
            "redis://:pass-of-pages@127.0.0.1:1/0",
        ),
        ("crawl", "http://127.0.0.1:1/", "--save", "redis://:pass-of-pages@127.0.0.1:port/0"),
        ("crawl", "http://127.0.0.1:1/", "--save", "ftp://:pass-of-pages@127.0.0.1/x"),
        ("crawl", "http://127.0.0.1:1/", "--tracker", "redis+x://:pass-of-redis@127.0.0.1/0"),
        ("crawl", "http://127.0.0.1:1/", "--cookie", "value-of-cookie"),
        ("crawl", "http://user:pass-of-userinfo@127.0.0.1/", "--allow-private"),
    ],
)
def test_no_error_tells_a_secret(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code = 1 if ":1/0" in arguments[-1] else 2

    refused = fleet(*arguments, cwd=tmp_path, code=code)

    assert refused.stderr
    assert leaked(refused.stdout + refused.stderr) == []


def test_the_command_that_goes_on_does_not_tell_a_secret(tmp_path: Path) -> None:
    links = "".join(f'<a href="/p{number}">x</a>' for number in range(100))
    with small_site() as site, durable_redis(tmp_path / "redis") as server:
        with server.client() as client:
            client.config_set("requirepass", SECRETS["redis"])
        site.answers = {"/": Answer(body=links.encode())}
        command = (
            *("crawl", site.url("/"), "--allow-private", "--ignore-robots", "--hits", "5"),
            *("--tracker", f"redis://:{SECRETS['redis']}@127.0.0.1:{server.port}/0"),
            *("--cookie", f"session={SECRETS['cookie']}", "--crawlid", "c1"),
        )
        with running_fleet(*command, cwd=tmp_path) as process:
            until(lambda: len(site.asked) > 3, "the crawl runs")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 130

    log = said(tmp_path)
    assert "to go on: fleet crawl " in log
    assert f"redis://…@127.0.0.1:{server.port}/0" in log
    assert leaked(log) == []


def test_authorization_stays_with_its_request_and_domain(tmp_path: Path) -> None:
    """Neither a redirect to another domain nor a link, there or here, takes it along."""
    seen: dict[str, str | None] = {}
    with small_site() as site:
        links = f'<a href="/here">x</a> <a href="{site.url("/there", "127.0.0.2")}">x</a>'

        answers = {
            "/": Answer(302, headers={"Location": "/next"}),
            "/next": Answer(body=links.encode()),
            "/here": Answer(),
            "/there": Answer(),
            "/away": Answer(302, headers={"Location": site.url("/far", "127.0.0.2")}),
            "/far": Answer(body=links.encode()),
            "/start": Answer(),
        }

        def reply(asked: Asked) -> Answer:
            seen[asked.path] = asked.headers.get("Authorization")
            return answers[asked.path]

        site.answers = dict.fromkeys(answers, reply)
        database = f"sqlite:///{tmp_path}/crawl.db"
        for path in ("/", "/away"):
            submit_with_authorization(database, site.url(path))
        fleet(
            *("crawl", site.url("/start"), "--tracker", database, "--crawlid", "c1"),
            *("--allow-private", "--ignore-robots", "--hits", "0", "--quiet"),
            cwd=tmp_path,
        )

    secret = SECRETS["authorization"]
    assert seen == {
        "/": secret, "/next": secret, "/away": secret,
        "/far": None, "/here": None, "/there": None, "/start": None,
    }  # fmt: skip


def submit_with_authorization(tracker: str, url: str) -> None:
    """Submit what a client's crawl request with a header asks for."""
    request = {
        "url": url,
        "appid": "fleet",
        "crawlid": "c1",
        "maxdepth": 2,
        "headers": {"Authorization": SECRETS["authorization"]},
    }
    valid = load_schema("crawl", vars(monitor)).validate(request)
    made = submission(valid, None, private_allowed=True)
    ask(tracker, lambda opened: opened.submit(made.crawl, made.offers, made.options))
