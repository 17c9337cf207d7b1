"""Any formula as one pass over a tensor, and its derivatives as another, for parameters of every scope.

The kernels come from `assembly`, the loops from `strips`; here tensors become memory, and sums become gradients.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..expr import Expr
from . import formula
from .assembly import compute_dtype
from .chosen import chosen
from .eager import filled, flat, memory_order, restored
from .strips import Layout, layout, run
from .vector import LANES

__all__ = ["Fused"]

_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}


@dataclass(frozen=True)
class Fused:
    """A formula of x and the named parameters as a `Way`."""

    e: Expr
    names: tuple[str, ...]

    def fits(self, x: Tensor, parameters: Sequence[Tensor]) -> bool:
        """Whether these parameters differ along a run of dimensions of x, or not at all."""
        return _arranged(x, parameters) is not None

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        order, at = _arranged(x, parameters) or _refused()
        y = torch.empty_like(x)
        if x.numel():
            strip = chosen((self.e,), self.names, x.dtype, at.columns, False, x.numel())
            numbers, elements = _numbers(parameters, order, at, x.dtype), flat(x, order, x.dtype)
            filled(y, order, x.dtype, lambda out: run(strip, at, numbers, elements, out))
        return y

    def pullback(self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool]) -> Sequence[Tensor | None]:
        order, at = _arranged(x, parameters) or _refused()
        learned = [i for i, need in enumerate(needs[1:]) if need]
        gx, sums = torch.empty_like(x), np.zeros((len(learned), at.own))
        if x.numel():
            slopes = _slopes(self.e, tuple(self.names[i] for i in learned))
            strip = chosen(slopes, self.names, x.dtype, at.columns, True, x.numel())
            numbers = _numbers(parameters, order, at, x.dtype)
            elements, gradients = (flat(t, order, x.dtype) for t in (x, g))
            sums = filled(gx, order, x.dtype, lambda out: run(strip, at, numbers, elements, out, gradients, len(learned)))
        found: list[Tensor | None] = [gx if needs[0] else None] + [None] * len(parameters)
        for i, total in zip(learned, sums, strict=True):
            found[i + 1] = _like(parameters[i], total, order)
        return found

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return formula.activate(self.e, x, dict(zip(self.names, parameters, strict=True)))


def _refused() -> Any:
    raise ValueError("these parameters do not fit a kernel; ask `fits` first")


@functools.lru_cache(maxsize=1024)
def _slopes(e: Expr, names: tuple[str, ...]) -> tuple[Expr, ...]:
    return e.diff(), *(e.diff(name) for name in names)


# -- tensors as memory ---------------------------------------------------------------------------------------------------


def _arranged(x: Tensor, parameters: Sequence[Tensor]) -> tuple[list[int] | None, Layout] | None:
    """The dimensions of x in the order of memory, and x in that order."""
    several = [p for p in parameters if p.numel() != 1]
    if not several:
        return memory_order(x), Layout(1, 1, x.numel())
    if any(p.ndim != x.ndim for p in several):
        return None
    order = memory_order(x)
    dims = range(x.ndim) if order is None else order
    at = layout([x.shape[d] for d in dims], [[p.shape[d] for d in dims] for p in several])
    return None if at is None else (order, at)


def _numbers(parameters: Sequence[Tensor], order: list[int] | None, at: Layout, dtype: torch.dtype) -> NDArray[Any]:
    """(number, channels) in the dtype that is computed in, with room for whole vectors."""
    kind = _NUMPY[compute_dtype(dtype)]
    if at.channels == 1:
        with np.errstate(over="ignore"):
            return np.array([p.item() for p in parameters], kind).reshape(-1, 1)
    found = np.ones((len(parameters), math.ceil(at.channels / LANES) * LANES if at.columns else at.channels), kind)
    for row, p in zip(found, parameters, strict=True):
        one = p.detach() if order is None or p.numel() == 1 else p.detach().permute(order)
        # copied by torch: a tensor that NumPy has seen cannot be resized, which FSDP does to parameters
        torch.from_numpy(row)[: at.channels].view(at.repeats, -1, at.spread).copy_(one.reshape(-1, 1))
    return found


def _like(p: Tensor, total: NDArray[np.float64], order: list[int] | None) -> Tensor:
    """The gradient of a parameter, from sums one for each channel."""
    found = torch.from_numpy(total)
    if p.numel() == 1:
        return found.sum().to(p.dtype).reshape(p.shape)
    return restored(found.to(p.dtype).reshape([p.shape[d] for d in order or range(p.ndim)]), order)
