"""Where the elements of a tensor are in memory, and along which of its dimensions parameters vary."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

__all__ = ["Layout", "as_flat", "fill_in_order", "laid_as", "layout_of", "memory_order", "restore_order"]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Layout:
    """How x lies in memory, and the run of dimensions along which parameters vary.

    order         the dimensions by falling strides; None: they are in that order already
    sizes         of the dimensions in that order
    first, last   parameters vary along the dimensions [first, last) of that order; along none if both are 0

    Take x of shape (8, 3, 5, 4) with a parameter per channel, (1, 3, 1, 1). If x is contiguous, order is None and the run is
    [1, 2); in channels-last memory the order is (0, 2, 3, 1) and the run [3, 4).
    """

    order: tuple[int, ...] | None
    sizes: tuple[int, ...]
    first: int
    last: int

    @property
    def extents(self) -> tuple[int, int, int]:
        """The numbers of elements (outer, channels, inner): before, along and after the run."""
        before, along, after = self.sizes[: self.first], self.sizes[self.first : self.last], self.sizes[self.last :]
        return math.prod(before), math.prod(along), math.prod(after)

    @property
    def varies(self) -> bool:
        """Whether some parameter varies along x."""
        return self.last > self.first

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions of x along which parameters vary."""
        return (self.order or tuple(range(len(self.sizes))))[self.first : self.last]


@functools.lru_cache(maxsize=512)
def layout_of(sizes: tuple[int, ...], strides: tuple[int, ...] | None, shapes: tuple[tuple[int, ...], ...]) -> Layout | None:
    """The layout of x (strides None: contiguous) with parameters that broadcast to it from these shapes.

    None: the parameters do not vary along one run of dimensions in memory, or not all along the same; (3, 1, 5) in (3, 4, 5), say.
    """
    order = None if strides is None else _order_of(strides)
    dims = tuple(range(len(sizes))) if order is None else order
    ordered = tuple(sizes[d] for d in dims)
    varied = [shape for shape in shapes if math.prod(shape) != 1]
    if not varied:
        return Layout(order, ordered, 0, 0)
    if any(len(shape) != len(sizes) for shape in varied):
        return None
    turned = [tuple(shape[d] for d in dims) for shape in varied]
    along = [i for i in range(len(dims)) if any(shape[i] != 1 for shape in turned)]
    first, last = along[0], along[-1] + 1
    if any(shape[first:last] != ordered[first:last] for shape in turned):
        return None
    return Layout(order, ordered, first, last)


def memory_order(x: Tensor) -> tuple[int, ...] | None:
    """The dimensions by falling strides, the last contiguous; None: they are in that order already."""
    return None if x.is_contiguous() else _order_of(x.stride())


def _order_of(strides: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(strides)), key=lambda d: (-strides[d], d)))


def restore_order(t: Tensor, order: Sequence[int] | None) -> Tensor:
    """A tensor whose dimensions are in this order, with them as they were."""
    return t if order is None else t.permute(sorted(range(len(order)), key=order.__getitem__))


def laid_as(x: Tensor, p: Tensor) -> Tensor:
    """A parameter that varies along several dimensions, copied into the memory format of x.

    An operator gives its result the format of one of its arguments: without this, x*p of a channels-last x could take that of p.
    """
    order = memory_order(x)
    return p if order is None else restore_order(p.permute(order).contiguous(), order)


def as_flat(t: Tensor, order: tuple[int, ...] | None, dtype: torch.dtype) -> Tensor:
    """The elements in this order, one after the other in memory; no copy where they are so already."""
    if order is None and t.dtype is dtype and t.is_contiguous() and not t.is_neg() and not t._is_zerotensor():
        return t
    t = t.detach().resolve_neg()
    t = t.clone() if t._is_zerotensor() else t  # has no memory
    return (t if order is None else t.permute(order)).to(dtype).contiguous()


def fill_in_order(y: Tensor, order: tuple[int, ...] | None, dtype: torch.dtype, write: Callable[[Tensor], _T]) -> _T:
    """Let `write` fill y: it gets memory for the elements in this order and dtype. Returns what `write` returns."""
    laid = y if order is None else y.permute(order)
    if laid.is_contiguous() and laid.dtype == dtype:
        return write(laid)
    dense = torch.empty(laid.shape, dtype=dtype, device="cpu")
    found = write(dense)
    laid.copy_(dense)
    return found
