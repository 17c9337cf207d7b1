"""Screening: reject a candidate before a second of training is spent on it, and recognise one that was seen before."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...catalogue.registry import Family, resolve
from ...kernels.operators import compile_program
from ...language.expr import Expr

__all__ = ["LARGEST_VALUE", "Screening", "screen", "trained_symbols"]

LARGEST_VALUE = 1e4  # of |y| and |y'| on |x| <= 5, and of each parameter's gradient
_CONSTANT = 1e-4  # spread of the values, relative to the largest
_FAR = (8.0, 16.0, 32.0, 64.0)


@dataclass(frozen=True)
class Screening:
    """The result of screening a candidate.

    reason       why the candidate is not worth training, or None
    fingerprint  equal for candidates that would train alike
    """

    reason: str | None
    fingerprint: str


def screen(f: str | Family) -> Screening:
    """Evaluate the function, its slope and its parameter gradients at the initial values, in float32 as training does.

    Rejected: what is not finite on normal draws, on a grid over |x| <= 5 with 0 in it, or at ±8 … ±64; what exceeds `LARGEST_VALUE`
    on |x| <= 5; a constant; a parameter that changes nothing.

    The fingerprint is taken from the values and the gradients of the trainable parameters on |x| <= 5, in float64, rounded to
    about five digits, and the gradients in any order: so neither the way of writing a function nor the names of its parameters
    matter, while the same function with other learnable parameters is another candidate. It says nothing about constraints.
    """
    f = resolve(f)
    return _screen(f.expr, tuple(f.initial()), trained_symbols(f))


def trained_symbols(f: Family) -> tuple[str, ...]:
    """The symbols of the parameters that the family trains; the entries of a vector one by one."""
    return tuple(symbol for name, p in f.params.items() if p.trainable for symbol in p.symbols(name))


@functools.lru_cache(maxsize=4096)
def _screen(e: Expr, initial: tuple[tuple[str, float], ...], trainable: tuple[str, ...]) -> Screening:
    names = ("x", *(name for name, _ in initial))
    program = compile_program((e, e.diff(), *(e.diff(name) for name in trainable)), names)

    def run(dtype: torch.dtype, x: Tensor) -> Tensor:
        inputs = (x.to(dtype), *(torch.tensor([value], dtype=dtype) for _, value in initial))
        return torch.stack([y.expand(x.shape) for y in program.run(inputs, dtype)])

    near, far = _grid()
    grid = torch.cat([near, far])  # the far points too: relu6 is no relu
    reason = _reason(run(torch.float32, grid), len(near), trainable)
    return Screening(reason, _fingerprint(run(torch.float64, grid)))


@functools.cache
def _grid() -> tuple[Tensor, Tensor]:
    draws = np.clip(np.random.RandomState(0).standard_normal(64), -5, 5)
    near = torch.from_numpy(np.concatenate([draws, np.linspace(-5, 5, 21)]))
    return near, torch.tensor([*(-v for v in _FAR), *_FAR], dtype=torch.float64)


def _reason(rows: Tensor, near: int, trainable: tuple[str, ...]) -> str | None:
    """Why the candidate is rejected, or None.

    rows   value, slope, gradient of each trainable parameter; the columns are the grid, its first `near` points within 5
    """
    if not bool(rows.isfinite().all()):
        return "not finite"
    rows = rows[:, :near]
    if float(rows.abs().max()) > LARGEST_VALUE:
        return "exploding"
    value = rows[0]
    if float(value.max() - value.min()) <= _CONSTANT * float(value.abs().max()):
        return "constant"
    idle = [name for name, row in zip(trainable, rows[2:], strict=True) if not bool(row.any())]
    return f"the parameter {idle[0]} changes nothing" if idle else None


def _fingerprint(rows: Tensor) -> str:
    # asinh is linear near zero and logarithmic far from it: the steps are 1e-8 near zero, and 1e-5 of the value far from it.
    steps = torch.round(torch.asinh(rows * 1e3) * 1e5).nan_to_num(nan=-(2.0**40), posinf=2.0**40, neginf=-(2.0**41)).long().numpy()
    parts = [steps[0].tobytes(), *sorted(row.tobytes() for row in steps[2:])]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]
