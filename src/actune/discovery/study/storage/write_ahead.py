"""A file of SQLite while it is searched: a transaction waits for the disk once, and not four times.

By default SQLite copies what it is about to change into a second file, changes the first, and deletes the second, and waits for the
disk at each step: 20 ms per transaction where the disk takes 4 to answer. With a write-ahead log it appends the change to a file
beside it, `PATH-wal`, and waits for that. What is committed is as safe from killed processes and from power failures, and whoever
opens the file finds it. The processes share memory for it, so that it is for one machine: on a disk that may be another's, the file
stays as it is. After the last search it is one file again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from optuna.study import Study
from sqlalchemy.engine import make_url

from .database import Database

__all__ = ["is_on_local_disk", "with_write_ahead_log"]

_LOCAL = {"apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "overlay", "tmpfs", "vfat", "xfs", "zfs"}


@contextmanager
def with_write_ahead_log(study: Study) -> Iterator[None]:
    """Let the study's file have a write-ahead log inside this context, and none after it unless others search there."""
    storage = getattr(study._storage, "_backend", study._storage)
    if not isinstance(storage, Database) or (path := _file(storage)) is None or not is_on_local_disk(path):
        yield
        return
    _change_mode(path, "WAL")
    try:
        yield
    finally:
        storage.engine.dispose()  # this process's own connections count as another search
        _change_mode(path, "DELETE")


def _file(storage: Database) -> Path | None:
    """The file of SQLite in which the storage is; None for a server, or for one in memory."""
    url = make_url(storage.url)
    is_file = url.get_backend_name() == "sqlite" and url.database not in (None, "", ":memory:")
    return Path(str(url.database)).absolute() if is_file else None


def _change_mode(path: Path, mode: str) -> None:
    """Change the journal mode of a file that exists; where others hold it, or it cannot be written, it stays as it is."""
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True, timeout=0.5)) as file:
            file.execute(f"PRAGMA journal_mode={mode}")
    except sqlite3.DatabaseError:
        pass


def is_on_local_disk(path: Path) -> bool:
    """Whether a file is surely on a disk of this machine: False where the system does not tell, as elsewhere than on Linux."""
    try:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return False
    kinds = {line.split()[4].replace("\\040", " "): line.partition(" - ")[2].split()[0] for line in lines}  # the last hides others
    folders = (str(folder) for folder in path.resolve().parents)
    return next((kinds[folder] in _LOCAL for folder in folders if folder in kinds), False)
