"""Tables of numbers, standardised by their training parts."""

from __future__ import annotations

import numpy as np
import torch

from .files import cached_by_folder, open_arrays, open_data
from .parts import Part, Split

__all__ = ["california", "uci", "uci_by_seed"]


@cached_by_folder
def uci(name: str, split: int = 0) -> Split:
    """One of the tables of Hernández-Lobato and Adams (2015): a published test part, by its number; a fifth of the rest validates.

    Targets are standardised, and so are errors; times the `deviation` of a part they are those that papers report.
    """
    with open_data(f"uci/{name}.txt.gz") as path:
        table = np.loadtxt(path, ndmin=2)
    with open_arrays(f"uci/{name}_splits.npz") as arrays:
        features, target, splits = arrays["features"], arrays["target"], int(arrays["n_splits"])
        test = arrays[f"test_{split}"] if split in range(splits) else None
    if test is None:
        raise ValueError(f"split must be from 0 to {splits - 1} for {name}, got {split!r}")
    return _number_table(table[:, features], table[:, np.atleast_1d(target)[:1]], test)


def uci_by_seed(name: str, seed: int, held_out: bool = False) -> Split:
    """The published splits of a table in turn, for tasks that are drawn: seed 0 has the first one, and so on, then again.

    Splits of one table overlap, so those of trainings that are tested are no others.
    """
    with open_arrays(f"uci/{name}_splits.npz") as arrays:
        splits = int(arrays["n_splits"])
    return uci(name, seed % splits)


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
    (x, _), (y, deviations) = _standardised(features, train), _standardised(targets, train)
    return Split(*(Part(x[rows], y[rows], float(deviations[0])) for rows in (train, validation, test)))


def _standardised(values: np.ndarray, train: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """The values with mean 0 and deviation 1 over the training rows, and the deviations before; a constant is only shifted."""
    mean, spread = values[train].mean(0), values[train].std(0)
    deviations = np.where(spread > 1e-12 * np.abs(mean), spread, 1.0)
    return torch.from_numpy((values - mean) / deviations).float(), deviations
