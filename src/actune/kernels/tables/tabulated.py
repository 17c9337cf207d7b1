"""A function evaluated from tables, with autograd around it: `x` and the parameters are kept for backward, nothing else."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..layout import as_flat, fill, memory_order
from .polynomials import Table
from .precision import DOUBLE, PLAIN, SINGLE, Precision

_MOST = 0.75  # if a larger share is not covered, all is computed without the table

__all__ = ["Kernel", "Tabulated", "loops_work", "precision_of"]

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Kernel:
    """A table, and how to compute what it does not cover: (size) elements to the values of each output."""

    table: Table
    others: Callable[[Array], Any]

    def values(self, x: Tensor, y: Tensor) -> None:
        """The first output at a flat tensor, into y."""
        missed = self.table.values(x, y)
        with np.errstate(over="ignore"):  # what the dtype cannot hold is inf
            if len(missed) > _MOST * x.numel():
                y.numpy()[:] = self.others(x.numpy())[0]
            elif len(missed):
                y.numpy()[missed] = self.others(x.numpy()[missed])[0]

    def pullback(self, x: Tensor, g: Tensor, gx: Tensor) -> Array:
        """g times the first output, into gx; gives the sums of g times each other."""
        sums, missed = self.table.pullback(x, g, gx)
        if not len(missed):
            return sums
        whole = len(missed) > _MOST * x.numel()
        at = slice(None) if whole else missed
        with np.errstate(over="ignore", invalid="ignore"):
            slopes, some = self.others(x.numpy()[at]), g.numpy()[at]
            gx.numpy()[at] = some * slopes[0]
            wide = some.astype(np.float64)
            more = np.array([s.astype(np.float64) @ wide for s in slopes[1:]])
        return more if whole else sums + more


@dataclass(frozen=True, eq=False)
class Tabulated:
    """A function of x and parameters of one element as a `Way`.

    value     of the function itself
    slopes    in x, and in those parameters that require a gradient
    original  the same function in differentiable torch operators
    """

    value: Kernel
    slopes: Kernel | None
    original: Callable[..., Tensor]

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        y, order, kind = torch.empty_like(x), memory_order(x), _computed(x)
        fill(y, order, kind, lambda out: self.value.values(as_flat(x, order, kind).view(-1), out.view(-1)))
        return y

    def pullback(self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool]) -> Sequence[Tensor | None]:
        assert self.slopes is not None
        gx, order, kind = torch.empty_like(x), memory_order(x), _computed(x)
        elements, gradients = (as_flat(t, order, kind).view(-1) for t in (x, g.expand_as(x)))
        slopes = self.slopes
        total = iter(fill(gx, order, kind, lambda out: slopes.pullback(elements, gradients, out.view(-1))))
        return gx, *(p.new_tensor(next(total)).reshape(p.shape) if n else None for p, n in zip(parameters, needs[1:], strict=True))

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return self.original(x, *parameters)


def _computed(x: Tensor) -> torch.dtype:
    return torch.float64 if x.dtype == torch.float64 else torch.float32


@functools.cache
def loops_work() -> bool:
    """Whether numba compiles here; tried once."""
    try:
        from . import loops

        loops.uncovered(np.zeros(1, np.float32), (np.float32(1), np.float32(1)), np.empty(1, np.int64))
        if loops.WIDE:
            constants = np.float32(1), (np.int32(0), np.int32(0))
            size = 2 * loops.CELLS * (loops.DEGREE + 1)
            loops.apply(*(np.zeros(n, np.float32) for n in (16, size)), *constants, np.zeros(16, np.float32), np.empty(0, np.int64))
    except Exception as error:  # whatever numba, LLVM or a damaged cache may raise
        warnings.warn(
            f"numba does not work here ({type(error).__name__}: {error}); actune computes every function by torch operators",
            stacklevel=2,
        )
        return False
    return True


def precision_of(dtype: torch.dtype) -> Precision:
    """The tables for a dtype: half precision is computed in float32."""
    from .loops import WIDE

    return DOUBLE if dtype == torch.float64 else SINGLE if WIDE else PLAIN
