"""Look-up of 16-bit numbers in tables by their bits: a table of each channel, and the kernel for numbers that have no entry.

A function of LLVM assembly,

    look_up(context, X, Y, first, last, outer, length)

writes to Y what the tables have for X, and returns how many elements it left to the kernel: of vectors in which a number has no
entry, all. X and Y have `outer` times a row for each channel, of `length` elements, at least 4. It does the units from the first to
below the last. A unit is some rows of one channel, whose table stays in the nearest cache meanwhile; units of all channels come
before the next rows of the first one.

context   addresses and numbers: where for each channel the entry of 0 is, or would be; the kernel's parameters, a row of channels
          each; the number of channels; the bits from which on, and for how many, there are entries of each sign; the kernel, and
          its context (see `strips`)
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from torch import Tensor

from ..cpu import llvm
from ..cpu.lanes import LANES
from ..cpu.loops import VECTORS, counters, loop
from ..cpu.strips import PLAN, Strip
from ..cpu.threads import shared_out

__all__ = ["HALF", "has_quick_gathers", "look_up_channels", "look_up_one"]

HALF = 2**15  # numbers of one sign
_ROWS = 8  # in a unit
_PIECE, _SHARE = 4096, 2**17  # elements that no thread shares; elements that a thread is worth
_WORD, _AT_ONCE = 4, 8  # elements in 64 bits; and that are loaded before any of them is stored
_GATHERED = 16  # elements of a gather
_FIELDS = ("addresses", "parameters", "channels", "low", "patterns", "kernel", "kernel_context")


def look_up_one(words: tuple[int, ...], kernel: Strip, x: Tensor, y: Tensor, kept: object) -> int:
    """Look up all of x, one after the other in memory, for a single channel; the words of the context point into what is kept."""
    context, function, missed, size = _context(words, kernel), _look_up(), list[int](), x.numel()

    def share(start: int, end: int, memory: object = (x, y, kernel, kept)) -> None:  # held as long as someone is at work
        first = 2 * _PIECE * start
        row = min(_PIECE * end, size) - _PIECE * start
        missed.append(function(context, x.data_ptr() + first, y.data_ptr() + first, 0, 1, 1, row))

    shared_out(share, -(-size // _PIECE), size // _SHARE)
    return sum(missed)


def look_up_channels(words: tuple[int, ...], kernel: Strip, x: Tensor, y: Tensor, length: int, kept: object) -> int:
    """Look up x of rows of this length, one per channel, again and again; the words of the context point into what is kept."""
    context, function, missed, channels = _context(words, kernel), _look_up(), list[int](), words[2]
    outer = x.numel() // (channels * length)

    def share(start: int, end: int, memory: object = (x, y, kernel, kept)) -> None:  # held as long as someone is at work
        missed.append(function(context, x.data_ptr(), y.data_ptr(), start, end, outer, length))

    shared_out(share, channels * -(-outer // _ROWS), x.numel() // _SHARE)
    return sum(missed)


def _context(words: tuple[int, ...], kernel: Strip) -> Any:
    run: Any = kernel.run  # of ctypes
    return (ctypes.c_int64 * len(_FIELDS))(*words, ctypes.cast(run, ctypes.c_void_p).value or 0, kernel.context)


def has_quick_gathers() -> bool:
    """Whether a gather takes less than single loads: on Intel's processors from Sapphire Rapids on.

    AMD's take a step or more for each element; older ones of Intel are slowed by the microcode against CVE-2022-40982.
    """
    return "avx512fp16" in llvm.cpu_features()


@functools.cache
def _look_up() -> Any:
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    library = llvm.compile_assembly(_assembly(), ("look_up",))
    return library.function("look_up", pointer, pointer, pointer, integer, integer, integer, integer, result=integer)


def _assembly() -> str:
    """The function in LLVM assembly."""
    fields = "".join(f"""
  %{name}.at = getelementptr i64, ptr %context, i64 {i}
  %{name} = load i64, ptr %{name}.at""" for i, name in enumerate(_FIELDS))  # fmt: skip
    units = loop("unit", "%first", "%last", "1", _UNIT + loop("row", "%outer.first", "%outer.last", "1", _row()))
    gathered = f"<{_GATHERED} x i32>"
    return f"""
declare i64 @llvm.smin.i64(i64, i64)
declare {gathered} @llvm.masked.gather.v{_GATHERED}i32.v{_GATHERED}p0(<{_GATHERED} x ptr>, i32, <{_GATHERED} x i1>, {gathered})
define i64 @look_up(ptr %context, ptr %X, ptr %Y, i64 %first, i64 %last, i64 %outer, i64 %length) {VECTORS} {{
entry:{counters(("unit", "row"))}{fields}
  %missed = alloca i64
  store i64 0, ptr %missed{_PLANNED}{_splat("low")}{_splat("patterns")}
  %addresses.all = inttoptr i64 %addresses to ptr
  %parameters.all = inttoptr i64 %parameters to ptr
  %run = inttoptr i64 %kernel to ptr{units}
  %missed.all = load i64, ptr %missed
  ret i64 %missed.all
}}"""


# What the kernel is told of a tensor of one strip, with parameters of one channel among all; its extent comes with the call.
_PLANNED = f"""
  %plan = alloca [{len(PLAN)} x i64], align 8""" + "".join(f"""
  %plan.{name} = getelementptr i64, ptr %plan, i64 {PLAN.index(name)}
  store i64 {value}, ptr %plan.{name}, align 8""" for name, value in {
    "context": "%kernel_context", "size": 2, "outer": 1, "tall": 1, "channels": 1, "distance": "%channels", "wide": 4,
    "bytes": 0, "extent": 0, "group": 1,
}.items())  # fmt: skip

_UNIT = f"""
  %channel = srem i64 %unit, %channels
  %T.at = getelementptr ptr, ptr %addresses.all, i64 %channel
  %T = load ptr, ptr %T.at
  %p = getelementptr float, ptr %parameters.all, i64 %channel
  %block = sdiv i64 %unit, %channels
  %outer.first = mul i64 %block, {_ROWS}
  %outer.next = add i64 %outer.first, {_ROWS}
  %outer.last = call i64 @llvm.smin.i64(i64 %outer.next, i64 %outer)"""


def _row() -> str:
    """Vectors as long as there are whole ones, then words, the last of which may begin within the one before."""
    return f"""
  %row.before = mul i64 %row, %channels
  %row.number = add i64 %row.before, %channel
  %start = mul i64 %row.number, %length
  %x.row = getelementptr i16, ptr %X, i64 %start
  %y.row = getelementptr i16, ptr %Y, i64 %start
  br label %row.vectors
row.vectors:
  %i = phi i64 [0, %row.body], [%i.looked, %wide.look], [%i.left, %wide.left]
  %rest = sub i64 %length, %i
  %is.wide = icmp sge i64 %rest, {LANES}
  br i1 %is.wide, label %wide, label %row.words
wide:{_checked("wide", LANES, "%i")}
wide.look:{_looked_up("wide", LANES)}
  %i.looked = add i64 %i, {LANES}
  br label %row.vectors
wide.left:{_by_kernel("wide", str(LANES))}
  %i.left = add i64 %i, {LANES}
  br label %row.vectors
row.words:
  %j = phi i64 [%i, %row.vectors], [%j.looked, %word.look]
  %remains = icmp slt i64 %j, %length
  br i1 %remains, label %word, label %row.end
word:
  %j.last = sub i64 %length, {_WORD}
  %j.within = call i64 @llvm.smin.i64(i64 %j, i64 %j.last){_checked("word", _WORD, "%j.within")}
word.look:{_looked_up("word", _WORD)}
  %j.looked = add i64 %j.within, {_WORD}
  br label %row.words
word.left:
  %remainder = sub i64 %length, %j.within{_by_kernel("word", "%remainder")}
  br label %row.end
row.end:"""


def _splat(name: str) -> str:
    """The lowest 16 bits of a number in all lanes."""
    kind = f"<{LANES} x i16>"
    return f"""
  %{name}.16 = trunc i64 %{name} to i16
  %{name}.one = insertelement {kind} poison, i16 %{name}.16, i32 0
  %{name}.all = shufflevector {kind} %{name}.one, {kind} poison, <{LANES} x i32> zeroinitializer
  %{name}.few = shufflevector {kind} %{name}.one, {kind} poison, <{_WORD} x i32> zeroinitializer"""


def _checked(name: str, size: int, at: str) -> str:
    """Go on at NAME.look if all these elements have entries, else at NAME.left."""
    kind, lanes = f"<{size} x i16>", "all" if size == LANES else "few"
    return f"""
  %{name}.x = getelementptr i16, ptr %x.row, i64 {at}
  %{name}.y = getelementptr i16, ptr %y.row, i64 {at}
  %{name}.bits = load {kind}, ptr %{name}.x, align 2
  %{name}.size = and {kind} %{name}.bits, splat (i16 {HALF - 1})
  %{name}.place = sub {kind} %{name}.size, %low.{lanes}
  %{name}.others = icmp uge {kind} %{name}.place, %patterns.{lanes}
  %{name}.mask = bitcast <{size} x i1> %{name}.others to i{size}
  %{name}.none = icmp eq i{size} %{name}.mask, 0
  br i1 %{name}.none, label %{name}.look, label %{name}.left"""


def _looked_up(name: str, size: int) -> str:
    """Look up these elements."""
    if size == LANES and has_quick_gathers():
        return "".join(_gathered(name, first) for first in range(0, LANES, _GATHERED))
    return "".join(_together(name, first, min(size, _AT_ONCE)) for first in range(0, size, _AT_ONCE))


def _gathered(name: str, first: int) -> str:
    kind, bits = f"<{_GATHERED} x i32>", f"<{_GATHERED} x i16>"
    lanes, one = ", ".join(f"i32 {k}" for k in range(first, first + _GATHERED)), f"%{name}.{first}"
    return f"""
  {one}.bits = shufflevector <{LANES} x i16> %{name}.bits, <{LANES} x i16> poison, <{_GATHERED} x i32> <{lanes}>
  {one}.x = zext {bits} {one}.bits to {kind}
  {one}.from = getelementptr i16, ptr %T, {kind} {one}.x
  {one}.wide = call {kind} @llvm.masked.gather.v{_GATHERED}i32.v{_GATHERED}p0(<{_GATHERED} x ptr> {one}.from, i32 2,
    <{_GATHERED} x i1> splat (i1 true), {kind} poison)
  {one}.y = trunc {kind} {one}.wide to {bits}
  {one}.to = getelementptr i16, ptr %{name}.y, i64 {first}
  store {bits} {one}.y, ptr {one}.to, align 2"""


def _together(name: str, first: int, count: int) -> str:
    """No load of a group waits for a store of it."""
    loads = stores = ""
    for w in range(first, first + count, _WORD):
        loads += f"""
  %{name}.{w}.at = getelementptr i16, ptr %{name}.x, i64 {w}
  %{name}.{w} = load i64, ptr %{name}.{w}.at, align 2"""
        for k in range(w, w + _WORD):
            loads += f"""
  %{name}.{k}.bits = lshr i64 %{name}.{w}, {16 * (k - w)}
  %{name}.{k}.x = and i64 %{name}.{k}.bits, 65535
  %{name}.{k}.from = getelementptr i16, ptr %T, i64 %{name}.{k}.x
  %{name}.{k}.y = load i16, ptr %{name}.{k}.from, align 2"""
            stores += f"""
  %{name}.{k}.to = getelementptr i16, ptr %{name}.y, i64 {k}
  store i16 %{name}.{k}.y, ptr %{name}.{k}.to, align 2"""
    return loads + stores


def _by_kernel(name: str, extent: str) -> str:
    """Call the kernel for so many elements: a tensor of one strip (see `strips.driver`), which has the parameters at %p."""
    return f"""
  store i64 {extent}, ptr %plan.extent, align 8
  %{name}.before = load i64, ptr %missed
  %{name}.after = add i64 %{name}.before, {extent}
  store i64 %{name}.after, ptr %missed
  call void %run(ptr %plan, ptr %{name}.x, ptr %{name}.x, ptr %{name}.y, ptr %p, ptr %p, i64 0, i64 1)"""
