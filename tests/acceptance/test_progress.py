"""What a person at a terminal sees, and what a log gets."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING

from tests.acceptance.crawls import environment, fleet, fleet_command
from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.small_site import SmallSite


def options(site: SmallSite) -> list[str]:
    return ["crawl", site.url("/"), "--allow-private", "--ignore-robots", "--hits", "4"]


def many_pages(site: SmallSite) -> None:
    links = "".join(f'<a href="/p{n}">x</a>' for n in range(12))
    site.answers = {"/": Answer(body=links.encode())}


def test_a_terminal_shows_a_live_line_with_pages_rate_queue_and_domains(tmp_path: Path) -> None:
    with small_site() as site:
        many_pages(site)
        shown = on_terminal(fleet_command(*options(site)), tmp_path)

    assert re.search(r"\d+ pages \(\d+\.\d/s, [\d.]+ k?B\), \d+ queued, \d+ in flight", shown)
    assert "longest queues: 127.0.0.1" in shown
    assert "Traceback" not in shown
    assert re.search(r"finished after [\d.]+ s: 13 pages", shown)


def test_without_a_terminal_there_is_no_control_character(tmp_path: Path) -> None:
    with small_site() as site:
        many_pages(site)
        said = fleet(*options(site), cwd=tmp_path).stderr

    assert "\x1b" not in said
    assert re.search(r"^Crawl \S+ finished after [\d.]+ s: 13 pages", said, re.MULTILINE)


def test_quiet_says_nothing(tmp_path: Path) -> None:
    with small_site() as site:
        many_pages(site)
        done = fleet(*options(site), "--quiet", cwd=tmp_path)

    assert (done.stdout, done.stderr) == ("", "")


def on_terminal(command: list[str], folder: Path) -> str:
    """Return what *command* writes to the terminal that it is given."""
    reader, terminal = pty.openpty()
    with subprocess.Popen(
        command, cwd=folder, env=environment(COLUMNS="200"), stderr=terminal, stdout=terminal
    ):
        os.close(terminal)
        shown = b""
        try:
            while part := os.read(reader, 65536):
                shown += part
        except OSError:
            # Linux says EIO when the last writer has closed the terminal.
            os.close(reader)
    return shown.decode()
