from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.integration.saving_under_a_limit import PAGES, random_body
from tests.pages import make_page
from tests.saved import TARGETS, bodies, complaints, saved

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("kind", TARGETS)
def test_a_full_disk_refuses_pages_and_takes_them_when_there_is_room(
    kind: str, tmp_path: Path
) -> None:
    target = tmp_path / kind
    answer = subprocess.run(
        [sys.executable, "-m", "tests.integration.saving_under_a_limit", f"{tmp_path}/{kind}"],
        stdout=subprocess.PIPE,
        check=True,
    )

    told = json.loads(answer.stdout)
    assert 0 < told["safe"] < PAGES
    assert set(told["refused"]) == {f"{target}: File too large"}
    expected = {make_page(number).requestid: random_body(number) for number in range(PAGES)}
    assert bodies(target) == expected
    assert len(saved(target)) == PAGES
    assert complaints(target) == ""
