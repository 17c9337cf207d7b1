"""Images and their classes, as bytes, shape (n, colours, height, width)."""

from __future__ import annotations

import gzip
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .files import cached_by_folder, open_arrays, open_data
from .parts import Part, Split

__all__ = ["cifar10", "cifar100", "idx_images", "sign_digits"]


@cached_by_folder
def idx_images(folder: str, images: int = 12_000) -> Split:
    """Grey images as bytes, shape (n, 1, 28, 28): the first training images, a sixth of which validates, and all test images."""
    parts = []
    for part in ("train", "t10k"):
        with open_data(f"{folder}/{part}-images-idx3-ubyte.gz") as path:
            pixels = _idx(path)
        with open_data(f"{folder}/{part}-labels-idx1-ubyte.gz") as path:
            parts.append(_images(pixels, _idx(path)))
    seen = parts[0].rows(slice(images))
    train = len(seen) - len(seen) // 6
    return Split(seen.rows(slice(train)), seen.rows(slice(train, None)), parts[1])


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
    with open_arrays("cifar100/cifar100-subset.npz") as arrays:
        train, test = (
            _images(arrays[f"{part}_images"].transpose(0, 3, 1, 2), arrays[f"{part}_fine"]) for part in ("train", "test")
        )
    return _last_tenth(train, test)


@cached_by_folder
def sign_digits() -> Split:
    """Hands that show 0 to 9, shape (n, 1, 64, 64), bytes; the order of the file is random: a fifth validates, a fifth tests."""
    with open_arrays("sign-digits/sign_digits_gray64.npz") as arrays:
        every = _images(arrays["images"][:, None], arrays["labels"])
    fifth = len(every) // 5
    return Split(every.rows(slice(2 * fifth, None)), every.rows(slice(fifth, 2 * fifth)), every.rows(slice(fifth)))


def _images(images: np.ndarray, labels: np.ndarray | Sequence[int]) -> Part:
    """A part of images, as bytes with a dimension for the colours, and their classes."""
    if len(images) != len(labels):
        raise ValueError(f"there are {len(images)} images and {len(labels)} labels")
    pixels = torch.from_numpy(np.array(images, np.uint8))
    return Part(pixels[:, None] if pixels.ndim == 3 else pixels, torch.from_numpy(np.array(labels, np.int64)))


def _last_tenth(train: Part, test: Part) -> Split:
    fitted = len(train) - len(train) // 10
    return Split(train.rows(slice(fitted)), train.rows(slice(fitted, None)), test)
