from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crawling.exceptions import ConfigError
from crawling.service.plugins import load_plugins

if TYPE_CHECKING:
    from pathlib import Path

GROUP = "fleet.test_plugins"


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder on Python's path with two modules of plugins."""
    (tmp_path / "some_plugins.py").write_text("class A: ...\nclass B: ...\nclass C: rank = 1\n")
    package = tmp_path / "a_monitor" / "plugins"
    package.mkdir(parents=True)
    (package / "handler.py").write_text("class Handler: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def names(table: dict[str, int | None]) -> list[str]:
    return [cls.__name__ for cls in load_plugins(table, GROUP)]


@pytest.mark.usefixtures("path")
def test_plugins_come_by_rank_and_none_turns_one_off() -> None:
    assert names({"some_plugins.B": 2, "some_plugins.A": 1}) == ["A", "B"]
    assert names({"some_plugins.B": 2, "some_plugins.A": None}) == ["B"]
    assert names({"some_plugins.B": 2, "some_plugins.A": 2}) == ["B", "A"]


@pytest.mark.usefixtures("path")
def test_scrapy_clusters_path_of_an_own_plugin_means_the_own_plugin() -> None:
    own = "a_monitor.plugins.handler.Handler"

    assert names({own: 100, "plugins.handler.Handler": None}) == []
    assert names({own: 100, "some_plugins.A": 150, "plugins.handler.Handler": 200}) == [
        "A",
        "Handler",
    ]


def test_an_installed_package_brings_plugins(path: Path) -> None:
    about = path / "some_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: some-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[{GROUP}]\nc = some_plugins:C\nb = some_plugins:B\n"
    )

    assert names({"some_plugins.A": 500}) == ["C", "A", "B"]
    assert names({"some_plugins.A": 500, "some_plugins.C": None}) == ["A", "B"]


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no_such_module.A", "cannot import 'no_such_module.A': No module named"),
        ("some_plugins.Z", "there is no class 'some_plugins.Z'"),
        ("A", "cannot import 'A': "),
    ],
)
def test_an_unknown_plugin_is_one_line(name: str, problem: str) -> None:
    with pytest.raises(ConfigError) as error:
        load_plugins({name: 1}, GROUP)

    assert str(error.value).startswith(f"PLUGINS: {problem}")
