"""Commands of the docs' pages, run as they stand there beside a cluster of a test's own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.acceptance.crawls import PATIENCE, ROOT, background, until

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from subprocess import CompletedProcess, Popen

    from tests.acceptance.cluster import Cluster

#: What serves until SIGTERM.
SERVING = re.compile(r"(\w+=\S+ )*fleet (kafka-monitor|redis-monitor|worker|serve)\b(?!s)")


def blocks(page: str, kind: str) -> list[str]:
    """Return what the page's blocks of a *kind* hold."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    found = re.findall(r"^ *```(.*?)\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)
    return [content for each, content in found if each == kind]


def commands(page: str, kind: str = "console cluster") -> list[str]:
    """Return the lines of such blocks that begin with a `$`."""
    lines = [line.strip() for block in blocks(page, kind) for line in block.splitlines()]
    return [line[2:] for line in lines if line[:2] == "$ "]


@dataclass
class Reader:
    """Somebody who types a page's commands; *words* of it stand for what the test has."""

    cluster: Cluster
    folder: Path
    words: Mapping[str, str]
    serving: list[Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        program = self.folder / "bin" / "fleet"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m crawling.cli "$@"\n')
        program.chmod(0o755)

    def save_files(self, page: str, kind: str = "yaml") -> None:
        """Save the blocks whose first line is a comment with a file's name."""
        for text in blocks(page, kind):
            name = text.splitlines()[0].removeprefix("# ")
            (self.folder / name).write_text(self._own(text))

    def type(self, command: str, *, code: int = 0) -> str:
        """Run the command, to its end unless it serves; return what it printed."""
        if SERVING.match(command):
            self._serve(command)
            return ""
        done = self._run(command)
        assert done.returncode == code, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr if code else done.stdout

    def until_said(self, command: str, text: str) -> str:
        """Run the command again and again, until what it prints has the *text*."""
        return until(lambda: self._answer(command, text), f"{command} says {text!r}")

    def _answer(self, command: str, text: str) -> str:
        said = self._run(command).stdout
        return said if text in said else ""

    def _serve(self, command: str) -> None:
        line = ["sh", "-c", f"exec env {self._own(command)}"]
        process = background(line, self.folder, self._environment(), self.folder)
        self.serving.append(self.cluster.stack.enter_context(process))

    def _run(self, command: str) -> CompletedProcess[str]:
        return subprocess.run(
            self._own(command),
            shell=True,
            cwd=self.folder,
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )

    def _own(self, text: str) -> str:
        for word, own in {**self.words, "demo.": f"{self.cluster.prefix}."}.items():
            text = text.replace(word, own)
        return f"{text} --allow-private" if text.startswith("fleet crawl") else text

    def _environment(self) -> dict[str, str]:
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return {**self.cluster.environment(), "PATH": path}
