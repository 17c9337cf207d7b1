"""Any formula in Triton without a compilation of its own: a kernel that reads a tape of the table's operators.

It is compiled once for each dtype, and for values and pullbacks; for a search that sees a formula a minute, that is once. A program
keeps the parts of a formula, a tile each, in memory that the processor's cache holds, since registers cannot be chosen by a number
that is read. There are a few programs per processor, each with one tile after the other.

A row of the tape is (operator, slot of the result, places of up to three arguments). A place from 0 on is a slot; below, -1 - place
is a number of the table of constants and parameters, (number, 1) or (number, channels).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...language.elementary import POWERS
from ...language.expr import Expr
from ...language.ops import OPS
from ..cpu.lanes import Value
from ..layout import as_flat
from ..operators import ordered
from .lanes import TritonCode, TritonLanes, TritonValue
from .launch import LAUNCH_OPTIONS, loaded, parameter_gradient, tiling
from .operators import triton_operator
from .source import IMPORTS, SUM, TILE

__all__ = ["FormulaTape", "formula_tape", "tape_function", "tape_source"]

COLUMNS_OF_TAPE = 5
NO_PLACE = -(2**31)
PROGRAMS = 1024  # a few per processor of a large GPU; with ten slots of a tile of 4 KiB each they fill a cache of 40 MiB
GROUP = 8  # operators are found by their group first


# -- the tape of a formula -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FormulaTape:
    """Formulas as rows for the kernel.

    rows       (operator, slot of the result, places of three arguments)
    constants  the first of the table of numbers; the parameters follow
    slots      how many tiles a program needs; x is in the first
    outputs    the place of each formula
    """

    rows: tuple[tuple[int, ...], ...]
    constants: tuple[float, ...]
    slots: int
    outputs: tuple[int, ...]


@functools.lru_cache(maxsize=512)
def formula_tape(exprs: tuple[Expr, ...], names: tuple[str, ...]) -> FormulaTape:
    """The tape of formulas over the named inputs, x first. A slot is used again when what is in it has been used last."""
    outputs, nodes = ordered(exprs)
    constants = [n for n in nodes if n.op == "const"]
    places = {n: -1 - i for i, n in enumerate(constants)}
    places |= {n: _of_input(names.index(n.args[0]), len(constants)) for n in nodes if n.op == "symbol"}
    calls = [n for n in nodes if not n.is_leaf]
    last = {a: n for n in calls for a in n.args}
    free: list[int] = []
    rows, slots = [], 1
    for n in calls:
        arguments = [places[a] for a in (n.args[:1] if _name(n) != n.op else n.args)]
        free += [places[a] for a in dict.fromkeys(n.args) if last[a] is n and not a.is_leaf and a not in outputs]
        if not free:
            free.append(slots)
            slots += 1
        places[n] = free.pop()
        rows.append((operator_numbers()[_name(n)], places[n], *arguments, *[NO_PLACE] * (3 - len(arguments))))
    return FormulaTape(tuple(rows), tuple(n.args[0] for n in constants), slots, tuple(places[e] for e in outputs))


def _of_input(i: int, constants: int) -> int:
    return -constants - i if i else 0


def _name(n: Expr) -> str:
    """The operator of a node: a power that the kernel column treats apart is one by itself."""
    return f"pow {n.args[1].args[0]:g}" if n.op == "pow" and n.args[1].op == "const" and n.args[1].args[0] in POWERS else n.op


# -- the kernel ----------------------------------------------------------------------------------------------------------


@functools.cache
def operator_functions() -> dict[str, Callable[..., Any]]:
    """The operators that the kernel knows, functions of TritonLanes and arguments."""
    found = {name: function for name, op in OPS.items() if op.arity and (function := triton_operator(name)) is not None}
    return found | {f"pow {b:g}": functools.partial(_powered, b) for b in POWERS}


def _powered(b: float, K: Any, a: Any) -> Any:
    function = triton_operator("pow")
    assert function is not None
    return function(K, a, K.const(b))


@functools.cache
def operator_numbers() -> dict[str, int]:
    """The number of each operator on a tape."""
    return {name: i for i, name in enumerate(operator_functions())}


def _arity(name: str) -> int:
    return 1 if name.startswith("pow ") else OPS[name].arity


def _branch(name: str, number: int) -> str:
    """The lines that compute an operator from a, b and c, where it is its turn. A truth value is a number on the tape."""
    lanes = TritonLanes(TritonCode())
    arguments: list[Value] = [TritonValue(lanes.code, "float", t) for t in "abc"[: _arity(name)]]
    if name == "where":
        arguments[0] = arguments[0] != 0.0
    result = operator_functions()[name](lanes, *arguments)
    if result.kind == "i1":
        result = lanes.where(result, 1.0, 0.0)
    lines = [f"if operator == {number}:", *(f"    {line}" for line in lanes.code.lines), f"    r = {result.name}"]
    return "".join(f"                {line}\n" for line in lines)


def _fetched(name: str, place: str, indent: int) -> str:
    lines = (
        f"if {place} >= 0:",
        f"    {name} = tl.load(work + {place} * (ROWS * COLUMNS))",
        "else:",
        f"    {name} = tl.broadcast_to(tl.load(NUMBERS + (-1 - {place}) * numbers + own * step), [ROWS, COLUMNS])",
    )
    return "".join(f"{' ' * indent}{line}\n" for line in lines)


@functools.cache
def tape_source() -> str:
    """A module of Python with the kernel `run`, which reads a tape; X, Y, G, S and the tiles are those of source.py."""
    groups = ""
    for start in range(0, len(operator_functions()), GROUP):
        some = [name for name, i in operator_numbers().items() if start <= i < start + GROUP]
        groups += f"            if operator // {GROUP} == {start // GROUP}:\n"
        groups += "".join(_branch(name, operator_numbers()[name]) for name in some)
    tile = "".join(f"    {line}\n" for line in TILE.splitlines())
    total = "".join(f"            {line.removeprefix('    ')}\n" for line in SUM.format(value="r", k="k").splitlines())
    arguments = "X, Y, G, S, NUMBERS, TAPE, W, length, slots, learned, numbers, step, outer, channels, inner, tiles"
    return f'''"""The interpreter of tapes; written by actune from its table of primitives."""

{IMPORTS}

@triton.jit
def run({arguments}, ROWS: tl.constexpr, COLUMNS: tl.constexpr, BY_COLUMNS: tl.constexpr, BACKWARD: tl.constexpr):
    cell = tl.arange(0, ROWS)[:, None] * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    work = W + tl.program_id(0).to(tl.int64) * slots * (ROWS * COLUMNS) + cell
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
{tile}        x = tl.load(X + place + at, mask=alive, other=1.0).to(tl.float32)
        tl.store(work, x)
        for i in range(length):
            operator = tl.load(TAPE + {COLUMNS_OF_TAPE} * i)
            to = tl.load(TAPE + {COLUMNS_OF_TAPE} * i + 1)
            first_place = tl.load(TAPE + {COLUMNS_OF_TAPE} * i + 2)
            second_place = tl.load(TAPE + {COLUMNS_OF_TAPE} * i + 3)
            third_place = tl.load(TAPE + {COLUMNS_OF_TAPE} * i + 4)
            tl.debug_barrier()
{_fetched("a", "first_place", 12)}            b = a
            if second_place != {NO_PLACE}:
{_fetched("b", "second_place", 16)}            c = a
            if third_place != {NO_PLACE}:
{_fetched("c", "third_place", 16)}            r = a
{groups}            tl.debug_barrier()
            tl.store(work + to * (ROWS * COLUMNS), r)
        tl.debug_barrier()
        out = tl.load(TAPE + {COLUMNS_OF_TAPE} * length)
{_fetched("r", "out", 8)}        if BACKWARD:
            g = tl.load(G + place + at, mask=alive, other=0.0).to(tl.float32)
            r = g * r
        tl.store(Y + place + at, r.to(Y.dtype.element_ty), mask=alive)
        for k in range(learned):
            out = tl.load(TAPE + {COLUMNS_OF_TAPE} * length + 1 + k)
            g = tl.load(G + place + at, mask=alive, other=0.0).to(tl.float32)
{_fetched("r", "out", 12)}{total}        tl.debug_barrier()
'''


@functools.cache
def _kernel() -> Any:
    return loaded(tape_source(), "run")


# -- on tensors ----------------------------------------------------------------------------------------------------------


def tape_function(e: Expr, names: tuple[str, ...], wanted: tuple[int, ...] | None) -> Callable[..., tuple[Tensor, ...]]:
    """`triton_function` without a compilation for the formula; the gradient of x is always computed."""

    def values(x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        return (_interpreted((e,), names, x, x, parameters, backward=False)[0],)

    def pullback(g: Tensor, x: Tensor, *parameters: Tensor) -> tuple[Tensor, ...]:
        learned = [i for i in wanted or () if i]
        slopes = tuple(e.diff(names[i]) for i in (0, *learned))
        gx, sums = _interpreted(slopes, names, x, g, parameters, backward=True)
        found = {i: parameter_gradient(total, parameters[i - 1]) for i, total in zip(learned, sums, strict=True)}
        return tuple(found[i] if i else gx for i in wanted or ())

    return values if wanted is None else pullback


def _interpreted(
    exprs: tuple[Expr, ...], names: tuple[str, ...], x: Tensor, g: Tensor, parameters: Sequence[Tensor], backward: bool
) -> tuple[Tensor, Tensor]:
    """The first formula, times g if it goes backward, and the sums of g times each other over (outer, inner)."""
    at, tape = tiling(*(x.shape if x.ndim == 3 else (1, 1, x.numel()))), formula_tape(exprs, names)
    y = torch.empty_like(x, memory_format=torch.contiguous_format)
    parts = torch.empty((len(exprs) - 1, *at.parts), dtype=torch.float32, device=x.device)
    programs = min(at.tiles, PROGRAMS)
    scratch = torch.empty(programs * tape.slots * at.rows * at.columns, dtype=torch.float32, device=x.device)
    numbers = _numbers(tape, parameters, x.device)
    words = _words(tape, x.device)
    with torch.cuda.device_of(x):
        _kernel()[(programs,)](
            as_flat(x, None, x.dtype), y, as_flat(g, None, g.dtype), parts, numbers, words, scratch, len(tape.rows), tape.slots,
            len(exprs) - 1, numbers.shape[1], int(numbers.shape[1] > 1), at.outer, at.channels, at.inner, at.tiles,
            ROWS=at.rows, COLUMNS=at.columns, BY_COLUMNS=at.by_columns, BACKWARD=backward, **LAUNCH_OPTIONS,
        )  # fmt: skip
    return y, parts.sum((1, 3), dtype=torch.float64)


def _numbers(tape: FormulaTape, parameters: Sequence[Tensor], device: torch.device) -> Tensor:
    """The table of numbers: the constants, then the parameters, one or one per channel."""
    width = max((p.numel() for p in parameters), default=1)
    constants = _constants(tape, device).expand(-1, width)
    return torch.cat([constants, *(p.reshape(1, -1).to(torch.float32).expand(1, width) for p in parameters)]).contiguous()


@functools.lru_cache(maxsize=512)
def _constants(tape: FormulaTape, device: torch.device) -> Tensor:
    largest = torch.finfo(torch.float32).max
    rounded = [math.copysign(math.inf, c) if abs(c) > largest else c for c in tape.constants]
    return torch.tensor(rounded, dtype=torch.float32, device=device).reshape(-1, 1)


@functools.lru_cache(maxsize=512)
def _words(tape: FormulaTape, device: torch.device) -> Tensor:
    return torch.tensor([*(word for row in tape.rows for word in row), *tape.outputs], dtype=torch.int32, device=device)
