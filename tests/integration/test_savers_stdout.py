from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.pages import make_page

if TYPE_CHECKING:
    from pathlib import Path

SAVE = """
import asyncio, sys
from crawling.exceptions import OutputClosed
from crawling.savers.targets import make_saver
from tests.pages import make_page

async def main(count):
    saver = make_saver("-")
    await saver.open()
    try:
        await asyncio.gather(*(saver.save(make_page(n)) for n in range(count)))
    except OutputClosed as error:
        sys.exit(f"stopped: {error}")
    finally:
        await saver.close()

asyncio.run(main(int(sys.argv[1])))
"""


def command(count: int) -> list[str]:
    return [sys.executable, "-c", SAVE, str(count)]


def test_standard_output_has_one_line_for_each_page_and_nothing_else() -> None:
    answer = subprocess.run(command(50), capture_output=True, check=True)

    pages = [json.loads(line) for line in answer.stdout.splitlines()]
    assert pages == [make_page(number).to_json() for number in range(50)]
    assert answer.stderr == b""


def test_standard_output_may_be_a_file(tmp_path: Path) -> None:
    with (tmp_path / "out").open("w") as file:
        subprocess.run(command(3), stdout=file, check=True)

    assert len((tmp_path / "out").read_text().splitlines()) == 3


def test_a_reader_that_goes_away_is_said_in_one_line() -> None:
    process = subprocess.Popen(
        command(2000), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None

    process.stdout.readline()
    process.stdout.close()

    said = process.stderr.read()
    process.stderr.close()
    assert said == "stopped: standard output: nobody reads it any more\n"
    assert process.wait() == 1
