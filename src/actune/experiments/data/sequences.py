"""Series of numbers and text, in which what comes next is to be said."""

from __future__ import annotations

import numpy as np
import torch

from .files import cached_by_folder, open_data
from .parts import Part, Split

__all__ = ["series", "text"]


@cached_by_folder
def series(file: str, column: int, *, window: int = 24, logarithm: bool = False) -> Split:
    """The next change of a series from the last `window` ones; in the order of time, 70 % train, 15 % validate, 15 % test.

    Changes, in deviations of those of the training part, let a network follow a series to where it has never been.
    """
    with open_data(f"timeseries/{file}.csv") as path:
        values = np.loadtxt(path, delimiter=",", skiprows=1, usecols=column)
    changes = np.diff(np.log(values) if logarithm else values)
    ends = [int(len(changes) * share) - window for share in (0.7, 0.85, 1.0)]
    deviation = changes[: ends[0] + window].std()
    rows = torch.from_numpy(changes / deviation).float().unfold(0, window + 1, 1)
    every = Part(rows[:, :-1], rows[:, -1:], float(deviation))
    return Split(*(every.rows(slice(a, b)) for a, b in zip([0, *ends], ends, strict=False)))


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
    return Split(*(every.rows(slice(a, b)) for a, b in zip([0, *ends], ends, strict=False)))
