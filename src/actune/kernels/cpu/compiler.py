"""Any formula as one pass over its elements, and its derivatives as another: vector instructions from the kernel column.

A pass reads x (and the gradient), computes every part of the formula once, in registers, and writes one result; the gradients of
parameters are sums that it keeps beside. What depends on parameters alone is computed once a strip (see `strips`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

from ...language.expr import Expr, symbol
from . import llvm
from .lanes import LANES, Code, Lanes, Value, vector
from .loops import SIGNATURE, when
from .steps import emit, emit_still, kernel_form
from .strips import driver

__all__ = [
    "STORED",
    "add_sums",
    "compute_dtype",
    "formula_library",
    "kernels_run",
    "parameter",
    "processor_lanes",
    "read_elements",
    "rounded_elements",
    "strip_assembly",
]

STORED = {torch.float32: "float", torch.float64: "double", torch.bfloat16: "i16", torch.float16: "half"}


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """What elements of this dtype are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def processor_lanes(double: bool) -> Lanes:
    """New lanes of float32 or float64, with the instructions that this processor has."""
    return Lanes(Code(wide512="avx512f" in llvm.cpu_features()), double)


def kernels_run(dtype: torch.dtype) -> bool:
    """Whether kernels run on this machine for elements of this dtype."""
    return dtype in STORED and llvm.works(dtype)


@functools.lru_cache(maxsize=512)
def formula_library(
    exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool
) -> llvm.Library:
    """The kernel (see `strips`) of formulas of x and the named parameters.

    forward    of the one formula, its values
    backward   of slopes: the first times the gradient; and the sums of the gradient times each other
    """
    return llvm.compile_assembly(formula_assembly(exprs, names, dtype, columns, backward), ("run",))


def formula_assembly(exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, columns: bool, backward: bool) -> str:
    """The kernel of `formula_library` in LLVM assembly."""
    lanes = processor_lanes(dtype == torch.float64)
    outputs, nodes = kernel_form(exprs)
    inputs = {symbol(name): Value(lanes.code, lanes.kind, f"%param.{i}") for i, name in enumerate(names)}
    still = emit_still(lanes, outputs, nodes, inputs)
    before = lanes.code.take_lines()
    found = emit(lanes, outputs, nodes, still | {symbol("x"): read_elements(lanes, dtype, "x")})
    # Backward the first slope is multiplied by the gradient.
    flushed = not may_be_constant(outputs[0]) if backward else is_flushed(outputs[0])
    return strip_assembly(lanes, dtype, found, len(names), columns, backward, before=before, flushed=flushed)


_CHOICES = ("where", "max", "min", "neg", "abs")  # they give what they are given, a subnormal number too
_ARITHMETIC = ("add", "sub", "mul", "div", "square", "reciprocal", "sqrt")  # the processor flushes their results


@functools.lru_cache(maxsize=512)
def is_flushed(e: Expr) -> bool:
    """Whether a formula never gives a subnormal number as it is computed: its last operations are arithmetic.

    Not so where LLVM may do without it: x*where(x > 0, 1, 0) is a choice between x and 0 to it.
    """
    if e.op in _CHOICES:
        return all(is_flushed(a) for a in _chosen(e))
    return e.op in _ARITHMETIC and not any(may_be_constant(a) for a in e.args)


@functools.lru_cache(maxsize=512)
def may_be_constant(e: Expr) -> bool:
    """Whether the value is a number that LLVM knows, for some x at least."""
    if e.op in _CHOICES:
        return any(may_be_constant(a) for a in _chosen(e))
    return e.op in ("const", "sign") or (e.op in _ARITHMETIC and all(may_be_constant(a) for a in e.args))


def _chosen(e: Expr) -> tuple[Expr, ...]:
    return e.args[1:] if e.op == "where" else e.args


def strip_assembly(
    lanes: Lanes,
    dtype: torch.dtype,
    outputs: Sequence[Value],
    parameters: int,
    columns: bool,
    backward: bool,
    counted: Value | None = None,
    before: str = "",
    after: str = "",
    flushed: bool = False,
) -> str:
    """A kernel with the loops around it, from the outputs for a vector %x and %param.0, %param.1, ...

    forward        the first output is what it writes
    backward       the first times the gradient; and the sums of the gradient times each other
    counted        the lanes that count in these sums; None: all, as those that are not %alive add nothing to them
    before, after  more text: where the function begins, and where the vector with the number %i is done
    flushed        the outputs come from arithmetic, not from choices among inputs, so that none of them is subnormal
    """
    code, (first, *others) = lanes.code, outputs
    sums: list[Value] = []
    if backward:
        g = read_elements(lanes, dtype, "g")
        sums = [added(lanes, counted, g, other, f"%sum.{k}") for k, other in enumerate(others)]
        first = g * first
    result = rounded_elements(lanes, dtype, first, flushed)
    zero = f"{vector(lanes.kind)} [zeroinitializer, %entry]"
    carried = "".join(f"\n  %sum.{k} = phi {zero}, [{s.name}, %put.done]" for k, s in enumerate(sums))
    entry = "".join(parameter(lanes.kind, f"param.{i}", str(i), columns) for i in range(parameters)) + before
    flush = "".join(add_sums(lanes, f"flush.{k}", s.name, str(k), columns) for k, s in enumerate(sums))
    body = "".join(f"\n{line}" for line in code.lines) + after
    fetch = load_vectors("xg" if backward else "x", dtype, "%at", "%some", "%i", columns)
    put = store_vector(result, dtype, "%at", "%some", "%i", columns)
    return f"""{"".join(f"{line}{chr(10)}" for line in code.outside)}{masks(dtype)}
{SIGNATURE}{{
entry:{entry}{vectors(columns)}
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %put.done]
  %column = phi i64 [0, %entry], [%column.next, %put.done]
  %row = phi i64 [0, %entry], [%row.next, %put.done]{carried}
  %next = add i64 %i, 1
  %at = add i64 %row, %column
  %some = {is_partial("%i", columns)}{fetch}{body}{put}
  %column.after = add i64 %column, %stride
  %row.ends = icmp eq i64 %column.after, %row.length
  %column.next = select i1 %row.ends, i64 0, i64 %column.after
  %row.after = add i64 %row, %pitch
  %row.next = select i1 %row.ends, i64 %row.after, i64 %row
  %again = icmp ult i64 %next, %vectors
  br i1 %again, label %loop, label %done
done:{flush}
  ret void
}}
{driver(columns)}"""


# -- what comes in and goes out ------------------------------------------------------------------------------------------


_LANE = f"{vector('i32')} <{', '.join(f'i32 {i}' for i in range(LANES))}>"


def _spread(name: str, number: str) -> str:
    """A number in every lane."""
    kind = vector("i32")
    return f"""
  {name}.i32 = trunc i64 {number} to i32
  {name}.one = insertelement {kind} poison, i32 {name}.i32, i32 0
  {name}.all = shufflevector {kind} {name}.one, {kind} poison, {kind} zeroinitializer"""


def vectors(columns: bool) -> str:
    """How many %vectors a strip has, where rows end (at %row.length), and from which on (%whole) they are not full.

    Columns have one row of vectors, which are all full or all %mask. In rows, the full vectors of all come first; the ends of
    `each.end` rows, %ragged elements of each row, fill one vector.
    """
    if columns:
        return f"""{_spread("%live", "%live")}
  %mask = icmp ult {_LANE}, %live.all
  %short = icmp slt i64 %live, {LANES}
  %row.length = add i64 -1, 0
  %vectors = add i64 %count, 0"""
    return f"""
  %short = icmp slt i64 %live, {LANES}
  %ragged = select i1 %short, i64 %live, i64 0
  %short.one = zext i1 %short to i64
  %row.full = sub i64 %count, %short.one
  %row.length = mul i64 %row.full, {LANES}
  %whole = mul i64 %row.full, %rows
  %live.32 = trunc i64 %live to i32
  %each.32 = udiv i32 {LANES}, %live.32
  %each.end = zext i32 %each.32 to i64
  %rows.up = add i64 %rows, %each.end
  %rows.up.less = sub i64 %rows.up, 1
  %rows.up.32 = trunc i64 %rows.up.less to i32
  %ends.32 = udiv i32 %rows.up.32, %each.32
  %ends.64 = zext i32 %ends.32 to i64
  %ends = select i1 %short, i64 %ends.64, i64 0
  %vectors = add i64 %whole, %ends{_spread("%ragged", "%ragged")}"""


def is_partial(number: str, columns: bool) -> str:
    """Whether the vector with this number is not full."""
    return "and i1 %short, true" if columns else f"icmp uge i64 {number}, %whole"


def masks(dtype: torch.dtype) -> str:
    """The declarations of what `load_vectors` and `store_vector` call."""
    kind, suffix = vector(STORED[dtype]), _suffix(dtype)
    return f"""
declare {kind} @llvm.masked.load.{suffix}(ptr, i32, {vector("i1")}, {kind})
declare void @llvm.masked.store.{suffix}({kind}, ptr, i32, {vector("i1")})"""


def _suffix(dtype: torch.dtype) -> str:
    return f"v{LANES}{'i' if dtype == torch.bfloat16 else 'f'}{8 * dtype.itemsize}.p0"


def load_vectors(names: str, dtype: torch.dtype, at: str, some: str, number: str, columns: bool) -> str:
    """Load the vectors %x and %g at this element, and %alive, which lanes there are; in the others x is that of lane 0 and g is 0.

    So the others add nothing to a sum that is finite, without a look at them: the slope is finite where it is in lane 0.
    """
    kind, size, blank = vector(STORED[dtype]), dtype.itemsize, {"x": "%x.blank", "g": "zeroinitializer"}
    places = "".join(f"\n  %{t}.at = getelementptr {STORED[dtype]}, ptr %{t.upper()}, i64 {at}" for t in names)

    def masked(t: str, place: str, mask: str, other: str) -> str:
        return f"call {kind} @llvm.masked.load.{_suffix(dtype)}(ptr {place}, i32 {size}, {vector('i1')} {mask}, {kind} {other})"

    if columns:
        part = _blank(dtype, at) + "".join(f"\n  %{t}.some = {masked(t, f'%{t}.at', '%mask', blank[t])}" for t in names)
        alive, last = "%mask", "get.yes"
    else:
        carried = "".join(f"\n  %{t}.had = phi {kind} [{blank[t]}, %get.yes], [%{t}.some, %get.ends]" for t in names)
        ends = "".join(f"""
  %{t}.end = getelementptr {STORED[dtype]}, ptr %{t.upper()}, i64 %get.place
  %{t}.some = {masked(t, f"%{t}.end", "%get.mask", f"%{t}.had")}""" for t in names)  # fmt: skip
        loaded = _over_ends("get", number, carried, ends, _blank(dtype, "%get.start"))
        part = f"""{loaded}{_spread("%get.filled", "%get.shift.next")}
  %get.alive = icmp ult {_LANE}, %get.filled.all"""
        alive, last = "%get.alive", "get.ended"
    full = "".join(f"\n  %{t}.full = load {kind}, ptr %{t}.at, align {size}" for t in names)
    both = "".join(f"\n  %{t} = phi {kind} [%{t}.some, %{last}], [%{t}.full, %get.no]" for t in names)
    return f"""{places}{when("get", some, part, full)}{both}
  %alive = phi {vector("i1")} [{alive}, %{last}], [splat (i1 true), %get.no]"""


def store_vector(result: Value, dtype: torch.dtype, at: str, some: str, number: str, columns: bool) -> str:
    """Store a vector at this element of Y."""
    kind, size = vector(STORED[dtype]), dtype.itemsize

    def masked(place: str, mask: str) -> str:
        values = f"{kind} {result.name}, ptr {place}, i32 {size}, {vector('i1')} {mask}"
        return f"\n  call void @llvm.masked.store.{_suffix(dtype)}({values})"

    part = masked("%y.at", "%mask") if columns else _over_ends("put", number, "", f"""
  %y.end = getelementptr {STORED[dtype]}, ptr %Y, i64 %put.place{masked("%y.end", "%put.mask")}""")  # fmt: skip
    full = f"\n  store {kind} {result.name}, ptr %y.at, align {size}"
    return f"\n  %y.at = getelementptr {STORED[dtype]}, ptr %Y, i64 {at}{when('put', some, part, full)}"


def _blank(dtype: torch.dtype, at: str) -> str:
    """The x at this element in every lane."""
    kind, stored = vector(STORED[dtype]), STORED[dtype]
    return f"""
  %x.first.at = getelementptr {stored}, ptr %X, i64 {at}
  %x.first = load {stored}, ptr %x.first.at, align {dtype.itemsize}
  %x.blank.one = insertelement {kind} poison, {stored} %x.first, i32 0
  %x.blank = shufflevector {kind} %x.blank.one, {kind} poison, {vector("i32")} zeroinitializer"""


def _over_ends(name: str, number: str, carried: str, body: str, before: str = "") -> str:
    """The body for each row whose end is in the vector with this number: with the lanes of that end, and where lane 0 would be."""
    return f"""
  %{name}.end = sub i64 {number}, %whole
  %{name}.first = mul i64 %{name}.end, %each.end
  %{name}.left = sub i64 %rows, %{name}.first
  %{name}.rows = call i64 @llvm.smin.i64(i64 %{name}.left, i64 %each.end)
  %{name}.row = mul i64 %{name}.first, %pitch
  %{name}.start = add i64 %{name}.row, %row.length{before}
  br label %{name}.ends
{name}.ends:
  %{name}.k = phi i64 [0, %{name}.yes], [%{name}.k.next, %{name}.ends]
  %{name}.shift = phi i64 [0, %{name}.yes], [%{name}.shift.next, %{name}.ends]
  %{name}.place = phi i64 [%{name}.start, %{name}.yes], [%{name}.place.next, %{name}.ends]{carried}
  {_spread(f"%{name}.s", f"%{name}.shift").lstrip()}
  %{name}.lane = sub {_LANE}, %{name}.s.all
  %{name}.mask = icmp ult {vector("i32")} %{name}.lane, %ragged.all{body}
  %{name}.k.next = add i64 %{name}.k, 1
  %{name}.shift.next = add i64 %{name}.shift, %ragged
  %{name}.place.step = add i64 %{name}.place, %pitch
  %{name}.place.next = sub i64 %{name}.place.step, %ragged
  %{name}.more = icmp ult i64 %{name}.k.next, %{name}.rows
  br i1 %{name}.more, label %{name}.ends, label %{name}.ended
{name}.ended:"""


def added(lanes: Lanes, counted: Value | None, g: Value, other: Value, total: str) -> Value:
    """The sum with g times the other in the lanes that count, all or these."""
    before = Value(lanes.code, lanes.kind, total)
    after = lanes.fma(g, other, before)
    return after if counted is None else lanes.where(counted, after, before)


def read_elements(lanes: Lanes, dtype: torch.dtype, name: str) -> Value:
    """The elements that were loaded under this name, in the kind that is computed in."""
    code = lanes.code
    if dtype == torch.float16:
        return Value(code, lanes.kind, code.emit(f"fpext {vector('half')} %{name} to {vector('float')}"))
    if dtype == torch.bfloat16:  # the upper half of a float32
        bits = Value(code, "i32", code.emit(f"zext {vector('i16')} %{name} to {vector('i32')}"))
        return lanes.from_bits(bits << 16)
    return Value(code, lanes.kind, f"%{name}")


def rounded_elements(lanes: Lanes, dtype: torch.dtype, result: Value, flushed: bool = False) -> Value:
    """The elements as they are stored, rounded to the nearest; those that are subnormal become 0, if they are not `flushed` yet."""
    code = lanes.code
    if dtype == torch.float16:
        return Value(code, "half", code.emit(f"fptrunc {vector('float')} {result.name} to {vector('half')}"))
    if dtype == torch.bfloat16:
        if "avx512bf16" in llvm.cpu_features():
            return lanes.brief(result)
        return _upper(lanes, result if flushed else lanes.normal(result))
    return result if flushed else lanes.normal(result)


def _upper(lanes: Lanes, a: Value) -> Value:
    """The upper half of a float32, rounded: a bfloat16."""
    bits = lanes.bits(a)
    upper = (bits + ((bits >> 16) & 1) + 0x7FFF) >> 16  # halves to the even one
    upper = lanes.where(lanes.isnan(a), Value(lanes.code, "i32", "splat (i32 32704)"), upper)
    return Value(lanes.code, "i16", lanes.code.emit(f"trunc {vector('i32')} {upper.name} to {vector('i16')}"))


def parameter(kind: str, name: str, index: str, columns: bool) -> str:
    """Load the parameter of this index: one for all lanes, or one each."""
    name, size = f"%{name}", {"float": 4, "double": 8}[kind]
    place = f"""
  {name}.i = mul i64 %distance, {index}
  {name}.at = getelementptr {kind}, ptr %P, i64 {name}.i"""
    if columns:
        return f"""{place}
  {name} = load {vector(kind)}, ptr {name}.at, align {size}"""
    return f"""{place}
  {name}.one = load {kind}, ptr {name}.at, align {size}
  {name}.first = insertelement {vector(kind)} poison, {kind} {name}.one, i32 0
  {name} = shufflevector {vector(kind)} {name}.first, {vector(kind)} poison, <{LANES} x i32> zeroinitializer"""


def add_sums(lanes: Lanes, name: str, total: str, index: str, columns: bool) -> str:
    """Add the sum in each lane to the float64 of this index, or to one for each lane."""
    name = f"%{name}"
    text = f"""
  {name}.i = mul i64 %distance, {index}
  {name}.at = getelementptr double, ptr %S, i64 {name}.i"""
    if not lanes.double:
        text += f"\n  {name} = fpext {vector('float')} {total} to {vector('double')}"
    last, size = total if lanes.double else name, LANES
    while not columns and size > 1:  # the upper half onto the lower one
        half, kind = size // 2, f"<{size} x double>"
        low, high = (", ".join(f"i32 {i}" for i in at) for at in (range(half), range(half, size)))
        text += f"""
  {name}.low.{half} = shufflevector {kind} {last}, {kind} poison, <{half} x i32> <{low}>
  {name}.high.{half} = shufflevector {kind} {last}, {kind} poison, <{half} x i32> <{high}>
  {name}.{half} = fadd <{half} x double> {name}.low.{half}, {name}.high.{half}"""
        last, size = f"{name}.{half}", half
    kind = f"<{size} x double>"
    return f"""{text}
  {name}.before = load {kind}, ptr {name}.at, align 8
  {name}.after = fadd {kind} {name}.before, {last}
  store {kind} {name}.after, ptr {name}.at, align 8"""
