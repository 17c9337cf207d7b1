"""Files of the folder that the environment variable ACTUNE_DATA names. Nothing is downloaded here.

The files are those that everybody has: each folder as its publisher fills it, or as a script lays it out.
"""

from __future__ import annotations

import functools
import gzip
import os
import pickle
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from .parts import Split
from .sources import DATA_SETS

__all__ = ["ROOT", "cached_by_folder", "data_file", "open_arrays", "open_data"]

ROOT = "ACTUNE_DATA"
DAMAGE = (EOFError, ValueError, KeyError, IndexError, zlib.error, gzip.BadGzipFile, BadZipFile, pickle.UnpicklingError)


def data_file(name: str) -> Path | None:
    """The path of a file or folder of the data folder, whether it is there or not; None where there is no data folder."""
    root = os.environ.get(ROOT)
    return Path(root, name) if root else None


@contextmanager
def open_data(name: str) -> Iterator[Path]:
    """Give the path of a file or folder of the data folder; where it is missing or cannot be read, one line says what to do."""
    folder = name.partition("/")[0]
    source = DATA_SETS[folder].source
    path = data_file(name)
    remedy = f"from {source}" + f"; `actune data {folder}` downloads it" * bool(DATA_SETS[folder].published)
    if path is None:
        raise FileNotFoundError(f"{ROOT} is not set; let it name a folder that holds {name}, {remedy}")
    if not path.exists():
        raise FileNotFoundError(f"{ROOT}={os.environ[ROOT]!r} has no {name} (looked for {path}); put it there, {remedy}")
    try:
        yield path
    except DAMAGE as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ValueError(f"{path} cannot be read ({reason}); put a fresh copy there, from {source}") from None


@contextmanager
def open_arrays(name: str) -> Iterator[Mapping[str, np.ndarray]]:
    """The arrays of an .npz file, none of them pickled."""
    with open_data(name) as path, path.open("rb") as file, np.load(file) as arrays:
        yield arrays


def cached_by_folder(load: Callable[..., Split]) -> Callable[..., Split]:
    """Let a function remember the last splits that it read, as long as the folder is the same."""
    cached = functools.lru_cache(maxsize=2)(lambda root, *args, **kwargs: load(*args, **kwargs))

    @functools.wraps(load)
    def data(*args: Any, **kwargs: Any) -> Split:
        return cached(os.environ.get(ROOT), *args, **kwargs)

    return data
