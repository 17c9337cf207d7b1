"""Expr: an activation function as an immutable formula; build, walk, differentiate, simplify, print, JSON.

Equal formulas are one object (they are interned), so `is` compares them, and shared parts are stored and computed once.
Every walk is a loop over the distinct nodes in order, not a recursion, so no formula is too deep for it.
"""

from __future__ import annotations

import functools
import json
import math
import re
import threading
import weakref
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

from ..messages import shorten, shown, suggestion
from ..plain_data import checked, finite
from .ops import ALIASES, OPS, Op

__all__ = [
    "Expr",
    "FormulaError",
    "apply",
    "const",
    "from_json",
    "from_rows",
    "gradient",
    "number",
    "rebuild",
    "symbol",
    "to_json",
    "to_rows",
    "to_text",
]

_T = TypeVar("_T")

MAX_JSON = 1_000_000  # characters, and nodes as written out


class FormulaError(ValueError):
    """A formula that cannot be read or built; the message is one line that says where and what was expected."""


class Expr:
    """A formula over the input `x`, named parameters and constants.

    op     a name in `ops.OPS`, or "const" or "symbol"
    args   the argument formulas; of a leaf, the one number or name
    is_leaf, children   whether it is a number or a symbol; the argument formulas, none of a leaf
    """

    __slots__ = ("__weakref__", "_below", "args", "children", "is_leaf", "op")
    _below: tuple[Expr, ...] | None  # the nodes below, once asked for; without the node itself, which would be a reference cycle
    op: str
    args: tuple[Any, ...]
    is_leaf: bool
    children: tuple[Expr, ...]

    def __new__(cls, op: str, args: tuple[Any, ...]) -> Expr:
        with _LOCK:
            found = _INTERNED.get((op, args))
            if found is None:
                found = object.__new__(cls)
                leaf = op in ("const", "symbol")
                values = (op, args, leaf, () if leaf else args, () if leaf else None)
                for name, value in zip(("op", "args", "is_leaf", "children", "_below"), values, strict=True):
                    object.__setattr__(found, name, value)
                _INTERNED[op, args] = found
        return found

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a formula cannot be changed (tried to set {name!r}); build a new one")

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_rows, (to_rows(self),)

    def __copy__(self) -> Expr:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Expr:
        return self

    # Building, in Python's own notation. `==` compares identity, so equality in a formula is `apply("==", a, b)`.
    def __add__(self, other: Any) -> Expr:
        return apply("add", self, other)

    def __radd__(self, other: Any) -> Expr:
        return apply("add", other, self)

    def __sub__(self, other: Any) -> Expr:
        return apply("sub", self, other)

    def __rsub__(self, other: Any) -> Expr:
        return apply("sub", other, self)

    def __mul__(self, other: Any) -> Expr:
        return apply("mul", self, other)

    def __rmul__(self, other: Any) -> Expr:
        return apply("mul", other, self)

    def __truediv__(self, other: Any) -> Expr:
        return apply("div", self, other)

    def __rtruediv__(self, other: Any) -> Expr:
        return apply("div", other, self)

    def __pow__(self, other: Any) -> Expr:
        return apply("pow", self, other)

    def __rpow__(self, other: Any) -> Expr:
        return apply("pow", other, self)

    def __neg__(self) -> Expr:
        return apply("neg", self)

    def __abs__(self) -> Expr:
        return apply("abs", self)

    def __lt__(self, other: Any) -> Expr:
        return apply("<", self, other)

    def __le__(self, other: Any) -> Expr:
        return apply("<=", self, other)

    def __gt__(self, other: Any) -> Expr:
        return apply(">", self, other)

    def __ge__(self, other: Any) -> Expr:
        return apply(">=", self, other)

    def __bool__(self) -> bool:
        raise TypeError(
            f"the formula {shorten(str(self))!r} has no truth value; to choose by a condition use where(condition, a, b)"
        )

    # Reading.
    @property
    def is_comparison(self) -> bool:
        """Whether the value is a truth value, as that of `x > 0`."""
        return not self.is_leaf and OPS[self.op].boolean

    def nodes(self) -> tuple[Expr, ...]:
        """The distinct nodes, every one after its arguments; the formula itself is last."""
        below = self._below
        if below is None:
            # A formula is mostly made of known ones, and in their order its nodes are those of its arguments one after the other.
            known = [(*child._below, child) for child in self.children if child._below is not None]
            if len(known) < len(self.children):
                below = order(self.children)
            else:
                below = known[0] if len(known) == 1 else tuple(dict.fromkeys(chain.from_iterable(known)))
            object.__setattr__(self, "_below", below)
        return (*below, self)

    def fold(self, leaf: Callable[[Expr], _T], node: Callable[..., _T]) -> _T:
        """Compute bottom-up: `leaf(e)` at the leaves, `node(e, *results of the arguments)` above, once per distinct node."""
        done: dict[Expr, _T] = {}
        for e in self.nodes():
            done[e] = leaf(e) if e.is_leaf else node(e, *(done[a] for a in e.args))
        return done[self]

    def symbols(self) -> tuple[str, ...]:
        """The names in the formula, sorted; `x` among them where it occurs."""
        return tuple(sorted(e.args[0] for e in self.nodes() if e.op == "symbol"))

    def size(self) -> int:
        """The number of nodes as written out: a part that occurs twice counts twice."""
        return self.fold(lambda e: 1, lambda e, *sizes: 1 + sum(sizes))

    def depth(self) -> int:
        """The number of nodes on the longest way from the root to a leaf."""
        return self.fold(lambda e: 1, lambda e, *depths: 1 + max(depths, default=0))

    def diff(self, wrt: str = "x", order: int = 1) -> Expr:
        """The derivative of this order in the named symbol, as a formula. At a kink it is the one that torch takes."""
        e = self
        for _ in range(order):
            e = _diff(e.expand(), wrt)
        return e

    def simplify(self) -> Expr:
        """Fold constants and drop neutral operations. No value changes beyond rounding: `0*e` stays, for e may be infinite."""
        return self.fold(lambda e: e, lambda e, *args: _simple(e.op, args))

    def substitute(self, values: Mapping[str, Any]) -> Expr:
        """Replace symbols by formulas or numbers."""
        return self.fold(lambda e: lift(values.get(e.args[0], e)) if e.op == "symbol" else e, lambda e, *args: Expr(e.op, args))

    def expand(self) -> Expr:
        """Write out the functions that are defined by a formula (`gelu(x)`), so that only primitives remain."""
        e = self
        while any(not n.is_leaf and OPS[n.op].definition is not None for n in e.nodes()):
            e = e.fold(lambda n: n, lambda n, *args: _inline(OPS[n.op], n, args))
        return e

    def __str__(self) -> str:
        return to_text(self)

    def __repr__(self) -> str:
        return f"parse({str(self)!r})" if self.size() <= 200 else f"<formula of {self.size():,} nodes>"


_ARGUMENTS = "abcdef"  # the names of a primitive's arguments in its rules
_LOCK = threading.Lock()
_INTERNED: weakref.WeakValueDictionary[tuple[str, tuple[Any, ...]], Expr] = weakref.WeakValueDictionary()


def _inline(op: Op, e: Expr, args: tuple[Expr, ...]) -> Expr:
    return Expr(e.op, args) if op.definition is None else op.definition.substitute(dict(zip(_ARGUMENTS, args, strict=False)))


def order(roots: Iterable[Expr]) -> tuple[Expr, ...]:
    """The distinct nodes below these formulas, every one after its arguments."""
    done: dict[Expr, None] = {}
    stack = list(roots)[::-1]
    while stack:
        e = stack[-1]
        waiting = [a for a in e.children if a not in done]
        if waiting:
            stack.extend(reversed(waiting))
        else:
            done[stack.pop()] = None
    return tuple(done)


def rebuild(roots: Sequence[Expr], node: Callable[..., Expr]) -> tuple[Expr, ...]:
    """The formulas with `node(n, *new arguments)` in place of each node that is no leaf, once per distinct node."""
    done: dict[Expr, Expr] = {}
    for n in order(roots):
        done[n] = n if n.is_leaf else node(n, *(done[a] for a in n.args))
    return tuple(done[e] for e in roots)


def const(value: float) -> Expr:
    """A number as a formula; it must be finite."""
    try:
        value = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        value = math.inf
    if not math.isfinite(value):
        raise FormulaError(f"a constant of a formula must be finite, got {value}; limits come from the functions themselves")
    return Expr("const", (value + 0.0,))  # one zero: -0.0 + 0.0 is 0.0


def symbol(name: str) -> Expr:
    """A named input of a formula: `x`, or a parameter."""
    if not _NAME.fullmatch(name) or name in OPS or name in ALIASES:
        raise FormulaError(f"{shown(name)} cannot name a parameter: use letters, digits and _, and no name of a function")
    return Expr("symbol", (name,))


def lift(value: Any) -> Expr:
    """The value as a formula: a number becomes a constant."""
    return value if isinstance(value, Expr) else const(value)


def apply(name: str, *args: Any) -> Expr:
    """The formula `name(*args)`; numbers become constants. Nothing is simplified, except that `-2` is a constant.

    Raises FormulaError for an unknown name, a wrong number of arguments, or a comparison where a number is needed.
    """
    op = OPS.get(ALIASES.get(name, name))
    if op is None:
        raise FormulaError(f"unknown function {shown(name)}{suggestion(name, [*OPS, *ALIASES])}")
    if len(args) != op.arity:
        raise FormulaError(f"{op.name} takes {op.arity} argument{'s' * (op.arity != 1)}, got {len(args)}")
    exprs = tuple(map(lift, args))
    for i, e in enumerate(exprs):
        if e.is_comparison != (op.name == "where" and i == 0):
            got = repr(shorten(str(e)))
            number = f"{op.name} needs a number as argument {i + 1}, got the comparison {got}; use where(condition, a, b)"
            comparison = f"where needs a comparison such as x > 0 as its first argument, got {got}"
            raise FormulaError(number if e.is_comparison else comparison)
    if op.name == "neg" and exprs[0].op == "const":
        return const(-exprs[0].args[0])
    return Expr(op.name, exprs)


# -- derivative ----------------------------------------------------------------------------------------------------------

# The derivative rules of the table as formulas. The table has them as text, and the parser, which imports this module, fills these
# when `actune.language` is imported.
RULES: dict[str, tuple[Expr, ...]] = {}  # the partial derivatives of a primitive, one per argument
SLOPE_RULES: dict[str, Expr] = {}  # the whole derivative of a primitive that selects among its arguments


@functools.lru_cache(maxsize=8192)
def _diff(e: Expr, wrt: str) -> Expr:
    """The derivative by the chain rule, from the leaves up: small inner slopes are multiplied before large outer ones."""
    slope: dict[Expr, Expr] = {}
    for n in e.nodes():
        if n.is_leaf:
            slope[n] = _ONE if n.op == "symbol" and n.args[0] == wrt else _ZERO
        elif n.op == "where":  # select a slope instead of multiplying by zero, which makes nan of an infinite slope not taken
            slope[n] = _simple("where", (n.args[0], slope[n.args[1]], slope[n.args[2]]))
        else:
            slope[n] = _chain(n, [slope[a] for a in n.args])
    return slope[e]


def gradient(e: Expr, names: Sequence[str]) -> tuple[Expr, ...]:
    """The derivatives in all these symbols, from the root down: they share the slope of the formula in each part.

    Of f(a*x) those in a and x are x*s and a*s with one s, where `diff` would go from each symbol up to the root again.
    """
    return _gradient(e.expand(), tuple(names), 4)


def _gradient(e: Expr, names: tuple[str, ...], levels: int) -> tuple[Expr, ...]:
    """The derivatives of a formula of primitives, of which so many levels are looked at.

    Of x*f(x) the slope of f is found first and then multiplied by x: both from x on, the products would overflow at large x
    before they meet a zero.
    """
    if e.op == "where" and levels:
        sides = zip(*(_gradient(a, names, levels - 1) for a in e.args[1:]), strict=True)
        return tuple(_simple("where", (e.args[0], a, b)) for a, b in sides)
    for factor, rest in (e.args, e.args[::-1]) if e.op == "mul" and levels else ():
        if all(n.is_leaf or n.op == "mul" for n in factor.nodes()):
            slopes = zip(_downward(factor, names), _gradient(rest, names, levels - 1), strict=True)
            return tuple(_plus(_select(rest, a), _select(factor, b)) for a, b in slopes)
    return _downward(e, names)


def _downward(e: Expr, names: tuple[str, ...]) -> tuple[Expr, ...]:
    """The derivatives, each part's slope from those of the parts that it is in."""
    within: set[Expr] = set()  # the parts that a name is in
    for n in e.nodes():
        if n.args[0] in names if n.is_leaf else any(a in within for a in n.args):
            within.add(n)
    slope = {e: _ONE}  # of the formula in a part
    for n in reversed(e.nodes()):
        if n.is_leaf or n not in within or n not in slope:
            continue
        for a, part in zip(n.args, _back(n, slope[n], within), strict=True):
            if part is not _ZERO:
                slope[a] = _plus(slope[a], part) if a in slope else part
    return tuple(slope.get(symbol(name), _ZERO) for name in names)


def _back(n: Expr, slope: Expr, within: Container[Expr]) -> list[Expr]:
    """The slopes of a formula in the arguments of a node, zero in those that are not `within`, from its slope in the node."""
    if n.op == "where":
        found = [_ZERO, _simple("where", (n.args[0], slope, _ZERO)), _simple("where", (n.args[0], _ZERO, slope))]
    elif OPS[n.op].slope is not None:
        each = [{s: slope if i == j else _ZERO for j, s in enumerate(("da", "db", "dc"))} for i in range(len(n.args))]
        found = [_fill(SLOPE_RULES[n.op], _rule_values(n) | slopes) for slopes in each]
    elif n.op == "div" and all(a in within for a in n.args):  # -y/b times the slope is -y times what the numerator gets
        over = _select(_fill(RULES["div"][0], _rule_values(n)), slope)
        found = [over, _simple("neg", (_select(n, over),))]
    else:  # an argument without the symbols gets nothing, even if the partial derivative is infinite
        times = _unless_zero if slope.op in ("add", "sub") and _has_zero(slope) and all(a in within for a in n.args) else _select
        return [times(_fill(r, _rule_values(n)), slope) if a in within else _ZERO for r, a in zip(_rules(n), n.args, strict=True)]
    return [part if a in within else _ZERO for part, a in zip(found, n.args, strict=True)]


def _rule_values(n: Expr) -> dict[str, Expr]:
    """What the symbols of a node's derivative rules stand for."""
    return dict(zip(_ARGUMENTS, n.args, strict=False)) | {"y": n}


def _rules(n: Expr) -> tuple[Expr, ...]:
    """The partial derivatives of a node in its arguments, as rules."""
    if n.args and not RULES[n.op]:
        raise FormulaError(
            f"{n.op} is a second derivative and has no derivative of its own: those of mittag_leffler exist up to order 2; "
            "take further ones by finite differences"
        )
    return RULES[n.op]


def _chain(n: Expr, slopes: list[Expr]) -> Expr:
    """The derivative of a node from those of its arguments."""
    values = _rule_values(n)
    if OPS[n.op].slope is not None:
        return _fill(SLOPE_RULES[n.op], values | dict(zip(("da", "db", "dc"), slopes, strict=False)))
    total = _ZERO
    if all(slope is _ZERO for slope in slopes):
        return total
    for rule, slope in zip(_rules(n), slopes, strict=True):
        if slope is not _ZERO:  # an argument without the symbol contributes nothing, even if the partial derivative is infinite
            total = _plus(total, _select(_fill(rule, values), slope))
    return total


def _plus(a: Expr, b: Expr) -> Expr:
    """The sum of two slopes; two choices with the same condition become one choice."""
    if a.op == "where" == b.op and a.args[0] is b.args[0]:
        return _simple("where", (a.args[0], _plus(a.args[1], b.args[1]), _plus(a.args[2], b.args[2])))
    return _simple("add", (a, b))


def _fill(rule: Expr, values: Mapping[str, Expr]) -> Expr:
    """The rule with formulas in place of its symbols, simplified."""
    return rule.fold(lambda s: values[s.args[0]] if s.op == "symbol" else s, lambda s, *args: _simple(s.op, args))


# A product of slopes must never compute 0*inf, which is nan. By the chain rule relu(-exp(x)) has the slope
# where(-exp(x) > 0, 1, 0) * -exp(x): at x = 1000 that would be 0 * -inf, while the true slope is 0. So a factor that is exactly
# zero on one side of a condition is not multiplied, it selects:
#
#     where(c, a, 0) * s            becomes   where(c, a*s, 0)
#     (where(c, a, 0) + b) * s      becomes   where(c, a*s, 0) + b*s
#
# `_select` does so for both factors, `_spread` multiplies the parts of a factor, `_parts` says what these are, and `_has_zero`
# whether there is an exact zero below, for without one the factor is multiplied as a whole.


def _select(partial: Expr, slope: Expr) -> Expr:
    """The product partial*slope, in which an exact zero on one side of a condition stays zero."""
    if _ZERO in (partial, slope):
        return _ZERO
    if partial is _ONE or slope is _ONE:
        return slope if partial is _ONE else partial
    for number, other in ((partial, slope), (slope, partial)):
        if number.op == "const":  # no need to look deep: a number is finite
            return _times(number, other)
    return _spread(slope, lambda s: _spread(partial, lambda p: _ZERO if _ZERO in (p, s) else _simple("mul", (p, s))))


def _unless_zero(partial: Expr, slope: Expr) -> Expr:
    """The product partial*slope, zero where the slope is: sooner computed than `_select`, of a slope that is a sum of choices."""
    if partial.op == "const" or _has_zero(partial):
        return _select(partial, slope)
    return _simple("where", (Expr("==", (slope, _ZERO)), _ZERO, _simple("mul", (partial, slope))))


def _times(number: Expr, e: Expr) -> Expr:
    """The product of a constant and a formula; an exact zero on one side of a choice stays zero."""
    if e.op == "where" and _ZERO in e.args:
        return _simple("where", (e.args[0], *(a if a is _ZERO else _simple("mul", (number, a)) for a in e.args[1:])))
    return _simple("mul", (number, e))


def _parts(e: Expr) -> tuple[Expr, ...]:
    """The parts that a factor may be multiplied into: the sides of a choice, the terms of a sum, what a number multiplies."""
    if e.op == "mul":
        return e.args[1:] if e.args[0].op == "const" else ()
    return e.args[1:] if e.op == "where" else e.args if e.op in ("add", "sub", "neg") else ()


def _spread(e: Expr, times: Callable[[Expr], Expr]) -> Expr:
    """The formula multiplied part by part by `times`, as far down as there are choices with a side that is exactly zero."""
    done: dict[Expr, Expr] = {}
    stack = [e]
    while stack:
        n = stack[-1]
        waiting = [p for p in _parts(n) if p not in done] if _has_zero(n) else []
        if waiting:
            stack.extend(waiting)
        elif stack.pop() not in done:
            parts = _parts(n) if _has_zero(n) else ()
            done[n] = _simple(n.op, tuple(done[a] if a in parts else a for a in n.args)) if parts else times(n)
    return done[e]


_KNOWN: weakref.WeakKeyDictionary[Expr, bool] = weakref.WeakKeyDictionary()  # the answers of `_has_zero`


def _has_zero(e: Expr) -> bool:
    """Whether this is a choice with a side that is exactly zero, or has such a choice among its parts."""
    stack = [e]
    while stack:
        n = stack[-1]
        waiting = [p for p in _parts(n) if p not in _KNOWN] if n not in _KNOWN else []
        if waiting:
            stack.extend(waiting)
        elif stack.pop() not in _KNOWN:
            _KNOWN[n] = any((p is _ZERO and n.op == "where") or _KNOWN[p] for p in _parts(n))
    return _KNOWN[e]


# -- simplification ------------------------------------------------------------------------------------------------------

_FOLD: dict[str, Callable[..., float]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "square": lambda a: a * a,
    "div": lambda a, b: a / b if b else math.nan, "neg": lambda a: -a,
}  # fmt: skip
_HOLDS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b, "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
}  # fmt: skip


def _simple(op: str, args: tuple[Expr, ...]) -> Expr:
    """The formula op(*args), with neutral elements dropped and constants folded."""
    if op in _FOLD and all(a.op == "const" for a in args):
        value = _FOLD[op](*(a.args[0] for a in args))
        if math.isfinite(value):
            return const(value)
    rule = _NEUTRAL.get(op)
    found = rule(*args) if rule else None
    return found if found is not None else Expr(op, args)


def _add(a: Expr, b: Expr) -> Expr | None:
    if a is _ZERO or b is _ZERO:
        return b if a is _ZERO else a
    if b.op == "const" and b.args[0] < 0:
        return _simple("sub", (a, const(-b.args[0])))
    return _simple("sub", (a, b.args[0])) if b.op == "neg" else None


def _sub(a: Expr, b: Expr) -> Expr | None:
    if b is _ZERO:
        return a
    if a is _ZERO:
        return _simple("neg", (b,))
    return _simple("add", (a, b.args[0])) if b.op == "neg" else None


def _mul(a: Expr, b: Expr) -> Expr | None:
    for one, other in ((a, b), (b, a)):
        if one is _ONE:
            return other
        if one is _MINUS:
            return _simple("neg", (other,))
        if one.op == "neg":
            return _simple("neg", (_simple("mul", (one.args[0], other) if one is a else (other, one.args[0])),))
    return None


def _div(a: Expr, b: Expr) -> Expr | None:
    if a.op == "neg":
        return _simple("neg", (_simple("div", (a.args[0], b)),))
    return a if b is _ONE else None


def _pow(a: Expr, b: Expr) -> Expr | None:
    return a if b is _ONE else Expr("square", (a,)) if b is _TWO else None


def _neg(a: Expr) -> Expr | None:
    return a.args[0] if a.op == "neg" else None


def _where(c: Expr, a: Expr, b: Expr) -> Expr | None:
    if a is b:
        return a
    if a.op == "where" and a.args[0] is c:
        return _simple("where", (c, a.args[1], b))
    if b.op == "where" and b.args[0] is c:
        return _simple("where", (c, a, b.args[2]))
    if all(side.op == "const" for side in c.args):
        return a if _HOLDS[c.op](*(side.args[0] for side in c.args)) else b
    if c.op == "==" and b.op != "const" and a is _simple("mul", (_HALF, b)):  # at a tie: one product, however it goes on
        return _simple("mul", (_simple("where", (c, _HALF, _ONE)), b))
    return None


def _even(name: str) -> Callable[[Expr], Expr | None]:
    return lambda a: _simple(name, a.args) if a.op == "neg" else None


def _clip(a: Expr, b: Expr, c: Expr) -> Expr | None:
    if a.op == "neg" and b.op == c.op == "const" and b.args[0] == -c.args[0] <= 0:
        return _simple("neg", (_simple("clip", (a.args[0], b, c)),))
    return None


def _same(a: Expr, b: Expr) -> Expr | None:
    return a if a is b else None


_NEUTRAL: dict[str, Callable[..., Expr | None]] = {
    "add": _add, "sub": _sub, "mul": _mul, "div": _div, "pow": _pow, "neg": _neg, "where": _where, "max": _same, "min": _same,
    "square": _even("square"), "abs": _even("abs"), "clip": _clip,
}  # fmt: skip

# -- text ----------------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def number(value: float) -> str:
    """The shortest text that reads back as this number."""
    return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)


def to_text(e: Expr) -> str:
    """The formula as text that `parse` turns back into the same object."""
    if not _can_be_written(e):
        raise FormulaError(f"written out the formula has more than {MAX_JSON:,} nodes; keep it as JSON")
    # Written from left to right: the texts of all parts at once would fill the memory, of a formula that is 70,000 deep.
    written: list[str] = []
    stack: list[str | Expr] = [e]
    while stack:
        n = stack.pop()
        if isinstance(n, str):
            written.append(n)
        else:
            stack.extend(reversed(_pieces(n)))
    return "".join(written)


def _pieces(n: Expr) -> list[str | Expr]:
    """What a node is written as: its arguments, and the text between and around them."""
    if n.is_leaf:
        return [n.args[0] if n.op == "symbol" else number(n.args[0])]
    op = OPS[n.op]
    if op.infix is None:
        between = [piece for a in n.args for piece in (", ", a)][1:]
        return [op.name, "(", *between, ")"] if op.arity else [op.name]
    if op.arity == 1:
        return ["-", *_wrapped(n.args[0], 5)]
    gap = "" if op.binds >= 3 else " "
    # The left of ^ and the right of every other sign must bind tighter than the sign itself: they group to the other side.
    left, right = (op.binds + ((i == 0) if op.name == "pow" else (i == 1 or op.boolean)) for i in range(2))
    return [*_wrapped(n.args[0], left), f"{gap}{op.infix}{gap}", *_wrapped(n.args[1], right)]


def _wrapped(n: Expr, least: int) -> list[str | Expr]:
    """The formula, in parentheses if it binds less than this."""
    if n.is_leaf:
        binds = 4 if n.op == "const" and n.args[0] < 0 else 9
    else:
        op = OPS[n.op]
        binds = 9 if op.infix is None else 4 if op.arity == 1 else op.binds
    return [n] if binds >= least else ["(", n, ")"]


def _can_be_written(e: Expr) -> bool:
    """Whether its text fits in memory: a formula of few nodes can share parts so often that even its size, exactly, would not."""
    return e.fold(lambda n: 1, lambda n, *sizes: min(1 + sum(sizes), MAX_JSON + 1)) <= MAX_JSON


# -- JSON ----------------------------------------------------------------------------------------------------------------


def to_json(e: Expr) -> str:
    """The formula as JSON: the list of its distinct nodes, arguments by index; the last is the formula."""
    return json.dumps(to_rows(e), separators=(",", ":"))


def to_rows(e: Expr) -> list[list[Any]]:
    """The formula as plain data: the list that `to_json` writes."""
    index: dict[Expr, int] = {}
    rows: list[list[Any]] = []
    for n in e.nodes():
        index[n] = len(rows)
        rows.append([n.op, *(n.args if n.is_leaf else (index[a] for a in n.args))])
    return rows


def from_json(text: str) -> Expr:
    """Read what `to_json` wrote; anything else is refused with a FormulaError."""
    if len(text) > MAX_JSON:
        raise FormulaError(f"a formula may have {MAX_JSON:,} characters of JSON, this one has {len(text):,}")
    try:
        rows = json.loads(text)
    except RecursionError:
        raise FormulaError(f"cannot read the formula from JSON {shown(text)}: it is nested too deep") from None
    except ValueError as error:
        raise FormulaError(f"cannot read the formula from JSON {shown(text)}: {shorten(str(error))}") from None
    return from_rows(rows)


def from_rows(rows: Any) -> Expr:
    """The formula in plain data that `to_rows` made; anything else is refused with a FormulaError."""
    try:
        if len(checked(rows, list, "it")) > MAX_JSON // 10:  # in JSON a node has ten characters and more
            raise ValueError(f"it may have {MAX_JSON // 10:,} nodes, and has {len(rows):,}")
        e = _from_rows(rows)
        if e.is_comparison:
            raise ValueError("a comparison is no activation function")
        if not _can_be_written(e):
            raise ValueError(f"written out it has more than {MAX_JSON:,} nodes")
        return e
    except ValueError as error:
        raise FormulaError(f"cannot read the formula from JSON: {error}") from None


def _from_rows(rows: list[list[Any]]) -> Expr:
    done: list[Expr] = []
    for row in rows:
        try:
            done.append(_from_row(row, done))
        except ValueError as error:
            raise FormulaError(f"node {len(done)}, {shown(row)}: {error}") from None
    if not done:
        raise FormulaError("it has no nodes")
    return done[-1]


def _from_row(row: Any, before: list[Expr]) -> Expr:
    if not isinstance(row, list) or not row:
        raise FormulaError("a node is a list of a function and its arguments")
    op, args = checked(row[0], str, "the function"), row[1:]
    if op in ("const", "symbol"):
        if len(args) != 1:
            raise FormulaError(f"{op} takes 1 argument, got {len(args)}")
        return symbol(checked(args[0], str, "a symbol")) if op == "symbol" else const(finite(args[0], "a constant"))
    if any(type(i) is not int or not 0 <= i < len(before) for i in args):
        raise FormulaError("an argument must be the index of an earlier node")
    return apply(op, *(before[i] for i in args))


_ZERO, _HALF, _ONE, _TWO, _MINUS = map(const, (0, 0.5, 1, 2, -1))
