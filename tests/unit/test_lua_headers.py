from __future__ import annotations

import re
from importlib.resources import files

import pytest

from crawling.tracker.scripts import PARTS, read_part, read_script

ARGUMENT = re.compile(r"(?:KEYS|ARGV)\[\d+\]")


@pytest.mark.parametrize("operation", PARTS)
def test_the_headers_of_a_script_list_every_key_and_argument(operation: str) -> None:
    script = read_script(operation)
    headers = "".join(re.findall(r"--\[\[.*?\]\]", script, re.DOTALL))
    # The first "]]" of a header is its end, so what an index leaves behind is no matter.
    bodies = "".join(_body(part) for part in PARTS[operation])

    assert set(ARGUMENT.findall(headers)) == set(ARGUMENT.findall(bodies))


@pytest.mark.parametrize("operation", PARTS)
def test_an_operation_says_what_it_returns_if_it_returns_something(operation: str) -> None:
    header, body = read_part(PARTS[operation][-1]).split("\n]]\n", 1)

    assert ("\nReturns  " in header) == bool(re.search(r"^return ", body, re.MULTILINE))


def test_every_file_begins_with_a_header_and_is_part_of_a_script() -> None:
    folder = files("crawling.tracker") / "lua"
    there = {file.name.removesuffix(".lua") for file in folder.iterdir()}

    assert there == {part for parts in PARTS.values() for part in parts}
    assert all(read_part(name).startswith("--[[\n") for name in there)


def _body(part: str) -> str:
    return read_part(part).split("\n]]\n", 1)[1]
