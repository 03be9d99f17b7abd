"""The terminal of `fleet top`: its keys, its screen, and how it was before."""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
import tty
from contextlib import suppress
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live

from crawling.exceptions import ConfigError

if TYPE_CHECKING:
    from typing import Any

    from rich.console import RenderableType

#: What terminals send for keys that are no letters.
_NAMES = {
    "\x1b[A": "up", "\x1bOA": "up", "k": "up",
    "\x1b[B": "down", "\x1bOB": "down", "j": "down",
    "\x1b[5~": "page up", "\x1b[6~": "page down", " ": "page down",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "g": "home",
    "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end", "G": "end",
    "\t": "tab",
}  # fmt: skip
_KEY = re.compile(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Za-z]|.", re.DOTALL)


class Terminal:
    """The alternate screen, with keys as they are pressed, from `enter` to `leave`."""

    def __init__(self) -> None:
        self.console = Console()
        self.keyboard = sys.stdin.fileno()
        self._before: list[Any] = []
        self._live: Live | None = None

    @staticmethod
    def check() -> None:
        """Raise `ConfigError` where nothing can be shown and no key can be pressed."""
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            raise ConfigError(
                "fleet top",
                "standard input and output must be a terminal; "
                "`fleet status --json` is for programs",
            )
        if os.environ.get("TERM", "dumb") in {"dumb", "unknown"}:
            raise ConfigError("TERM", "must name a terminal that has a screen, such as xterm")

    def enter(self) -> None:
        self._before = termios.tcgetattr(self.keyboard)
        tty.setcbreak(self.keyboard)
        self._live = Live(
            console=self.console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def leave(self) -> None:
        # A terminal that is gone takes nothing back.
        if self._live is not None:
            with suppress(OSError):
                self._live.stop()
        self._live = None
        with suppress(termios.error):
            termios.tcsetattr(self.keyboard, termios.TCSADRAIN, self._before)

    def show(self, renderable: RenderableType) -> None:
        if self._live is not None:
            self._live.update(renderable, refresh=True)

    def suspend(self) -> None:
        """Give the terminal back to the shell until the process is continued: Ctrl-Z."""
        self.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self.enter()

    def keys(self) -> list[str] | None:
        """Return the keys that were pressed, None when the terminal is gone."""
        try:
            pressed = os.read(self.keyboard, 1024).decode("utf-8", "replace")
        except OSError:
            return None
        return [_NAMES.get(key, key) for key in _KEY.findall(pressed)] if pressed else None
