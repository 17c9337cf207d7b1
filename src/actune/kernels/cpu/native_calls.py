"""The two built-in functions of a prepared call: a kernel for all strips of a tensor, and what makes its sums gradients.

Between them is memory: bytes that hold the sums of each group of strips, (groups, sums, distance), in float64.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from typing import Any

from .builtin import BuiltinCall, bind_builtin, builtin_assembly
from .loops import counters, loop, splat

__all__ = ["bind_gradients", "bind_kernel"]


def bind_kernel(run: Any, plan: bytes, units: int, size: int) -> BuiltinCall:
    """The function of (addresses of x, g and y, numbers) that calls a kernel (see `strips`) for so many units.

    It returns the sums as they are in memory, so many bytes. Other threads of Python run while the kernel does.
    """
    address = ctypes.cast(run, ctypes.c_void_p).value or 0
    return bind_builtin(_KERNEL, (address, units, size), plan, run)


def bind_gradients(
    double: bool, shape: tuple[int, int, int], spread: tuple[int, int, int], places: Sequence[tuple[int, int]]
) -> BuiltinCall:
    """The function of (sums, slopes, addresses) that fills gradients: the sum of each number over all groups times its slope.

    double  whether they are float64; else float32
    shape   (groups, sums, distance) of the sums; those of one tensor follow those of another
    spread  (repeats, own, spread): where the sums of the own numbers of a symbol lie in a row, see `Cut`
    places  for each address: how many symbols its tensor has, and which is the first in the slopes, (symbols, own)
    """
    groups, sums, distance = shape
    numbers = (groups, sums * distance, distance, *spread, *(n for place in places for n in place))
    return bind_builtin(_gradients(double), numbers)


_KERNEL = builtin_assembly(
    ("run", "units", "size"),
    dict.fromkeys(("x", "g", "y"), "PyLong_AsVoidPtr") | {"numbers": "PyBytes_AsString"},
    counters(("i", "j")),
    """
  %plan = getelementptr i64, ptr %words, i64 3
  %found = call ptr %PyBytes_FromStringAndSize(ptr null, i64 %size)
  %none = icmp eq ptr %found, null
  br i1 %none, label %fail, label %clear
clear:
  %sums = call ptr %PyBytes_AsString(ptr %found)
  %whole = and i64 %size, -64""" + loop("i", "0", "%whole", "64", """
  %eight.at = getelementptr i8, ptr %sums, i64 %i
  store <8 x i64> zeroinitializer, ptr %eight.at, align 8""") + loop("j", "%whole", "%size", "8", """
  %one.at = getelementptr i8, ptr %sums, i64 %j
  store i64 0, ptr %one.at, align 8""") + """
  %function = inttoptr i64 %run to ptr
  %thread = call ptr %PyEval_SaveThread()
  call void %function(ptr %plan, ptr %x, ptr %g, ptr %y, ptr %numbers, ptr %sums, i64 0, i64 %units)
  call void %PyEval_RestoreThread(ptr %thread)
  ret ptr %found""",
)  # fmt: skip


_EIGHT = ", ".join(f"i64 {i}" for i in range(8))  # lanes at a time


def _index(name: str, *steps: tuple[str, str]) -> str:
    """The index in memory, under this name, after so many steps of that length each."""
    text, total = "", "0"
    for i, (count, length) in enumerate(steps):
        text += f"\n  %{name}.{i} = mul i64 {count}, {length}\n  %{name}.to.{i} = add i64 {total}, %{name}.{i}"
        total = f"%{name}.to.{i}"
    return f"{text}\n  %{name} = add i64 {total}, 0"


_ADDED = loop("group", "0", "%groups", "1", loop("r", "0", "%repeats", "1", loop("s", "0", "%spread", "1",
    _index("column", ("%r", "%own"), ("%c", "1"))
    + _index("place", ("%group", "%pace"), ("%row", "%distance"), ("%column", "%spread"), ("%s", "1")) + """
  %first = getelementptr double, ptr %sums, i64 %place
  %each = getelementptr double, ptr %first, <8 x i64> %steps
  %some = call <8 x double> @llvm.masked.gather.v8f64.v8p0(<8 x ptr> %each, i32 8, <8 x i1> %mask, <8 x double> zeroinitializer)
  %before = load <8 x double>, ptr %total.place
  %after = fadd <8 x double> %before, %some
  store <8 x double> %after, ptr %total.place""")))  # fmt: skip


@functools.cache
def _gradients(double: bool) -> str:
    """The function of `bind_gradients` for this dtype: a loop over tensors, their symbols, and eight numbers at a time."""
    kind, suffix, size = ("double", "f64", 8) if double else ("float", "f32", 4)
    rounded = "%product" if double else "%rounded"
    narrow = "" if double else "\n  %rounded = fptrunc <8 x double> %product to <8 x float>"
    numbers = _index("out.place", ("%k", "%own"), ("%c", "1")) + _index("slope.place", ("%symbol", "%own"), ("%out.place", "1"))
    eight = loop("c", "0", "%own", "8", """
  %left = sub i64 %own, %c""" + splat("%lefts", "i64", 8, "%left") + f"""
  %mask = icmp slt <8 x i64> <{_EIGHT}>, %lefts
  store <8 x double> zeroinitializer, ptr %total.place
  %row = load i64, ptr %row.place{_ADDED}{numbers}
  %slope.at = getelementptr double, ptr %slopes, i64 %slope.place
  %slope = call <8 x double> @llvm.masked.load.v8f64.p0(ptr %slope.at, i32 1, <8 x i1> %mask, <8 x double> zeroinitializer)
  %total = load <8 x double>, ptr %total.place
  %product = fmul <8 x double> %total, %slope{narrow}
  %out = getelementptr {kind}, ptr %address, i64 %out.place
  call void @llvm.masked.store.v8{suffix}.p0(<8 x {kind}> {rounded}, ptr %out, i32 {size}, <8 x i1> %mask)""")  # fmt: skip
    rows = loop("k", "0", "%symbols", "1", f"""{eight}
  %row.before = load i64, ptr %row.place
  %row.after = add i64 %row.before, 1
  store i64 %row.after, ptr %row.place""")  # fmt: skip
    tensors = loop("a", "2", "%count", "1", f"""
  %argument.at = getelementptr ptr, ptr %arguments, i64 %a
  %argument = load ptr, ptr %argument.at
  %address = call ptr %PyLong_AsVoidPtr(ptr %argument)
  %nowhere = icmp eq ptr %address, null
  br i1 %nowhere, label %fail, label %fill
fill:
  %pair = mul i64 %a, 2
  %symbols.at = getelementptr i64, ptr %tensors, i64 %pair
  %symbols = load i64, ptr %symbols.at, align 1
  %symbol.at = getelementptr i64, ptr %symbols.at, i64 1
  %symbol = load i64, ptr %symbol.at, align 1{rows}""")  # fmt: skip
    names = ("groups", "pace", "distance", "repeats", "own", "spread")
    readers = dict.fromkeys(("sums", "slopes"), "PyBytes_AsString")
    room = counters(("a", "k", "c", "group", "r", "s", "row")) + "\n  %total.place = alloca <8 x double>"
    return builtin_assembly(names, readers, room, f"""
  store i64 0, ptr %row.place
  %tensors = getelementptr i64, ptr %words, i64 {len(names) - 4}{splat("%spreads", "i64", 8, "%spread")}
  %steps = mul <8 x i64> <{_EIGHT}>, %spreads{tensors}
  %nothing = call ptr %PyBytes_FromStringAndSize(ptr null, i64 0)
  ret ptr %nothing""", f"""
declare <8 x double> @llvm.masked.gather.v8f64.v8p0(<8 x ptr>, i32, <8 x i1>, <8 x double>)
declare <8 x double> @llvm.masked.load.v8f64.p0(ptr, i32, <8 x i1>, <8 x double>)
declare void @llvm.masked.store.v8{suffix}.p0(<8 x {kind}>, ptr, i32, <8 x i1>)""")  # fmt: skip
