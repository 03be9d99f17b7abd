"""Which request owns which file name of a folder."""

from __future__ import annotations

import os
import sqlite3
import stat
from typing import TYPE_CHECKING

from crawling.exceptions import ConfigError, OutputError, Unavailable
from crawling.savers.file_names import with_suffix
from crawling.savers.growing_file import sync_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: How many folders are remembered as existing, to spare a look at the disk.
_REMEMBERED = 10_000


class Claims:
    """Gives each page a name in *folder* that no other request's page has.

    A claim is on the disk before its file is, so that processes that save to the same
    folder, also one after another, never replace each other's pages.  A file that nobody
    claimed belongs to somebody else.  Used by one thread.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder = folder
        self._folders: dict[str, str] = {}
        try:
            self._db = sqlite3.connect(
                path, timeout=30, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS names"
                " (name TEXT PRIMARY KEY, owner TEXT NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.DatabaseError as error:
            raise ConfigError("SAVERS", f"{path}: {error}") from error

    def close(self) -> None:
        self._db.close()

    def claim(self, wanted: Sequence[tuple[str, str]]) -> list[str]:
        """Return for each (name, owner) the name that is the owner's, its folder made."""
        try:
            with self._db:
                self._db.execute("BEGIN IMMEDIATE")
                return [self._claim(name, owner) for name, owner in wanted]
        except sqlite3.Error as error:
            raise Unavailable(f"{self._folder}: {error}") from error

    def forget_folders(self) -> None:
        """Look at the disk again: somebody may have removed folders."""
        self._folders.clear()

    def _claim(self, name: str, owner: str) -> str:
        folder, _, leaf = name.rpartition("/")
        folder = self._make_folder(folder)
        for candidate in (leaf, with_suffix(leaf, owner[:8]), with_suffix(leaf, owner)):
            if self._take(folder + candidate, owner):
                return folder + candidate
        raise OutputError(f"{self._folder / folder / leaf} is somebody else's, in all forms")

    def _take(self, name: str, owner: str) -> bool:
        holder = self._holder(name)
        if holder is not None:
            return holder == owner
        if os.path.lexists(self._folder / name):
            return False
        self._db.execute("INSERT INTO names VALUES (?, ?)", (name, owner))
        return True

    def _holder(self, name: str) -> str | None:
        row = self._db.execute("SELECT owner FROM names WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def _make_folder(self, folder: str) -> str:
        """Return *folder* and a slash, made, with `~` after each part that is a file."""
        if not folder:
            return ""
        if folder not in self._folders:
            parent, _, part = folder.rpartition("/")
            path = self._make_folder(parent) + part
            while not self._is_folder(path):
                path += "~"
            if len(self._folders) >= _REMEMBERED:
                self._folders.clear()
            self._folders[folder] = f"{path}/"
        return self._folders[folder]

    def _is_folder(self, name: str) -> bool:
        """Make *name* a folder, unless it is something else already, or will be."""
        if self._holder(name) is not None:
            return False
        path = self._folder / name
        try:
            path.mkdir()
        except FileExistsError:
            # Not through links: they lead out of the folder.
            return stat.S_ISDIR(path.lstat().st_mode)
        sync_folder(path.parent)
        return True
