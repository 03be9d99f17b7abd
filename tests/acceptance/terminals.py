"""A command in a pseudo-terminal, with what somebody in front of it would see."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pyte

from tests.acceptance.crawls import PATIENCE, environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

Result = TypeVar("Result")
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*3[0-7](?:;\d+)*m")


class Session:
    """One command and its terminal; *written* is all that came to it."""

    def __init__(self, process: subprocess.Popen[bytes], terminal: int, size: Size) -> None:
        self.process = process
        self.written = b""
        self._terminal = terminal
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    def press(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
        set_size(self._terminal, (columns, lines))

    def until(self, condition: Callable[[], Result], what: str) -> Result:
        """Look at the terminal until the condition is true; return its answer."""
        deadline = time.monotonic() + PATIENCE
        while not (answer := condition()):
            assert time.monotonic() < deadline, "\n".join([what, *self.lines])
            self.look()
        return answer

    def until_shown(self, text: str) -> str:
        """Return the first line that has the text."""
        return self.until(
            lambda: next((line for line in self.lines if text in line), ""), f"{text!r} shown"
        )

    def row(self, name: str) -> list[str]:
        """Return the words of the line that begins with the name; none: it is not shown."""
        rows = [line.split() for line in self.lines]
        return next((words for words in rows if words[:1] == [name]), [])

    def look(self) -> None:
        if select.select([self._terminal], [], [], 0.1)[0]:
            new = os.read(self._terminal, 65536)
            self.written += new
            self._stream.feed(new)

    def is_as_before(self) -> bool:
        """Whether the terminal is what it was before the command."""
        entered, left = self.written.count(ENTER), self.written.count(LEAVE)
        is_cooked = termios.tcgetattr(self._terminal)[3] & termios.ICANON
        return bool(entered == left and is_cooked and not self._screen.cursor.hidden)

    def end(self) -> int:
        """Wait for the end, read all, and return the exit code."""
        self.until(lambda: self.process.poll() is not None, "the command ends")
        while select.select([self._terminal], [], [], 0.1)[0]:
            self.look()
        return self.process.returncode


Size = tuple[int, int]


def set_size(terminal: int, size: Size) -> None:
    columns, lines = size
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


@contextmanager
def in_terminal(
    command: Sequence[str], cwd: Path, *, size: Size = (80, 24), **settings: str
) -> Iterator[Session]:
    """Run a command in a terminal of *size*: columns and lines."""
    terminal, end = pty.openpty()
    set_size(terminal, size)
    env = {**environment(TERM="xterm-256color"), **settings}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        if not settings.get(name):
            env.pop(name, None)
    # `setsid` makes it the terminal of the command, to which Ctrl-C and resizing matter.
    process = subprocess.Popen(
        ["setsid", "--ctty", *command], stdin=end, stdout=end, stderr=end, cwd=cwd, env=env
    )
    try:
        yield Session(process, terminal, size)
    finally:
        process.kill()
        process.wait()
        os.close(end)
        os.close(terminal)
