"""Declaring a family: what is refused, and that nothing which was there before changes its meaning."""

from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import constraints

import actune
from actune import Activation, parse
from actune.catalogue.interval import Closed
from actune.catalogue.registry import FAMILIES, Family, Param, declare, nonnegative, positive, real
from actune.language.expr import Expr, symbol
from actune.language.ops import ALIASES, OPS

pytestmark = pytest.mark.usefixtures("registries_as_before")


def test_a_declared_family_is_everywhere() -> None:
    @declare(paper="here", k=Param(2.0), aliases=("twice",))
    def scaled_line(x: Expr, k: Expr) -> Expr:
        """A line."""
        return k * x

    assert "scaled_line" in actune.list_families()
    assert actune.family("twice") is scaled_line
    assert actune.parse("twice(x) + 1").expand() is actune.parse("2*x + 1")
    assert scaled_line(symbol("x")).expand() is actune.parse("2*x")
    assert scaled_line.with_initial(k=3.0)(symbol("x")) is actune.parse("3*x")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gelu", {}, "gelu is declared twice"),
        ("mine", {"aliases": ("gelu",)}, "gelu is declared twice"),
        ("mine", {"aliases": ("ln",)}, "ln is declared twice"),
        ("b", {}, "'b' cannot name a function"),
        ("f", {}, "'f' cannot name a function"),
        ("alpha", {}, "'alpha' cannot name a function"),
        ("mine", {"aliases": ("x",)}, "'x' cannot name a function"),
        ("add", {}, "add is declared twice"),
        ("mine", {"sin": Param(1.0)}, "the formula takes"),
        ("mine", {"paper2": 1}, "unexpected keyword"),
    ],
)
def test_a_declaration_that_would_change_others_is_refused(name: str, options: dict, message: str) -> None:
    def formula(x: Expr) -> Expr:
        """A line."""
        return 2 * x

    formula.__name__ = name
    before = (dict(FAMILIES), dict(ALIASES), dict(OPS))
    with pytest.raises((ValueError, TypeError), match=message):
        declare(paper="here", **options)(formula)
    assert before == (FAMILIES, ALIASES, OPS)


def test_a_declaration_that_is_wrong_fails_where_it_stands() -> None:
    with pytest.raises(ValueError, match=r"the value at x=0\.0 and the initial parameters is"):

        @declare(paper="here")
        def broken(x: Expr) -> Expr:
            """Infinite at zero."""
            return 1 / x

    with pytest.raises(ValueError, match="no docstring"):

        @declare(paper="here")
        def silent(x: Expr) -> Expr:
            return 2 * x

    with pytest.raises(ValueError, match="does not occur in the formula"):

        @declare(paper="here", k=Param(1.0))
        def idle(x: Expr, k: Expr) -> Expr:
            """A line."""
            return 2 * x

    with pytest.raises(ValueError, match=r"initial value -1\.0 is outside its constraint"):
        Param(-1.0, constraints.positive)


@pytest.mark.parametrize(("initial", "constraint", "said"), [
    (1.0, constraints.integer_interval(0, 2), "is of no parameter that learns"),
    (1.0, constraints.interval(1.0, 1.0), "is lost in its constraint"),
    (1.0, constraints.interval(-1e308, 1e308), "is lost in its constraint"),
    (10**400, constraints.real, "must be a number"),
    (math.inf, constraints.real, "must be a finite number"),
    ((), constraints.real, r"at least one .* got \(\)"),
    ((1.0, math.nan), constraints.real, "must be a finite number"),
])  # fmt: skip
def test_initial_values_that_cannot_be_kept_are_refused(initial: float, constraint: object, said: str) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        Param(initial, constraint)
    assert "\n" not in str(refused.value)


CONSTRAINTS = [
    real, positive, nonnegative, constraints.greater_than(-1), constraints.greater_than_eq(0.5),
    constraints.less_than(2), constraints.interval(-1, 3), Closed(0, 2),
]  # fmt: skip


@pytest.mark.parametrize("constraint", CONSTRAINTS, ids=str)
@pytest.mark.parametrize("scope", ["layer", "channel"])
@pytest.mark.parametrize("elements", [4, 200_000])  # interpreted, and compiled
def test_gradients_of_constrained_parameters_are_those_of_their_values(constraint: object, scope: str, elements: int) -> None:
    """Stored numbers on both sides of each bound; the operators of torch, through `values()`, say what is right."""
    act = Activation(Family("f", parse("x*sigmoid(a*x) + a*x"), {"a": Param(1.0, constraint)}), scope=scope,
                     channels=None if scope == "layer" else 4).double()  # fmt: skip
    x = torch.randn(elements // 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for stored in (-3.7, -0.6, 0.3, 1.2, 2.9, 5.5):
        act.a.data.fill_(stored)
        a = act.values()["a"]
        (wanted,) = torch.autograd.grad((x * torch.sigmoid(a * x) + a * x).square().sum(), act.a)
        (found,) = torch.autograd.grad(act(x).square().sum(), act.a)
        torch.testing.assert_close(found, wanted)


def test_two_parameters_of_one_symbol_are_refused() -> None:
    with pytest.raises(ValueError, match="a0 is the symbol of two parameters"):
        Family("mine", actune.parse("a0*x"), {"a": Param((1.0,)), "a0": Param(2.0)})


def test_initial_values_may_be_given_twice_the_argument_wins() -> None:
    assert actune.resolve("swish; beta=2", beta=3.0).params["beta"].init == 3.0
