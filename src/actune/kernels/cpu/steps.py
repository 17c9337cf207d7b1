"""What a kernel of formulas computes, step by step.

A step is an operator of the table, or a product and a sum as one. What only a rare x needs stands apart, behind a branch.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...language.elementary import PARTNERS
from ...language.expr import Expr, const, order, rebuild
from ...language.ops import OPS
from ..operators import ordered
from .factors import gathered
from .lanes import LANES, Code, Lanes, Value
from .partners import with_partners

__all__ = [
    "CONTRACTED",
    "Apart",
    "Step",
    "apart",
    "contracted",
    "emit",
    "emit_still",
    "has_kernels",
    "instruction_count",
    "kernel_cost",
    "kernel_form",
    "moving_nodes",
    "operator_kernel",
    "summed_cost",
]

Step = tuple[Expr, str, tuple[Expr, ...]]  # a node, the operator that computes it, and of which nodes


def has_kernels(nodes: Sequence[Expr]) -> bool:
    """Whether every operator of a formula has a kernel column."""
    return all(n.is_leaf or n.op == "where" or n.op in PARTNERS or OPS[n.op].kernel is not None for n in nodes)


def instruction_count(outputs: Sequence[Expr], nodes: Sequence[Expr]) -> int:
    """How many instructions the formulas take for a vector of elements; those of parameters alone count too."""
    code = Code(wide512=True)
    lanes = Lanes(code)
    emit(lanes, outputs, nodes, {n: Value(code, lanes.kind, f"%{n.args[0]}") for n in nodes if n.op == "symbol"})
    return _instructions(code)


def _instructions(code: Code) -> int:
    """How many there are for a vector, counting those of 512 bits once for all its parts."""
    parts = sum(".512(" in line for line in code.lines)  # of which so many make up one instruction
    return sum("shufflevector" not in line and "extractvalue" not in line for line in code.lines) - parts + parts * 16 // LANES


@functools.lru_cache(maxsize=512)
def kernel_form(exprs: tuple[Expr, ...]) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """The formulas as kernels compute them, and all their parts, each before what is made of it.

    The factors without x of a product are one, and functions share what they can. What several parts are divided by is inverted
    once: a division costs as much as ten or twenty products.
    """
    outputs, nodes = ordered(exprs)
    outputs = _one_inverse(with_partners(gathered(outputs, moving_nodes(nodes))))
    return outputs, order(outputs)


def _one_inverse(outputs: tuple[Expr, ...]) -> tuple[Expr, ...]:
    nodes = order(outputs)
    moving = moving_nodes(nodes)
    counts = Counter(n.args[1] for n in nodes if n.op == "div" and n.args[1] in moving)
    if all(count < 2 for count in counts.values()):
        return outputs

    def node(n: Expr, *args: Expr) -> Expr:
        if n.op != "div" or counts[n.args[1]] < 2:
            return Expr(n.op, args)
        inverse = Expr("reciprocal", args[1:])
        return inverse if args[0] is const(1) else Expr("mul", (args[0], inverse))

    return rebuild(outputs, node)


def summed_cost(exprs: tuple[Expr, ...]) -> int:
    """About how many instructions a kernel of these formulas takes for a vector: the sum over its steps with x, soon found."""
    nodes = order(exprs)
    moving = moving_nodes(nodes)
    return sum(_step_cost(op, len(arguments)) for n, op, arguments in contracted(exprs, nodes) if n in moving)


@functools.cache
def _step_cost(op: str, arity: int) -> int:
    """The instructions of one operator, a division as the eight that fit into its time."""
    lanes = Lanes(Code(wide512=True))
    arguments = [Value(lanes.code, lanes.kind, f"%{i}") for i in range(arity)]
    if op == "where":
        arguments[0] = arguments[0] > 0
    operator_kernel(op)(lanes, *arguments)
    return _instructions(lanes.code) + 7 * sum(" = fdiv " in line for line in lanes.code.lines)


@functools.lru_cache(maxsize=512)
def kernel_cost(e: Expr) -> int | None:
    """The instructions that a kernel of this formula takes for a vector of elements; None: there can be no such kernel."""
    outputs, nodes = kernel_form((e,))
    return instruction_count(outputs, nodes) if has_kernels(nodes) else None


# -- steps --------------------------------------------------------------------------------------------------------------


def _quotient(K: Lanes, a: Value, inverse: Value, d: Value) -> Value:
    """a/d by the inverse of d: of a d so large that the inverse is subnormal, and so zero here, by a division."""
    return K.rarely(inverse == 0.0, lambda K, a, d: a / d, a * inverse, a, d)


# Operators that kernels have beside those of the table: a product and a sum, rounded once; and a quotient by an inverse.
CONTRACTED: dict[str, Any] = {
    "a*(1/d)": _quotient,
    "a*b + c": lambda K, a, b, c: K.fma(a, b, c),
    "a*b - c": lambda K, a, b, c: K.fma(a, b, -c),
    "c - a*b": lambda K, a, b, c: K.fma(-a, b, c),
}


def contracted(outputs: Sequence[Expr], nodes: Sequence[Expr]) -> list[Step]:
    """The steps that compute these nodes: (node, operator, arguments). A product that only one sum needs is a part of that.

    Not one of parameters alone in a sum with x: that is computed once a strip.
    """
    uses = Counter(a for n in nodes if not n.is_leaf for a in n.args) + Counter(outputs)
    moving = moving_nodes(nodes)
    quotients = {n for n in nodes if n.op == "mul" and n.args[1].op == "reciprocal" and n.args[1] in moving}
    free = {n for n in nodes if n.op in ("mul", "square") and uses[n] == 1 and n in moving and n not in quotients}
    steps: list[Step] = []
    inside: set[Expr] = set()
    for n in nodes:
        if n.is_leaf:
            continue
        if n in quotients:
            steps.append((n, "a*(1/d)", (*n.args, *n.args[1].args)))
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
    if op in PARTNERS:
        return PARTNERS[op].kernel
    return Lanes.where if op == "where" else CONTRACTED[op] if op in CONTRACTED else OPS[op].kernel


def emit(lanes: Lanes, outputs: Sequence[Expr], nodes: Sequence[Expr], known: Mapping[Expr, Value]) -> list[Value]:
    """Record the instructions of formulas, some of whose nodes have these values: all symbols at least."""
    found, steps = dict(known), [step for step in contracted(outputs, nodes) if step[0] not in known]
    parts = apart(outputs, steps, moving_nodes(nodes))
    if parts is None:
        _record(lanes, steps, found)
    else:
        _record(lanes, parts.before, found)
        _record_apart(lanes, parts, found)
        _record(lanes, parts.after, found)
    return [_value(lanes, e, found) for e in outputs]


def emit_still(lanes: Lanes, outputs: Sequence[Expr], nodes: Sequence[Expr], symbols: Mapping[Expr, Value]) -> dict[Expr, Value]:
    """Record the instructions of all that x is not in; gives the values of these nodes, with those of the symbols."""
    found, moving = dict(symbols), moving_nodes(nodes)
    _record(lanes, [step for step in contracted(outputs, nodes) if step[0] not in moving], found)
    return found


def _record(lanes: Lanes, steps: Sequence[Step], found: dict[Expr, Value]) -> None:
    for n, op, arguments in steps:
        found[n] = operator_kernel(op)(lanes, *(_value(lanes, a, found) for a in arguments))


def _value(lanes: Lanes, n: Expr, found: Mapping[Expr, Value]) -> Value:
    return lanes.const(n.args[0]) if n.op == "const" else found[n]


# -- rare branches -----------------------------------------------------------------------------------------------------

_HEAVY = 12  # instructions that a branch is worth


@dataclass(frozen=True)
class Apart:
    """The steps of a formula, of which those inside are needed only where |x| is large.

    choices   where(near, usual, seldom), all with the same condition; the seldom side is the argument of this number
    """

    side: int
    choices: tuple[Expr, ...]
    before: tuple[Step, ...]
    inside: tuple[Step, ...]
    after: tuple[Step, ...]


def apart(outputs: Sequence[Expr], steps: Sequence[Step], moving: set[Expr]) -> Apart | None:
    """What is worth a branch: the sides of choices that are for large |x|, as where(abs(x) <= 10, ..., ...) has one."""
    conditions = dict.fromkeys(n.args[0] for n, op, _ in steps if op == "where")
    for condition, side in ((c, _seldom_side(c)) for c in conditions if _seldom_side(c)):
        choices = [n for n, op, arguments in steps if op == "where" and arguments[0] is condition]
        inside = _only_for(choices, side, outputs, steps, moving)
        if sum(_step_cost(op, len(arguments)) for n, op, arguments in steps if n in inside) < _HEAVY:
            continue
        later = _depending(choices, steps)
        if any(a in later for n in choices for a in n.args):
            continue  # one choice in another
        before, within, after = (
            tuple(s for s in steps if (s[0] in inside, s[0] in later) == place and s[0] not in choices)
            for place in ((False, False), (True, False), (False, True))
        )
        return Apart(side, tuple(choices), before, within, after)
    return None


def _seldom_side(condition: Expr) -> int:
    """The argument of a choice that is for large |x|: 1, 2, or 0 if the condition says nothing of that kind."""
    if {condition.args[0].op, condition.args[1].op} != {"abs", "const"} or condition.op not in ("<", "<=", ">", ">="):
        return 0
    return 2 if (condition.args[0].op == "abs") == (condition.op in ("<", "<=")) else 1


def _only_for(choices: Sequence[Expr], side: int, outputs: Sequence[Expr], steps: Sequence[Step], moving: set[Expr]) -> set[Expr]:
    """The nodes with x that nothing but this side of these choices needs."""
    users: dict[Expr, list[tuple[Expr, int]]] = {}
    for n, _, arguments in steps:
        for i, a in enumerate(arguments):
            users.setdefault(a, []).append((n, i))
    found: set[Expr] = set()
    needed = {*outputs, *choices}
    for n in (n for n, *_ in reversed(steps) if n in moving and n not in needed):
        if all(user in found or (user in choices and i == side) for user, i in users.get(n, ())):
            found.add(n)
    return found


def _depending(choices: Sequence[Expr], steps: Sequence[Step]) -> set[Expr]:
    """The choices and what is made of them."""
    found = set(choices)
    for n, _, arguments in steps:
        if any(a in found for a in arguments):
            found.add(n)
    return found


def _record_apart(lanes: Lanes, parts: Apart, found: dict[Expr, Value]) -> None:
    """Record the choices, with a branch around their seldom side."""
    inside, side = {n for n, *_ in parts.inside}, parts.side
    wanted = [n.args[side] for n in parts.choices]
    needed = [a for _, _, arguments in parts.inside for a in arguments if a not in inside and a.op != "const"]
    needed = list(dict.fromkeys([*needed, *(n for n in wanted if n not in inside and n.op != "const")]))

    def seldom(K: Lanes, *values: Value) -> list[Value]:
        own = dict(zip(needed, values, strict=True))
        _record(K, parts.inside, own)
        return [_value(K, n, own) for n in wanted]

    condition = found[parts.choices[0].args[0]]
    usual = [_value(lanes, n.args[3 - side], found) for n in parts.choices]
    chosen = lanes.rarely_each(condition if side == 1 else ~condition, seldom, usual, *(found[n] for n in needed))
    found |= zip(parts.choices, chosen, strict=True)
