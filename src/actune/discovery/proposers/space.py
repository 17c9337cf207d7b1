"""The search space: PANGAEA's operators as a table, random formulas, and mutations; pure functions of a formula and a generator.

A formula under search is an ordinary `Expr`, seen as a tree. Its edges are the places where a value flows: above every node
but a comparison. A constant counts as a unary operator that ignores its input, so that it can be changed back into another.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from ...catalogue.registry import FAMILIES, Family, Param
from ...language.expr import Expr, apply, const, symbol
from ...language.ops import OPS
from ...language.parser import parse

__all__ = ["BINARY", "MUTATIONS", "UNARY", "Space", "bare_formula", "candidate_family", "mutate", "parametrise", "random_formula"]

Path = tuple[int, ...]  # the way to a node from the root: the index of an argument at each step

# PANGAEA's operators (arXiv:2006.03179), each a formula with a hole x, or two holes x and y. Their Swish is x*sigmoid(x).
UNARY = (
    "0", "1", "x", "-x", "abs(x)", "reciprocal(x)", "square(x)", "exp(x)", "erf(x)", "erfc(x)", "sinh(x)", "cosh(x)", "tanh(x)",
    "expm1(x)", "sigmoid(x)", "log_sigmoid(x)", "asinh(x)", "atan(x)", "i0e(x)", "i1e(x)", "relu(x)", "elu(x)", "selu(x)",
    "silu(x)", "softplus(x)", "softsign(x)", "keras_hard_sigmoid(x)",
)  # fmt: skip
BINARY = ("x + y", "x - y", "x*y", "x/y", "x^y", "max(x, y)", "min(x, y)")

# E_{α,β} of a few parameters, which belong to the operator: no value flows there.
MITTAG_LEFFLER = tuple(f"mittag_leffler(x, {alpha}, {beta})" for alpha in (0.8, 1.5, 2) for beta in (0.5, 1, 2))

# The second argument that makes a binary operator leave the first as it is; None: a copy of the first.
_NEUTRAL: dict[str, float | None] = {"add": 0, "sub": 0, "mul": 1, "div": 1, "pow": 1, "max": None, "min": None}
_NAMES = "abc"
_X = symbol("x")
_HOLES = (_X, symbol("y"))
_START = Param(1.0)


@dataclass(frozen=True)
class Space:
    """What formulas are made of.

    unary, binary   the operators, formulas with the holes x and y
    families        share of the unary operators that is drawn from the catalogue instead, as `apalu(x)`, E_{α,β} among it
    size            the most nodes that a formula may have, parameters not counted
    work            the most operations that may be left when the catalogue's functions are written out and shared parts merged
    parameters      the most parameters, at most 3
    """

    unary: tuple[str, ...] = UNARY
    binary: tuple[str, ...] = BINARY
    families: float = 0.1
    size: int = 30
    work: int = 120
    parameters: int = 3


def candidate_family(e: Expr) -> Family:
    """The formula as a family: every name in it but `x` is a trainable parameter that starts at 1."""
    return Family(str(e), e, dict.fromkeys((name for name in e.symbols() if name != "x"), _START))


# -- reading and rebuilding ------------------------------------------------------------------------------------------------


# Answers about formulas are kept, here and below: a child shares most of its parts with its parent.
@functools.lru_cache(maxsize=512)
def edges(e: Expr) -> tuple[tuple[Path, Expr], ...]:
    """Every node that carries a value, with its place, from the root down and from left to right."""
    own = () if e.is_comparison else (((), e),)
    return (*own, *(((i, *place), node) for i, child in enumerate(inputs(e)) for place, node in edges(child)))


def inputs(e: Expr) -> tuple[Expr, ...]:
    """The arguments that carry a value: of a Mittag-Leffler function the first only."""
    return e.children[:1] if not e.is_leaf and OPS[e.op].float64 else e.children


def operator_nodes(e: Expr) -> list[tuple[Path, Expr]]:
    """The nodes that can be removed: all but `x`; a formula that is only `x` counts as the identity operator."""
    return [(place, node) for place, node in edges(e) if node.op != "symbol"] or [((), e)]


def put(e: Expr, place: Path, new: Expr) -> Expr:
    """The formula with another one at this place."""
    if not place:
        return new
    i, *rest = place
    return _with_arguments(e, tuple(put(child, tuple(rest), new) if j == i else child for j, child in enumerate(e.args)))


def _with_arguments(e: Expr, args: tuple[Expr, ...]) -> Expr:
    """The node over other arguments of the same kinds. Minus a number becomes a number, as `apply` makes it."""
    return Expr(e.op, args) if e.op != "neg" else apply(e.op, *args)


def apply_template(template: Expr, *arguments: Expr) -> Expr:
    """Put the arguments into the holes of an operator of the table."""
    if template.args == _HOLES[: len(template.args)]:  # an operator over its holes, as most are
        return _with_arguments(template, arguments[: len(template.args)])
    holes = dict(zip("xy", arguments, strict=False))
    return template.fold(lambda n: holes[n.args[0]] if n.op == "symbol" else n, lambda n, *args: apply(n.op, *args))


def arity(e: Expr) -> int:
    """The number of value inputs that the node has as an operator of the search: a constant, or a lone `x`, is unary."""
    return len(inputs(e)) or 1


@functools.cache
def _template(text: str) -> Expr:
    return parse(text)


@functools.cache
def _catalogue(names: tuple[str, ...]) -> tuple[str, ...]:
    """Calls of the catalogue's functions, without those that equal another one until their parameters are trained (`ml_mish`)."""
    return (*(f"{name}(x)" for name in sorted(names) if name in OPS and FAMILIES[name].initial_form is None), *MITTAG_LEFFLER)


def _unary(rng: Random, space: Space) -> Expr:
    table = _catalogue(tuple(FAMILIES)) if rng.random() < space.families else space.unary
    return _template(rng.choice(table))


def _binary(rng: Random, space: Space) -> Expr:
    return _template(rng.choice(space.binary))


def fits(e: Expr, space: Space) -> bool:
    """Whether the formula is small enough for this space."""
    sizes: dict[Expr, int] = {}
    for n in e.nodes():
        sizes[n] = 1 + sum(sizes[a] for a in n.children)
    # Shared parts are merged where functions are written out: the sum of each function's own work is the most that there can be.
    most = sum(_work(n.op) for n in sizes)
    return sizes[e] <= space.size and (most <= space.work or sum(not n.is_leaf for n in e.expand().nodes()) <= space.work)


@functools.cache
def _work(op: str) -> int:
    """The operations of a function of the language, written out."""
    if op in ("const", "symbol"):
        return 0
    definition = OPS[op].definition
    return 1 if definition is None else sum(not n.is_leaf for n in definition.expand().nodes())


# -- where formulas come from ----------------------------------------------------------------------------------------------


def random_formula(rng: Random, space: Space) -> Expr:
    """PANGAEA's start: unary(unary(x)) or binary(unary(x), unary(x)), one half each; operators uniform, no parameters.

    What does not fit into the space is redrawn; ValueError where nothing of this shape does.
    """
    drawn = (_start(rng, space) for _ in range(1000))
    found = next((e for e in drawn if fits(e, space)), None)
    if found is None:
        raise ValueError(f"no random formula fits into Space(size={space.size}, work={space.work}); make them larger")
    return found


def _start(rng: Random, space: Space) -> Expr:
    one, two = (_template(rng.choice(space.unary)) for _ in range(2))
    if rng.random() < 0.5:
        return apply_template(two, apply_template(one, _X))
    return apply_template(_binary(rng, space), apply_template(one, _X), apply_template(two, _X))


def parametrise(e: Expr, rng: Random, space: Space) -> Expr:
    """Multiply k random edges by parameters a, b, c; k is uniform from 0. Edges above 0 are left out: nothing is learned there."""
    places = [place for place, node in edges(e) if node is not const(0)]
    chosen = sorted(rng.sample(places, min(rng.randint(0, space.parameters), len(places))))
    # From the last to the first: a product moves only what is below it, and that is done by then.
    for name, place in reversed(list(zip(_NAMES, chosen, strict=False))):
        e = put(e, place, symbol(name) * at(e, place))
    return e


def at(e: Expr, place: Path) -> Expr:
    for i in place:
        e = e.args[i]
    return e


def bare_formula(f: Family, rng: Random, space: Space) -> Expr:
    """The formula without parameters, equal to the family at its initial values: what mutations work on.

    A family of the catalogue comes as a call, `apalu(x)`, or written out, so that mutations reach inside; one half each
    where both fit.
    """
    written = without_parameters(f)
    if not f.is_declared:
        return written
    return apply(f.name, _X) if not fits(written, space) or rng.random() < 0.5 else written


@functools.lru_cache(maxsize=256)
def without_parameters(f: Family) -> Expr:
    """The formula at the initial values. Where a search made it, a product with a parameter that is 1 becomes its other factor."""
    if f.is_declared:
        return apply_template(f.expr.substitute(dict(f.initial())).simplify(), _X)
    initial = {symbol(name): value for name, value in f.initial()}

    def node(n: Expr, *args: Expr) -> Expr:
        kept = [a for old, a in zip(n.args, args, strict=True) if initial.get(old) != 1.0] if n.op == "mul" else []
        return kept[0] if len(kept) == 1 else apply(n.op, *args)

    return f.expr.fold(lambda n: const(initial[n]) if n in initial else n, node)


# -- mutations -------------------------------------------------------------------------------------------------------------


def insert(e: Expr, rng: Random, space: Space) -> Expr:
    """Put an operator on a random edge; the second argument of a binary one is such that the function stays the same."""
    place, node = rng.choice(edges(e))
    if rng.randrange(len(space.unary) + len(space.binary)) < len(space.unary):
        return put(e, place, apply_template(_unary(rng, space), node))
    template = _binary(rng, space)
    neutral = _NEUTRAL[template.op]
    return put(e, place, apply_template(template, node, node if neutral is None else const(neutral)))


def remove(e: Expr, rng: Random, space: Space) -> Expr:
    """Replace a random operator by one of its arguments."""
    place, node = rng.choice(operator_nodes(e))
    arguments = [child for child in inputs(node) if not child.is_comparison]
    return put(e, place, rng.choice(arguments or [_X]))


def change(e: Expr, rng: Random, space: Space) -> Expr:
    """Replace a random operator by another of its arity; what has three arguments is left alone."""
    places = [(place, node) for place, node in operator_nodes(e) if arity(node) < 3]
    if not places:
        return e
    place, node = rng.choice(places)
    return put(e, place, _redraw(node, inputs(node), rng, space))


def _redraw(node: Expr, arguments: tuple[Expr, ...], rng: Random, space: Space) -> Expr:
    """Another operator of the node's arity on these arguments; the node itself where the space seems to have no other."""
    draw, arguments = (_binary, arguments) if arity(node) == 2 else (_unary, arguments or (_X,))
    drawn = (apply_template(draw(rng, space), *arguments) for _ in range(100))
    return next((new for new in drawn if new is not node), node)


def regenerate(e: Expr, rng: Random, space: Space) -> Expr:
    """Draw every operator anew and keep the shape."""

    def visit(n: Expr) -> Expr:
        arguments = tuple(visit(child) for child in inputs(n))
        if n.op == "symbol":
            return n
        if arity(n) > 2 or n.is_comparison:
            return apply(n.op, *arguments)
        return (
            apply_template(_binary(rng, space), *arguments)
            if arity(n) == 2
            else apply_template(_unary(rng, space), *(arguments or (_X,)))
        )

    return visit(e) if e is not _X else apply_template(_unary(rng, space), _X)


MUTATIONS: dict[str, Callable[[Expr, Random, Space], Expr]] = {
    "insert": insert, "remove": remove, "change": change, "regenerate": regenerate,
}  # fmt: skip


def mutate(e: Expr, rng: Random, space: Space) -> tuple[str, Expr]:
    """Apply one of the four mutations, equally likely, to a formula without parameters; returns its name and the new formula.

    What does not fit into the space is redrawn; where nothing fits (the formula is far over the limit), a random formula
    takes its place, named "random".
    """
    for _ in range(100):
        kind = rng.choice(list(MUTATIONS))
        new = MUTATIONS[kind](e, rng, space)
        if fits(new, space):
            return kind, new
    return "random", random_formula(rng, space)
