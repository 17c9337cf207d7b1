"""Mittag-Leffler functions with learned values as formulas of few operators: how near they are, how small, and where they go."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import onnx_files
import pytest
import torch
from torch import Tensor, nn

import actune
from actune import Activation, bake
from actune.language.ops import OPS

# Every 2^17th number of float32, and more where functions bend.
EVERY = torch.arange(0, 2**31 - 2**23, 2**17, dtype=torch.int64).to(torch.int32).view(torch.float32)
X = torch.cat([EVERY, -EVERY, torch.linspace(-30, 30, 6001)])


def trained(name: str, **values: float) -> Activation:
    """The family with these values, as a training leaves them."""
    act = Activation(name, trainable=True)
    with torch.no_grad():
        for parameter, p in actune.family(name).with_initial(**values).params.items():
            getattr(act, parameter).copy_(p.stored())
    return act


def error(got: Tensor, act: Activation, x: Tensor = X) -> float:
    """The largest error over max(1, |value|), among values that float32 has."""
    with torch.no_grad():
        wanted = act(x.double())
    held = wanted.abs() < 1e38
    return float(((got.double() - wanted).abs() / wanted.abs().clamp(min=1))[held].max())


def size(act: Activation) -> int:
    return sum(not n.is_leaf for n in act.family.expr.nodes())


@pytest.mark.parametrize(
    ("name", "values", "most"),
    [
        ("ml_mish", {"beta2": 1.3}, 2),  # a multiple of mish
        ("ml_swish", {"beta2": 0.7}, 2),
        ("ml_tanh", {"beta2": 1.3}, 60),  # grows like |x|^0.3
        ("ml_tanh", {"gamma": 1.1, "alpha1": 1.8, "alpha2": 1.9, "beta2": 1.2}, 60),  # begins like x^1.1
        ("ml_softsign", {"alpha1": 0.4}, 40),
        ("ml_elu", {"alpha1": 0.8}, 60),
        ("ml_relu", {"beta2": 1.5}, 70),  # a corner at 0
        ("ml_erf", {"beta2": 1.2}, 70),
        ("ml_mish", {"alpha1": 0.3, "beta2": 1.2}, 110),
        ("ml_elu", {"gamma": 1.9, "alpha1": 0.5, "beta1": 2.4}, 70),  # level below -1e30
        ("ml_gelu", {"beta2": 1.2}, 160),  # a corner at 100
        ("ml_gelu", {"beta2": 2.0}, 150),  # like x^3 up to there
        ("ml_gelu", {"beta2": 0.3}, 140),  # like x^-0.4
    ],
)
def test_a_trained_function_keeps_its_values(name: str, values: dict[str, float], most: int) -> None:
    act = trained(name, **values)
    baked = bake(act)
    assert size(baked) <= most
    assert not any(OPS[n.op].float64 for n in baked.family.expr.nodes() if not n.is_leaf)
    assert list(baked.parameters()) == []
    stated = re.search(r"at most (\S+) of", baked.family.notes)
    assert stated is not None
    assert error(baked(X), act) < 1.3 * float(stated[1]) < 1e-6


def test_odd_functions_stay_odd_and_small_numbers_keep_their_digits() -> None:
    baked = bake(trained("ml_tanh", beta2=1.3))
    assert torch.equal(baked(-X), -baked(X))
    tiny = torch.tensor([1e-30, 1e-9, 1e-4])
    slope = baked(tiny) / tiny
    torch.testing.assert_close(slope, torch.full_like(slope, 0.897470696), rtol=2e-6, atol=0)  # Gamma(1.3)


def test_what_is_cheap_stays_and_goes_on_learning() -> None:
    act = Activation("sau")
    model = nn.Sequential(act, trained("ml_mish", beta2=1.3), Activation("ml_tanh"), nn.ReLU())
    baked = bake(model)
    assert baked is not model
    assert torch.equal(baked(X.reshape(-1, 1)), bake(baked)(X.reshape(-1, 1)))
    assert str(baked[0]) == str(act)
    assert [str(m) for m in (baked[2], baked[3])] == [str(m) for m in (model[2], model[3])]
    assert str(baked[1].family.expr).startswith("0.89747")
    assert len(list(model.parameters())) > len(list(baked.parameters())) > 0
    assert bake("gelu") is actune.family("gelu")


def test_an_activation_in_two_places_stays_one() -> None:
    act = trained("ml_elu", alpha1=0.8)
    baked = bake(nn.Sequential(act, nn.Linear(1, 1), act))
    assert baked[0] is baked[2]
    assert baked[0] is not act


@pytest.mark.parametrize(("name", "most"), [("ml_mish", 2), ("ml_tanh", 60)])
def test_the_trained_function_in_onnx(name: str, most: int) -> None:
    """Two nodes for a multiple of mish; at most 60 for what has to be fitted."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'actune[export]'")
    act = trained(name, beta2=1.3)
    done = actune.export(nn.Sequential(act), to="onnx", example=X[:8].reshape(-1, 1))
    assert len(onnx_files.operators(done.program)) <= most
    assert done.errors["0"] < 1e-6
    assert error(onnx_files.computed(done.program, X.reshape(-1, 1)).reshape(-1), act) < 1e-6


@pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler (cc)")
def test_the_trained_function_and_bessel_functions_in_c(tmp_path: Path) -> None:
    model = nn.Sequential(trained("ml_tanh", beta2=1.3), Activation("x*i0e(x)"))
    done = actune.export(model, tmp_path / "a.c")
    assert max(done.errors.values()) < 1e-6
    assert "polynomials to degree" in str(done)
    subprocess.run(["cc", "-std=c99", "-Werror", "-Wall", "-pedantic", "-DACTUNE_TEST", "a.c", "-lm"], cwd=tmp_path, check=True)
    assert subprocess.run([str(tmp_path / "a.out")], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("to", ["python", "jax"])
def test_the_trained_function_as_source(to: str) -> None:
    done = actune.export(trained("ml_mish", beta2=1.3), to=to)
    assert done.errors["activation"] < 1e-6
    assert "0.8974707" in str(done)


@pytest.mark.parametrize(
    ("what", "tolerance", "message"),
    [
        ("ml_tanh; beta2=1.3", 0, r"^tolerance must be a number from 1e-8 to 1, got 0; float32 has 6e-8$"),
        (
            "ml_tanh; beta2=1.3",
            2e-8,
            r"^no formula of few operators has an error below tolerance=2e-08 here \(.*\); allow",
        ),
    ],
)
def test_what_cannot_be_baked_is_refused_in_one_line(what: str, tolerance: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bake(what, tolerance)


def test_channels_are_refused_in_one_line() -> None:
    act = Activation("ml_tanh", scope="channel", channels=2, trainable=True)
    with torch.no_grad():
        act.beta2 += torch.tensor([0.1, 0.2])
    with pytest.raises(ValueError, match=r"^the activation needs mittag_leffler_ratio, and its beta2 differs along the input"):
        bake(act)
