"""What a hostile reader tried: each of these was wrong once."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from passes import passes
from torch import Tensor

import actune
from actune.kernels import operators
from actune.kernels.dispatch import activate
from actune.language.parser import parse


def test_inputs_that_depend_on_one_another_count_once() -> None:
    """In a derivative that has derivatives: a parameter made of x."""
    act = actune.Activation("swish", trainable=True)
    name = next(iter(dict(act.named_parameters())))
    x = torch.ones(3, requires_grad=True)

    def f() -> Tensor:
        return torch.func.functional_call(act, {name: x.mean()}, (x,)).sum()

    (plain,) = torch.autograd.grad(f(), x)
    (again,) = torch.autograd.grad(f(), x, create_graph=True)
    assert torch.allclose(plain, again)


@pytest.mark.parametrize("text", ["clip(-x, 1, -1)", "clip(-x, -1, 1)", "x/1e-40", "x/1e40", "x/3", "min(x, 2)"])
def test_what_is_simplified_keeps_its_value(text: str) -> None:
    x = torch.tensor([0.0, 0.5, -2.0, 1e-39, 3.0])
    spaces = {"x": x, "clip": lambda a, b, c: torch.clamp(a, b, c), "min": lambda a, b: torch.clamp(a, max=b)}
    for way in (operators.activate_in_torch, activate)[: 1 if text == "x/1e-40" else 2]:  # kernels know no subnormal numbers
        assert torch.allclose(way(parse(text), x, {}), eval(text, spaces), rtol=3e-7)


@pytest.mark.parametrize("which", ["x", "gradient"])
def test_negative_views(which: str) -> None:
    e, z = parse("x + 0.5*tanh(x)"), torch.tensor([1 + 2j, 3 - 1j])
    negative = z.conj().imag
    assert negative.is_neg()
    if which == "x":
        assert torch.equal(activate(e, negative, {}), activate(e, negative.resolve_neg(), {}))
    else:
        x = torch.ones(2, requires_grad=True)
        found = [torch.autograd.grad(activate(e, x, {}), x, g)[0] for g in (negative, negative.resolve_neg())]
        assert torch.equal(*found)


def test_a_gradient_without_memory() -> None:
    x = torch.ones(64, requires_grad=True)
    (g,) = torch.autograd.grad(activate(parse("x*tanh(x)"), x, {}), x, torch._efficientzerotensor((64,)))
    assert g.eq(0).all()


@pytest.mark.parametrize("size", [5, 16, 17])
def test_an_infinite_slope_in_a_vector_that_is_not_full(size: int) -> None:
    x = torch.ones(size)
    x[-1] = 0
    a = torch.tensor([2.0], requires_grad=True)
    (g,) = torch.autograd.grad(activate(parse("a*log(abs(x))"), x, {"a": a}), a, torch.ones(size))
    assert g.item() == -float("inf")


@pytest.mark.parametrize("how", ["interpreted", "compiled"])
@pytest.mark.parametrize("shape", [(5,), (33,), (2, 40, 3), (3, 5, 97)])
@pytest.mark.parametrize("at", [0.0, 1.0])
def test_lanes_that_are_not_there_count_for_nothing(how: str, shape: tuple[int, ...], at: float) -> None:
    """Whatever fills them: the slope in `a` is infinite there, and zero times that is no number."""
    scope = (1, *shape[1:2], *(1 for _ in shape[2:]))
    p = {"a": torch.full(scope, 2.0)}
    x = torch.rand(shape) + 2
    _, _, g = passes(how, parse(f"a/(x - {at})"), x, p, torch.ones(shape))
    wanted = (1 / (x.double() - at)).sum_to_size(scope)
    torch.testing.assert_close(g.double(), wanted, rtol=1e-5, atol=0.0)


def test_another_default_device() -> None:
    x = torch.randn(1, 5).expand(4, 5)
    wanted = activate(parse("x*sigmoid(x)"), x, {})
    torch.set_default_device("meta")
    try:
        found = activate(parse("x*sigmoid(x)"), x, {})
        table = activate(parse("x*tanh(softplus(1.25*x))*erf(x)*atan(x)"), torch.ones(50_000, device="cpu"), {})
    finally:
        torch.set_default_device(None)
    assert torch.equal(found, wanted)
    assert table.isfinite().all()


def test_a_formula_too_large_for_the_stack() -> None:
    code = (
        "import torch; from actune.language.expr import symbol, apply\n"
        "from actune.kernels.dispatch import activate\n"
        "x = symbol('x'); parts = [apply('sin', x + float(k)) for k in range(400)]\n"
        "while len(parts) > 1: parts = [a*b + a for a, b in zip(parts[::2], parts[1::2] + parts[-1:])]\n"
        "print(activate(parts[0], torch.ones(100, dtype=torch.float64), {}).isfinite().all().item())"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "True"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_that_the_dtype_cannot_hold_bring_no_warning(dtype: torch.dtype) -> None:
    x, a = torch.ones(3, dtype=dtype), torch.tensor([1e300], dtype=torch.float64)
    wanted = (x.double() * a).to(dtype)
    assert torch.equal(activate(parse("x*a"), x, {"a": a}), wanted)
    assert torch.equal(activate(parse("min(x, 1e300)"), x, {}), x)


@pytest.mark.parametrize("shape", [(5, 3, 2), (64, 20, 4), (7, 33, 7, 7), (2, 3, 63), (2, 3, 64)])
def test_short_rows(shape: tuple[int, ...]) -> None:
    """Channels of few elements are columns; value and sums as by torch."""
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    b = torch.rand(1, shape[1], *(1 for _ in shape[2:]), dtype=torch.float64, requires_grad=True)
    y, plain = activate(parse("x*sigmoid(b*x)"), x, {"b": b}), x * torch.sigmoid(b * x)
    g = torch.randn(shape, dtype=torch.float64)
    for one, other in zip(torch.autograd.grad(y, (x, b), g), torch.autograd.grad(plain, (x, b), g), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_large_tensors_while_the_interpreter_ends() -> None:
    code = (
        "import atexit, torch, actune; torch.set_num_threads(2); act = actune.Activation('swish'); x = torch.ones(1_000_000)\n"
        "atexit.register(lambda: print(act(x).sum().item() > 0))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "True"
    assert "Error" not in found.stderr


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parameters_can_be_resized_after_use(dtype: torch.dtype) -> None:
    """FSDP does so, and torch refuses where NumPy has seen the memory."""
    act = actune.Activation("prelu", scope="channel", channels=64, dtype=dtype)
    act(torch.randn(2, 64, 70, dtype=dtype, requires_grad=True)).sum().backward()
    act.a.untyped_storage().resize_(0)
