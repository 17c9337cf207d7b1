"""Images and their classes, as bytes, shape (n, colours, height, width)."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from .files import cached_by_folder, data_file, open_arrays, open_data
from .parts import Part, Split, last_validate
from .pickles import read_pickle

__all__ = ["EMNIST_CLASSES", "cifar10", "cifar100", "emnist", "idx_images", "read_idx", "sign_digits"]


@cached_by_folder
def idx_images(folder: str, images: int = 12_000, validation: float = 1 / 6) -> Split:
    """Grey images as bytes, shape (n, 1, 28, 28), of MNIST or Fashion-MNIST: the first training images, and all test images.

    validation   which share of the training images validates: the last ones
    """
    train, test = (read_idx(f"{folder}/{part}") for part in ("train", "t10k"))
    return last_validate(train.rows(slice(images)), test, validation)


@cached_by_folder
def emnist(kind: str = "balanced", images: int | None = None) -> Split:
    """Handwritten letters and digits (Cohen et al., arXiv:1702.05373), shape (n, 1, 28, 28), bytes; upright, as those of MNIST.

    kind     balanced (47 classes), letters (26), digits (10), mnist (10), byclass (62) or bymerge (47)
    images   how many of the training images train; all by default

    As many training images as there are in the test part validate: the last ones, which the authors set apart for that.
    """
    if kind not in EMNIST_CLASSES:
        raise ValueError(f"kind must be one of {', '.join(EMNIST_CLASSES)}, got {kind!r}")
    train, test = (_emnist_part(kind, part) for part in ("train", "test"))
    fitted = len(train) - len(test)
    return Split(train.rows(slice(fitted)).rows(slice(images)), train.rows(slice(fitted, None)), test)


EMNIST_CLASSES = {"balanced": 47, "letters": 26, "digits": 10, "mnist": 10, "byclass": 62, "bymerge": 47}


def _emnist_part(kind: str, part: str) -> Part:
    published = read_idx(f"emnist/emnist-{kind}-{part}")
    # The files have the images column by column; letters are numbered from 1.
    return Part(published.inputs.transpose(2, 3).contiguous(), published.targets - int(kind == "letters"))


def read_idx(stem: str) -> Part:
    """The images and classes of two IDX files, in the order of the files: "mnist/train" has those of training."""
    with open_data(f"{stem}-images-idx3-ubyte.gz") as path:
        pixels = _idx_values(path)
    with open_data(f"{stem}-labels-idx1-ubyte.gz") as path:
        return _images(pixels, _idx_values(path))


def _idx_values(path: Path) -> np.ndarray:
    """The bytes of an IDX file: two zeros, the type 8, the number of dimensions, their sizes, the values."""
    raw = gzip.decompress(path.read_bytes())
    if raw[:3] != b"\0\0\x08":
        raise ValueError("it is not an IDX file of bytes")
    shape = np.frombuffer(raw, ">u4", raw[3], 4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(*map(int, shape))


@cached_by_folder
def cifar10() -> Split:
    """CIFAR-10 as bytes, shape (n, 3, 32, 32); the last tenth of the training images validates."""
    *batches, test = (
        _batch(f"cifar10/cifar-10-batches-py/{name}") for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
    )
    train = Part(torch.cat([p.inputs for p in batches]), torch.cat([p.targets for p in batches]))
    return last_validate(train, test, 1 / 10)


@cached_by_folder
def cifar100() -> Split:
    """CIFAR-100 in the shape of CIFAR-10: all of it where the published files are there, else the part in cifar100-subset.npz."""
    whole = data_file("cifar100/cifar-100-python")
    train, test = (
        _batch(f"cifar100/cifar-100-python/{part}", b"fine_labels") if whole is not None and whole.exists() else _packed(part)
        for part in ("train", "test")
    )
    return last_validate(train, test, 1 / 10)


def _batch(name: str, labels: bytes = b"labels") -> Part:
    found = read_pickle(name)
    with open_data(name):
        return _images(found[b"data"].reshape(-1, 3, 32, 32), found[labels])


def _packed(part: str) -> Part:
    """A part of CIFAR-100 from arrays that have the colours last."""
    with open_arrays("cifar100/cifar100-subset.npz") as arrays:
        return _images(arrays[f"{part}_images"].transpose(0, 3, 1, 2), arrays[f"{part}_fine"])


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
