"""Candidates of the search in the interpreter: right, the same bits as compiled, and never compiled."""

from __future__ import annotations

import functools
import math
from random import Random
from unittest import mock

import pytest
import torch
from passes import DTYPES, passes, same
from torch import Tensor

import actune
from actune.discovery import screen
from actune.discovery.proposers import space
from actune.kernels import dispatch, operators
from actune.kernels.cpu import compiler, interpreter, llvm, tiers
from actune.kernels.cpu.lanes import LANES
from actune.kernels.cpu.steps import has_kernels
from actune.language.expr import Expr, const
from actune.language.ops import OPS

COUNT = 120
PARTS = 8  # tests, to share them out
U = 2.0**-24
OPERATOR = 4.0  # u: the most that an operator is off


@functools.cache
def candidates() -> tuple[Expr, ...]:
    """Random formulas and what mutations make of them, with parameters, that the search would train."""
    rng, found = Random(0), dict[Expr, None]()
    table = space.Space(families=0.2)
    while len(found) < COUNT:
        e = space.random_formula(rng, table)
        for _ in range(rng.randrange(6)):
            e = space.mutate(e, rng, table)[1]
        e = space.parametrise(e, rng, table)
        if "x" in e.symbols() and has_kernels(operators.ordered((e,))[1]) and screen(space.candidate_family(e)).reason is None:
            found[e] = None
    return tuple(found)


def inputs(e: Expr, own: tuple[int, ...]) -> tuple[Tensor, dict[str, Tensor], Tensor]:
    draw = torch.Generator().manual_seed(0)
    x, g = torch.randn(3, 187, generator=draw) * 2, torch.randn(3, 187, generator=draw)
    names = [n for n in e.symbols() if n != "x"]
    return x, {n: 1 + 0.1 * torch.randn(own, generator=draw) for n in names}, g


def rounding(e: Expr, values: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The formula in float64, and the sum over all its parts of how much it changes for a part that is off by one u of itself."""
    errors: list[Tensor] = []

    def leaf(n: Expr) -> Tensor:
        return values[n.args[0]] if n.op == "symbol" else torch.full_like(values["x"], n.args[0])

    def node(n: Expr, *arguments: Tensor) -> Tensor:
        y = OPS[n.op].torch(*arguments) if n.args else operators.evaluate(n, {}).double()
        if OPS[n.op].boolean:
            return y
        errors.append(torch.zeros_like(values["x"], requires_grad=True))
        return y * (1 + errors[-1])

    y = e.fold(leaf, node)
    if not errors:
        return y, torch.zeros_like(y)
    changes = torch.autograd.grad(y.sum(), errors, allow_unused=True, materialize_grads=True)
    return y.detach(), U * sum(c.abs().nan_to_num(0.0, math.inf) for c in changes)  # nan: in a branch that is not chosen


@pytest.mark.parametrize("part", range(PARTS))
def test_interpreted_and_compiled_are_the_same_bits(part: int) -> None:
    """Values, slopes and sums: in float32 with one parameter for all, in each dtype in turn with one for each channel."""
    for i, e in enumerate(candidates()[part::PARTS]):
        for own, dtype in (((1, 1), torch.float32), ((1, 187), DTYPES[i % 4])):
            x, p, g = inputs(e, own)
            first, second = (passes(how, e, x.to(dtype), p, g.to(dtype)) for how in ("interpreted", "compiled"))
            assert same(first, second), e


@pytest.mark.parametrize("part", range(PARTS))
def test_candidates_are_as_accurate_as_their_operators(part: int) -> None:
    """Against float64, value and every slope, within what follows from the error of each operator on the way."""
    for e in candidates()[part::PARTS]:
        x, p, _ = inputs(e, (1, 1))
        each = {n: t.expand(1, x.numel()).clone() for n, t in p.items()}
        found = passes("interpreted", e, x.view(1, -1), each, torch.ones(1, x.numel()))
        wide = {"x": x.view(1, -1).double(), **{n: t.double() for n, t in each.items()}}
        for got, of in zip(found, (None, "x", *p), strict=True):
            (exact,), _ = operators.ordered((e if of is None else e.diff(of),))
            true, excused = rounding(exact, wide)
            units = ((got.double() - true).abs() - U * true.abs() - 1e-37) / (excused + 1e-37)
            assert units.max().item() <= OPERATOR, f"{units.max()} u in {of} of {e} at {x.view(-1)[units.argmax()]}"


def test_nothing_is_compiled_for_a_candidate() -> None:
    """Once the operators are there."""
    e = actune.parse("a*tanh(x) + b*x")
    passes("interpreted", e, *inputs(e, (1, 1)))
    passes("interpreted", e, *inputs(e, (1, 187)))
    with mock.patch.object(llvm, "compile_assembly", side_effect=AssertionError("compiled")):
        for e in candidates():
            for own in ((1, 1), (1, 187)):
                x, p, g = inputs(e, own)
                y = dispatch.activate(e, x.requires_grad_(), {n: t.requires_grad_() for n, t in p.items()})
                y.backward(g)


def test_a_formula_is_compiled_when_it_has_been_used_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not before; and nobody sees it."""
    monkeypatch.setattr(tiers, "WORTH", 5000)
    tiers._use.cache_clear()
    e, x = actune.parse("tanh(x)*x + 0.123*square(x)"), torch.randn(1000, requires_grad=True)
    with mock.patch.object(compiler, "formula_library", side_effect=compiler.formula_library) as spy:
        seen, calls = [], []
        for _ in range(7):
            y = dispatch.activate(e, x, {})
            seen.append([y.detach(), *torch.autograd.grad(y.sum(), x)])
            calls.append(spy.call_count)
    assert calls == [0, 0, 0, 0, 2, 2, 2]
    assert all(same(one, seen[0]) for one in seen)
    tiers._use.cache_clear()


@pytest.mark.parametrize(
    ("columns", "dtype"), [*((False, dtype) for dtype in DTYPES), (True, torch.float32), (True, torch.bfloat16)], ids=str
)
def test_every_operator(columns: bool, dtype: torch.dtype) -> None:
    """Each alone, with a parameter and a number as other arguments too, more than one block of it."""
    x = torch.randn(40, 517, generator=torch.Generator().manual_seed(1)).to(dtype)
    p = {"a": 1 + torch.rand((1, 517) if columns else (1, 1), generator=torch.Generator().manual_seed(2))}
    texts = [
        f"{op.name}({', '.join(arguments)})" if op.infix is None else f"x*1.5 {op.infix} a" if op.arity == 2 else "-x + a"
        for op in OPS.values()
        if op.kernel and not op.boolean and op.arity and op.name != "where"
        for arguments in (("x", "a", "1.25")[: op.arity], ("a + x", "x", "x + 2")[: op.arity])
    ]
    texts += [f"where(x {op.infix} a - 1, x, a)" for op in OPS.values() if op.boolean]
    assert len(texts) > 70
    for text in texts:
        e = actune.parse(text)
        found = [passes(how, e, x, p, torch.ones_like(x)) for how in ("interpreted", "compiled")]
        assert same(*found), text


def test_a_tape_reuses_memory_that_nobody_needs_any_more() -> None:
    """A long formula takes a few blocks, not one for each part."""
    e = short = actune.parse("x")
    for i in range(40):
        e = actune.parse("sin(x)*x + c").substitute({"x": e, "c": const(i / 20)})
        short = e if i < 8 else short  # LLVM takes half a minute for the longest
    found = interpreter.tape((e,), (), False, False)
    blocks = (found.words[interpreter._FIELDS.index("bytes")] - found.words[1]) / (
        4 * LANES * found.words[interpreter._FIELDS.index("block")]
    )
    assert blocks <= 5
    x = torch.randn(2000) / 10
    assert same(*(passes(how, short, x, {}, torch.ones(2000)) for how in ("interpreted", "compiled")))


@pytest.mark.parametrize("text", ["x", "a", "0", "3.5", "a*b", "x + 0*a", "a - a*x", "-x", "where(a > 0, x, b)", "pi"])
def test_formulas_of_hardly_anything(text: str) -> None:
    """Without x, without operators, with slopes that are numbers."""
    e, x = actune.parse(text), torch.randn(5, 33)
    for own in ((1, 1), (1, 33), (5, 1)):
        p = {n: torch.rand(own) for n in "ab"}
        g = torch.randn(5, 33)
        wanted = passes("operators", e, x, p, g)
        for how in ("interpreted", "compiled"):
            pairs = zip(passes(how, e, x, p, g), wanted, strict=True)
            assert all(torch.allclose(a, b, rtol=1e-5, atol=1e-5) for a, b in pairs)
