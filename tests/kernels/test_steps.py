"""The steps of kernels: products in sums, one inverse for several quotients, and what only large x needs."""

from __future__ import annotations

import pytest
import torch
from oracle import parameters
from passes import KERNELS, families, passes, same

import actune
from actune.kernels.cpu.compiler import formula_assembly
from actune.kernels.cpu.fused import slopes
from actune.kernels.cpu.lanes import Code, Lanes, Value
from actune.kernels.cpu.steps import apart, contracted, emit, kernel_form, moving_nodes
from actune.kernels.operators import compile_program
from actune.language.expr import Expr, gradient


def operators(*exprs: Expr) -> list[str]:
    outputs, nodes = kernel_form(exprs)
    return [op for _, op, _ in contracted(outputs, nodes)]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("x*x + 1", ["a*b + c"]),
        ("1 - x*a", ["c - a*b"]),
        ("x*a - b", ["a*b - c"]),
        ("x + a*b", ["mul", "add"]),  # a*b is computed once a strip
        ("x*a + x*b", ["mul", "a*b + c"]),
    ],
)
def test_a_product_is_a_part_of_the_sum_that_alone_needs_it(text: str, wanted: list[str]) -> None:
    assert operators(actune.parse(text)) == wanted


@pytest.mark.parametrize("columns", [False, True])
@pytest.mark.parametrize("backward", [False, True])
def test_what_parameters_alone_decide_is_computed_before_the_loop(columns: bool, backward: bool) -> None:
    text = formula_assembly((actune.parse("x*(1/(1 + a))"),), ("a",), torch.float32, columns, backward)
    before, loop = text.split("\nloop:")
    assert "fdiv" in before
    assert "fdiv" not in loop


@pytest.mark.parametrize("text", ["a*(b*x)", "b*(a*x)"])
def test_factors_keep_their_order(text: str) -> None:
    """Not that of their places in memory: another process must give the same bits."""
    (e,), _ = kernel_form((actune.parse(text),))
    assert [n.args[0] for n in e.args[0].args] == [text[0], text[3]]


def test_a_product_that_others_need_too_stands_by_itself() -> None:
    assert operators(actune.parse("x*a + 1"), actune.parse("x*a")) == ["mul", "add"]


def test_several_quotients_take_one_inverse() -> None:
    e = actune.parse("(1 + x)/(2 + square(x))")
    assert operators(e).count("div") == 1
    both = operators(*slopes(actune.parse("(a + x)/(2 + square(x))"), ("a",)))
    assert both.count("reciprocal") == 1
    assert "div" not in both


@pytest.mark.parametrize("how", KERNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_quotients_of_large_numbers_by_one_inverse(dtype: torch.dtype, how: str) -> None:
    """The inverse of the largest numbers is subnormal, and kernels know no such numbers."""
    e = actune.parse("(x + 1)/(2 + abs(x)) + x/(2 + abs(x))")
    x = torch.tensor([-1.0, 0.1, 0.2, 0.3, 0.49, 0.9, 1.0], dtype=dtype) * torch.finfo(dtype).max
    found = passes(how, e, x, {}, torch.ones_like(x))[0]
    torch.testing.assert_close(found, 2 * x.sign(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", [n for n in families() if actune.family(n).params])
def test_the_gradient_is_each_derivative(name: str) -> None:
    f = actune.family(name)
    values = parameters(f, torch.float64, 0.3)
    names = ("x", *values)
    x = torch.linspace(-20, 20, 1001, dtype=torch.float64)
    inputs = (x, *(torch.full_like(x, v) for v in values.values()))
    down, up = gradient(f.expr, names), tuple(f.expr.diff(n) for n in names)
    found, wanted = (compile_program(way, names).run(inputs, torch.float64) for way in (down, up))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a.expand_as(x), b.expand_as(x), rtol=1e-11, atol=1e-11)


def test_a_gradient_shares_what_diff_finds_again() -> None:
    e = actune.parse("erf(exp(a*x))")
    assert len(operators(*gradient(e, ("x", "a")))) < len(operators(e.diff("x"), e.diff("a")))


# -- what only large x needs ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("where(abs(x) <= 10, x, log(1 + square(x)))", 2),
        ("where(abs(x) > 10, log(1 + square(x)), x)", 1),
        ("where(10 < abs(x), log(1 + square(x)), x)", 1),
        ("where(x <= 10, x, log(1 + square(x)))", 0),  # as likely as not
        ("where(abs(x) <= 10, x, 2*x)", 0),  # not worth a branch
        ("where(abs(x) <= 10, x, log(1 + square(x))) + log(1 + square(x))", 0),  # needed anyway
    ],
)
def test_what_only_large_x_needs_is_apart(text: str, side: int) -> None:
    e = actune.parse(text)
    outputs, nodes = kernel_form((e,))
    parts = apart(outputs, contracted(outputs, nodes), moving_nodes(nodes))
    assert (parts.side if parts else 0) == side
    code = Code(wide512=True)
    emit(Lanes(code), outputs, nodes, {actune.parse("x"): Value(code, "float", "%x")})
    assert any("@seldom" in line and "{" in line for line in code.lines) or not side


@pytest.mark.parametrize("at", [0, 31, 64, 700, 999])
def test_one_large_x_among_small_ones_is_right(at: int) -> None:
    f = actune.family("rational")
    p = {n: torch.full((1,), v) for n, v in parameters(f, torch.float32).items()}
    x, g = torch.linspace(-3, 3, 1000), torch.ones(1000)
    small = passes("interpreted", f.expr, x, p, g)
    x[at] = 50.0
    found = passes("interpreted", f.expr, x, p, g)
    assert same(found, passes("compiled", f.expr, x, p, g))
    others = torch.arange(1000) != at
    assert same([t[others] for t in found[:2]], [t[others] for t in small[:2]])
    exact = passes("operators", f.expr, x.double(), {n: t.double() for n, t in p.items()}, g.double())
    torch.testing.assert_close(found[0].double(), exact[0], rtol=1e-6, atol=1e-6)


# -- factors and partners ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2*(a*exp(x))", ["mul", "exp", "mul"]),  # 2*a, once a strip
        ("a*(exp(x)*2)", ["mul", "exp", "mul"]),
        ("0.5*(x*exp(x))", ["exp", "mul", "mul"]),  # not past x
        ("1 - (-x)*exp(x)", ["exp", "a*b + c"]),
        ("(-x)*(-exp(x))", ["exp", "mul"]),
        ("tanh(softplus(-x)) - sigmoid(x)", ["neg", "softplus beside sigmoid", "tanh", "sigmoid beside softplus", "sub"]),
        ("sigmoid(3*x)*sigmoid(-3*x)", ["mul", "sigmoid slope"]),
        ("sigmoid(3*x)*sigmoid(-2*x)", ["mul", "sigmoid", "mul", "sigmoid", "mul"]),
        ("erfc(-x) + exp(-square(x))", ["<", "erfc of size beside bell", "sub", "where", "bell beside erfc", "add"]),
        ("erfc(-x) - x*erfc(x)", ["<", "erfc of size", "sub", "where", "where", "c - a*b"]),
        ("erfc(x) + exp(-square(2*x))", ["erfc", "mul", "square", "neg", "exp", "add"]),
    ],
)
def test_factors_meet_and_functions_stand_beside_each_other(text: str, wanted: list[str]) -> None:
    assert operators(actune.parse(text)) == wanted


def test_a_hyperbolic_tangent_stands_beside_its_slope() -> None:
    e = actune.parse("x*tanh(x)")
    assert operators(e) == ["tanh", "mul"]
    assert {"tanh beside slope", "sigmoid slope beside tanh"} <= set(operators(e.diff()))


def test_a_slope_at_a_tie_is_one_product() -> None:
    e = actune.parse("exp(exp(min(x, 1)))").diff()
    assert operators(e).count("mul") == 2
