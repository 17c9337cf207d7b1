"""Any formula without compilation: a tape of the table's operators, each a loop over a block of elements that stays in the cache.

There is one loop for each operator, and one strip (see `strips`) for each way to lay out memory; they are compiled once and kept. A
tape has a row for each distinct part of a formula. The operators are the same vector code as in a compiled formula, so the results
are the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...language.elementary import PARTNERS, POWERS
from ...language.expr import Expr
from ...language.ops import OPS
from . import llvm
from .compiler import processor_lanes
from .elements import (
    add_sums,
    is_partial,
    load_vectors,
    masks,
    parameter,
    read_elements,
    rounded_elements,
    store_vector,
    vectors,
)
from .lanes import LANES, NO_SUBNORMALS, Code, Lanes, Value, vector
from .loops import SIGNATURE, counters, loop
from .steps import CONTRACTED, Step, apart, contracted, kernel_form, moving_nodes, operator_kernel
from .strips import driver

__all__ = ["Tape", "tape"]

BLOCKS = tuple(n // LANES for n in (512, 384, 256))  # vectors: longer blocks take fewer calls, and more of the cache
_CACHE = 2**15  # bytes of the fastest memory that a tape may fill with its blocks
_COLUMNS = 8  # of a row: the operator, where its result goes, and where its three arguments are, each with a stride
_SUM = "sum"
_SKIP = {side: f"skip what is argument {side} of a choice" for side in (1, 2)}


@dataclass(frozen=True, eq=False)
class Tape:
    """What the strip of the interpreter reads: addresses in the order of `_FIELDS`, and all that they point to."""

    words: NDArray[np.int64]
    kept: tuple[Any, ...]

    @property
    def memory(self) -> int:
        """The bytes that a strip needs on the stack."""
        return int(self.words[_FIELDS.index("bytes")])

    @property
    def address(self) -> int:
        return self.words.ctypes.data


_FIELDS = (
    "constants",
    "constant_bytes",
    "parameters",
    "sums",
    "rows",
    "before",
    "all",
    "bytes",
    "x",
    "g",
    "out",
    "out_stride",
    "block",
)


@functools.lru_cache(maxsize=512)
def tape(exprs: tuple[Expr, ...], names: tuple[str, ...], double: bool, backward: bool) -> Tape:
    """The tape of one formula's values, or of slopes (see `compiler.formula_library`), with the longest block that suits it."""
    for block in BLOCKS:
        found = _tape(exprs, names, double, backward, block)
        if found.memory <= _CACHE:
            break
    return found


def _tape(exprs: tuple[Expr, ...], names: tuple[str, ...], double: bool, backward: bool, block: int) -> Tape:
    outputs, nodes = kernel_form(exprs)
    arena = _Arena(LANES * (8 if double else 4), block)
    constants = [n for n in nodes if n.op == "const"]
    places = {n: arena.single() for n in constants}
    parameters, sums = [arena.single() for _ in names], [arena.single() for _ in outputs[1:]]
    x, g = (arena.block(), arena.block()) if backward else (arena.block(),) * 2
    places |= {n: x if n.args[0] == "x" else parameters[names.index(n.args[0])] for n in nodes if n.op == "symbol"}
    moving = moving_nodes(nodes)
    calls, skip = _calls(outputs, contracted(outputs, nodes), moving)
    last = {a: n for n, _, of in calls for a in of}
    rows: list[tuple[int, ...]] = []
    for n, op, of in calls:
        if skip and n is skip.first:
            rows.append((operator_address(_SKIP[skip.side], double), 0, *places[skip.condition], 0, skip.rows, 0, 0))
        operator, taken = _operator(op, of)
        arguments = [places[a] for a in taken]
        for a in dict.fromkeys(of):
            if last[a] is n and a in moving and not a.is_leaf and a not in outputs:
                arena.free(places[a])  # its block may take the result: each vector is read before it is written
        places[n] = arena.block() if n in moving else arena.single()
        rows.append(_tape_row(operator_address(operator, double), places[n], arguments))
    out = places[outputs[0]]
    if backward:
        product = arena.block()
        rows.append(_tape_row(operator_address("mul", double), product, [g, out]))
        rows += [_tape_row(operator_address(_SUM, double), s, [g, places[e]]) for s, e in zip(sums, outputs[1:], strict=True)]
        out = product
    with np.errstate(over="ignore"):
        numbers = np.repeat(np.array([n.args[0] for n in constants], np.float64 if double else np.float32), LANES)
    table = np.array(rows, np.int64).reshape(-1, _COLUMNS)
    before = sum(n not in moving for n, *_ in calls)
    words = (
        numbers.ctypes.data,
        numbers.nbytes,
        len(names),
        len(sums),
        table.ctypes.data,
        before,
        len(rows),
        arena.end,
        x[0],
        g[0],
        *out,
        block,
    )
    return Tape(np.array(words, np.int64), (numbers, table))


@dataclass(frozen=True)
class _Skip:
    """So many rows, from that of the first node on, are passed over where nobody chooses this side of the condition."""

    condition: Expr
    side: int
    first: Expr
    rows: int


def _calls(outputs: tuple[Expr, ...], steps: list[Step], moving: set[Expr]) -> tuple[list[Step], _Skip | None]:
    """The steps in the order of the tape, and what may be passed over. What x is not in comes first: once a strip."""
    still = [step for step in steps if step[0] not in moving]
    parts = apart(outputs, steps, moving)
    if parts is None:
        return still + [step for step in steps if step[0] in moving], None
    chosen = [step for step in steps if step[0] in parts.choices]
    calls = still + [step for step in (*parts.before, *parts.inside, *chosen, *parts.after) if step[0] in moving]
    return calls, _Skip(parts.choices[0].args[0], parts.side, parts.inside[0][0], len(parts.inside))


def _operator(op: str, arguments: tuple[Expr, ...]) -> tuple[str, tuple[Expr, ...]]:
    """A name for `operator_address`, and the arguments that it takes.

    A power that the kernel column treats apart is an operator by itself.
    """
    exponent = arguments[1] if op == "pow" else None
    if exponent is not None and exponent.op == "const" and exponent.args[0] in POWERS:
        return _power_operator(exponent.args[0]), arguments[:1]
    return op, arguments


def _power_operator(exponent: float) -> str:
    return f"pow {exponent:g}"


def _tape_row(operator: int, out: tuple[int, int], arguments: Sequence[tuple[int, int]]) -> tuple[int, ...]:
    places = [*arguments, *[(0, 0)] * (3 - len(arguments))]
    return operator, out[0], *(number for place in places for number in place)


class _Arena:
    """Places (offset, stride) in the memory of a strip: of one vector, which every vector of a block finds again, or of a block."""

    def __init__(self, vector_bytes: int, block: int):
        self.vector_bytes, self.block_bytes, self.end = vector_bytes, block * vector_bytes, 0
        self._unused: list[int] = []

    def single(self) -> tuple[int, int]:
        self.end += self.vector_bytes
        return self.end - self.vector_bytes, 0

    def block(self) -> tuple[int, int]:
        if not self._unused:
            self._unused.append(self.end)
            self.end += self.block_bytes
        return self._unused.pop(), self.vector_bytes

    def free(self, place: tuple[int, int]) -> None:
        self._unused.append(place[0])


# -- what is compiled, once ----------------------------------------------------------------------------------------------


_LOADED: list[llvm.Library] = []  # what must stay in memory


@functools.cache
def operator_address(name: str, double: bool) -> int:
    """The address of an operator's loop over a block. Each is compiled when a formula first asks for it: all take half a second."""
    code, text = _function(name, double)
    library = llvm.compile_assembly("\n".join([*code.outside, text]), ("operator",))
    _LOADED.append(library)
    return library.address("operator")


def _function(name: str, double: bool) -> tuple[Code, str]:
    """The instructions of an operator, and its function."""
    if name in _SKIP.values():
        return Code(), _skip(next(side for side in _SKIP if _SKIP[side] == name), double)
    return _sum(double) if name == _SUM else _operator_loop(*_kernels()[name], double)


@functools.cache
def _kernels() -> dict[str, tuple[int, Callable[..., Value]]]:
    """For each operator: its number of arguments, and its kernel column."""
    kernels = {name: (op.arity, operator_kernel(name)) for name, op in OPS.items() if op.kernel or name == "where"}
    kernels |= {name: (3, kernel) for name, kernel in CONTRACTED.items()}
    kernels |= {name: (1, partner.kernel) for name, partner in PARTNERS.items()}
    return kernels | {_power_operator(b): (1, lambda K, a, b=b: operator_kernel("pow")(K, a, K.const(b))) for b in POWERS}


def _operator_loop(arity: int, function: Callable[..., Value], double: bool) -> tuple[Code, str]:
    """The instructions of an operator, and its function."""
    lanes = processor_lanes(double)
    arguments = [Value(lanes.code, lanes.kind, f"%{t}") for t in "abc"[:arity]]
    if function is Lanes.where:  # a truth value is a number here
        arguments[0] = arguments[0] != 0
    result = function(lanes, *arguments)
    if result.kind == "i1":
        result = lanes.where(result, 1.0, 0.0)
    return lanes.code, _over_block(lanes, "abc"[:arity], f"""
  %out.at = mul i64 %i, {LANES * _size(double)}
  %out = getelementptr i8, ptr %OUT, i64 %out.at
  store {vector(lanes.kind)} {result.name}, ptr %out, align {_size(double)}""")  # fmt: skip


def _sum(double: bool) -> tuple[Code, str]:
    """The products of two arguments, added to the one vector of the result."""
    lanes = Lanes(Code(), double)
    a, b, before = (Value(lanes.code, lanes.kind, f"%{name}") for name in ("a", "b", "total"))
    total = lanes.fma(a, b, before)
    kind, size = vector(lanes.kind), _size(double)
    fetch = f"\n  %total = load {kind}, ptr %OUT, align {size}"
    return lanes.code, _over_block(lanes, "ab", f"\n  store {kind} {total.name}, ptr %OUT, align {size}", fetch)


def _skip(side: int, double: bool) -> str:
    """A function that gives the stride of its second argument if no lane of its first, truth values, chooses this side; else 0."""
    kind, bits = vector("double" if double else "float"), f"i{LANES}"
    body = f"""
  %a.i = mul i64 %i, %a.stride
  %a.at = getelementptr i8, ptr %A, i64 %a.i
  %a = load {kind}, ptr %a.at, align {_size(double)}
  %chosen = fcmp {"une" if side == 1 else "oeq"} {kind} %a, zeroinitializer
  %chosen.bits = bitcast {vector("i1")} %chosen to {bits}
  %before = load {bits}, ptr %any
  %both = or {bits} %before, %chosen.bits
  store {bits} %both, ptr %any"""
    return f"""{_HEAD}{counters("i")}
  %any = alloca {bits}
  store {bits} 0, ptr %any{loop("i", "0", "%count", "1", body)}
  %found = load {bits}, ptr %any
  %none = icmp eq {bits} %found, 0
  %skipped = select i1 %none, i64 %b.stride, i64 0
  ret i64 %skipped
}}"""


_HEAD = f"""
define i64 @operator(ptr %OUT, ptr %A, i64 %a.stride, ptr %B, i64 %b.stride, ptr %C, i64 %c.stride, i64 %count)
    "prefer-vector-width"="512" {NO_SUBNORMALS} {{"""


def _over_block(lanes: Lanes, arguments: str, after: str, before: str = "") -> str:
    """A function that computes `count` vectors from its arguments, and gives 0: no row is passed over."""
    kind, size = vector(lanes.kind), _size(lanes.double)
    loads = "".join(f"""
  %{t}.i = mul i64 %i, %{t}.stride
  %{t}.at = getelementptr i8, ptr %{t.upper()}, i64 %{t}.i
  %{t} = load {kind}, ptr %{t}.at, align {size}""" for t in arguments)  # fmt: skip
    return f"""{_HEAD}{counters("i")}{loop("i", "0", "%count", "1", loads + before + lanes.code.text() + after)}
  ret i64 0
}}"""


def _size(double: bool) -> int:
    return 8 if double else 4


@functools.cache
def interpreter_library(dtype: torch.dtype, columns: bool, backward: bool) -> llvm.Library:
    """The kernel that runs a tape, whose address is its context."""
    return llvm.compile_assembly(_strip(dtype, columns, backward), ("run",))


def _strip(dtype: torch.dtype, columns: bool, backward: bool) -> str:
    code = Code()
    lanes = Lanes(code, dtype == torch.float64)
    kind, size = vector(lanes.kind), _size(lanes.double)
    bytes_ = LANES * size
    fetch, put = _fetched(lanes, dtype, backward, columns), _put(lanes, dtype, columns)
    fields = "".join(f"""
  %f.{name}.at = getelementptr i64, ptr %context, i64 {i}
  %f.{name} = load i64, ptr %f.{name}.at""" for i, name in enumerate(_FIELDS))  # fmt: skip
    load = parameter(lanes.kind, "param", "%k", columns) + _single_vector("k", "%f.constant_bytes", bytes_) + f"""
  store {kind} %param, ptr %k.to, align {size}"""  # fmt: skip
    flush = _single_vector("s", "%sums.start", bytes_) + f"""
  %total = load {kind}, ptr %s.to, align {size}""" + add_sums(lanes, "flush", "%total", "%s", columns)  # fmt: skip
    into, out = (_element(i, bytes_, columns) for i in ("in", "out"))
    block = f"""
  %left = sub i64 %vectors, %block
  %some = call i64 @llvm.smin.i64(i64 %left, i64 %f.block)
  %first = icmp eq i64 %block, 0
  %start = select i1 %first, i64 0, i64 %f.before{loop("in", "0", "%some", "1", into + fetch)}\
{loop("row", "%start", "%f.all", "%row.step", _call())}{loop("out", "0", "%some", "1", out + put)}"""
    work = loop("k", "0", "%f.parameters", "1", load) + loop("block", "0", "%vectors", "%f.block", block)
    return f"""{code.outer_text()}
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
declare i64 @llvm.smax.i64(i64, i64){masks(dtype)}
{SIGNATURE}{{{counters(("k", "s", "block", "in", "row", "out"))}{fields}{vectors(columns)}
  %arena = alloca i8, i64 %f.bytes, align 64
  %constants = inttoptr i64 %f.constants to ptr
  call void @llvm.memcpy.p0.p0.i64(ptr %arena, ptr %constants, i64 %f.constant_bytes, i1 false)
  %parameter.bytes = mul i64 %f.parameters, {bytes_}
  %sums.start = add i64 %f.constant_bytes, %parameter.bytes
  %sums.at = getelementptr i8, ptr %arena, i64 %sums.start
  %sums.bytes = mul i64 %f.sums, {bytes_}
  call void @llvm.memset.p0.i64(ptr %sums.at, i8 0, i64 %sums.bytes, i1 false)
  %tape = inttoptr i64 %f.rows to ptr\
{work}{loop("s", "0", "%f.sums", "1", flush)}
  ret void
}}
{driver(columns)}"""


def _fetched(lanes: Lanes, dtype: torch.dtype, backward: bool, columns: bool) -> str:
    """Load a vector of each input at element %in.at, and store it in the arena in the kind that is computed in."""
    inputs, emitted = "xg" if backward else "x", len(lanes.code.lines)
    found = {t: read_elements(lanes, dtype, t).name for t in inputs}
    return load_vectors(inputs, dtype, "%in.at", "%in.some", "%in.vector", columns) + lanes.code.text(emitted) + "".join(f"""
  %{t}.place = add i64 %f.{t}, %in.here
  %{t}.to = getelementptr i8, ptr %arena, i64 %{t}.place
  store {vector(lanes.kind)} {name}, ptr %{t}.to, align {_size(lanes.double)}""" for t, name in found.items())  # fmt: skip


def _put(lanes: Lanes, dtype: torch.dtype, columns: bool) -> str:
    """Store a vector of the result at element %out.at."""
    emitted = len(lanes.code.lines)
    result = rounded_elements(lanes, dtype, Value(lanes.code, lanes.kind, "%y"))
    return f"""
  %y.i = mul i64 %out, %f.out_stride
  %y.place = add i64 %f.out, %y.i
  %y.from = getelementptr i8, ptr %arena, i64 %y.place
  %y = load {vector(lanes.kind)}, ptr %y.from, align {_size(lanes.double)}""" + lanes.code.text(emitted) + store_vector(
        result, dtype, "%out.at", "%out.some", "%out.vector", columns)  # fmt: skip


def _element(i: str, vector_bytes: int, columns: bool) -> str:
    """Where vector %i of a block is: in the tensor and in the arena; and whether it is not full."""
    at = f"""
  %{i}.at = mul i64 %{i}.vector, %stride""" if columns else f"""
  %{i}.full = call i64 @llvm.smax.i64(i64 %row.full, i64 1)
  %{i}.row = udiv i64 %{i}.vector, %{i}.full
  %{i}.column = urem i64 %{i}.vector, %{i}.full
  %{i}.column.at = mul i64 %{i}.column, %stride
  %{i}.row.at = mul i64 %{i}.row, %pitch
  %{i}.at = add i64 %{i}.row.at, %{i}.column.at"""  # fmt: skip
    return f"""
  %{i}.vector = add i64 %block, %{i}{at}
  %{i}.here = mul i64 %{i}, {vector_bytes}
  %{i}.some = {is_partial(f"%{i}.vector", columns)}"""


def _single_vector(i: str, start: str, vector_bytes: int) -> str:
    """The place of vector %i of those from `start` on."""
    return f"""
  %{i}.bytes = mul i64 %{i}, {vector_bytes}
  %{i}.offset = add i64 {start}, %{i}.bytes
  %{i}.to = getelementptr i8, ptr %arena, i64 %{i}.offset"""


def _call() -> str:
    """Call the operator of a row on a block, or on one vector if x is not in it."""
    words = "".join(f"""
  %row.{i} = getelementptr i64, ptr %row.words, i64 {i}
  %word.{i} = load i64, ptr %row.{i}""" for i in range(_COLUMNS))  # fmt: skip
    places = "".join(f"""
  %to.{t} = getelementptr i8, ptr %arena, i64 %word.{i}""" for t, i in (("out", 1), ("a", 2), ("b", 4), ("c", 6)))  # fmt: skip
    return f"""
  %row.offset = mul i64 %row, {_COLUMNS}
  %row.words = getelementptr i64, ptr %tape, i64 %row.offset{words}
  %operator = inttoptr i64 %word.0 to ptr
  %still = icmp slt i64 %row, %f.before
  %many = select i1 %still, i64 1, i64 %some{places}
  %skipped = call i64 %operator(ptr %to.out, ptr %to.a, i64 %word.3, ptr %to.b, i64 %word.5, ptr %to.c, i64 %word.7, i64 %many)
  %row.step = add i64 %skipped, 1"""
