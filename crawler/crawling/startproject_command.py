"""`fleet startproject`: a folder with a spider of one's own, ready to run."""

from __future__ import annotations

import keyword
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from crawling.exceptions import ConfigError
from crawling.report import show

if TYPE_CHECKING:
    import argparse

#: File of the template -> where it goes; NAME is the project's name.
TEMPLATE = {
    "scrapy.cfg": "scrapy.cfg",
    "README.md": "README.md",
    "settings.py.txt": "NAME/settings.py",
    "spider.py.txt": "NAME/spiders/NAME_spider.py",
}
PACKAGES = ("NAME", "NAME/spiders")


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "make a folder with a project: settings, a spider, and how to run it"
    parser = commands.add_parser("startproject", help=text, description=text)
    parser.add_argument("name", metavar="NAME", help="of the project and its spider")
    parser.add_argument(
        "--traceback", action="store_true", help="show where an error comes from"
    )
    parser.set_defaults(command=command)


def command(args: argparse.Namespace) -> int:
    name, folder = args.name, Path(args.name)
    if not name.isidentifier() or not name.isascii() or keyword.iskeyword(name):
        raise ConfigError("NAME", f"must be letters, digits and _, as in Python, not {name!r}")
    if folder.exists():
        raise ConfigError("NAME", f"there is a {name!r} here already")
    try:
        for package in PACKAGES:
            (folder / package.replace("NAME", name)).mkdir(parents=True)
            (folder / package.replace("NAME", name) / "__init__.py").touch()
        for source, target in TEMPLATE.items():
            text = (files("crawling") / "template" / source).read_text("utf-8")
            path = folder / target.replace("NAME", name)
            path.write_text(text.replace("NAME", name), "utf-8")
    except OSError as error:
        raise ConfigError("NAME", f"cannot write {name!r}: {error.strerror}") from error
    show(f"{name}/README.md says how to go on")
    return 0
