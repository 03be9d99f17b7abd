"""The help of commands, and what the reference says of them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from crawling.cli import make_parser, run, whole_parser
from crawling.service.usage import EXAMPLES, EXIT_CODES, subparsers_of

REFERENCE = (Path(__file__).parents[2] / "docs" / "reference" / "commands.md").read_text(
    "utf-8"
)
COMMANDS = sorted(subparsers_of(make_parser()))


def table(heading: str) -> dict[str, list[str]]:
    """Return the rows of the first table below a heading, by their first cell."""
    part = re.split(rf"^#+ {re.escape(heading)}$", REFERENCE, flags=re.MULTILINE)[1]
    lines = part.partition("\n## ")[0].splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in rows}


def test_the_reference_has_the_exit_codes() -> None:
    codes = table("Exit codes")

    assert {int(code): text for code, [text] in codes.items()} == EXIT_CODES


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_each_command(name: str) -> None:
    headings = "\n".join(re.findall("^## (.+)$", REFERENCE, re.MULTILINE))

    assert re.search(rf"`(fleet )?{re.escape(name)}[ `]", headings)


def test_each_command_has_examples_and_no_other_has() -> None:
    assert sorted(EXAMPLES) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_examples_that_are_understood(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run([name, "--help"])
    shown = capsys.readouterr().out

    assert ended.value.code == 0
    for example in EXAMPLES[name]:
        assert f"\n  {example}\n" in shown
        command = re.sub(r'^eval "\$\((.*)\)"$', r"\1", example).partition(" > ")[0]
        program, *words = shlex.split(command)
        assert program == "fleet"
        # `fleet dump list` is another command.
        if words[:2] != ["dump", "list"]:
            whole_parser().parse_args(words)


def test_help_of_all_ends_with_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(["--help"])

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(maxsplit=1) for line in lines[-4:]] == [
        [str(code), text] for code, text in EXIT_CODES.items()
    ]
