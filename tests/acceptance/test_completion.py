"""`fleet completion` in the shells themselves."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.crawls import PATIENCE, environment, fleet
from tests.acceptance.terminals import in_terminal

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = {
    "bash": ["bash", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}
#: What is typed before TAB, and what it becomes: also for commands of the monitors.
TYPED = {
    "fleet comple": "fleet completion",
    "fleet tail --pat": "fleet tail --patience",
    "fleet dump --from-b": "fleet dump --from-beginning",
    "fleet alive red": "fleet alive redis-monitor",
}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Return a folder that has `fleet`."""
    program = tmp_path / "bin" / "fleet"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m crawling.cli "$@"\n')
    program.chmod(0o755)
    return program.parent


def need(shell: str) -> None:
    if shutil.which(shell) is None and not os.environ.get("CI"):
        pytest.skip(f"there is no {shell}")


@pytest.mark.parametrize("shell", COMMANDS)
def test_a_tab_completes_commands_and_options(
    shell: str, tmp_path: Path, program: Path
) -> None:
    need(shell)
    path = f"{program}{os.pathsep}{os.environ['PATH']}"
    with in_terminal(COMMANDS[shell], tmp_path, PATH=path, PS1="> ") as session:
        if shell == "zsh":
            session.press("autoload -Uz compinit; compinit -u -D\n")
        session.press('eval "$(fleet completion ' + shell + ')"; echo rea""dy\n')
        session.until_shown("ready")
        session.press("clear\n")
        session.until(lambda: not any("ready" in line for line in session.lines), "cleared")
        for typed, completed in TYPED.items():
            session.press(f"{typed}\t")
            # zsh lists an option that bash writes at once.
            session.until_shown(completed.split()[-1])
            # Ctrl-U: the line is not wanted.
            session.press("\x15")
        session.press("exit\n")
        session.end()


def test_fish_completes_commands_and_options(tmp_path: Path) -> None:
    need("fish")
    script = fleet("completion", "fish", cwd=tmp_path).stdout
    (tmp_path / "fleet.fish").write_text(script)

    for typed, completed in TYPED.items():
        words = f"source fleet.fish; complete -C {shlex.quote(typed)}"
        found = subprocess.run(
            ["fish", "--no-config", "-c", words],
            cwd=tmp_path,
            env=environment(HOME=str(tmp_path)),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=True,
        ).stdout
        assert completed.split()[-1] in found.split(), typed
