"""A formula as one pass over a tensor, and its derivatives as another, by kernels for the CPU.

The kernels come from `tiers`, the loops over strips from `strips`; here tensors become memory, and sums become gradients.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...catalogue.registry import ArrayMap, Param
from ...language.expr import Expr, gradient
from ...tensors import Array
from .. import operators
from ..layout import Layout, as_flat, fill_in_order, restore_order
from ..request import Request, Subject
from . import tiers
from .compiler import compute_dtype, kernels_run
from .steps import kernel_cost, summed_cost
from .strips import Cut, cut, run_strips

__all__ = ["CpuWay", "cpu_way", "has_kernel", "rows_of", "slopes"]


PassBack = Callable[[Tensor, Tensor, Array, tuple[str, ...], Tensor | None], tuple[Tensor, Array]]


def has_kernel(e: Expr, dtype: torch.dtype) -> bool:
    """Whether kernels of this formula can be made on this machine."""
    return kernel_cost(e) is not None and kernels_run(dtype)


def cpu_way(asked: Request) -> CpuWay | None:
    """Kernels for plain tensors on the CPU, of any size, with parameters that are shared by all elements or vary along one run."""
    if asked.place != "cpu" or not has_kernel(asked.subject.e, asked.dtype):
        return None
    layout = asked.layout
    return None if layout is None else CpuWay(asked.subject, asked.shapes, layout, cut(*layout.extents), compute_dtype(asked.dtype))


@dataclass(frozen=True, eq=False)
class CpuWay:
    """The kernels of a formula for tensors of one layout, as a `Way`.

    shapes   in which each tensor of parameters broadcasts against x
    layout   of x beside them
    at       how its memory is cut into strips
    dtype    that is computed in
    """

    subject: Subject
    shapes: tuple[tuple[int, ...], ...]
    layout: Layout
    at: Cut
    dtype: torch.dtype

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        y = torch.empty_like(x)
        if not x.numel():
            return y
        subject, order, at = self.subject, self.layout.order, self.at
        strip = tiers.kernel_for((subject.e,), subject.names, x.dtype, at.columns, False, x.numel())
        numbers, elements = self.numbers(parameters), as_flat(x, order, x.dtype)
        if order is None:
            run_strips(strip, at, numbers, elements, y)
        else:
            fill_in_order(y, order, x.dtype, lambda out: run_strips(strip, at, numbers, elements, out))
        return y

    def pullback(
        self,
        x: Tensor,
        parameters: Sequence[Tensor],
        g: Tensor,
        needs: Sequence[bool],
        spare: Tensor | None = None,
        pass_back: PassBack | None = None,
    ) -> Sequence[Tensor | None]:
        """`Way.pullback`; another function may take the place of `self.pass_back`."""
        rows, needed = self._rows(parameters), self.subject.needed(needs[1:])
        gx, sums = (pass_back or self.pass_back)(x, g, rows.numbers, tuple(itertools.compress(self.subject.names, needed)), spare)
        # The kernel sums g times the slope in each value; the chain rule leads on to what is stored.
        with np.errstate(over="ignore", invalid="ignore"):
            sums = sums * (rows.slopes if all(needed) else rows.slopes[needed])
        found: list[Tensor | None] = [gx if needs[0] else None]
        for (names, _), p, shape, need in zip(self.subject.sources, parameters, self.shapes, needs[1:], strict=True):
            own, sums = (sums[: len(names)], sums[len(names) :]) if need else (None, sums)
            found.append(None if own is None else self._as_stored(own, p, shape))
        return found

    def numbers(self, parameters: Sequence[Tensor]) -> Array:
        """The value of each symbol as kernels read them: (symbols, width of the cut)."""
        return self._rows(parameters).numbers

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return operators.activate_in_torch(self.subject.e, x, self.subject.symbols(x, parameters, self.shapes))

    def pass_back(
        self, x: Tensor, g: Tensor, numbers: Array, learned: tuple[str, ...], spare: Tensor | None
    ) -> tuple[Tensor, Array]:
        """The gradient of x, and the sums of the learned symbols in float64, (learned, own channels)."""
        gx, at, order = torch.empty_like(x) if spare is None else spare, self.at, self.layout.order
        if not x.numel():
            return gx, np.zeros((len(learned), at.own))
        names = self.subject.names
        strip = tiers.kernel_for(slopes(self.subject.e, learned), names, x.dtype, at.columns, True, x.numel())
        elements, gradients = as_flat(x, order, x.dtype), as_flat(g, order, x.dtype)
        sums = fill_in_order(gx, order, x.dtype, lambda out: run_strips(strip, at, numbers, elements, out, gradients, len(learned)))
        return gx, sums

    def _rows(self, parameters: Sequence[Tensor]) -> Rows:
        """What backward needs again, and the next call if no parameter has changed."""
        return rows_of(self, *self.bits(parameters))

    def bits(self, parameters: Sequence[Tensor]) -> tuple[torch.dtype, bytes]:
        """What tells these parameters from others, 0 and -0 too: the memory of `_stored`, and its dtype."""
        return self.bits_in_order(parameters) or _bits_of(self._stored(parameters))

    def bits_in_order(self, parameters: Sequence[Tensor]) -> tuple[torch.dtype, bytes] | None:
        """`bits` straight from the memory of the parameters; None where that is in another order or of several dtypes."""
        if not self.is_stored_in_order:
            return None
        dtype, found = parameters[0].dtype, []
        for p in parameters:
            if p.dtype is not dtype or not p.is_contiguous() or p.is_neg() or p._is_zerotensor():
                return None
            found.append(ctypes.string_at(p.data_ptr(), p.nbytes))
        return dtype, b"".join(found)

    @functools.cached_property
    def is_stored_in_order(self) -> bool:
        """Whether each tensor of parameters has one number for each own channel and symbol, in the order of memory."""
        one_dim = self.layout.order is None or len(self.layout.dims) == 1
        return bool(self.shapes) and one_dim and all(math.prod(shape) == self.at.own for shape in self.shapes)

    def _stored(self, parameters: Sequence[Tensor]) -> Tensor:
        """What is stored, a row for each symbol, one number for each own channel in the order of memory."""
        if not parameters:
            return torch.empty((0, self.at.own), device="cpu")
        rows, order = [], self.layout.order
        for (names, _), p, shape in zip(self.subject.sources, parameters, self.shapes, strict=True):
            if p.numel() == len(names):
                row = p.detach().reshape(len(names), 1).expand(len(names), self.at.own)
            elif order is None:
                row = p.detach().reshape(len(names), -1)
            else:
                row = p.detach().reshape(len(names), *shape).permute(0, *(d + 1 for d in order)).reshape(len(names), -1)
            rows.append(row)
        return _stacked(rows)

    def _as_stored(self, sums: Array, p: Tensor, shape: tuple[int, ...]) -> Tensor:
        """The inverse of `_stored`: sums over the own channels become sums over what shares a number of this parameter."""
        found = torch.from_numpy(sums)
        if math.prod(shape) == 1:
            found = torch.stack([row.sum() for row in found])
        elif not self.is_stored_in_order:
            order = (0, *(d + 1 for d in self.layout.order or range(len(shape))))
            ordered = (len(sums), *shape)
            found = restore_order(found.reshape([ordered[d] for d in order]), order)
        return found.to(p.dtype, copy=True).reshape(p.shape)

    @functools.cached_property
    def _runs(self) -> tuple[tuple[Param, slice], ...]:
        """Rows, one for each symbol, whose constraint is the same, so that one call maps them all."""
        each = [p for names, p in self.subject.sources for _ in names]
        ends = [i for i, p in enumerate(each, start=1) if i == len(each) or p.constraint is not each[i].constraint]
        return tuple((each[start], slice(start, end)) for start, end in zip([0, *ends], ends, strict=False))

    @functools.cached_property
    def array_maps(self) -> tuple[tuple[ArrayMap, slice], ...] | None:
        """The map of each run; None if some run has none."""
        found = tuple((p.array_map(), part) for p, part in self._runs)
        known = tuple((map_, part) for map_, part in found if map_ is not None)
        return known if known and len(known) == len(found) else None

    def each(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """The rows that the function of each Param gives."""
        if len(self._runs) <= 1:
            return function(self._runs[0][0], *rows) if self._runs else rows[0]
        return _stacked([function(p, *(r[part] for r in rows)) for p, part in self._runs])


class Rows(NamedTuple):
    """A row for each symbol: its values as kernels read them, (symbols, width of the cut), and their slopes in what is stored."""

    numbers: Array
    slopes: Array


@functools.lru_cache(maxsize=128)
def rows_of(way: CpuWay, dtype: torch.dtype, bits: bytes) -> Rows:
    """The rows of what is stored, (symbols, own channels) of this dtype, by its memory."""
    at, (values, slopes) = way.at, _mapped(way, dtype, bits)
    if at.width == at.own:
        return Rows(values, slopes)
    numbers = np.ones((len(values), at.width), values.dtype)  # room for whole vectors
    spread = np.broadcast_to(values[:, None, :, None], (len(values), at.repeats, at.own, at.spread))
    numbers[:, : at.channels] = spread.reshape(len(values), at.channels)
    return Rows(numbers, slopes)


def _mapped(way: CpuWay, dtype: torch.dtype, bits: bytes) -> Rows:
    """The rows without room for whole vectors: by NumPy, which is sooner done than torch, where it knows all constraints."""
    kinds, maps = {torch.float32: np.float32, torch.float64: np.float64}, way.array_maps
    shape = len(way.subject.names), way.at.own
    if dtype in kinds and maps is not None:
        known = np.frombuffer(bits, kinds[dtype]).reshape(shape)
        found = Rows(np.empty(shape, kinds[way.dtype]), np.empty(shape))
        with np.errstate(over="ignore", invalid="ignore"):
            for map_, part in maps:
                found.numbers[part], found.slopes[part] = map_(known[part])
        return found
    stored = torch.frombuffer(bytearray(bits), dtype=dtype).view(shape) if bits else torch.empty(shape, device="cpu")
    values = way.each(Param.value, stored)
    slopes = way.each(Param.slope, stored, values).to(torch.float64)
    return Rows(values.to(way.dtype).numpy(), slopes.numpy())


def _bits_of(stored: Tensor) -> tuple[torch.dtype, bytes]:
    return stored.dtype, stored.contiguous().view(torch.uint8).numpy().tobytes()


@functools.lru_cache(maxsize=512)
def slopes(e: Expr, names: tuple[str, ...]) -> tuple[Expr, ...]:
    """The formulas of a pullback: the derivative in x, and those in these names.

    From each symbol up to the root, whose products overflow less; or from the root down, where that takes fewer instructions.
    """
    up = tuple(e.diff(name) for name in ("x", *names))
    down = gradient(e, ("x", *names)) if names else up
    return down if summed_cost(down) + 2 < summed_cost(up) else up


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """The rows one above the other, in new memory: what NumPy has seen cannot be resized, which FSDP does to parameters.

    With `out`, autocast has no say in it.
    """
    if len(rows) == 1:
        return rows[0].clone(memory_format=torch.contiguous_format)
    kind = functools.reduce(torch.promote_types, {row.dtype for row in rows})
    return torch.cat(list(rows), out=torch.empty(0, dtype=kind, device="cpu"))
