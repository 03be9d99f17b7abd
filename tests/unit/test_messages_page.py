from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_reference_of_messages_is_that_of_the_schemas() -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "make-messages-page"],
        capture_output=True,
        check=True,
        timeout=30,
    ).stdout.decode("utf-8")

    page = (ROOT / "docs" / "reference" / "messages.md").read_text("utf-8")
    assert page == made, "tools/make-messages-page > docs/reference/messages.md"
