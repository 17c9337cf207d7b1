"""The data of the tasks: tensors, split once and for all into train, validation and test."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Part", "Split", "digits", "last_validate", "shortened"]


@dataclass(frozen=True, eq=False)
class Part:
    """Inputs, shape (n, …), and what the network is to make of them.

    targets    classes, integers of shape (n,), or (n, …) for one at each place; or numbers, shape (n, outputs)
    deviation  for numbers that were standardised: by what they were divided, so how much 1 is in the units of the published data
    """

    inputs: Tensor
    targets: Tensor
    deviation: float = 1.0

    def __len__(self) -> int:
        return len(self.targets)

    def rows(self, which: slice | Tensor) -> Part:
        return Part(self.inputs[which], self.targets[which], self.deviation)

    def to(self, device: torch.device | str) -> Part:
        return Part(self.inputs.to(device), self.targets.to(device), self.deviation)


@dataclass(frozen=True, eq=False)
class Split:
    """Three disjoint parts: weights are fitted on `train`, functions chosen on `validation`, claims measured on `test`."""

    train: Part
    validation: Part
    test: Part


def last_validate(train: Part, test: Part, validation: float) -> Split:
    """A split in which the last share of the training examples, at least one of them, validates."""
    if not 0 < validation < 1:
        raise ValueError(f"validation must be a share between 0 and 1, got {validation!r}")
    fitted = len(train) - max(1, int(len(train) * validation + 1e-9))  # a sixth of 12,000 is 2,000
    return Split(train.rows(slice(fitted)), train.rows(slice(fitted, None)), test)


def shortened(data: Callable[..., Split], train: int, validation: int | None = None, test: int | None = None) -> Split:
    """The first inputs of each part of a split, this many of each: what a small machine has the time for."""
    split = data()
    parts = zip((split.train, split.validation, split.test), (train, validation, test), strict=True)
    return Split(*(part.rows(slice(count)) for part, count in parts))


@functools.cache
def digits() -> Split:
    """The 1,797 handwritten digits of scikit-learn, 8 × 8 pixels, in one fixed shuffle: 1,000 train, 397 validate, 400 test.

    Inputs, shape (n, 64), are divided by 16, the largest grey value of the format: no statistic of any part enters another.
    The shuffle comes from NumPy's legacy generator, whose stream is frozen, so every version gives the same split.
    """
    import numpy as np
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    order = np.random.RandomState(0).permutation(len(classes))
    inputs = torch.from_numpy(pixels[order] / 16).float()
    labels = torch.from_numpy(classes[order]).long()
    return Split(*(Part(inputs[part], labels[part]) for part in (slice(0, 1000), slice(1000, 1397), slice(1397, 1797))))
