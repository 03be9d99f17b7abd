"""A Redis that comes back without the last moment, as after a failover, loses no page."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.crawls import status_of, submit, until, worker
from tests.servers.redis_fleets import answers, redis_alone
from tests.servers.small_site import Answer, Asked, small_site

if TYPE_CHECKING:
    from pathlib import Path

LINKS = [f"/{number}" for number in range(5)]
HTML = {"Content-Type": "text/html"}


@pytest.mark.usefixtures("redis")
def test_links_that_redis_has_lost_are_offered_again(tmp_path: Path) -> None:
    """The worker that had offered them is still there, and meets them once more."""
    may_answer = threading.Event()

    def start(_: Asked) -> Answer:
        may_answer.wait(60)
        return Answer(
            body="".join(f"<a href='{link}'>x</a>" for link in LINKS).encode(), headers=HTML
        )

    with redis_alone(tmp_path / "redis") as server:
        url = f"redis://127.0.0.1:{server.port}/0"
        with small_site() as site, worker(tmp_path, url, LEASE_TIMEOUT="3"):
            site.answers = {"/": start, **{link: Answer(headers=HTML) for link in LINKS}}
            submit(url, "c1", site.url("/"))
            until(lambda: "/" in site.paths(), "the first page is asked for")
            server.client().save()
            may_answer.set()
            until(lambda: status_of(url, "c1").state == "finished", "the crawl ends")
            server.kill()
            server.start()
            until(lambda: answers(server), "Redis is back")

            until(lambda: site.paths().count("/") == 2, "the first page is fetched again")
            until(lambda: status_of(url, "c1").state == "finished", "the crawl ends again")
            status = status_of(url, "c1")

    assert (status.done, status.duplicates) == (1 + len(LINKS), 0)
