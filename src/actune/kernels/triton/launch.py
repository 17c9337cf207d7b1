"""Kernels in Triton on tensors: the source is loaded, a tensor is cut into tiles, and the parts of sums are added up."""

from __future__ import annotations

import functools
import hashlib
import linecache
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...language.expr import Expr
from ..layout import as_flat
from .interpreted import mend
from .operators import has_triton_form
from .source import kernel_source, written_tensors

__all__ = ["TRITON_DTYPES", "Tiling", "has_triton_kernel", "loaded", "parameter_gradient", "tiling", "triton_function"]

TRITON_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SHORT_ROW = 32  # numbers of a channel in a row, below which a tile holds several channels
WARPS = 4
# Options of the compiler: a product and a sum stay what they are, so that the formula is computed as it is written.
LAUNCH_OPTIONS = {"num_warps": WARPS, "enable_fp_fusion": False}


def has_triton_kernel(e: Expr, dtype: torch.dtype) -> bool:
    """Whether there is a kernel in Triton of this formula for tensors of this dtype."""
    return dtype in TRITON_DTYPES and has_triton_form(e)


@dataclass(frozen=True)
class Tiling:
    """How a tensor of (outer, channels, inner) is cut into tiles of (rows, columns), powers of two; see source.py."""

    outer: int
    channels: int
    inner: int
    rows: int
    columns: int
    by_columns: bool

    @property
    def parts(self) -> tuple[int, int, int]:
        """The shape of the parts of a sum: (tiles along outer, channels, tiles or numbers along inner)."""
        across = self.inner if self.by_columns else math.ceil(self.inner / self.columns)
        return math.ceil(self.outer / self.rows), self.channels, across

    @property
    def tiles(self) -> int:
        outer, channels, across = self.parts
        return outer * (math.ceil(channels * self.inner / self.columns) if self.by_columns else channels * across)


@functools.lru_cache(maxsize=512)
def tiling(outer: int, channels: int, inner: int, size: int = 1024) -> Tiling:
    """The tiles for a tensor of this shape, of `size` elements, or twice as many where columns have parameters of their own.

    There the sums of the columns are written for each tile: many rows, so that this is little.
    """
    if channels > 1 and inner < SHORT_ROW:
        columns = min(_power_above(channels * inner), SHORT_ROW)
        return Tiling(outer, channels, inner, min(2 * size // columns, _power_above(outer)), columns, True)
    # The widest of those that leave the fewest columns empty: for inner = 196 it is 32, where 256 would leave 60.
    columns = min((2**k for k in range(5, size.bit_length())), key=lambda c: (math.ceil(inner / c) * c, -c))
    return Tiling(outer, channels, inner, min(size // columns, _power_above(outer)), columns, False)


def _power_above(n: int) -> int:
    return 1 << (n - 1).bit_length()


def loaded(text: str, name: str) -> Any:
    """A function of Triton from its source, which Triton reads again: it is kept where Python keeps the lines of files."""
    place = f"<actune Triton kernel {hashlib.sha256(text.encode()).hexdigest()[:16]}>"
    linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)
    space: dict[str, Any] = {"__name__": "actune_triton_kernel"}
    exec(compile(text, place, "exec"), space)
    mend(space)
    return space[name]


@functools.lru_cache(maxsize=512)
def _kernel(e: Expr, names: tuple[str, ...], wanted: tuple[int, ...] | None, brief: bool) -> Any:
    return loaded(kernel_source(e, names, wanted, brief), "run")


def triton_function(e: Expr, names: tuple[str, ...], wanted: tuple[int, ...] | None) -> Callable[..., tuple[Tensor, ...]]:
    """The value (wanted: None), as a function of (x, *parameters), or the gradients of these inputs, of (g, x, *parameters).

    x has one dimension, or three, (outer, channels, inner); a parameter broadcasts to it, from one number or from (1, channels, 1).
    """

    def values(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        return _launched(e, names, None, None, x, parameters)

    def pullback(g: Tensor, x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        return _launched(e, names, wanted, g, x, parameters)

    return values if wanted is None else pullback


def _launched(
    e: Expr, names: tuple[str, ...], wanted: tuple[int, ...] | None, g: Tensor | None, x: Tensor, parameters: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    at = tiling(*(x.shape if x.ndim == 3 else (1, 1, x.numel())))
    learned = sum(i > 0 for i in wanted or ())
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    parts = torch.empty((learned, *at.parts), dtype=torch.float32, device=x.device)
    written = {"G": None if g is None else as_flat(g, None, g.dtype), "Y": y, "S": parts}
    stored = [as_flat(p, None, p.dtype) for p in parameters]
    kernel = _kernel(e, names, wanted, x.dtype != torch.float32)
    with torch.cuda.device_of(x):
        kernel[(at.tiles,)](
            *(written[name] for name in written_tensors(wanted)), as_flat(x, None, x.dtype), *stored,
            *(int(p.numel() > 1) for p in stored), at.outer, at.channels, at.inner, at.tiles,
            ROWS=at.rows, COLUMNS=at.columns, BY_COLUMNS=at.by_columns, **LAUNCH_OPTIONS,
        )  # fmt: skip
    if wanted is None:
        return (y,)
    sums = iter(parts.sum((1, 3), dtype=torch.float64))
    return tuple(parameter_gradient(next(sums), parameters[i - 1]) if i else y for i in wanted)


def parameter_gradient(total: Tensor, p: Tensor) -> Tensor:
    """The sums of the channels in the shape and dtype of a parameter."""
    return (total.sum() if p.numel() == 1 else total).reshape(p.shape).to(p.dtype)
