"""Whatever is wrong with a command ends in one line that names it, never in a traceback."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.crawls import environment, fleet, fleet_command
from tests.servers.small_site import small_site

if TYPE_CHECKING:
    from pathlib import Path

SEED = ("crawl", "http://127.1.0.250:9/", "--allow-private", "--quiet")
HUGE = "9" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with modules and files of which none is what it should be."""
    (tmp_path / "none.py").write_text("import nothing_of_that_name")
    (tmp_path / "torn.py").write_text("class Spider(")
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "spiders.py").write_text(
        "import scrapy\nclass Page: name = 'page'\nclass Nameless(scrapy.Spider): pass\n"
    )
    (tmp_path / "bytes").write_bytes(bytes(range(256)) * 20)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["--spider", "none:Spider"], "nothing_of_that_name"),
        (["--spider", "torn:Spider"], "SyntaxError"),
        (["--spider", "broken:Spider"], "ZeroDivisionError"),
        (["--spider", "spiders:Absent"], "Absent"),
        (["--spider", "spiders:Page"], "must be a subclass of scrapy.Spider"),
        (["--spider", "spiders:Nameless"], "has no name"),
        (["--spider", "simple"], "link_regex"),
        (["--spider", "simple", "--link-regex", "("], "link_regex"),
        (["--known", "absent.txt"], "absent.txt"),
        (["--explored", "absent.txt"], "absent.txt"),
        (["--tracker", "sqlite:///absent/x.db"], "absent/x.db"),
        (["--tracker", "sqlite:///bytes"], "file is not a database"),
        (["--save", "pages/", "--file-name", "{nothing}"], "{nothing}"),
        (["--cookie", "session"], "--cookie: must be name=value"),
        (["-s", "RETRY_TIMES"], "must be NAME=VALUE"),
        (["-s", f"CONCURRENT_REQUESTS={HUGE}"], "CONCURRENT_REQUESTS: must be at most"),
        (["-s", "SCHEDULER=no.such"], "SCHEDULER: cannot load 'no.such'"),
        (["-s", 'EXTENSIONS={"no.such": 1}'], "EXTENSIONS: cannot load 'no.such'"),
        (["-s", "TWISTED_REACTOR=no.such"], "TWISTED_REACTOR: cannot load 'no.such'"),
        (["-s", "TWISTED_REACTOR=twisted.internet.selectreactor.SelectReactor"], "asyncio"),
        (["-s", "TWISTED_REACTOR_ENABLED=0"], "TWISTED_REACTOR_ENABLED"),
        (["-s", "ASYNCIO_EVENT_LOOP=no.such"], "ASYNCIO_EVENT_LOOP: cannot load 'no.such'"),
        (
            ["-s", "ASYNCIO_EVENT_LOOP=asyncio.Event"],
            "ASYNCIO_EVENT_LOOP: must be an event loop",
        ),
        (["-s", "SC_LOG_STDOUT=0", "-s", "SC_LOG_DIR=bytes"], "SC_LOG_DIR: cannot log"),
        (["--expires", "nan"], "--expires"),
        (["--expires", f"{HUGE}d"], "--expires"),
    ],
)
def test_what_a_crawl_cannot_do_is_said_in_one_line(
    folder: Path, arguments: list[str], wrong: str
) -> None:
    said = fleet(*SEED, *arguments, cwd=folder, code=2).stderr

    assert said.startswith("fleet: ")
    assert len(said.splitlines()) == 1
    assert wrong in said


@pytest.mark.parametrize(
    ("url", "wrong"),
    [
        ("", "has no host"),
        ("http://two words.com/", "'two words.com'"),
        (f"http://{'a' * 64}.com/", "cannot be the name of a host"),
        ("http://a..b/", "cannot be the name of a host"),
        ("http://127.0.0.1/\udcff", "must be UTF-8"),
    ],
)
def test_a_seed_that_can_never_be_fetched_is_said_in_one_line(
    folder: Path, url: str, wrong: str
) -> None:
    said = fleet("crawl", url, cwd=folder, code=2).stderr

    assert said.startswith("fleet: ")
    assert len(said.splitlines()) == 1
    assert wrong in said


@pytest.mark.parametrize("option", ["--depth", "--max-pages", "--hits", "--concurrency"])
def test_a_number_that_no_tracker_can_keep_is_refused(folder: Path, option: str) -> None:
    said = fleet(*SEED, option, HUGE, cwd=folder, code=2).stderr

    assert said.splitlines()[-1].startswith(f"fleet crawl: error: argument {option}: invalid")


def test_a_malformed_url_has_no_trace(folder: Path) -> None:
    where = ("--tracker", "sqlite:///x.db", "--crawlid", "c")
    fleet(*SEED, *where, "--ignore-robots", "-s", "RETRY_TIMES=0", cwd=folder, code=1)

    said = fleet("trace", "http://[x/\x1b", *where, cwd=folder, code=2).stderr

    assert said == "fleet: URL: not a URL (Invalid IPv6 URL): 'http://[x/\\x1b'\n"


def test_a_mistyped_file_is_not_made_by_looking_into_it(folder: Path) -> None:
    said = fleet("status", "--tracker", "sqlite:///typo.db", cwd=folder, code=2).stderr

    assert said == "fleet: --tracker: there is no file 'typo.db'\n"
    assert not (folder / "typo.db").exists()


def test_a_server_that_is_no_redis_is_named(folder: Path) -> None:
    with small_site() as site:
        url = site.url("/0").replace("http", "redis")

        said = fleet("status", "--tracker", url, cwd=folder, code=2).stderr

    assert said.startswith(f"fleet: TRACKER: {url}: is no Redis: ")


def test_a_password_that_redis_does_not_take_is_no_outage(folder: Path, redis_url: str) -> None:
    url = redis_url.replace("://", "://nobody:wrong@")

    said = fleet("status", "--tracker", url, cwd=folder, code=2).stderr

    assert said.startswith(f"fleet: TRACKER: {redis_url}: Redis does not permit it: ")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_results_that_nobody_reads_end_in_one_line(
    folder: Path, options: tuple[str, ...]
) -> None:
    (folder / "x.db").touch()
    command = fleet_command("status", "--tracker", "sqlite:///x.db", *options)
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        done = subprocess.run(
            command, cwd=folder, env=environment(), stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 1
    assert done.stderr == "fleet: standard output: No space left on device\n"


def test_looking_into_a_crawl_does_not_wait_for_scrapy(folder: Path) -> None:
    (folder / "x.db").touch()
    command = fleet_command("status", "--tracker", "sqlite:///x.db")
    command[1:1] = ["-X", "importtime"]

    done = subprocess.run(
        command, cwd=folder, env=environment(), capture_output=True, text=True, check=True
    )

    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "crawling.report" in imported
    assert not imported & {"scrapy", "twisted"}
