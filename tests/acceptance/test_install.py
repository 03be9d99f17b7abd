"""What a new user does: install into a fresh environment, then the docs' own commands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.servers.small_site import Answer, small_site

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
#: The site in the docs; the tests serve one on loopback in its place.
DOCS_SITE = "https://example.com"


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Return the URL of a small site with three pages."""
    pages = {
        "/": b'<a href="/about.html">About</a> <a href="/gone">Gone</a>',
        "/about.html": b'<a href="/">Home</a> <a href="/news.html">News</a>',
        "/news.html": b"<p>No news</p>",
    }
    html = {"Content-Type": "text/html"}
    with small_site() as running:
        running.answers = {path: Answer(200, body, html) for path, body in pages.items()}
        yield running.url("")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bin folder of a fresh environment, installed from this checkout's sdist.

    pip makes a wheel of the sdist: a file that either lacks is missing.
    """
    folder = tmp_path_factory.mktemp("fresh")
    checkout = folder / "checkout"
    shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "build", "*.egg-info"))
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    bin_folder = folder / "venv" / "bin"
    pip: list[str | Path] = [bin_folder / "pip", "install", "--quiet"]
    subprocess.run([*pip, "build"], check=True)
    subprocess.run(
        [bin_folder / "python", "-m", "build", "--sdist", "--outdir", folder, checkout],
        check=True,
        capture_output=True,
    )
    subprocess.run([*pip, *folder.glob("*.tar.gz")], check=True)
    return bin_folder


def commands_of(page: str) -> list[str]:
    """Return the lines of the page's shell blocks that begin with a `$`."""
    text = (ROOT / page).read_text("utf-8")
    blocks = re.findall(r"```(?:console|shell)\n(.*?)```", text, re.DOTALL)
    return [line[2:] for block in blocks for line in block.splitlines() if line[:2] == "$ "]


def on_loopback(command: str, site: str) -> str:
    command = command.replace(DOCS_SITE, site)
    return f"{command} --allow-private" if command.startswith("fleet crawl") else command


def run(command: str, folder: Path, bin_folder: Path) -> subprocess.CompletedProcess[str]:
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_command_of_the_quickstart_works_from_a_fresh_install(
    installed: Path, site: str, tmp_path: Path
) -> None:
    commands = [c for c in commands_of("docs/quickstart.md") if not c.startswith("pip ")]
    assert len(commands) >= 5

    for command in commands:
        done = run(on_loopback(command, site), tmp_path, installed)

        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr


def test_the_readme_has_its_two_commands() -> None:
    commands = commands_of("README.md")

    assert f"make crawl URL={DOCS_SITE}" in commands
    assert "make test" in commands


def test_make_crawl_leaves_a_readable_archive(site: str, tmp_path: Path) -> None:
    save = tmp_path / "pages.tar.gz"
    made = subprocess.run(
        ["make", "crawl", f"URL={site}", f"SAVE={save}", "ARGS=--allow-private"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert made.returncode == 0, made.stderr

    listed = subprocess.run(
        ["tar", "tzf", save], capture_output=True, text=True, check=True
    ).stdout

    assert "about.html" in listed
    assert "news.html" in listed


def test_the_package_holds_what_it_needs_at_run_time(installed: Path) -> None:
    site_packages = next(installed.parent.glob("lib/python*/site-packages"))

    needed = {
        path.relative_to(root)
        for root in (
            ROOT / "crawler",
            ROOT / "kafka-monitor",
            ROOT / "redis-monitor",
            ROOT / "rest",
        )
        for name in ("*.py", "*.lua", "*.sql", "*.json", "py.typed", "static/**/*.*")
        for path in root.rglob(f"*/{name}")
    }
    assert {path for path in needed if not (site_packages / path).is_file()} == set()
    kinds = {path.suffix for path in needed}
    assert kinds >= {".py", ".lua", ".sql", ".json", ".typed", ".html", ".js", ".css"}
    packages = {"crawling", "kafka_monitor", "redis_monitor", "rest_service"}
    assert {path.parts[0] for path in needed} == packages
