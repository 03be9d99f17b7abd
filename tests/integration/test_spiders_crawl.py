"""One crawl per spider, by the command that users run, on a site that answers badly."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from tests.acceptance.crawls import ROOT, environment, fleet
from tests.servers.small_site import Answer, SmallSite, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CORPUS = ROOT / "tests" / "corpus" / "pages"
PNG = b"\x89PNG\r\n\x1a\n\0\xff<a href=/not-a-link>"


@pytest.fixture
def site() -> Iterator[SmallSite]:
    with small_site() as site:
        yield site


def html(body: str) -> Answer:
    return Answer(200, body.encode(), {"Content-Type": "text/html; charset=utf-8"})


def crawl(folder: Path, *arguments: str, code: int = 0) -> tuple[dict[str, Any], list[Any]]:
    """Return the summary of a crawl and its pages."""
    done = fleet(
        "crawl",
        *arguments,
        *("--allow-private", "--ignore-robots", "--hits", "0", "--json"),
        *("--save", "pages.jsonl"),
        cwd=folder,
        code=code,
    )
    pages = (folder / "pages.jsonl").read_text().splitlines()
    return json.loads(done.stdout.splitlines()[-1]), [json.loads(page) for page in pages]


def body_of(page: dict[str, Any]) -> bytes:
    if page["body_encoding"] == "base64":
        return b64decode(page["body"])
    return str(page["body"]).encode(page["encoding"])


def test_the_link_spider_saves_every_page_whatever_is_in_it(
    site: SmallSite, tmp_path: Path
) -> None:
    bodies = {f"/{page.name}": page.read_bytes() for page in CORPUS.iterdir()}
    site.answers = {path: Answer(200, body) for path, body in bodies.items()}
    site.answers["/codec"] = Answer(200, b"<p>x", {"Content-Type": "text/html; charset=idna"})
    site.answers["/image"] = Answer(200, PNG, {"Content-Type": "image/png"})
    site.answers["/json"] = Answer(200, b"{}", {"Content-Type": "application/json"})
    site.answers["/moved"] = Answer(302, b"", {"Location": "/target"})
    site.answers["/target"] = html("there")
    links = [*site.answers, "/missing", "file:///etc/passwd", "mailto:x@example.com"]
    site.answers["/"] = html("".join(f"<a href='{link}'>{link}</a>" for link in links))

    summary, pages = crawl(tmp_path, site.url("/"), "--depth", "1")

    saved = {page["url"].removeprefix(site.url("")): page for page in pages}
    assert {path: body_of(saved[path]) for path in bodies} == bodies
    assert body_of(saved["/image"]) == PNG
    assert saved["/image"]["encoding"] is None
    assert saved["/codec"]["encoding"] == "utf-8"
    assert saved.keys() == {"/", "/missing", *site.answers} - {"/moved"}
    assert (saved["/missing"]["status_code"], saved["/missing"]["status_msg"]) == (
        404,
        "Not Found",
    )
    assert saved["/target"]["requested_url"] in {site.url("/moved"), site.url("/target")}
    assert summary["failed"] == 0
    assert summary["reasons"]["scheme"] >= 1


def test_the_page_message_lists_all_links_at_the_maximum_depth_too(
    site: SmallSite, tmp_path: Path
) -> None:
    site.answers["/"] = html("<a href=/x> X </a><a href='http://other.example/'>O</a>")

    summary, pages = crawl(
        tmp_path, site.url("/"), "--depth", "0", "--allowed-domain", "127.0.0.1"
    )

    assert pages[0]["links"] == [
        {"text": " X ", "url": site.url("/x")},
        {"text": "O", "url": "http://other.example/"},
    ]
    assert summary["reasons"] == {"depth": 1, "offsite": 1}


def test_a_redirected_page_tells_the_way_that_it_went(site: SmallSite, tmp_path: Path) -> None:
    site.answers["/a"] = Answer(301, b"", {"Location": "/b"})
    site.answers["/b"] = Answer(302, b"", {"Location": "/c"})
    site.answers["/c"] = html("here")

    _summary, [page] = crawl(tmp_path, site.url("/a"))

    assert (page["requested_url"], page["url"]) == (site.url("/a"), site.url("/c"))
    assert page["redirects"] == [site.url("/a"), site.url("/b")]


def test_the_simple_spider_follows_what_its_pattern_matches(
    site: SmallSite, tmp_path: Path
) -> None:
    site.answers["/"] = html("<a href=/no>no</a> see /doc/1 and /doc/2?a=1&amp;b=2")
    site.answers["/doc/1"] = Answer(200, b"/doc/3", {"Content-Type": "text/plain"})

    _summary, pages = crawl(
        tmp_path, site.url("/"), "--spider", "simple", "--link-regex", r"(/doc/\S+?)(?:\s|<|$)"
    )

    assert {page["url"] for page in pages} == {
        site.url(path) for path in ("/", "/doc/1", "/doc/2?a=1&b=2", "/doc/3")
    }


def test_the_id_spider_discovers_ids(site: SmallSite, tmp_path: Path) -> None:
    site.answers["/item?id=a%2F1"] = html("next: #b, #c <a href=/no>no</a>")
    site.answers["/item?id=b"] = html("next: #c, #d")

    _summary, pages = crawl(
        tmp_path,
        *("a/1", "--spider", "id", "--id-regex", r"#(\w+)"),
        *("--download-url-fmt", site.url("/item?id={id}"), "--depth", "1"),
    )

    assert sorted(page["url"].partition("=")[2] for page in pages) == ["a%2F1", "b", "c"]


def test_a_walk_goes_one_link_at_a_time_beyond_the_maximum_depth(
    site: SmallSite, tmp_path: Path
) -> None:
    for step in range(5):
        site.answers[f"/{step}"] = html(f"<a href=/{step + 1}a>a</a><a href=/{step + 1}b>b</a>")
        for twin in "ab":
            site.answers[f"/{step}{twin}"] = site.answers[f"/{step}"]

    _summary, pages = crawl(tmp_path, site.url("/0"), "--spider", "wandering", "--depth", "1")

    steps = [(page["attrs"]["step"], page["depth"], page["links"]) for page in pages]
    assert steps == [(step, 0, []) for step in range(6)]
    assert len(site.paths()) == 6


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        (("--spider", "simple"), "link_regex"),
        (("--spider", "id", "--id-regex", "x"), "download_url_fmt"),
        (("--deny", "(?=a)"), "deny_regex"),
    ],
)
def test_a_crawl_that_its_spider_cannot_serve_is_refused_before_it_starts(
    arguments: tuple[str, ...], missing: str, tmp_path: Path
) -> None:
    refused = fleet("crawl", "http://example.com/", *arguments, cwd=tmp_path, code=2)

    assert missing in refused.stderr


def test_the_spider_of_the_how_to_works_as_printed(site: SmallSite, tmp_path: Path) -> None:
    text = (ROOT / "docs" / "howto" / "write_a_spider.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    (tmp_path / "news.py").write_text(code)
    site.answers["/"] = html("<title>N</title><a href=/news/1>1</a><a href=/old/1>2</a>")

    _summary, pages = crawl(tmp_path, site.url("/"), "--spider", "news:NewsSpider")

    assert {page["url"] for page in pages} == {site.url("/"), site.url("/news/1")}


def test_the_installed_command_finds_a_spider_in_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from crawling.spiders.simple_spider import SimpleSpider as Mine\n"
    )
    # What pip makes of a console script: Python then looks for modules beside it.
    script = tmp_path / "bin" / "fleet"
    script.parent.mkdir()
    script.write_text("from crawling.cli import main\nmain()\n")

    done = subprocess.run(
        [sys.executable, str(script), "crawl", "http://example.com/", "--spider", "mine:Mine"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr.partition(" ")[0]) == (2, "fleet:")
    assert "link_regex" in done.stderr


def test_a_spider_that_breaks_over_its_links_has_saved_the_page(
    site: SmallSite, tmp_path: Path
) -> None:
    (tmp_path / "broken.py").write_text(
        "from crawling.spiders.link_spider import LinkSpider\n"
        "class Broken(LinkSpider):\n"
        "    name = 'broken'\n"
        "    def find_links(self, response):\n"
        "        raise ZeroDivisionError('on purpose')\n"
    )
    site.answers["/"] = html("precious")

    summary, pages = crawl(tmp_path, site.url("/"), "--spider", "broken:Broken", code=1)

    assert [page["body"] for page in pages] == ["precious"]
    assert summary["reasons"] == {"spider_error": 1}
