"""Any formula as one pass over a tensor, and its derivatives as another, for parameters of every scope.

The kernels come from `assembly`, the loops from `strips`; here tensors become memory, and sums become gradients. Parameters come
as the tensors of the symbols (`Fused`), or as a module stores them (`Held`), which takes fewer small operations.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...catalogue.registry import Param
from ...language.expr import Expr
from .. import operators
from ..autograd import filled, flat, order_of, restored
from .compiler import compute_dtype
from .lanes import LANES
from .strips import Layout, layout, run
from .tiers import chosen

__all__ = ["Fused", "Held", "slopes", "symbols"]

Sources = tuple[tuple[tuple[str, ...], Param], ...]


@dataclass(frozen=True)
class Fused:
    """A formula of x and the named parameters, which broadcast to x, as a `Way`."""

    e: Expr
    names: tuple[str, ...]

    def fits(self, x: Tensor, parameters: Sequence[Tensor]) -> bool:
        """Whether these parameters differ along a run of dimensions of x, or not at all."""
        return _arranged(x, parameters) is not None

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        order, at = _arranged(x, parameters) or _refused()
        return _values(self.e, self.names, x, order, at, _rows(parameters, order, at, x.dtype))

    def pullback(self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool]) -> Sequence[Tensor | None]:
        order, at = _arranged(x, parameters) or _refused()
        learned = [i for i, need in enumerate(needs[1:]) if need]
        rows = _rows(parameters, order, at, x.dtype)
        gx, sums = _pullback(self.e, self.names, tuple(self.names[i] for i in learned), x, g, order, at, rows)
        found: list[Tensor | None] = [gx if needs[0] else None] + [None] * len(parameters)
        for i, total in zip(learned, sums, strict=True):
            p = parameters[i]
            found[i + 1] = (total.sum() if p.numel() == 1 else _ordered(total, p.shape, order)).reshape(p.shape).to(p.dtype)
        return found

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return operators.activate(self.e, x, dict(zip(self.names, parameters, strict=True)))


@dataclass(frozen=True)
class Held:
    """A formula of x and parameters as a module stores them, as a `Way`.

    sources   for each stored tensor, the symbols that it gives, one for each entry of a vector, and its Param
    shape     in which each of these broadcasts against x
    """

    e: Expr
    sources: Sources
    shape: tuple[int, ...]

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(name for names, _ in self.sources for name in names)

    @functools.cached_property
    def _runs(self) -> tuple[tuple[Param, slice], ...]:
        """Rows, one for each name, whose constraint is the same."""
        each = [p for names, p in self.sources for _ in names]
        starts = [i for i, p in enumerate(each) if i == 0 or p.constraint is not each[i - 1].constraint]
        return tuple((each[i], slice(i, end)) for i, end in zip(starts, [*starts[1:], len(each)], strict=True))

    def fits(self, x: Tensor) -> bool:
        """Whether kernels can serve x."""
        return _arrangement(x, (self.shape,)) is not None

    def values(self, x: Tensor, parameters: Sequence[Tensor]) -> Tensor:
        order, at = _arrangement(x, (self.shape,)) or _refused()
        stored = self._stored(parameters, order)
        return _values(self.e, self.names, x, order, at, self._each(Param.value, stored).to(compute_dtype(x.dtype)))

    def pullback(self, x: Tensor, parameters: Sequence[Tensor], g: Tensor, needs: Sequence[bool]) -> Sequence[Tensor | None]:
        order, at = _arrangement(x, (self.shape,)) or _refused()
        stored = self._stored(parameters, order)
        rows = self._each(Param.value, stored)
        derivatives = self._each(Param.slope, stored, rows)
        needed = [need for (names, _), need in zip(self.sources, needs[1:], strict=True) for _ in names]
        learned = tuple(name for name, need in zip(self.names, needed, strict=True) if need)
        gx, sums = _pullback(self.e, self.names, learned, x, g, order, at, rows.to(compute_dtype(x.dtype)))
        sums *= derivatives if all(needed) else derivatives[needed]
        found: list[Tensor | None] = [gx if needs[0] else None]
        order = order and (0, *(d + 1 for d in order))
        for (names, _), p, need in zip(self.sources, parameters, needs[1:], strict=True):
            own, sums = (sums[: len(names)], sums[len(names) :]) if need else (None, sums)
            found.append(None if own is None else _ordered(own, (len(names), *self.shape), order).reshape(p.shape).to(p.dtype))
        return found

    def formula(self, x: Tensor, *parameters: Tensor) -> Tensor:
        return operators.activate(self.e, x, symbols(self.sources, self.shape, parameters))

    def _stored(self, parameters: Sequence[Tensor], order: tuple[int, ...] | None) -> Tensor:
        """A row for each name, in the order of memory."""
        rows = [p.detach().reshape(len(names), -1) for (names, _), p in zip(self.sources, parameters, strict=True)]
        if order is not None:
            turned = (row.reshape(-1, *self.shape).permute(0, *(d + 1 for d in order)) for row in rows)
            rows = [row.reshape(len(row), -1) for row in turned]
        return _stacked(rows)

    def _each(self, function: Callable[..., Tensor], *rows: Tensor) -> Tensor:
        """The function of each Param, of its rows."""
        if len(self._runs) == 1:
            return function(self._runs[0][0], *rows)
        return _stacked([function(p, *(r[part] for r in rows)) for p, part in self._runs])


def symbols(sources: Sources, shape: tuple[int, ...], stored: Sequence[Tensor]) -> dict[str, Tensor]:
    """Each symbol of a formula as a tensor of this shape, from the stored parameters; differentiable."""
    found: dict[str, Tensor] = {}
    for (names, p), t in zip(sources, stored, strict=True):
        entries = p.value(t) if len(names) > 1 else (p.value(t),)
        found |= {name: entries[i].reshape(shape) for i, name in enumerate(names)}
    return found


def _refused() -> Any:
    raise ValueError("these parameters do not fit a kernel; ask `fits` first")


@functools.lru_cache(maxsize=512)
def slopes(e: Expr, names: tuple[str, ...]) -> tuple[Expr, ...]:
    """The formulas of a pullback: the derivative in x, and those in these names."""
    return e.diff(), *(e.diff(name) for name in names)


def _values(e: Expr, names: tuple[str, ...], x: Tensor, order: tuple[int, ...] | None, at: Layout, rows: Tensor) -> Tensor:
    """The values, laid out as x is, for a row of parameters for each name, (names, own channels)."""
    y = torch.empty_like(x)
    if x.numel():
        strip = chosen((e,), names, x.dtype, at.columns, False, x.numel())
        numbers, elements = _numbers(rows, at), flat(x, order, x.dtype)
        filled(y, order, x.dtype, lambda out: run(strip, at, numbers, elements, out))
    return y


def _pullback(
    e: Expr,
    names: tuple[str, ...],
    learned: tuple[str, ...],
    x: Tensor,
    g: Tensor,
    order: tuple[int, ...] | None,
    at: Layout,
    rows: Tensor,
) -> tuple[Tensor, Tensor]:
    """The gradient of x, and those of the learned parameters as float64 numbers, (learned, own channels)."""
    gx, sums = torch.empty_like(x), np.zeros((len(learned), at.own))
    if x.numel():
        strip = chosen(slopes(e, learned), names, x.dtype, at.columns, True, x.numel())
        numbers = _numbers(rows, at)
        elements, gradients = (flat(t, order, x.dtype) for t in (x, g))
        sums = filled(gx, order, x.dtype, lambda out: run(strip, at, numbers, elements, out, gradients, len(learned)))
    return gx, torch.from_numpy(sums)


# -- tensors as memory ---------------------------------------------------------------------------------------------------


def _arranged(x: Tensor, parameters: Sequence[Tensor]) -> tuple[tuple[int, ...] | None, Layout] | None:
    return _arrangement(x, tuple(p.shape for p in parameters if p.numel() != 1))


def _arrangement(x: Tensor, shapes: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...] | None, Layout] | None:
    """The dimensions of x in the order of memory, and x in that order, for parameters of these shapes; None: they do not fit."""
    return _arrangement_of(x.shape, None if x.is_contiguous() else x.stride(), shapes)


@functools.lru_cache(maxsize=512)
def _arrangement_of(
    sizes: tuple[int, ...], strides: tuple[int, ...] | None, shapes: tuple[tuple[int, ...], ...]
) -> tuple[tuple[int, ...] | None, Layout] | None:
    order = None if strides is None else order_of(strides)
    if all(math.prod(shape) == 1 for shape in shapes):
        return order, Layout(1, 1, math.prod(sizes))
    if any(len(shape) != len(sizes) for shape in shapes):
        return None
    dims = range(len(sizes)) if order is None else order
    at = layout([sizes[d] for d in dims], [[shape[d] for d in dims] for shape in shapes])
    return None if at is None else (order, at)


def _rows(parameters: Sequence[Tensor], order: tuple[int, ...] | None, at: Layout, dtype: torch.dtype) -> Tensor:
    """A row of numbers for each parameter, in the order of memory, one for each channel."""
    kind = compute_dtype(dtype)
    if not parameters:
        return torch.empty((0, at.own), dtype=kind, device="cpu")
    ordered = (p.detach() if order is None or p.numel() == 1 else p.detach().permute(order) for p in parameters)
    return _stacked([p.reshape(1, -1).expand(1, at.own) for p in ordered]).to(kind)


def _stacked(rows: Sequence[Tensor]) -> Tensor:
    """One above the other, always in new memory: what NumPy has seen cannot be resized, which FSDP does to parameters.

    With `out`, autocast has no say in it.
    """
    if len(rows) == 1:
        return rows[0].clone(memory_format=torch.contiguous_format)
    kind = functools.reduce(torch.promote_types, {row.dtype for row in rows})
    return torch.cat(list(rows), out=torch.empty(0, dtype=kind, device="cpu"))


def _numbers(rows: Tensor, at: Layout) -> NDArray[Any]:
    """The rows, (number, channels), with room for whole vectors."""
    width = math.ceil(at.channels / LANES) * LANES if at.columns else at.channels
    if width == at.own:
        own: NDArray[Any] = rows.numpy()
        return own
    found = torch.ones((len(rows), width), dtype=rows.dtype, device="cpu")
    found[:, : at.channels].view(-1, at.repeats, at.own, at.spread).copy_(rows.view(-1, 1, at.own, 1))
    return found.numpy()


def _ordered(total: Tensor, shape: Sequence[int], order: tuple[int, ...] | None) -> Tensor:
    """Numbers in the order of memory as a tensor of this shape."""
    return restored(total.reshape([shape[d] for d in order or range(len(shape))]), order)
