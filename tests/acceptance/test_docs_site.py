"""`make docs`: the docs as a site."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


class Parts(HTMLParser):
    """What a page makes its reader's browser ask for, and its text outside of code."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.text: list[str] = []
        self._code = 0
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._code += tag in {"code", "script", "style"}
        if tag != "a":
            self.asked += [value for name, value in attrs if name in {"src", "href"} and value]

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in {"code", "script", "style"}

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.text.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build("--strict", "--site-dir", str(folder))
    assert done.returncode == 0, done.stderr
    return folder


def build(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", *args],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = [page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md")]

    assert len(pages) > 20
    for page in pages:
        name = "index.html" if page.name == "README.md" else f"{page.stem}.html"
        assert (site / page.parent / name).exists(), page


def test_the_site_asks_no_third_party(site: Path) -> None:
    pages = list(site.rglob("*.html"))

    assert pages
    for page in pages:
        asked = Parts(page).asked
        assert any(each.endswith(".css") for each in asked), page
        assert not [each for each in asked if re.match("(https?:)?//", each)], page
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", style.read_text("utf-8")), style


def test_the_site_shows_what_a_code_host_shows(site: Path) -> None:
    """Blocks, lists and tables that MkDocs did not see would stand in the text as they are."""
    for page in site.rglob("*.html"):
        text = "".join(Parts(page).text)
        assert "```" not in text, page
        assert not re.search(r"^\s*\|.*\|\s*$", text, re.MULTILINE), page
        assert not re.search(r"\S\n[-*] \w", text), page
        assert not re.search(r"\]\(\S+\)", text), page
        assert not re.search(r"<code>[^<]*\\\|", page.read_text("utf-8")), page
