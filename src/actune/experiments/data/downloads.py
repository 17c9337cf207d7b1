"""Downloads of data sets, only when asked for, into a data folder; what does not have its checksum is not kept."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from ...messages import suggestion
from .sources import DATA_SETS, PICKLES, DataSet, Published

__all__ = ["download", "missing_files"]

DownloadReport = Callable[[int, int, str], object]  # bytes that are there, bytes in all, address
AGENT = {"User-Agent": "actune"}  # some servers turn away those of libraries


def download(name: str, folder: str | Path, report: DownloadReport | None = None) -> list[Path]:
    """Download what is published of a data set into its place in a data folder; returns the files that were written.

    Files that are there already are left alone; those whose checksum is known and is another one are replaced.
    Raises ValueError for a data set without a stable address and for a file with another checksum, OSError where none comes.
    """
    found, root = _data_set(name), Path(folder)
    if not found.published:
        raise ValueError(f"{name} has no address to download from; put it into {root / name}, from {found.source}")
    written: list[Path] = []
    for file in found.published:
        if not all(_is_there(file, target, root / target) for target in file.members.values()):
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as place:
                fetched = _fetch(file, Path(place), found.source, report)
                written += [_put(fetched, member, root / target) for member, target in file.members.items()]
    return written


def missing_files(name: str, folder: str | Path) -> list[str]:
    """The patterns of files that the readers of a data set look for, of those that match nothing in a data folder."""
    return [pattern for pattern in _data_set(name).patterns if not any(Path(folder).glob(pattern))]


def _data_set(name: str) -> DataSet:
    if name not in DATA_SETS:
        raise ValueError(f"unknown data set {name!r}{suggestion(name, DATA_SETS)} (known: {', '.join(DATA_SETS)})")
    return DATA_SETS[name]


def _is_there(file: Published, target: str, path: Path) -> bool:
    """Whether a file is in its place; with its checksum, where one is known for it and not only for the archive it comes in."""
    known = file.checksum if "" in file.members else f"md5:{PICKLES[target]}" if target in PICKLES else None
    if known is None or not path.is_file():
        return path.is_file()
    kind, _, digest = known.partition(":")
    with path.open("rb") as content:
        return hashlib.file_digest(content, kind).hexdigest() == digest


def _fetch(file: Published, place: Path, source: str, report: DownloadReport | None) -> Path:
    """Download a published file into a folder, and check it."""
    import pooch
    import requests

    pooch.get_logger().setLevel("WARNING")  # it would announce each file
    progress = None if report is None else _Progress(report, file.address)
    loader = pooch.HTTPDownloader(progressbar=progress, headers=AGENT)
    try:
        return Path(pooch.retrieve(file.address, file.checksum, fname="file", path=place, downloader=loader))
    except requests.RequestException as error:
        if error.response is not None:
            error.response.close()
        reason = getattr(error.args[0], "reason", error) if error.args else type(error).__name__
        raise OSError(f"{file.address} cannot be downloaded ({reason}); try again, or go to {source}") from None
    except ValueError as error:
        difference = str(error).partition("known hash: ")[2].partition(". ")[0]
        raise ValueError(f"{file.address} does not have its checksum ({difference}), so it was not kept; "
                         f"try again, or go to {source}") from None  # fmt: skip


class _Progress:
    """What pooch tells about a download, told on."""

    def __init__(self, report: DownloadReport, address: str):
        self.report, self.address, self.done, self.total = report, address, 0, 0

    def update(self, more: int) -> None:
        self.done = min(self.done + more, self.total)
        self.report(self.done, self.total, self.address)

    def reset(self) -> None:
        self.done = 0

    def close(self) -> None:
        pass


def _put(fetched: Path, member: str, target: Path) -> Path:
    """Write a downloaded file, or one in it where it is an archive, to its place, which it takes when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    whole = fetched.with_name("member")
    with _open_member(fetched, member) as content, whole.open("wb") as file:
        if member and target.suffix == ".gz" != Path(member).suffix:
            with gzip.GzipFile(fileobj=file, mode="wb", mtime=0) as packed:
                shutil.copyfileobj(content, packed)
        else:
            shutil.copyfileobj(content, file)
    os.replace(whole, target)
    return target


@contextmanager
def _open_member(fetched: Path, member: str) -> Iterator[IO[bytes]]:
    if not member:
        with fetched.open("rb") as content:
            yield content
    elif zipfile.is_zipfile(fetched):
        with zipfile.ZipFile(fetched) as archive, archive.open(member) as content:
            yield content
    else:
        with tarfile.open(fetched) as tar, cast(IO[bytes], tar.extractfile(member)) as content:
            yield content
