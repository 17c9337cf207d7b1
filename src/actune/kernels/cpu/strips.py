"""How a tensor is cut into strips, and the loops over them, for kernels that know nothing of shapes.

A strip is up to 128 vectors of 32 elements, at equal distances in memory, that share the parameters of each lane. A kernel
is a function of one strip,

    strip(context, X, G, Y, P, distance, S, count, stride, live)

X, G, Y   elements in; their gradients, in a pullback; and out: `count` vectors, `stride` elements apart
P         the parameters, `distance` numbers apart: one for all lanes ("rows"), or one each ("columns")
S         float64 sums to add to, `distance` apart, for one parameter or for one each
live      how many lanes there are: of the last vector ("rows"), or of every one ("columns")

and is compiled into the loop over all strips, so that what is alike in all of them is computed once.

A tensor (outer, channels, inner) with contiguous inner elements is cut along them, and one with inner = 1 across its channels; so
is one with fewer than 64 inner elements, as if each had parameters of its own. Sums are kept for each group of strips; groups
depend on the shape alone, so results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from . import llvm
from .lanes import LANES
from .loops import VECTORS, counters, loop
from .subnormal import without_subnormals
from .threads import shared_out

__all__ = ["Cut", "Strip", "bind_strips", "cut", "driver", "link_strip", "run_strips"]

LENGTH = 128  # vectors in a strip of a row
TALL = 16  # and in one of columns
_SHARE = 65536  # elements that a thread, or a group of strips, is worth
_SHORT = 64  # elements of a channel in a row, below which they become columns
_WIDEST = 512  # channels up to which rows of columns are joined until they fill vectors


@dataclass(frozen=True, eq=False)
class Strip:
    """A kernel with the loop around it, the address of its context, and what must stay in memory for that."""

    run: Callable[..., None]
    context: int = 0
    kept: object = None


@dataclass(frozen=True)
class Cut:
    """A tensor in memory as (outer, channels, inner), as strips see it.

    repeats   how often the row of all channels is repeated in `channels`
    spread    how often each channel is repeated in there
    """

    outer: int
    channels: int
    inner: int
    repeats: int = 1
    spread: int = 1

    @functools.cached_property
    def own(self) -> int:
        """Channels that are not repeated."""
        return self.channels // (self.repeats * self.spread)

    @functools.cached_property
    def columns(self) -> bool:
        """Whether the lanes of a vector have parameters of their own."""
        return self.inner == 1 and self.channels > 1

    @functools.cached_property
    def width(self) -> int:
        """The numbers in a row of parameters: one per channel, those of columns filled up to whole vectors."""
        return math.ceil(self.channels / LANES) * LANES if self.columns else self.channels

    @functools.cached_property
    def extent(self) -> int:
        """The length of what is cut."""
        return self.outer if self.columns else self.inner

    @functools.cached_property
    def units(self) -> int:
        """The number of strips, or of rows of strips in columns."""
        if self.columns:
            return math.ceil(self.outer / TALL)
        return self.outer * self.channels * math.ceil(self.inner / (LENGTH * LANES))

    @functools.cached_property
    def group(self) -> int:
        """The number of units whose sums are added up in one place, and that one thread does."""
        least, most = (_SHARE // (TALL * self.channels), 16) if self.columns else (16, 64)
        return max(1, least, math.ceil(self.units / most))


def cut(outer: int, channels: int, inner: int) -> Cut:
    """The cut of a tensor of so many elements before, along and after the dimensions along which parameters vary.

    (8, 3, 20) has strips too short for vectors: it is cut as (2, 240, 1), in which each of the 3 channels stands 20 times, and the
    row of them all 4 times, so that 240 parameters fill vectors.
    """
    repeats, spread = 1, 1
    if channels > 1 and 0 < inner < _SHORT:
        channels, inner, spread = channels * inner, 1, inner
        while channels % LANES and outer % 2 == 0 and 2 * channels <= _WIDEST:
            outer, channels, repeats = outer // 2, 2 * channels, 2 * repeats
    return Cut(outer, channels, inner, repeats, spread)


def run_strips(
    strip: Strip, at: Cut, parameters: NDArray[Any], x: Tensor, y: Tensor, g: Tensor | None = None, sums: int = 0
) -> NDArray[np.float64]:
    """Call a kernel for all strips of flat tensors; gives the sums of a pullback, (sums, channels).

    parameters  (number, channels) in the dtype that is computed in; those of columns filled up to whole vectors
    g, sums     in a pullback: the gradients, and how many sums it makes
    """
    units, group, distance = at.units, at.group, parameters.shape[1]
    each = np.zeros((math.ceil(units / group), sums, distance))
    pointers = (x.data_ptr(), (x if g is None else g).data_ptr(), y.data_ptr(), parameters.ctypes.data, each.ctypes.data)
    shape = (at.channels, distance, parameters.itemsize, 8 * sums * distance, at.extent)

    def share(start: int, end: int, memory: Any = (x, g, y, parameters, each)) -> None:  # held as long as someone is at work
        strip.run(strip.context, x.element_size(), *pointers, *shape, start * group, min(end * group, units), group)

    if len(each) == 1:
        strip.run(strip.context, x.element_size(), *pointers, *shape, 0, units, group)
    else:
        shared_out(share, len(each), x.numel() // _SHARE)
    if not sums:
        return np.zeros((0, at.own))
    found: NDArray[np.float64] = each.sum(0)[:, : at.channels].reshape(sums, at.repeats, at.own, at.spread).sum((1, 3))
    return found


def bind_strips(
    strip: Strip, at: Cut, parameters: Tensor, x: Tensor, y: Tensor, g: Tensor | None = None, sums: Tensor | None = None
) -> Callable[[], None]:
    """A function that calls a kernel for all strips, in one thread, as often as wanted while these tensors stay in memory.

    parameters, sums  (number, distance); the kernel adds to the sums
    """
    units = at.units
    pointers = (t.data_ptr() for t in (x, x if g is None else g, y, parameters, y if sums is None else sums))
    distance, size = parameters.shape[-1], parameters.element_size()
    of_sums = 0 if sums is None else sums.nbytes
    return functools.partial(
        strip.run, strip.context, x.element_size(), *pointers, at.channels, distance, size, of_sums, at.extent, 0, units, units
    )


def link_strip(library: llvm.Library, context: int = 0, kept: object = None) -> Strip:
    """The kernel whose function "run" was compiled."""
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    return Strip(library.function("run", pointer, integer, *(pointer,) * 5, *(integer,) * 8), context, kept)


# -- the loops, in LLVM assembly -----------------------------------------------------------------------------------------

_STRIP = """
  call void @strip(ptr %context, ptr %x, ptr %g, ptr %y, ptr %p, i64 %distance, ptr %s, i64 %count, i64 {stride}, i64 %live)"""


def driver(columns: bool) -> str:
    """The function "run", which calls "strip" for all strips of a tensor in this order."""
    names, body = (("unit", "channel"), _COLUMNS) if columns else (("unit",), _ROWS)
    parameters = """ptr %context, i64 %size, ptr %X, ptr %G, ptr %Y, ptr %P, ptr %S, i64 %channels, i64 %distance, i64 %wide,
                 i64 %bytes, i64 %extent, i64 %first, i64 %last, i64 %group"""
    loops = without_subnormals("run", parameters, VECTORS, counters(names) + body)
    return f"\ndeclare i64 @llvm.smin.i64(i64, i64){loops}"


def _strip_place(channel: str) -> str:
    """Where the parameters of a channel, their sums and its elements are."""
    return f"""
  %p.at = mul i64 {channel}, %wide
  %p = getelementptr i8, ptr %P, i64 %p.at
  %s.group = sdiv i64 %unit, %group
  %s.sums = mul i64 %s.group, %bytes
  %s.channel = mul i64 {channel}, 8
  %s.at = add i64 %s.sums, %s.channel
  %s = getelementptr i8, ptr %S, i64 %s.at
  %at = mul i64 %element, %size""" + "".join(f"""
  %{t} = getelementptr i8, ptr %{t.upper()}, i64 %at""" for t in "xgy")  # fmt: skip


_ROWS = f"""
  %more = add i64 %extent, {LENGTH * LANES - 1}
  %pieces = sdiv i64 %more, {LENGTH * LANES}""" + loop("unit", "%first", "%last", "1", f"""
  %row = sdiv i64 %unit, %pieces
  %piece = srem i64 %unit, %pieces
  %channel = srem i64 %row, %channels
  %low = mul i64 %piece, {LENGTH * LANES}
  %left = sub i64 %extent, %low
  %length = call i64 @llvm.smin.i64(i64 %left, i64 {LENGTH * LANES})
  %upward = add i64 %length, {LANES - 1}
  %count = sdiv i64 %upward, {LANES}
  %before = sub i64 %length, 1
  %rest = and i64 %before, {LANES - 1}
  %live = add i64 %rest, 1
  %row.at = mul i64 %row, %extent
  %element = add i64 %row.at, %low{_strip_place("%channel")}{_STRIP.format(stride=LANES)}""")  # fmt: skip

_COLUMNS = loop("unit", "%first", "%last", "1", f"""
  %low = mul i64 %unit, {TALL}
  %left = sub i64 %extent, %low
  %count = call i64 @llvm.smin.i64(i64 %left, i64 {TALL})""" + loop("channel", "0", "%channels", f"{LANES}", f"""
  %free = sub i64 %channels, %channel
  %live = call i64 @llvm.smin.i64(i64 %free, i64 {LANES})
  %row.at = mul i64 %low, %channels
  %element = add i64 %row.at, %channel{_strip_place("%channel")}{_STRIP.format(stride="%channels")}"""))  # fmt: skip
