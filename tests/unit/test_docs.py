"""What can be checked of the docs without running their commands."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

import pytest

from crawling.messages.page import Page
from tests.mutations.bugs import BUGS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")),
    *sorted(DOCS.rglob("*.md")),
]
#: Rows of a table, as far as their first cell goes.
ROW = re.compile(r"^\| (`[^|]*`) \|", re.MULTILINE)


def links(page: Path) -> list[str]:
    """Return the relative links of a page."""
    found = re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8"))
    return [link for link in found if "://" not in link]


def anchors(page: Path) -> set[str]:
    """Return what GitHub calls the headings of a page."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page

        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_index_has_every_page() -> None:
    index = DOCS / "README.md"
    indexed = {(DOCS / link).resolve() for link in links(index)}

    assert not set(DOCS.rglob("*.md")) - {index} - indexed


def test_the_reference_of_pages_has_their_keys() -> None:
    page = Page("", "", "", "", "", "", "", 200, "", b"", "")
    text = (DOCS / "reference" / "pages.md").read_text("utf-8")
    table = text.split("by `KAFKA_OVERSIZE`:")[0]

    keys = set(chain(*(re.findall(r"`(\w+)`", cell) for cell in ROW.findall(table))))

    assert keys == set(page.to_json())


def test_the_promise_of_delivery_has_the_table_of_the_soak() -> None:
    soak = (DOCS / "reference" / "soak.md").read_text()
    promise = (DOCS / "explanation" / "delivery.md").read_text()
    rows = [line for line in soak.splitlines() if line.startswith("| ")]

    assert len(rows) > 28
    assert "\n".join(rows) in promise


def test_contributing_lists_the_deliberate_bugs() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    listed = re.findall(
        "^- (.+)$", text.partition("## Deliberate bugs")[2].partition("##")[0], re.MULTILINE
    )

    assert listed == [bug.name for bug in BUGS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_test_that_is_named_is_there(page: Path) -> None:
    for name in re.findall(r"`(tests/[\w/]+(?:\.py)?)`", page.read_text("utf-8")):
        assert (ROOT / name).exists()
