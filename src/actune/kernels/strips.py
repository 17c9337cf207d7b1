"""How a tensor is cut into strips, and the loops over them, for kernels that know nothing of shapes.

A strip is up to 256 vectors of sixteen elements, at equal distances in memory, that share the parameters of each lane. A kernel
is a function of one strip,

    strip(context, X, G, Y, P, distance, S, count, stride, live)

X, G, Y   elements in; their gradients, in a pullback; and out: `count` vectors, `stride` elements apart
P         the parameters, `distance` numbers apart: one for all lanes ("rows"), or sixteen, one each ("columns")
S         float64 sums to add to, `distance` apart, for one or for sixteen parameters; for one, of the first `live` lanes

A tensor (outer, channels, inner) with contiguous inner elements is cut along them, and one with inner = 1 across its channels.
What does not fill a vector is copied to one that it fills. Sums are kept for each group of strips; groups depend on the shape
alone, so results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from . import native
from .loops import counters, loop, when
from .threads import shared_out
from .vector import LANES

__all__ = ["Layout", "Strip", "layout", "run"]

LENGTH = 256  # vectors in a strip of a row
TALL = 16  # and in one of columns
_SHARE = 65536  # elements that a thread, or a group of strips, is worth
_SHORT = 64  # elements of a channel in a row, below which they become columns
_WIDEST = 512  # channels up to which rows of columns are joined until they fill vectors


@dataclass(frozen=True, eq=False)
class Strip:
    """A kernel: its address, that of its context, and what must stay in memory for it."""

    address: int
    context: int
    kept: tuple[object, ...]


@dataclass(frozen=True)
class Layout:
    """A tensor in memory as (outer, channels, inner).

    repeats   how often the row of all channels is repeated in `channels`
    spread    how often each channel is repeated in there
    """

    outer: int
    channels: int
    inner: int
    repeats: int = 1
    spread: int = 1

    @property
    def own(self) -> int:
        """Channels that are not repeated."""
        return self.channels // (self.repeats * self.spread)

    @property
    def columns(self) -> bool:
        """Whether the lanes of a vector have parameters of their own."""
        return self.inner == 1 and self.channels > 1


def layout(sizes: Sequence[int], shapes: Sequence[Sequence[int]]) -> Layout | None:
    """The layout of a tensor of these sizes with parameters of these shapes, dimensions in the order of memory; None: no such."""
    total = math.prod(sizes)
    own = [d for d in range(len(sizes)) if any(shape[d] != 1 for shape in shapes)]
    if not own:
        return Layout(1, 1, total)
    first, last = own[0], own[-1] + 1
    run = tuple(sizes[first:last])
    if any(tuple(shape[first:last]) not in (run, (1,) * len(run)) for shape in shapes):
        return None
    outer, channels, inner = (math.prod(part) for part in (sizes[:first], run, sizes[last:]))
    repeats, spread = 1, 1
    if 0 < inner < _SHORT:  # too short for strips of their own
        channels, inner, spread = channels * inner, 1, inner
        while channels % LANES and outer % 2 == 0 and 2 * channels <= _WIDEST:
            outer, channels, repeats = outer // 2, 2 * channels, 2 * repeats
    return Layout(outer, channels, inner, repeats, spread)


def run(
    strip: Strip, at: Layout, parameters: NDArray[Any], x: Tensor, y: Tensor, g: Tensor | None = None, sums: int = 0
) -> NDArray[np.float64]:
    """Call a kernel for all strips of flat tensors; gives the sums of a pullback, (sums, channels).

    parameters  (number, channels) in the dtype that is computed in; those of columns filled up to whole vectors
    g, sums     in a pullback: the gradients, and how many sums it makes
    """
    if at.columns:
        units, extent, least, most = math.ceil(at.outer / TALL), at.outer, _SHARE // (TALL * at.channels), 16
    else:
        units, extent, least, most = at.outer * at.channels * math.ceil(at.inner / (LENGTH * LANES)), at.inner, 16, 64
    group = max(1, least, math.ceil(units / most))
    distance = parameters.shape[1]
    each = np.zeros((math.ceil(units / group), sums, distance))
    drive = _loops()[at.columns]
    pointers = (x.data_ptr(), (x if g is None else g).data_ptr(), y.data_ptr(), parameters.ctypes.data, each.ctypes.data)
    shape = (at.channels, distance, parameters.itemsize, 8 * sums * distance, extent)

    def share(start: int, end: int, memory: Any = (x, g, y, parameters, each)) -> None:  # held as long as someone is at work
        drive(strip.address, strip.context, x.element_size(), *pointers, *shape, start * group, min(end * group, units), group)

    shared_out(share, len(each), x.numel() // _SHARE)
    found: NDArray[np.float64] = each.sum(0)[:, : at.channels].reshape(sums, at.repeats, at.own, at.spread).sum((1, 3))
    return found


@functools.cache
def _loops() -> tuple[Any, Any]:
    """The loops over rows and over columns, for any kernel: compiled once."""
    library = native.compiled(_ROWS + _COLUMNS + _OUTSIDE, ("rows", "columns"))
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    kinds = (pointer, pointer, integer, *(pointer,) * 5, *(integer,) * 8)
    return library.function("rows", *kinds), library.function("columns", *kinds)


# -- the loops, in LLVM assembly -----------------------------------------------------------------------------------------

_STRIP = (
    "call void %strip(ptr %context, ptr {x}, ptr {g}, ptr {y}, ptr %p, i64 %distance, ptr %s, i64 {count}, "
    "i64 {stride}, i64 {live})"
)


def _each(text: str) -> str:
    """The same of elements, gradients and results."""
    return "".join(text.format(t=t, T=t.upper()) for t in "xgy")


def _driver(name: str, names: Sequence[str], body: str) -> str:
    spare = (TALL + 1) * LANES * 8  # what is repeated may go beyond its vector
    return f"""
define void @{name}(ptr %strip, ptr %context, i64 %size, ptr %X, ptr %G, ptr %Y, ptr %P, ptr %S, i64 %channels, i64 %distance,
                    i64 %wide, i64 %bytes, i64 %extent, i64 %first, i64 %last, i64 %group) {{
{counters(names)[1:]}{_each(f"{chr(10)}  %spare.{{t}} = alloca [{spare} x i8], align 64")}
  %vector = mul i64 %size, {LANES}{body}
  ret void
}}
"""


def _place(channel: str) -> str:
    """Where the parameters of a channel and their sums are."""
    return f"""
  %p.at = mul i64 {channel}, %wide
  %p = getelementptr i8, ptr %P, i64 %p.at
  %s.group = sdiv i64 %unit, %group
  %s.sums = mul i64 %s.group, %bytes
  %s.channel = mul i64 {channel}, 8
  %s.at = add i64 %s.sums, %s.channel
  %s = getelementptr i8, ptr %S, i64 %s.at"""


def _spare(count: str, some: str, row: str, live: str) -> str:
    """A strip of vectors that are filled only partly: whole ones that repeat what there is, with a gradient of zero."""
    copy = "call void @llvm.memcpy.p0.p0.i64(ptr {0}, ptr {1}, i64 %some.bytes, i1 false)"
    places = f"""
  %{{0}}.here = mul i64 %{{0}}, %vector
  %{{0}}.there = mul i64 %{{0}}, {row}""" + _each("""
  %{{0}}.{t}.spare = getelementptr i8, ptr %spare.{t}, i64 %{{0}}.here
  %{{0}}.{t}.own = getelementptr i8, ptr %{t}, i64 %{{0}}.there""")  # fmt: skip
    again = loop("again", "0", "%vector", "%some.bytes", f"""
  %again.x = getelementptr i8, ptr %in.x.spare, i64 %again
  {copy.format("%again.x", "%in.x.own")}""")  # fmt: skip
    fetch = f"{places.format('in')}{again}\n  {copy.format('%in.g.spare', '%in.g.own')}"
    store = f"{places.format('out')}\n  {copy.format('%out.y.own', '%out.y.spare')}"
    strip = _STRIP.format(x="%spare.x", g="%spare.g", y="%spare.y", count=count, stride=LANES, live=live)
    return f"""
  %some.bytes = mul i64 {some}, %size
  %spare.bytes = mul i64 {count}, %vector
  call void @llvm.memset.p0.i64(ptr %spare.g, i8 0, i64 %spare.bytes, i1 false){loop("in", "0", count, "1", fetch)}
  {strip}{loop("out", "0", count, "1", store)}"""


_ROWS = _driver("rows", ("unit", "in", "again", "out"), f"""
  %more = add i64 %extent, {LENGTH * LANES - 1}
  %pieces = sdiv i64 %more, {LENGTH * LANES}""" + loop("unit", "%first", "%last", "1", f"""
  %row = sdiv i64 %unit, %pieces
  %piece = srem i64 %unit, %pieces
  %channel = srem i64 %row, %channels
  %low = mul i64 %piece, {LENGTH * LANES}
  %left = sub i64 %extent, %low
  %length = call i64 @llvm.smin.i64(i64 %left, i64 {LENGTH * LANES})
  %rest = and i64 %length, {LANES - 1}
  %whole = sub i64 %length, %rest
  %count = sdiv i64 %whole, {LANES}
  %row.at = mul i64 %row, %extent
  %element = add i64 %row.at, %low
  %at = mul i64 %element, %size
  %whole.bytes = mul i64 %whole, %size""" + _each("""
  %{t}.start = getelementptr i8, ptr %{T}, i64 %at
  %{t} = getelementptr i8, ptr %{t}.start, i64 %whole.bytes""") + _place("%channel") + """
  %full = icmp sgt i64 %count, 0
  %partly = icmp sgt i64 %rest, 0""" + when("full", "%full", f"""
  {_STRIP.format(x="%x.start", g="%g.start", y="%y.start", count="%count", stride=LANES, live=LANES)}""")
  + when("partly", "%partly", _spare("1", "%rest", "0", "%rest"))))  # fmt: skip

_COLUMNS = _driver("columns", ("unit", "channel", "in", "again", "out"), """
  %row.bytes = mul i64 %channels, %size""" + loop("unit", "%first", "%last", "1", f"""
  %low = mul i64 %unit, {TALL}
  %left = sub i64 %extent, %low
  %count = call i64 @llvm.smin.i64(i64 %left, i64 {TALL})""" + loop("channel", "0", "%channels", f"{LANES}", """
  %free = sub i64 %channels, %channel
  %row.at = mul i64 %low, %channels
  %element = add i64 %row.at, %channel
  %at = mul i64 %element, %size""" + _each("""
  %{t} = getelementptr i8, ptr %{T}, i64 %at""") + _place("%channel") + f"""
  %full = icmp sge i64 %free, {LANES}""" + when("full", "%full", f"""
  {_STRIP.format(x="%x", g="%g", y="%y", count="%count", stride="%channels", live=LANES)}""",
        _spare("%count", "%free", "%row.bytes", str(LANES))))))  # fmt: skip

_OUTSIDE = """
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i64 @llvm.smin.i64(i64, i64)
"""
