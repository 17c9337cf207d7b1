"""Every family as Python, C and JAX: the function of the module, by what needs no actune."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import actune
from actune import Activation
from actune.export.c import C_OPERATORS
from actune.export.javascript import JS_OPERATORS
from actune.export.jax import JAX_OPERATORS
from actune.export.lines import operators_of
from actune.language.ops import OPS

NAMES = actune.list_families()
BESSEL = {"i0e", "i1e"}  # C has none, so that formulas with them are baked
X = torch.cat([torch.linspace(-12, 12, 481), torch.tensor([0.0, -0.0, 1e-6, -1e-6, 90.0, -90.0, 1e4, -1e4])]).double()


def trained(name: str, seed: int = 0, **options: Any) -> Activation:
    """The family with parameters that a training has moved; a Mittag-Leffler function stays where it has a simpler form."""
    act = Activation(name, **options)
    if act.family.initial_form is None:
        draw = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in act.parameters():
                p += 0.1 * torch.rand(p.shape, generator=draw)
    return act


class Catalogue(nn.Module):
    """Every family by its name."""

    def __init__(self, **options: Any):
        super().__init__()
        for name in NAMES:
            self.add_module(name, trained(name, **options))


CATALOGUE = Catalogue().double()
ACTIVATIONS = dict(CATALOGUE.named_children())


def loaded(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def worst(name: str, got: Tensor) -> float:
    """The largest error in roundings of the dtype of `got`, relative to what rounding x and the parameters would excuse."""
    act, u = ACTIVATIONS[name], torch.finfo(got.dtype).eps / 2
    at = X.to(got.dtype).double().clone().requires_grad_()
    wanted = act(at)
    (slope,) = torch.autograd.grad(wanted.sum(), at)
    with torch.no_grad():
        scale = wanted.abs() + (at * slope).abs() + torch.finfo(got.dtype).tiny / u
        for p in act.parameters():
            kept = p.clone()
            p += 1e-6 * kept.abs().clamp(min=1)
            scale += (act(at) - wanted).abs() / 1e-6
            p.copy_(kept)
        return float(((got.double() - wanted).abs() / scale / u).max())


def assert_near(found: dict[str, float], bound: float) -> None:
    assert {name: error for name, error in found.items() if not error < bound} == {}


# -- Python ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    path = tmp_path_factory.mktemp("python") / "catalogue.py"
    actune.export(CATALOGUE, path)
    return loaded(path)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_family_in_python(written: ModuleType, dtype: torch.dtype) -> None:
    assert_near({n: worst(n, getattr(written, f"activation_{n}")(X.to(dtype))) for n in NAMES}, 16)


def test_python_needs_only_torch(tmp_path: Path) -> None:
    actune.export(CATALOGUE, tmp_path / "alone.py")
    code = "import sys, torch; import alone; print(alone.activation_sau(torch.ones(1)).item(), 'actune' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={"PATH": ""}, capture_output=True, text=True, check=True)
    value, imported = done.stdout.split()
    assert float(value) == pytest.approx(ACTIVATIONS["sau"](torch.ones(1).double()).item(), rel=1e-6)
    assert imported == "False"


def test_python_keeps_half_precision_and_gives_gradients(written: ModuleType) -> None:
    x = torch.linspace(-3, 3, 41, dtype=torch.bfloat16).requires_grad_()
    y = written.activation_mish(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y, Activation("mish")(x), rtol=0, atol=0)
    y.sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(
    "options",
    [{"scope": "channel", "channels": 3}, {"scope": "channel", "channels": 4, "dim": -1}, {"scope": "neuron", "channels": (3, 4)}],
)
@pytest.mark.parametrize("to", ["python", "jax"])
def test_parameters_of_channels_and_neurons(tmp_path: Path, options: dict[str, Any], to: str) -> None:
    if to == "jax":
        pytest.importorskip("jax", reason="JAX is not installed")
    act = trained("zorro_tanh", **options)
    actune.export(act, tmp_path / "a.py", to)
    x = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    y = loaded(tmp_path / "a.py").activation(x if to == "python" else x.numpy())
    torch.testing.assert_close(y if to == "python" else torch.tensor(np.array(y)), act(x).detach(), rtol=1e-5, atol=1e-6)


def test_a_constant_and_half_a_formula(tmp_path: Path) -> None:
    for text, value in (("where(x > 0, 1, 0)*x", 2.0), ("0*x + 3", 3.0), ("0*x + b; b=2", 2.0)):
        actune.export(text, tmp_path / "constant.py")
        y = loaded(tmp_path / "constant.py").activation(torch.full((2, 3), 2.0))
        torch.testing.assert_close(y, torch.full((2, 3), value))


# -- C ---------------------------------------------------------------------------------------------------------------------

needs_c = pytest.mark.skipif(not shutil.which("cc"), reason="there is no C compiler (cc)")


def compiled(path: Path, *options: str) -> Path:
    """The source, compiled without a warning."""
    binary = path.with_suffix(".bin")
    command = ["cc", "-std=c99", "-O1", "-Wall", "-Wextra", "-pedantic", "-Werror", *options, str(path), "-lm", "-o", str(binary)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return binary


@needs_c
def test_every_family_in_c(tmp_path: Path) -> None:
    model = nn.ModuleDict({n: m for n, m in CATALOGUE.named_children() if not BESSEL & {e.op for e in m.family.expr.nodes()}})
    actune.export(model, tmp_path / "catalogue.c")
    library = ctypes.CDLL(str(compiled(tmp_path / "catalogue.c", "-shared", "-fPIC")))
    for kind, suffix, dtype, bound in ((ctypes.c_double, "", torch.float64, 16), (ctypes.c_float, "f", torch.float32, 16)):
        found = {}
        for name in model:
            function = getattr(library, f"activation_{name}{suffix}")
            function.restype, function.argtypes = kind, [kind]
            found[name] = worst(name, torch.tensor([function(x) for x in X.to(dtype).tolist()], dtype=dtype))
        assert_near(found, bound)


@needs_c
def test_its_test_program_finds_a_wrong_function(tmp_path: Path) -> None:
    source = actune.export(trained("apalu", scope="channel", channels=3), tmp_path / "right.c").text
    done = subprocess.run([str(compiled(tmp_path / "right.c", "-DACTUNE_TEST"))], capture_output=True, text=True, check=True)
    assert "in double" in done.stdout
    assert source is not None
    (tmp_path / "wrong.c").write_text(source.replace("1.702", "1.702000001"))
    assert subprocess.run([str(compiled(tmp_path / "wrong.c", "-DACTUNE_TEST"))], capture_output=True, check=False).returncode == 1


@needs_c
def test_channels_in_c(tmp_path: Path) -> None:
    act = trained("apalu", scope="channel", channels=3)
    actune.export(act, tmp_path / "a.c")
    function = ctypes.CDLL(str(compiled(tmp_path / "a.c", "-shared", "-fPIC"))).activationf
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float, ctypes.c_int]
    got = torch.tensor([[function(x, i) for i in range(3)] for x in (-1.5, 0.5)])
    torch.testing.assert_close(got, act(torch.tensor([-1.5, 0.5]).reshape(2, 1).expand(2, 3)).detach())


# -- JAX -------------------------------------------------------------------------------------------------------------------


def with_every_operator() -> dict[str, Activation]:
    """Families that have all operators of the catalogue between them: JAX takes its time."""
    found: dict[str, Activation] = {}
    seen: set[str] = set()
    for name, act in ACTIVATIONS.items():
        used = operators_of(act.family.at_initial())
        if used - seen:
            found[name] = act
            seen |= used
    return found


def test_families_in_jax(tmp_path: Path) -> None:
    """The function and its first two derivatives: finite and right where autodiff of `where` would give nan."""
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    differentiated = ("elu", "sau", "zorro_tanh", "rational")
    chosen = with_every_operator() | {name: ACTIVATIONS[name] for name in differentiated}
    actune.export(nn.ModuleDict(chosen), tmp_path / "catalogue.py", to="jax")
    module = loaded(tmp_path / "catalogue.py")
    x = X.float()
    assert_near({n: worst(n, torch.tensor(np.array(getattr(module, f"activation_{n}")(x.numpy())))) for n in chosen}, 64)
    for name in differentiated:
        function = getattr(module, f"activation_{name}")
        at = x.double().requires_grad_()
        (slope,) = torch.autograd.grad(ACTIVATIONS[name](at).sum(), at, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), at)
        for derivative, wanted in ((jax.grad(function), slope), (jax.grad(jax.grad(function)), curvature)):
            found = torch.tensor(np.array(jax.jit(jax.vmap(derivative))(x.numpy()))).double()
            torch.testing.assert_close(found, wanted.detach(), rtol=1e-4, atol=1e-5)


def test_dtypes_in_jax(tmp_path: Path) -> None:
    jax = pytest.importorskip("jax", reason="JAX is not installed")
    actune.export("mish", tmp_path / "mish.py", to="jax")
    function = loaded(tmp_path / "mish.py").activation
    x = torch.linspace(-3, 3, 41)
    half = jax.numpy.asarray(x.numpy(), jax.numpy.bfloat16)
    y, slope = jax.jvp(function, (half,), (jax.numpy.ones_like(half),))
    assert y.dtype == slope.dtype == half.dtype
    expected = Activation("mish")(torch.tensor(np.array(half, np.float32))).bfloat16().float()
    torch.testing.assert_close(torch.tensor(np.array(y, np.float32)), expected, rtol=0, atol=0)
    assert function(2).dtype == function(np.float64(2)).dtype == jax.numpy.float32


# -- what cannot be --------------------------------------------------------------------------------------------------------


def test_languages_have_every_operator() -> None:
    primitives = {name for name, op in OPS.items() if op.definition is None and op.arity and not op.float64}
    assert primitives - set(JAX_OPERATORS) == set()
    assert primitives - set(C_OPERATORS) == BESSEL
    assert {name for name, op in OPS.items() if op.definition is None} == set(JS_OPERATORS)  # E among them


def test_names_cannot_leave_their_comment(tmp_path: Path) -> None:
    f = actune.Family('"""\nraise SystemExit("executed") */ #error \\', actune.parse("x*b"), {"b": actune.Param(2.0)})
    for to in ("python", "jax", "c", "javascript"):
        text = actune.export(f, to=to).text
        assert text is not None
        assert "\nraise" not in text
        assert text.count('"""') <= 4
    actune.export(f, tmp_path / "a.py")
    assert loaded(tmp_path / "a.py").activation(torch.ones(1)).item() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"what": "gelu", "to": "cc"}, r"^to must be one of python, onnx, c, jax, javascript, int8, got 'cc'; did you mean 'c'\?$"),
        ({"what": "gelu", "path": "a.txt"}, r"^path='a.txt' does not say what to write; end it in .py, .onnx, .c or .js, or give"),
        ({"what": nn.Linear(2, 2)}, r"^the model has no actune.Activation \(it is a Linear\); put some in with actune.swap$"),
        ({"what": nn.Sequential(Activation("relu")), "to": "onnx"}, r"^a Sequential in ONNX needs an example of its input"),
        (
            {"what": Activation("sau", scope="channel")},
            r"^the parameter 'alpha' of activation has no size yet; call the module once",
        ),
        ({"what": "geluu"}, r"^unknown activation function 'geluu'; did you mean 'gelu'\?$"),
    ],
)
def test_bad_input_is_refused_in_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        actune.export(**arguments)
