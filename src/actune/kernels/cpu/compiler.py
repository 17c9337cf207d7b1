"""Any formula as one pass over its elements, and its derivatives as another: vector instructions from the kernel column.

A pass reads x (and the gradient), computes every part of the formula once, in registers, and writes one result; the gradients of
parameters are sums that it keeps beside. What depends on parameters alone is computed once a strip (see `strips`).
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...language.expr import Expr, const, order
from ...language.ops import OPS
from ..operators import ordered
from . import llvm
from .lanes import LANES, Code, Lanes, Value, vector
from .loops import SIGNATURE, when
from .strips import driver

__all__ = [
    "STORED",
    "add_sums",
    "compute_dtype",
    "emit",
    "formula_library",
    "has_kernels",
    "instruction_count",
    "kernel_cost",
    "kernel_form",
    "kernels_run",
    "operator_kernel",
    "parameter",
    "processor_lanes",
    "read_elements",
    "rounded_elements",
    "strip_assembly",
    "summed_cost",
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


def has_kernels(nodes: Sequence[Expr]) -> bool:
    """Whether every operator of a formula has a kernel column."""
    return all(n.is_leaf or n.op == "where" or OPS[n.op].kernel is not None for n in nodes)


def instruction_count(outputs: Sequence[Expr], nodes: Sequence[Expr]) -> int:
    """How many instructions the formulas take for a vector of elements; those of parameters alone count too."""
    code = Code(wide512=True)
    lanes = Lanes(code)
    emit(lanes, outputs, nodes, {n.args[0]: Value(code, lanes.kind, f"%{n.args[0]}") for n in nodes if n.op == "symbol"})
    return _instructions(code)


def _instructions(code: Code) -> int:
    """How many there are for a vector, counting those of 512 bits once for all its parts."""
    parts = sum(".512(" in line for line in code.lines)  # of which so many make up one instruction
    return sum("shufflevector" not in line for line in code.lines) - parts + parts * 16 // LANES


@functools.lru_cache(maxsize=512)
def kernel_form(exprs: tuple[Expr, ...]) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """The formulas as kernels compute them, and all their parts, each before what is made of it.

    What several parts are divided by is inverted once: a division costs as much as ten or twenty products.
    """
    outputs, nodes = ordered(exprs)
    counts = Counter(n.args[1] for n in nodes if n.op == "div" and "x" in n.args[1].symbols())
    if all(count < 2 for count in counts.values()):
        return outputs, nodes

    def node(n: Expr, *args: Expr) -> Expr:
        if n.op != "div" or counts[n.args[1]] < 2:
            return Expr(n.op, args)
        inverse = Expr("reciprocal", args[1:])
        return inverse if args[0] is const(1) else Expr("mul", (args[0], inverse))

    outputs = tuple(e.fold(lambda n: n, node) for e in outputs)
    return outputs, order(outputs)


def summed_cost(exprs: tuple[Expr, ...]) -> int:
    """About how many instructions a kernel of these formulas takes for a vector: the sum over its steps with x, soon found."""
    nodes = order(exprs)
    moving = moving_nodes(nodes)
    return sum(_step_cost(op, len(arguments)) for n, op, arguments in contracted(exprs, nodes) if n in moving)


@functools.cache
def _step_cost(op: str, arity: int) -> int:
    """The instructions of one operator."""
    lanes = Lanes(Code(wide512=True))
    arguments = [Value(lanes.code, lanes.kind, f"%{i}") for i in range(arity)]
    if op == "where":
        arguments[0] = arguments[0] > 0
    operator_kernel(op)(lanes, *arguments)
    return _instructions(lanes.code)


@functools.lru_cache(maxsize=512)
def kernel_cost(e: Expr) -> int | None:
    """The instructions that a kernel of this formula takes for a vector of elements; None: there can be no such kernel."""
    outputs, nodes = kernel_form((e,))
    return instruction_count(outputs, nodes) if has_kernels(nodes) else None


def emit(lanes: Lanes, outputs: Sequence[Expr], nodes: Sequence[Expr], inputs: Mapping[str, Value]) -> list[Value]:
    """Record the instructions of formulas whose symbols have these values."""
    found: dict[Expr, Any] = {n: inputs[n.args[0]] if n.op == "symbol" else lanes.const(n.args[0]) for n in nodes if n.is_leaf}
    for n, op, arguments in contracted(outputs, nodes):
        found[n] = operator_kernel(op)(lanes, *(found[a] for a in arguments))
    return [found[e] for e in outputs]


# Operators that kernels have beside those of the table: a product and a sum, rounded once.
CONTRACTED: dict[str, Any] = {
    "a*b + c": lambda K, a, b, c: K.fma(a, b, c),
    "a*b - c": lambda K, a, b, c: K.fma(a, b, -c),
    "c - a*b": lambda K, a, b, c: K.fma(-a, b, c),
}


def contracted(outputs: Sequence[Expr], nodes: Sequence[Expr]) -> list[tuple[Expr, str, tuple[Expr, ...]]]:
    """The steps that compute these nodes: (node, operator, arguments). A product that only one sum needs is a part of that.

    Not one of parameters alone in a sum with x: that is computed once a strip.
    """
    uses = Counter(a for n in nodes if not n.is_leaf for a in n.args) + Counter(outputs)
    moving = moving_nodes(nodes)
    free = {n for n in nodes if n.op in ("mul", "square") and uses[n] == 1 and n in moving}
    steps: list[tuple[Expr, str, tuple[Expr, ...]]] = []
    inside: set[Expr] = set()
    for n in nodes:
        if n.is_leaf:
            continue
        product = next((i for i in (1, 0) if n.op in ("add", "sub") and n.args[i] in free), None)
        if product is None:
            steps.append((n, n.op, n.args))
            continue
        a, other = n.args[product], n.args[1 - product]
        inside.add(a)
        op = "a*b + c" if n.op == "add" else "c - a*b" if product else "a*b - c"
        steps.append((n, op, (a.args[0], a.args[-1], other)))
    return [step for step in steps if step[0] not in inside]


def moving_nodes(nodes: Sequence[Expr]) -> set[Expr]:
    """Those with x in them; the others are computed once a strip."""
    found: set[Expr] = set()
    for n in nodes:
        if n.args[0] == "x" if n.is_leaf else any(a in found for a in n.args):
            found.add(n)
    return found


def operator_kernel(op: str) -> Any:
    """The function over Lanes that computes an operator."""
    return Lanes.where if op == "where" else CONTRACTED[op] if op in CONTRACTED else OPS[op].kernel


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
    inputs = {name: Value(lanes.code, lanes.kind, f"%param.{i}") for i, name in enumerate(names)}
    found = emit(lanes, outputs, nodes, {"x": read_elements(lanes, dtype, "x"), **inputs})
    # Backward the first slope is multiplied by the gradient.
    flushed = not may_be_constant(outputs[0]) if backward else is_flushed(outputs[0])
    return strip_assembly(lanes, dtype, found, len(names), columns, backward, flushed=flushed)


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
    counted        the lanes that count in these sums; all that are %alive
    before, after  more text: where the function begins, and where the vector with the number %i is done
    flushed        the outputs come from arithmetic, not from choices among inputs, so that none of them is subnormal
    """
    code, (first, *others) = lanes.code, outputs
    sums: list[Value] = []
    if backward:
        g = read_elements(lanes, dtype, "g")
        counted = Value(code, "i1", "%alive") if counted is None else counted
        sums = [added(lanes, counted, g, other, f"%sum.{k}") for k, other in enumerate(others)]
        first = g * first
    result = rounded_elements(lanes, dtype, first, flushed)
    zero = f"{vector(lanes.kind)} [zeroinitializer, %entry]"
    carried = "".join(f"\n  %sum.{k} = phi {zero}, [{s.name}, %put.done]" for k, s in enumerate(sums))
    entry = "".join(parameter(lanes.kind, f"param.{i}", str(i), columns) for i in range(parameters)) + before
    flush = "".join(add_sums(lanes, f"flush.{k}", s.name, str(k), columns) for k, s in enumerate(sums))
    body = "".join(f"\n{line}" for line in code.lines) + after
    fetch, put = load_vectors("xg" if backward else "x", dtype, "%at", "%some"), store_vector(result, dtype, "%at", "%some")
    return f"""{"".join(f"{line}{chr(10)}" for line in code.outside)}{masks(dtype)}
{SIGNATURE}{{
entry:{entry}{MASK}
  br label %loop
loop:
  %i = phi i64 [0, %entry], [%next, %put.done]
  %at = phi i64 [0, %entry], [%after, %put.done]{carried}
  %next = add i64 %i, 1{partly("%some", "%next", columns)}{fetch}{body}{put}
  %after = add i64 %at, %stride
  %again = icmp ult i64 %next, %count
  br i1 %again, label %loop, label %done
done:{flush}
  ret void
}}
{driver(columns)}"""


# -- what comes in and goes out ------------------------------------------------------------------------------------------


_ONE = {torch.float32: "float 1.0", torch.float64: "double 1.0", torch.bfloat16: "i16 16256", torch.float16: "half 1.0"}

# The lanes of a vector that is not full.
MASK = f"""
  %live.number = trunc i64 %live to i32
  %live.one = insertelement {vector("i32")} poison, i32 %live.number, i32 0
  %live.all = shufflevector {vector("i32")} %live.one, {vector("i32")} poison, {vector("i32")} zeroinitializer
  %mask = icmp ult {vector("i32")} <{", ".join(f"i32 {i}" for i in range(LANES))}>, %live.all
  %short = icmp slt i64 %live, {LANES}"""


def masks(dtype: torch.dtype) -> str:
    """The declarations of what `load_vectors` and `store_vector` call."""
    kind, suffix = vector(STORED[dtype]), _suffix(dtype)
    return f"""
declare {kind} @llvm.masked.load.{suffix}(ptr, i32, {vector("i1")}, {kind})
declare void @llvm.masked.store.{suffix}({kind}, ptr, i32, {vector("i1")})"""


def _suffix(dtype: torch.dtype) -> str:
    return f"v{LANES}{'i' if dtype == torch.bfloat16 else 'f'}{8 * dtype.itemsize}.p0"


def partly(name: str, number: str, columns: bool) -> str:
    """Under this name, whether the vector with this number, from 1 on, is not full."""
    return f"""
  {name}.last = icmp eq i64 {number}, %count
  {name} = select i1 {"true" if columns else f"{name}.last"}, i1 %short, i1 false"""


def load_vectors(names: str, dtype: torch.dtype, at: str, some: str) -> str:
    """Load the vectors %x and %g at this element, and %alive, which lanes there are; in the others x is 1 and g is 0."""
    kind, size, blank = vector(STORED[dtype]), dtype.itemsize, {"x": f"splat ({_ONE[dtype]})", "g": "zeroinitializer"}
    places = "".join(f"\n  %{t}.at = getelementptr {STORED[dtype]}, ptr %{t.upper()}, i64 {at}" for t in names)
    masked = "".join(f"""
  %{t}.some = call {kind} @llvm.masked.load.{_suffix(dtype)}(ptr %{t}.at, i32 {size}, {vector("i1")} %mask, {kind} {blank[t]})"""
                   for t in names)  # fmt: skip
    full = "".join(f"\n  %{t}.full = load {kind}, ptr %{t}.at, align {size}" for t in names)
    both = "".join(f"\n  %{t} = phi {kind} [%{t}.some, %get.yes], [%{t}.full, %get.no]" for t in names)
    return f"""{places}{when("get", some, masked, full)}{both}
  %alive = phi {vector("i1")} [%mask, %get.yes], [splat (i1 true), %get.no]"""


def store_vector(result: Value, dtype: torch.dtype, at: str, some: str) -> str:
    """Store a vector at this element of Y."""
    kind, size = vector(STORED[dtype]), dtype.itemsize
    masked = f"\n  call void @llvm.masked.store.{_suffix(dtype)}({kind} {result.name}, ptr %y.at, i32 {size}, {vector('i1')} %mask)"
    full = f"\n  store {kind} {result.name}, ptr %y.at, align {size}"
    return f"\n  %y.at = getelementptr {STORED[dtype]}, ptr %Y, i64 {at}{when('put', some, masked, full)}"


def added(lanes: Lanes, counted: Value, g: Value, other: Value, total: str) -> Value:
    """The sum with g times the other in the lanes that count."""
    before = Value(lanes.code, lanes.kind, total)
    return lanes.where(counted, lanes.fma(g, other, before), before)


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
