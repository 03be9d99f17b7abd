from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from crawling.exceptions import OutputError, Unavailable
from crawling.savers.targets import make_saver
from tests.pages import make_page
from tests.saved import bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from crawling.messages.page import Page
    from crawling.savers.saver import Saver


async def save(
    folder: Path, pages: Iterable[Page], name: str | Callable[[Page], str] | None = None
) -> None:
    saver = make_saver(f"{folder}/", name)
    await saver.open()
    await asyncio.gather(*(saver.save(page) for page in pages))
    await saver.close()


def names(folder: Path) -> list[str]:
    """Return the names of all pages in *folder*, without what is not for people."""
    paths = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    found = sorted(str(path) for path in paths if path.parts[0] != ".fleet")
    return [name for name in found if name != "index.jsonl"]


async def test_a_page_is_a_file_and_a_line_of_the_index(tmp_path: Path) -> None:
    page = make_page(url="http://example.com/a/b.html", status_code=404)

    await save(tmp_path / "pages", [page])

    assert (tmp_path / "pages/example.com/a/b.html").read_bytes() == page.body
    line = json.loads((tmp_path / "pages/index.jsonl").read_text())
    assert line == {"file": "example.com/a/b.html", **page.metadata()}


async def test_pages_of_two_requests_never_share_a_name(tmp_path: Path) -> None:
    urls = ["http://example.com/", "http://example.com/index.html", "https://example.com/"]
    pages = [make_page(n, url=url, requestid=f"{n}" * 32) for n, url in enumerate(urls, 1)]

    await save(tmp_path, pages)

    assert names(tmp_path) == [
        "example.com/index-22222222.html",
        "example.com/index-33333333.html",
        "example.com/index.html",
    ]
    assert bodies(tmp_path) == {page.requestid: page.body for page in pages}


async def test_requests_whose_ids_begin_alike_do_not_share_a_name_either(
    tmp_path: Path,
) -> None:
    pages = [make_page(n, requestid=f"{'a' * 20}{n}") for n in range(4)]

    await save(tmp_path, pages, "page")

    assert len(names(tmp_path)) == 4
    assert bodies(tmp_path) == {page.requestid: page.body for page in pages}


async def test_the_same_request_again_replaces_its_page(tmp_path: Path) -> None:
    other = make_page(2, requestid="b" * 32)
    await save(tmp_path, [other, make_page(1, requestid="a" * 32, body=b"old")], "x.html")

    await save(tmp_path, [make_page(1, requestid="a" * 32, body=b"new")], "x.html")

    assert names(tmp_path) == ["x-aaaaaaaa.html", "x.html"]
    assert bodies(tmp_path) == {"a" * 32: b"new", "b" * 32: other.body}


async def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.html").write_text("mine")

    await save(tmp_path, [make_page(requestid="a" * 32)], "notes.html")

    assert (tmp_path / "notes.html").read_text() == "mine"
    assert names(tmp_path) == ["notes-aaaaaaaa.html", "notes.html"]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("together", [True, False])
async def test_a_name_may_be_a_file_for_one_page_and_a_folder_for_another(
    order: int, together: bool, tmp_path: Path
) -> None:
    pages = [make_page(1), make_page(2), make_page(3)]
    wanted = dict(zip((page.url for page in pages), ("a", "a/b", "a/b/c"), strict=True))

    for group in [pages[::order]] if together else [[page] for page in pages[::order]]:
        await save(tmp_path, group, lambda page: wanted[page.url])

    assert bodies(tmp_path) == {page.requestid: page.body for page in pages}


async def test_a_page_cannot_take_the_place_of_the_index(tmp_path: Path) -> None:
    wanted = iter(["index.jsonl", "index.jsonl/x", ".fleet/names.db", ".fleet"])
    pages = [make_page(n) for n in range(4)]

    await save(tmp_path, pages, lambda page: next(wanted))

    assert bodies(tmp_path) == {page.requestid: page.body for page in pages}


async def test_a_link_does_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/link").symlink_to(tmp_path / "outside")
    (tmp_path / "pages/file").symlink_to(tmp_path / "outside/file")
    pages = [make_page(1), make_page(2)]
    wanted = iter(["link/x", "file"])

    await save(tmp_path / "pages", pages, lambda page: next(wanted))

    assert list((tmp_path / "outside").iterdir()) == []
    assert bodies(tmp_path / "pages") == {page.requestid: page.body for page in pages}


async def test_a_function_that_fails_for_one_page_does_not_fail_the_others(
    tmp_path: Path,
) -> None:
    wanted: dict[int, Any] = {1: "one", 2: None, 3: "three"}

    saver = make_saver(f"{tmp_path}/", lambda page: wanted[page.depth])
    await saver.open()
    pages = [make_page(n, depth=n) for n in (1, 2, 3, 4)]
    results = await asyncio.gather(*map(saver.save, pages), return_exceptions=True)
    await saver.close()

    assert [type(result) for result in results] == [
        type(None),
        OutputError,
        type(None),
        KeyError,
    ]
    assert set(bodies(tmp_path)) == {pages[0].requestid, pages[2].requestid}


async def test_several_savers_of_one_folder_keep_their_pages_and_lines_apart(
    tmp_path: Path,
) -> None:
    pages = [make_page(n, url=f"http://example.com/{n // 4}") for n in range(240)]
    savers = [make_saver(f"{tmp_path}/") for _ in range(4)]
    for saver in savers:
        await saver.open()

    async def save_one_by_one(saver: Saver, own: Iterable[Page]) -> None:
        for page in own:
            await saver.save(page)
        await saver.close()

    await asyncio.gather(
        *(save_one_by_one(saver, pages[first::4]) for first, saver in enumerate(savers))
    )

    assert bodies(tmp_path) == {page.requestid: page.body for page in pages}


async def test_a_folder_that_was_removed_meanwhile_is_made_again(tmp_path: Path) -> None:
    saver = make_saver(f"{tmp_path}/", "a/b/c")
    await saver.open()
    await saver.save(make_page(1))
    shutil.rmtree(tmp_path / "a")

    with pytest.raises(Unavailable):
        await saver.save(make_page(2))
    await saver.save(make_page(2))

    await saver.close()
    assert [path.read_bytes() for path in (tmp_path / "a/b").iterdir()] == [make_page(2).body]


async def test_what_a_killed_process_was_writing_is_removed(tmp_path: Path) -> None:
    await save(tmp_path, [])
    part = tmp_path / ".fleet/123-4.part"
    part.write_text("torn")

    await save(tmp_path, [])

    assert not part.exists()
