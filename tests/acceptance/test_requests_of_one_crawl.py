"""Several requests of one crawl, each with what is its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from crawling.messages.crawl import submission
from crawling.messages.validation import load_schema
from kafka_monitor import settings as defaults
from tests.acceptance.crawls import ask, stop, until, worker
from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from crawling.tracker.tracker import Submission


def request(url: str, number: int) -> Submission:
    message = {
        "url": url,
        "appid": "testapp",
        "crawlid": "one",
        "maxdepth": 1,
        "attrs": {"number": number},
        "cookie": f"of={number}",
    }
    valid = load_schema("crawl", vars(defaults)).validate(message)
    return submission(valid, None, private_allowed=True)


def test_each_keeps_its_cookie_on_its_domain_and_its_attrs_for_its_pages(
    redis: Redis, redis_url: str, tmp_path: Path
) -> None:
    redis.ping()
    with small_site() as site:
        first, second = site.url("/1"), site.url("/2", host="127.0.0.9")
        there, here = site.url("/1/there", host="127.0.0.9"), site.url("/2/there")
        site.answers = {
            "/1": Answer(body=f'<a href="/1/here">x</a><a href="{there}">y</a>'.encode()),
            "/2": Answer(body=f'<a href="/2/here">x</a><a href="{here}">y</a>'.encode()),
            **{f"/{n}/{leaf}": Answer() for n in (1, 2) for leaf in ("here", "there")},
        }
        ask(
            redis_url,
            lambda tracker: tracker.submit_all([request(first, 1), request(second, 2)]),
        )
        settings = {"SAVERS": str(tmp_path / "pages.jsonl"), "ROBOTSTXT_OBEY": "0"}
        with worker(tmp_path, redis_url, **settings) as running:
            until(lambda: len(site.asked) >= 6, "six pages")
            assert stop(running) == 0

    cookies = {asked.path: asked.headers.get("Cookie") for asked in site.asked}
    assert cookies == {
        "/1": "of=1",
        "/1/here": "of=1",
        "/1/there": None,
        "/2": "of=2",
        "/2/here": "of=2",
        "/2/there": None,
    }
    lines = (tmp_path / "pages.jsonl").read_text("utf-8").splitlines()
    pages = [json.loads(line) for line in lines]
    assert len(pages) == 6
    assert all(f"/{page['attrs']['number']}" in page["url"] for page in pages)
