"""Functions on 8-bit integers: a table of 256 entries, as quantized networks on small processors have them.

A number is scale · (q - zero) for q from -128 to 127 (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", arXiv:1712.05877, equation 1); ONNX and TFLite read it so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..kernels.operators import evaluate
from .frozen import FrozenFunction

__all__ = ["Int8Table", "Quantization", "Range", "check_range", "int8_source", "int8_table"]

Range = tuple[float, float]  # the lowest and the highest input

_LEAST, _MOST = -128, 127
_TRIED = 20_001  # numbers of the range on which the error is measured


@dataclass(frozen=True)
class Quantization:
    """How 8-bit integers stand for numbers: scale · (q - zero)."""

    scale: float
    zero: int

    def __str__(self) -> str:
        return f"{self.scale!r} * (q {'-' if self.zero >= 0 else '+'} {abs(self.zero)})"

    def numbers(self, q: Tensor) -> Tensor:
        """The numbers that integers stand for, in float64."""
        return self.scale * (q.double() - self.zero)

    def integers(self, x: Tensor) -> Tensor:
        """The nearest integers that there are; halves go to the even one."""
        return (x / self.scale + self.zero).round().clamp(_LEAST, _MOST).to(torch.int8)


@dataclass(frozen=True)
class Int8Table:
    """A function as a table: entry q + 128 is what the integer q gives.

    rows        one of 256 entries, or one per channel (neuron) where the function differs from one to the next
    given       what the integers of the input stand for, and made: of the output
    error       the largest difference from the function for any input in the range, which is rounded to an integer first
    relative    the same over max(1, |value|)
    """

    function: FrozenFunction
    rows: tuple[tuple[int, ...], ...]
    given: Quantization
    made: Quantization
    error: float
    relative: float


def check_range(inputs: Any) -> Range:
    """The range of inputs as two finite numbers, the lower one first; ValueError for anything else."""
    try:
        low, high = map(float, inputs)
    except (TypeError, ValueError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"inputs must be the lowest and the highest input, such as (-8, 8), got {inputs!r}")
    return low, high


def _quantization(low: float, high: float) -> Quantization:
    """The 256 steps that cover a range, and 0 exactly: padding and ReLU rely on that."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (_MOST - _LEAST) or 1.0
    return Quantization(scale, round(_LEAST - low / scale))


def int8_table(f: FrozenFunction, inputs: Range) -> Int8Table:
    """The table of a function for inputs in a range; the range of outputs follows. ValueError where it is not finite there."""
    low, high = inputs
    given = _quantization(low, high)
    arrays = {name: torch.tensor(values, dtype=torch.float64)[:, None] for name, values in f.arrays.items()}
    every = torch.arange(_LEAST, _MOST + 1)
    values = _values(f, given.numbers(every), arrays)
    if not values.isfinite().all():
        raise ValueError(f"{f.name} is not finite everywhere from {low:g} to {high:g}; choose other inputs")
    made = _quantization(float(values.min()), float(values.max()))
    rows = made.integers(values)
    x = torch.linspace(low, high, _TRIED, dtype=torch.float64)
    wanted = _values(f, x, arrays)
    difference = (made.numbers(rows[:, given.integers(x).long() - _LEAST]) - wanted).abs()
    error, relative = float(difference.max()), float((difference / wanted.abs().clamp(min=1)).max())
    return Int8Table(f, tuple(map(tuple, rows.tolist())), given, made, error, relative)


def _values(f: FrozenFunction, x: Tensor, arrays: dict[str, Tensor]) -> Tensor:
    """The function at each x, with a row per channel."""
    count = max(map(len, arrays.values()), default=1)
    return evaluate(f.e, {"x": x[None], **arrays}).expand(count, len(x))


def int8_source(tables: Sequence[Int8Table]) -> str:
    """A file of C99 with these functions from int8_t to int8_t."""
    return "\n".join(
        ["// Activation functions on 8-bit integers, written by actune.", "#include <stdint.h>", *map(_function, tables)]
    )


def _function(t: Int8Table) -> str:
    name, count = t.function.name, len(t.rows)
    index, row = (f", int i /* from 0 to {count - 1} */", "[i]") if count > 1 else ("", "")
    kind = f"static const int8_t {name}_table{f'[{count}]' * (count > 1)}[256] = "
    steps = t.error / t.made.scale
    rows = ["{" + ", ".join(map(str, r)) + "}" for r in t.rows]
    lines = [
        f"\n// {t.function.title}.",
        f"// Input: {t.given}. Output: {t.made}. The entry q + 128 belongs to the input q.",
        f"// Error: at most {t.error:.2g} ({steps:.2g} steps of the output) for an input in the range, with its rounding.",
        kind + (rows[0] if count == 1 else "{\n    " + ",\n    ".join(rows) + "\n}") + ";",
        f"int8_t {name}(int8_t q{index}) {{",
        f"    return {name}_table{row}[q + 128];",
        "}\n",
    ]
    return "\n".join(lines)
