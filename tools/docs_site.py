"""What MkDocs reads otherwise than a code host does, so that the same pages serve both."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
#: Pages that are not in docs/, to which the docs lead.
OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "deploy/helm/scrapy-fleet/README.md",
)


def on_config(config: Any) -> Any:
    config.mdx_configs["toc"]["slugify"] = heading_name
    return config


def heading_name(heading: str, _separator: str) -> str:
    """Return the name that code hosts give to a heading: links then work on both."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def on_files(files: Any, config: Any) -> Any:
    for name in OUTSIDE:
        text = (ROOT / name).read_text("utf-8")
        files.append(File.generated(config, f"project/{name}", content=text))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    here = page.file.src_uri
    place = here.removeprefix("project/") if here.startswith("project/") else f"docs/{here}"

    def moved(link: re.Match[str]) -> str:
        target, anchor = re.fullmatch("([^#]*)(.*)", link[1]).groups()  # type: ignore[union-attr]
        if not target or ":" in target:
            return link[0]
        file = posixpath.normpath(posixpath.join(posixpath.dirname(place), target))
        if file in OUTSIDE:
            file = f"project/{file}"
        elif file.startswith("docs/"):
            file = file.removeprefix("docs/")
        else:
            return link[0]
        return f"]({posixpath.relpath(file, posixpath.dirname(here) or '.')}{anchor})"

    markdown = re.sub(r"\]\(([^)\s]+)\)", moved, markdown)
    # What our tests are told about a block of commands
    markdown = re.sub(r"^( *```\w+) .*$", r"\1", markdown, flags=re.MULTILINE)
    # A bar in code in a table: a code host wants it escaped, MkDocs would show the backslash.
    return re.sub(r"^\|.*$", _bars, markdown, flags=re.MULTILINE)


def _bars(row: re.Match[str]) -> str:
    return re.sub("`[^`]*`", lambda code: code[0].replace(r"\|", "|"), row[0])
