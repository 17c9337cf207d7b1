"""How a tensor is cut into strips, and the loops over them, for kernels that know nothing of shapes.

A strip is up to 4096 elements in vectors of 32 or 64, at equal distances in memory, that share the parameters of each lane. A
kernel is a function of one strip,

    strip(context, X, G, Y, P, distance, S, count, stride, live, rows, pitch)

X, G, Y   elements in; their gradients, in a pullback; and out: `count` vectors, `stride` elements apart
P         the parameters, `distance` numbers apart: one for all lanes ("rows"), or one each ("columns")
S         float64 sums to add to, `distance` apart, for one parameter or for one each
live      how many lanes there are: of the last vector ("rows"), or of every one ("columns")
rows      how many rows of `count` vectors there are, `pitch` elements apart ("rows"); their ends come last, several in a vector

and is compiled into the loop over all strips, so that what is alike in all of them is computed once.

A tensor (outer, channels, inner) with contiguous inner elements is cut along them, several rows of a channel into one strip where
they are short, and one with inner = 1 across its channels; so is one with fewer than 64 inner elements, as if each had parameters
of its own. Sums are kept for each group of strips; groups depend on the shape alone, so results do not depend on the number of
threads.
"""

from __future__ import annotations

import ctypes
import functools
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from . import llvm
from .lanes import LANES
from .loops import VECTORS, counters, loop
from .native_calls import bind_kernel
from .subnormal import without_subnormals
from .threads import shared_out, threads_for

__all__ = ["PLAN", "Cut", "FlatCall", "Strip", "bind_strips", "cut", "driver", "flat_call", "link_strip", "run_strips"]

LENGTH = 4096 // LANES  # vectors in a strip of a row
TALL = 16  # and in one of columns
_SHARE = 65536  # elements that a thread, or a group of strips, is worth
_SHORT = 64  # elements of a channel in a row, below which they become columns
MOST_ROWS = 8  # of a channel that one strip takes: so many places in memory the processor fetches from ahead
_WIDEST = 512  # channels up to which rows of columns are joined until they fill vectors


# What computes flat tensors: of the addresses of x, g (0: there is none) and y, of the parameters in memory, (number, distance),
# and of what must stay there; gives the sums of each group in float64, (groups, sums, distance).
FlatCall = Callable[..., bytes]


@dataclass(frozen=True, eq=False)
class Strip:
    """A kernel with the loop around it, the address of its context, and what must stay in memory for that.

    settled   whether no other kernel will take over from it
    """

    run: Callable[..., None]
    context: int = 0
    kept: object = None
    settled: bool = False


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
    def elements(self) -> int:
        """The number of elements."""
        return self.outer * self.channels * self.inner

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
    def rows(self) -> int:
        """How many rows of a channel are one strip; those of columns are counted apart."""
        return 1 if self.columns or self.inner == 0 else max(1, min(MOST_ROWS, LENGTH * LANES // self.inner))

    @functools.cached_property
    def units(self) -> int:
        """The number of strips, or of rows of strips in columns."""
        if self.columns:
            return math.ceil(self.outer / TALL)
        return math.ceil(self.outer / self.rows) * self.channels * math.ceil(self.inner / (LENGTH * LANES))

    @functools.cached_property
    def group(self) -> int:
        """The number of units whose sums are added up in one place, and that one thread does."""
        least, most = (_SHARE // (TALL * self.channels), 16) if self.columns else (16, 64)
        return max(1, least, math.ceil(self.units / most))

    @functools.cached_property
    def groups(self) -> int:
        """The number of groups."""
        return math.ceil(self.units / self.group)


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
    distance = parameters.shape[1]
    each = np.zeros((at.groups, sums, distance))
    plan = _plan(strip, at, x.element_size(), parameters.itemsize, distance, sums, at.group)
    numbers, added = (a.__array_interface__["data"][0] for a in (parameters, each))  # a.ctypes takes three times as long
    pointers = (x.data_ptr(), (x if g is None else g).data_ptr(), y.data_ptr(), numbers, added)
    _run_groups(strip, at, plan, pointers, x.numel(), (x, g, y, parameters, each))
    if not sums:
        return np.zeros((0, at.own))
    found: NDArray[np.float64] = each[0]
    with np.errstate(over="ignore", invalid="ignore"):  # of sums that are infinite
        if at.groups > 1:
            found = each.sum(0)
        if at.width != at.own:
            found = found[:, : at.channels].reshape(sums, at.repeats, at.own, at.spread).sum((1, 3))
    return found


def flat_call(strip: Strip, at: Cut, sums: int, kinds: tuple[int, int]) -> FlatCall:
    """`run_strips` prepared for tensors of one size, without NumPy.

    sums   how many a pullback makes
    kinds  the bytes per element of x and per parameter
    """
    plan, count, elements = _plan(strip, at, *kinds, at.width, sums, at.group), at.groups * sums * at.width, at.elements
    alone = bind_kernel(strip.run, plan, at.units, 8 * count)
    if at.groups == 1:
        return alone

    def call(x: int, g: int, y: int, numbers: bytes, *memory: Tensor) -> bytes:
        if threads_for(at.groups, elements // _SHARE) == 1:
            return alone(x, g, y, numbers)
        each: Any = (ctypes.c_double * count)()
        _run_groups(strip, at, plan, (x, g, y, numbers, each), elements, (each, *memory))
        return bytes(each)

    return call


def _run_groups(strip: Strip, at: Cut, plan: bytes, pointers: tuple[Any, ...], elements: int, memory: tuple[Any, ...]) -> None:
    """Call a kernel for all groups of strips; the threads hold the memory for as long as one of them is at work."""
    if at.groups <= 1:
        strip.run(plan, *pointers, 0, at.units)
        return

    def share(start: int, end: int, memory: Any = memory) -> None:
        strip.run(plan, *pointers, start * at.group, min(end * at.group, at.units))

    shared_out(share, at.groups, elements // _SHARE)


def _plan(strip: Strip, at: Cut, element: int, number: int, distance: int, sums: int, group: int) -> bytes:
    """What a kernel reads beside tensors, in the order of `PLAN`: their layout, and the bytes per element and per parameter."""
    return _PACK(strip.context, element, at.outer, at.rows, at.channels, distance, number, 8 * sums * distance, at.extent, group)


def bind_strips(
    strip: Strip, at: Cut, parameters: Tensor, x: Tensor, y: Tensor, g: Tensor | None = None, sums: Tensor | None = None
) -> Callable[[], None]:
    """A function that calls a kernel for all strips, in one thread, as often as wanted while these tensors stay in memory.

    parameters, sums  (number, distance); the kernel adds to the sums
    """
    units = at.units
    pointers = (t.data_ptr() for t in (x, x if g is None else g, y, parameters, y if sums is None else sums))
    rows = 0 if sums is None else len(sums)
    plan = _plan(strip, at, x.element_size(), parameters.element_size(), parameters.shape[-1], rows, units)
    return functools.partial(strip.run, plan, *pointers, 0, units)


def link_strip(library: llvm.Library, context: int = 0, kept: object = None) -> Strip:
    """The kernel whose function "run" was compiled."""
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    return Strip(library.function("run", *(pointer,) * 6, integer, integer), context, kept)


# -- the loops, in LLVM assembly -----------------------------------------------------------------------------------------

_STRIP = """
  call void @strip(ptr %context, ptr %x, ptr %g, ptr %y, ptr %p, i64 %distance, ptr %s, i64 %count, i64 {stride}, i64 %live,
                   i64 %rows, i64 %pitch)"""


# A call has few arguments, as each takes ctypes a tenth of a microsecond: what is alike in all calls is read from memory.
PLAN = ("context", "size", "outer", "tall", "channels", "distance", "wide", "bytes", "extent", "group")
_PACK = struct.Struct(f"={len(PLAN)}q").pack
_READ = "".join(f"""
  %plan.{name} = getelementptr i64, ptr %plan, i64 {i}
  %{name}{".word" if name == "context" else ""} = load i64, ptr %plan.{name}, align 1""" for i, name in enumerate(PLAN)) + """
  %context = inttoptr i64 %context.word to ptr"""  # fmt: skip


def driver(columns: bool) -> str:
    """The function "run", which calls "strip" for all strips of a tensor in this order."""
    names, body = (("unit", "channel"), _COLUMNS) if columns else (("unit",), _ROWS)
    parameters = "ptr %plan, ptr %X, ptr %G, ptr %Y, ptr %P, ptr %S, i64 %first, i64 %last"
    loops = without_subnormals("run", parameters, VECTORS, counters(names) + _READ + body)
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
  %pieces = sdiv i64 %more, {LENGTH * LANES}
  %pitch = mul i64 %channels, %extent""" + loop("unit", "%first", "%last", "1", f"""
  %block.channel = sdiv i64 %unit, %pieces
  %piece = srem i64 %unit, %pieces
  %block = sdiv i64 %block.channel, %channels
  %channel = srem i64 %block.channel, %channels
  %outer.at = mul i64 %block, %tall
  %outer.left = sub i64 %outer, %outer.at
  %rows = call i64 @llvm.smin.i64(i64 %outer.left, i64 %tall)
  %low = mul i64 %piece, {LENGTH * LANES}
  %left = sub i64 %extent, %low
  %length = call i64 @llvm.smin.i64(i64 %left, i64 {LENGTH * LANES})
  %upward = add i64 %length, {LANES - 1}
  %count = sdiv i64 %upward, {LANES}
  %before = sub i64 %length, 1
  %rest = and i64 %before, {LANES - 1}
  %live = add i64 %rest, 1
  %channel.at = mul i64 %channel, %extent
  %block.at = mul i64 %outer.at, %pitch
  %row.at = add i64 %block.at, %channel.at
  %element = add i64 %row.at, %low{_strip_place("%channel")}{_STRIP.format(stride=LANES)}""")  # fmt: skip

_COLUMNS = """
  %rows = add i64 1, 0
  %pitch = add i64 0, 0""" + loop("unit", "%first", "%last", "1", f"""
  %low = mul i64 %unit, {TALL}
  %left = sub i64 %extent, %low
  %count = call i64 @llvm.smin.i64(i64 %left, i64 {TALL})""" + loop("channel", "0", "%channels", f"{LANES}", f"""
  %free = sub i64 %channels, %channel
  %live = call i64 @llvm.smin.i64(i64 %free, i64 {LANES})
  %row.at = mul i64 %low, %channels
  %element = add i64 %row.at, %channel{_strip_place("%channel")}{_STRIP.format(stride="%channels")}"""))  # fmt: skip
