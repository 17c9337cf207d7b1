"""Formulas as text: reads `max(x*sigmoid(b*x), c*atan(x))` into an Expr, and the derivative rules of the table with it."""

from __future__ import annotations

import re

from ..messages import shorten, shown, suggestion
from .expr import RULES, SLOPE_RULES, Expr, FormulaError, apply, const, symbol
from .ops import ALIASES, OPS

__all__ = ["parse"]

MAX_CHARACTERS, MAX_NODES, MAX_DEPTH = 20_000, 5_000, 100  # limits of a formula that comes from outside

_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>\*\*|[<>=!]=|[-+*/^(),|<>]))", re.ASCII
)
_INFIX = {op.infix: op for op in OPS.values() if op.infix and op.arity == 2}


def parse(text: str) -> Expr:
    """Read a formula such as `max(x*sigmoid(b*x), c*atan(x))`; `^` and `**` are powers, `|x|` is abs(x).

    Every name that is not a function is the input `x` or a parameter. Nothing is executed: the text is only read.
    Raises FormulaError, one line that points at the character, and for a formula over 20,000 characters, 5,000 nodes
    or 100 levels of nesting.
    """
    if not isinstance(text, str):
        raise FormulaError(f"a formula must be text, got {type(text).__name__}")
    if len(text) > MAX_CHARACTERS:
        raise FormulaError(f"a formula may have {MAX_CHARACTERS:,} characters, this one has {len(text):,}")
    return _Parser(text).formula()


class _Parser:
    """A precedence-climbing parser over the tokens; `at` is the token that it reads next, to which an error points."""

    def __init__(self, text: str):
        self.text, self.depth, self.count, self.at = text, 0, 0, 0
        self.tokens: list[tuple[str, str, int]] = []
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if not match:
                place += len(text[place:]) - len(text[place:].lstrip())
                raise self.error(f"unexpected {text[place]!r}", place)
            kind = match.lastgroup or ""
            self.tokens.append((kind, match[kind], match.start(kind)))
            place = match.end()
        self.tokens.append(("end", "the end", len(text.rstrip())))

    def error(self, message: str, place: int | None = None) -> FormulaError:
        place = self.tokens[self.at][2] if place is None else place
        before, after = self.text[max(0, place - 30) : place], self.text[place : place + 30]
        around = shorten(f"{'…' * (place > 30)}{before}»{after}{'…' * (place + 30 < len(self.text))}", 150)
        return FormulaError(f"cannot read the formula at character {place + 1}, {around}: {message}")

    def formula(self) -> Expr:
        e = self.expression(0)
        if self.tokens[self.at][0] != "end":
            kind, token, _ = self.tokens[self.at]
            product = "" if kind == "sign" and token != "(" else "; a product has its sign: 2*x"
            raise self.error(f"expected an operator or the end, got {shown(token)}{product}")
        if e.is_comparison:
            raise self.error("a comparison is no activation function; use where(condition, a, b)", 0)
        return e

    def take(self, token: str) -> bool:
        if self.tokens[self.at][0] == "sign" and self.tokens[self.at][1] == token:
            self.at += 1
            return True
        return False

    def expect(self, token: str) -> None:
        if not self.take(token):
            raise self.error(f"expected {token!r}, got {shown(self.tokens[self.at][1])}")

    def build(self, place: int, name: str, *args: Expr) -> Expr:
        self.count += 1
        if self.count > MAX_NODES:
            raise self.error(f"a formula may have {MAX_NODES:,} operations", place)
        try:
            return apply(name, *args)
        except FormulaError as error:
            raise self.error(str(error), place) from None

    def expression(self, binds: int) -> Expr:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"a formula may be nested {MAX_DEPTH} deep")
        e = self.prefix()
        while self.tokens[self.at][0] == "sign":
            sign, place = self.tokens[self.at][1], self.tokens[self.at][2]
            op = _INFIX.get("^" if sign == "**" else sign)
            if op is None or op.binds < binds:
                break
            self.at += 1
            e = self.build(place, op.name, e, self.expression(op.binds if op.name == "pow" else op.binds + 1))
            if op.boolean:
                binds = op.binds + 1  # a < b < c is not a chain
        self.depth -= 1
        return e

    def prefix(self) -> Expr:
        kind, token, place = self.tokens[self.at]
        if self.take("-"):
            return self.build(place, "neg", self.expression(4))
        if self.take("+"):
            return self.expression(4)
        if self.take("("):
            e = self.expression(0)
            self.expect(")")
            return e
        if self.take("|"):
            e = self.expression(0)
            self.expect("|")
            return self.build(place, "abs", e)
        if kind not in ("number", "name"):
            raise self.error(f"expected a number, a name, '-', '(' or '|', got {shown(token)}")
        self.at += 1
        if kind == "name":
            return self.named(token, place)
        try:
            return const(float(token))
        except FormulaError as error:
            raise self.error(str(error), place) from None

    def named(self, written: str, place: int) -> Expr:
        name = ALIASES.get(written, written)
        if not self.take("("):
            if name not in OPS:
                return symbol(name)
            if OPS[name].arity:
                raise self.error(f"expected '(' after the function {name!r}", place + len(written))
            return self.build(place, name)
        if name not in OPS:
            raise self.error(f"unknown function {shown(name)}{suggestion(name, [*OPS, *ALIASES])}", place)
        args = [self.expression(0)]
        while self.take(","):
            args.append(self.expression(0))
        self.expect(")")
        while name in ("max", "min") and len(args) > 2:
            args[:2] = [self.build(place, name, *args[:2])]
        return self.build(place, name, *args)


RULES.update((op.name, tuple(map(parse, op.grad))) for op in OPS.values())
SLOPE_RULES.update((op.name, parse(op.slope)) for op in OPS.values() if op.slope is not None)
