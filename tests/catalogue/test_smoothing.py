"""Smoothing in closed form equals the convolution integral, for every kernel."""

from __future__ import annotations

import mpmath
import pytest
import torch

from actune import family, parse
from actune.catalogue.smoothing import SMOOTHING_KERNELS, smooth
from actune.kernels.operators import evaluate
from actune.language.exact import value
from actune.language.expr import FormulaError

WIDTH = 0.3
DENSITY = {  # density, half of the support that matters
    "gaussian": (lambda t, s: mpmath.exp(-t * t / (2 * s * s)) / (s * mpmath.sqrt(2 * mpmath.pi)), 12),
    "logistic": (lambda t, s: mpmath.sech(t / (2 * s)) ** 2 / (4 * s), 60),
    "uniform": (lambda t, s: 1 / (2 * s), 1),
    "triangular": (lambda t, s: (s - abs(t)) / s**2, 1),
}
FUNCTIONS = {  # formula: its kinks
    "relu(x)": (0,),
    "max(x, 0.15*x)": (0,),
    "clip(x, -1, 1)": (-1, 1),
    "abs(x) - abs(x - 2)/3": (0, 2),
    "where(x > 0, x, 0.1*x)": (0,),
    "max(min(x, 1), 0.1*x - 1)": (-10 / 9, 1, 20),
    "where(x < -1, -1, where(x > 1, 1, x))": (-1, 1),
    "relu(1 - abs(x))": (-1, 0, 1),
    "2*x - 1": (),
    "-relu(-2*x + 1)": (0.5,),
    "where(x >= 1, 1, min(x, 1))": (1,),
}


def test_every_kernel_is_tested() -> None:
    assert set(DENSITY) == set(SMOOTHING_KERNELS)


@pytest.mark.parametrize("kernel", SMOOTHING_KERNELS)
@pytest.mark.parametrize("text", FUNCTIONS)
def test_equals_the_convolution(text: str, kernel: str) -> None:
    e = parse(text)
    density, reach = DENSITY[kernel]
    closed = smooth(e, kernel, WIDTH)
    for x in (-2.3, -0.9, -0.1, 0.0, 0.2, 1.05, 2.2):
        ends = sorted({-reach * WIDTH, reach * WIDTH, 0.0, *(x - k for k in FUNCTIONS[text] if abs(x - k) < reach * WIDTH)})
        want = mpmath.quad(lambda t, x=x: value(e, {"x": x - t}) * density(t, WIDTH), ends)
        assert float(evaluate(closed, {"x": x})) == pytest.approx(float(want), abs=2e-15), x


@pytest.mark.parametrize("kernel", SMOOTHING_KERNELS)
def test_the_slope_is_continuous(kernel: str) -> None:
    """relu becomes C1: also at the points where the pieces of the closed form meet."""
    slope = smooth("relu", kernel, WIDTH).diff()
    for at in (0.0, -WIDTH, WIDTH):
        below, exact, above = (evaluate(slope, {"x": at + d}).item() for d in (-1e-9, 0, 1e-9))
        assert below == pytest.approx(above, abs=1e-7)
        assert exact == pytest.approx(above, abs=1e-7)


def test_parameters_stay_parameters() -> None:
    """SAU is the smooth version of PReLU with a Gaussian of width 1/n."""
    smoothed = smooth("max(x, a*x); a=0.15", "gaussian", 1 / parse("n"))
    assert smoothed.symbols() == ("a", "n", "x")
    x = torch.linspace(-3, 3, 101, dtype=torch.float64)
    got = evaluate(smoothed, {"x": x, "a": 0.15, "n": 2.0})
    torch.testing.assert_close(got, evaluate(family("sau").expr, {"x": x, "alpha": 0.15, "n": 2.0}))
    steep = evaluate(smoothed, {"x": x, "a": 1.7, "n": 2.0})  # the maximum of x and 1.7x turns the other way
    torch.testing.assert_close(steep, evaluate(smooth("max(x, 1.7*x)", "gaussian", 0.5), {"x": x}))


def test_a_logistic_relu_is_softplus() -> None:
    assert str(smooth("relu", "logistic", 1)) == "softplus(x/1)" or smooth("relu", "logistic", 1) is parse("softplus(x)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x*x", "a product of two functions of x"),
        ("1/x", "a quotient by a function of x"),
        ("tanh(x)", "tanh is not piecewise linear"),
        ("where(x > 0, x + 1, x)", "not known to be continuous at x = 0"),
        ("relu(max(x, a*x)); a=1", "its kinks depend on parameters"),
    ],
)
def test_what_cannot_be_smoothed(text: str, message: str) -> None:
    with pytest.raises(FormulaError, match=message):
        smooth(text)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="kernel must be one of gaussian, logistic, uniform, triangular, got 'cubic'"):
        smooth("relu", "cubic")
    with pytest.raises(ValueError, match="width must be positive, got 0"):
        smooth("relu", width=0)
