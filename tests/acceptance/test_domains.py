"""`fleet domains`, `fleet prioritize` and `fleet retry --domain`, on SQLite and on Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crawling.tracker.tracker import CrawlId
from tests.acceptance.crawls import ask, fleet, fleet_json
from tests.integration.tracking import offers

if TYPE_CHECKING:
    from pathlib import Path

CRAWL = CrawlId("link", "fleet", "c1")
SETTINGS = """
domains:
  x.com: {hits: 10, window: 60, scale: 0.5}
  Y.com: {hits: 600, window: 60.5}
blacklist: [bad.com]
"""


@pytest.fixture(params=["sqlite", "redis"])
def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'crawl.db'}"
    else:
        request.getfixturevalue("redis")
        url = str(request.getfixturevalue("redis_url"))
    ask(url, lambda opened: opened.submit(CRAWL, offers(3, "x.com")))
    return url


def test_a_file_of_settings_replaces_what_was_set(tracker: str, tmp_path: Path) -> None:
    (tmp_path / "first.yml").write_text(SETTINGS)
    (tmp_path / "second.yml").write_text("domains: {x.com: {hits: 1, window: 2}}\n")
    where = ("--tracker", tracker)

    dry = fleet("domains", *where, "--dry-run", "apply", "first.yml", cwd=tmp_path).stdout
    assert fleet_json("domains", *where, cwd=tmp_path)["settings"] == []
    said = fleet("domains", *where, "apply", "first.yml", cwd=tmp_path).stdout
    again = fleet("domains", *where, "apply", "first.yml", cwd=tmp_path).stdout

    assert dry == said
    assert said.splitlines() == [
        "bad.com  blocked",
        "x.com  10 hits in 60 s, scaled by 0.5",
        "y.com  600 hits in 60.5 s",
    ]
    assert again == "nothing to change\n"
    fleet("domains", *where, "apply", "second.yml", cwd=tmp_path)
    listed = fleet("domains", *where, cwd=tmp_path).stdout
    assert listed == "x.com  queued 3  in flight 0\nx.com  1 hits in 2 s\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "domains: {x.com: {hits: 0, window: 1}}",
            "domains.x.com.hits: must be a whole number",
        ),
        ("domains: {x.com: {hits: 1.5, window: 1}}", "domains.x.com.hits: must be a whole"),
        (
            "domains: {x.com: {hits: 1}}",
            "domains.x.com.window: must be a number above 0, not None",
        ),
        (
            "domains: {x.com: {hits: 1, window: 1, scale: 2}}",
            "domains.x.com.scale: must be at most 1",
        ),
        (
            "domains: {x.com: 7}",
            "domains.x.com: must have hits, window and perhaps scale, not 7",
        ),
        ("domains: [x.com]", "domains: must map domains to hits and window"),
        (
            "blacklist: [www.x.com]",
            "blacklist: must be a registered domain, here x.com, not 'www.x.com'",
        ),
        ("blacklist: {a: b}", "blacklist: must be a list of domains"),
        ("blacklist: ['a b']", "blacklist: must be domains such as example.com, not 'a b'"),
        ("black: []", "FILE: 'f.yml' must have `domains` and `blacklist` alone"),
        ("a: [", "FILE: 'f.yml' is no YAML"),
        ("!!python/object/apply:os.system ['true']", "FILE: 'f.yml' is no YAML"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(
    text: str, said: str, tmp_path: Path
) -> None:
    (tmp_path / "f.yml").write_text(text)
    url = f"sqlite:///{tmp_path / 'crawl.db'}"
    ask(url, lambda opened: opened.crawls())

    [line] = fleet(
        "domains", "--tracker", url, "apply", "f.yml", cwd=tmp_path, code=2
    ).stderr.splitlines()

    assert line.startswith(f"fleet: {said}")


def test_a_crawl_is_raised_and_its_failures_retried_by_domain(
    tracker: str, tmp_path: Path
) -> None:
    where = ("--tracker", tracker, "--crawlid", "c1")

    assert fleet("prioritize", *where, "20", cwd=tmp_path).stdout == "c1: counts +20\n"
    assert ", counts +20\n" in fleet("status", *where, cwd=tmp_path).stdout
    retried = fleet("retry", *where, "--domain", "x.com", cwd=tmp_path).stdout

    assert retried == "c1: 0 requests queued again\n"
    queued = ask(tracker, lambda opened: opened.queued(CRAWL))
    assert [tuple(each) for each in queued] == [("x.com", 3, 90, 90)]
    fleet("prioritize", *where, "101", cwd=tmp_path, code=2)
