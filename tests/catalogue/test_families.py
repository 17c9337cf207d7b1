"""Every family in the registry has every property: a new one gets all of these tests by existing."""

from __future__ import annotations

import copy
import math
import pickle
import re
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from definitions import DEFINITIONS
from oracle import DTYPES, allowed, computed, grid, is_wide, measure, parameters, report, truth
from torch import Tensor
from torch.nn import functional as F

import actune
from actune.kernels.operators import activate_in_torch, evaluate
from actune.language.exact import value
from actune.language.expr import Expr, from_json, to_json

NAMES = actune.list_families()
TRAINABLE = [n for n in NAMES if any(p.trainable for p in actune.family(n).params.values())]
REFERRED = [n for n in NAMES if actune.family(n).reference is not None]
WIDE = [f for f in map(actune.family, NAMES) if is_wide(f.expr)]  # judged at fewer points: their exact values take long
INFINITY = torch.tensor([math.inf, -math.inf], dtype=torch.float64)

every_family = pytest.mark.parametrize("name", NAMES)


def marks(f: actune.Family) -> tuple[float, ...]:
    return f.kinks + f.joints


def initial(f: actune.Family, x: Tensor) -> Tensor:
    """The value at the initial parameters, straight from the formula."""
    return evaluate(f.expr, {"x": x, **dict(f.initial())}).expand(x.shape)


def away(f: actune.Family, x: Tensor, distance: float = 0.02) -> Tensor:
    """The points that are far from every kink and joint."""
    return x[torch.stack([(x - m).abs() > distance for m in (*marks(f), math.inf)]).all(0)]


# -- values and derivatives ----------------------------------------------------------------------------------------------


@every_family
def test_formula_is_what_the_source_says(name: str) -> None:
    """Values agree with torch's own function or with a second statement of the paper's definition, also at other parameters."""
    f = actune.family(name)
    # A reference of torch holds at the initial values only, so a family with parameters is stated too.
    assert (f.reference and not f.params) or name in DEFINITIONS, (
        f"torch has no {name}: state it in tests/definitions.py, as its paper writes it"
    )
    if f.reference:
        x = grid(torch.float64, marks(f))
        assert torch.allclose(initial(f, x), f.reference(x), rtol=1e-12, atol=3e-9)  # softplus of torch is off by 2e-9
    for shift in (0.0, 0.6, -0.6) if name in DEFINITIONS else ():
        values = parameters(f, torch.float64, shift)
        for x in (*np.linspace(-29.7, 30.3, 13).tolist(), -1.1, -0.3, -3e-5, 0.0, 1e-5, 1e-3, 0.02, 0.4, 1.3, *marks(f)):
            with mpmath.workdps(400 if f not in WIDE else 110):
                wanted, got = DEFINITIONS[name](mpmath.mpf(x), **by_name(f, values)), value(f.expr, {"x": x, **values})
                assert abs(got - wanted) <= 1e-16 * abs(wanted) + mpmath.mpf("1e-320"), (x, values)


def by_name(f: actune.Family, values: dict[str, float]) -> dict[str, Any]:
    """The symbols `a0, a1` of a vector parameter as one list `a`, exact numbers."""
    exact = {n: mpmath.mpf(v) for n, v in values.items()}
    return {
        n: [exact[f"{n}{i}"] for i in range(len(p.init))] if isinstance(p.init, tuple) else exact[n] for n, p in f.params.items()
    }


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@every_family
def test_error(name: str, dtype: torch.dtype) -> None:
    """Value and first derivatives, in x and every parameter, within 4 u of the conditioned scale."""
    f = actune.family(name)
    looks = ((0.0, 48), (0.6, 16), (-0.6, 16)) if f not in WIDE else ((0.0, 16), (0.6, 6), (-0.3, 6))
    for shift, count in looks[: 3 if f.params else 1]:
        for worst, bar in zip(report(f, dtype, count, shift), allowed(f.expr, dtype), strict=True):
            assert worst.error <= bar, f"{worst}, parameters moved by {shift}"


@every_family
def test_second_derivatives(name: str) -> None:
    """Second derivatives in x and every parameter, also mixed, against mpmath in float64."""
    f = actune.family(name)
    values = parameters(f, torch.float64, 0.2)
    x = away(f, grid(torch.float64, (0.0,), 32 if f not in WIDE else 12).clamp(-30, 30).unique())
    x = x[x.abs() > 1e-12] if f in WIDE else x  # |x|^gamma has no slope at 0; tests/test_gated.py looks there
    true = truth(f.expr, x.numpy(), values)
    inputs = [t.requires_grad_() for t in (x.clone(), *(torch.full_like(x, v) for v in values.values()))]
    y = activate_in_torch(f.expr, inputs[0], dict(zip(values, inputs[1:], strict=True)))
    slopes = torch.autograd.grad(y.sum(), inputs, create_graph=True)
    for i, slope in enumerate(slopes):
        rows = torch.autograd.grad(slope.sum() + 0 * inputs[0].sum(), inputs, allow_unused=True, retain_graph=True)
        for j, row in enumerate(rows):
            got = np.zeros(len(x)) if row is None else row.detach().numpy()
            assert np.abs(got - true.second[i, j]).max() <= (1e-11 if f not in WIDE else 1e-10) * max(
                1, np.abs(true.second[i, j]).max()
            ), (i, j)


@pytest.mark.parametrize("dtype", DTYPES[1:], ids=lambda d: str(d)[6:])
@every_family
def test_finite(name: str, dtype: torch.dtype) -> None:
    """Value and derivatives are finite for every finite input, wherever the dtype can hold the exact ones."""
    f, info = actune.family(name), torch.finfo(dtype)
    sizes = torch.tensor([0.0, info.tiny, 1e-8, 1.0, 30.0, 300.0, 1e4, 1e18, info.max / 2, info.max], dtype=torch.float64)
    x = torch.cat([sizes, -sizes]).to(dtype)
    x = x[x.isfinite()]
    values = parameters(f, dtype)
    y, d = computed(f.expr, x, values)
    true = truth(f.expr, x.double().numpy(), values)
    for got, wanted in ((y[None], true.value[None]), (d, true.first)):
        lost = ~np.isfinite(got) & (np.abs(wanted) < info.max)
        if lost.any() and len(lost) > 1:  # the slope on the other side of a tie of two parameters
            lost &= np.abs(truth(f.expr, x.double().numpy(), values, side=-1).first) < info.max
        assert not lost.any(), [(x[k].item(), wanted[i, k], got[i, k]) for i, k in np.argwhere(lost)]


@pytest.mark.parametrize("name", REFERRED)
def test_slope_is_torchs(name: str) -> None:
    """The derivative of torch's own function, at the kinks too."""
    f = actune.family(name)
    assert f.reference is not None
    x = torch.cat([grid(torch.float64, marks(f)), torch.tensor(marks(f), dtype=torch.float64)]).requires_grad_()
    y = activate_in_torch(f.expr, x, {n: torch.tensor([v], dtype=x.dtype) for n, v in f.initial()})
    (got,), (wanted,) = (torch.autograd.grad(v.sum(), x) for v in (y, f.reference(x)))
    assert torch.allclose(got, wanted, rtol=1e-10, atol=1e-8), x[(got - wanted).abs().argmax()]


@every_family
def test_nan_and_infinity(name: str) -> None:
    """nan gives nan. An infinite input gives the exact limit, or nan where the formula has an infinity times zero; nothing else."""
    f = actune.family(name)
    assert initial(f, torch.full((3,), math.nan)).isnan().all()
    assert initial(f, torch.full((40,), math.nan, dtype=torch.float64)).isnan().all()
    for got, x in zip(initial(f, INFINITY).tolist(), (1, -1), strict=True):
        with mpmath.workdps(150):
            near, far = (value(f.expr, {"x": x * mpmath.mpf(10) ** n, **dict(f.initial())}) for n in (40, 60))
        limit = math.copysign(math.inf, far) if abs(far) > abs(near) + 10 else float(far) if abs(far - near) < 1e-9 else math.nan
        assert math.isnan(got) or abs(got - limit) <= 1e-15 or got == limit, (x, limit)
    if f.reference is not None:
        wanted = f.reference(INFINITY)
        assert torch.equal(initial(f, INFINITY)[~wanted.isnan()], wanted[~wanted.isnan()])


# -- facts ---------------------------------------------------------------------------------------------------------------


@every_family
def test_facts(name: str) -> None:
    """Odd, even and monotone families are, and bounds are kept and approached."""
    f = actune.family(name)
    x = torch.cat([torch.linspace(-20, 20, 40001, dtype=torch.float64), 10 ** torch.linspace(1.31, 5, 50, dtype=torch.float64)])
    x = torch.cat([x, -x]).sort().values
    y = initial(f, x)
    tolerance = (1e-14 if f not in WIDE else 2e-13) * (1 + y.abs())
    assert not f.odd or bool(((y + y.flip(0)).abs() <= tolerance).all())
    assert not f.even or bool(((y - y.flip(0)).abs() <= tolerance).all())
    assert not f.monotone or bool((y.diff() >= -tolerance[1:]).all())
    (lowest, highest), rounding = f.bounds, 2e-13 if f in WIDE else 0.0
    assert lowest is None or lowest - rounding <= y.min() <= lowest + 2e-4, y.min()
    assert highest is None or highest + rounding >= y.max() >= highest - 2e-4, y.max()


def jump(f: actune.Family, at: float, order: int) -> float:
    """How much a derivative changes within 1e-5 around a point."""

    def at_x(x: Any) -> Any:
        return value(f.expr, {"x": x, **dict(f.initial())})

    def side(sign: int) -> Any:
        return mpmath.diff(at_x, at + sign * mpmath.mpf("1e-5"), order, h=mpmath.mpf("1e-12"))

    with mpmath.workdps(60):
        return float(abs(side(1) - side(-1)))


@every_family
def test_kinks_and_joints(name: str) -> None:
    """The slope jumps at the declared kinks and nowhere else; at a joint only a higher derivative does."""
    f = actune.family(name)
    for at in f.kinks:
        assert max(jump(f, at, 0), jump(f, at, 1)) > 0.01, f"no kink at {at}"
    if f.kinks:
        assert f.continuous == all(jump(f, at, 0) < 1e-3 for at in f.kinks)
    for at in f.joints:
        assert max(jump(f, at, 0), jump(f, at, 1)) < 1e-3, f"a kink at {at}, not a joint"
        assert max(jump(f, at, 2), jump(f, at, 3)) > 0.01, f"no joint at {at}"
    steep = max((abs(v) for _, v in f.initial()), default=0) > 1000  # so steep that a smooth bend looks like a kink here
    suspects = {e.args[0] for e in f.expr.expand().nodes() if e.op == "const"} | set(map(float, range(-8, 9)))
    for at in sorted({s for c in suspects if not steep for s in (c, -c) if abs(c) < 100}):
        if all(abs(at - m) > 1e-4 for m in f.kinks):
            assert max(jump(f, at, 0), jump(f, at, 1)) < 1e-3, f"undeclared kink at {at}"
            if all(abs(at - m) > 1e-4 for m in f.joints):
                assert max(jump(f, at, 2), jump(f, at, 3)) < 0.01, f"undeclared joint at {at}"


# -- as a module ---------------------------------------------------------------------------------------------------------


@every_family
def test_dtype_is_kept(name: str) -> None:
    for dtype in DTYPES:
        x = torch.linspace(-3, 3, 12, dtype=dtype).reshape(4, 3).requires_grad_()
        for act in (actune.Activation(name), actune.Activation(name, scope="channel", channels=3, dtype=dtype)):
            y = act(x)
            assert y.dtype == dtype
            assert y.shape == x.shape
            assert torch.autograd.grad(y.sum(), x)[0].dtype == dtype
            with torch.autocast("cpu", torch.bfloat16):
                assert act(x).dtype == dtype


@every_family
def test_module_computes_the_formula(name: str) -> None:
    """Initial values reach the formula through the constraints; no parameter is ever 0-d."""
    f = actune.family(name)
    x = torch.linspace(-3, 3, 30, dtype=torch.float64).reshape(2, 5, 3)
    for scope, channels in (("layer", None), ("channel", 5), ("neuron", (5, 3))):
        act = actune.Activation(name, scope=scope, channels=channels, dtype=torch.float64)
        assert torch.allclose(act(x), initial(f, x), rtol=1e-9, atol=1e-9)
        assert all(p.ndim >= 1 for p in act.parameters())
        for n, v in act.values().items():
            wanted = torch.tensor(f.params[n].init, dtype=v.dtype)
            assert torch.allclose(v, wanted.reshape(*wanted.shape, *(1,) * (v.ndim - wanted.ndim)).expand(v.shape))


@pytest.mark.parametrize("name", TRAINABLE)
def test_every_trainable_parameter_gets_a_gradient(name: str) -> None:
    """The gradient of each entry of each parameter is finite and not zero for ordinary inputs."""
    f = actune.family(name)
    act = actune.Activation(name, scope="channel", channels=3)
    x = torch.linspace(-4, 4, 600).reshape(200, 3)
    (act(x) * (1.5 + torch.sin(3 * x))).sum().backward()
    for n, p in act.named_parameters():
        if f.params[n].trainable:
            assert p.grad is not None
            assert p.grad.isfinite().all()
            assert (p.grad != 0).all(), n
        else:
            assert p.grad is None


@pytest.mark.parametrize("scope", ["layer", "channel"])
@every_family
def test_gradcheck(name: str, scope: str) -> None:
    """First and second derivatives against finite differences, through the module, away from kinks and joints."""
    f = actune.family(name)
    act = actune.Activation(name, scope=scope, channels=2 if scope == "channel" else None, dtype=torch.float64)
    with torch.no_grad():
        for i, p in enumerate(act.parameters()):
            p += 0.05 + 0.01 * i  # away from where parameters tie
    state = dict(act.named_parameters())
    x = away(f, torch.tensor([-2.83, -1.71, -1.13, -0.62, -0.31, 0.27, 0.74, 1.23, 1.87, 2.61], dtype=torch.float64), 0.05)
    x = x[: len(x) // 2 * 2].reshape(-1, 2).requires_grad_()

    def call(x: Tensor, *values: Tensor) -> Any:
        return torch.func.functional_call(act, dict(zip(state, values, strict=True)), (x,))

    inputs = (x, *(p.detach().clone().requires_grad_() for p in state.values()))
    assert torch.autograd.gradcheck(call, inputs, fast_mode=f in WIDE)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=f in WIDE)


@every_family
def test_copies(name: str) -> None:
    """state_dict, deepcopy and pickle carry the learned values."""
    act = actune.Activation(name, scope="channel", channels=2)
    with torch.no_grad():
        for p in act.parameters():
            p += torch.tensor([0.1, -0.2])
    x = torch.linspace(-3, 3, 20).reshape(10, 2)
    loaded = actune.Activation(name, scope="channel", channels=2)
    loaded.load_state_dict(act.state_dict())
    for other in (loaded, copy.deepcopy(act), pickle.loads(pickle.dumps(act))):
        assert torch.equal(other(x), act(x))
        assert other.family is act.family
        assert not {id(p) for p in act.parameters()} & {id(p) for p in other.parameters()}


# -- as a formula --------------------------------------------------------------------------------------------------------


@every_family
def test_round_trips(name: str) -> None:
    """Text and JSON give the same object back, for the formula and each derivative; LaTeX exists; the text form resolves."""
    f = actune.family(name)
    for e in (f.expr, *(f.expr.diff(s) for s in f.expr.symbols())):
        assert actune.parse(str(e)) is e
        assert from_json(to_json(e)) is e
    second = f.expr.diff("x", 2)  # too long as text for some, since text does not share its parts
    assert from_json(to_json(second)) is second
    again = actune.resolve(f.text)
    assert again.expr is f.expr
    assert dict(again.initial()) == dict(f.initial())
    assert "x" in f.latex()


TORCH = [
    "Identity", "ReLU", "ReLU6", "Leaky_ReLU", "PReLU", "ELU", "SELU", "CELU", "GELU", "Sigmoid", "LogSigmoid", "SiLU", "Mish",
    "Softplus", "Softsign", "Softshrink", "Hardshrink", "Tanhshrink", "Tanh", "Hardtanh", "Hardsigmoid", "Hardswish", "Threshold",
]  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_catalogue_has_every_deterministic_elementwise_function_of_torch(name: str) -> None:
    assert hasattr(torch.nn, name.replace("_", ""))
    assert actune.family(name.lower()).reference is not None


def test_catalogue_is_complete() -> None:
    assert len(NAMES) >= 40
    assert set(DEFINITIONS) <= set(NAMES)


def test_the_oracle_notices_a_wrong_digit() -> None:
    """A formula that loses digits, and a derivative at a kink that is neither side's, are both seen."""
    x = torch.tensor([-8.0, -3.0, 0.5], dtype=torch.float64)
    assert measure(actune.parse("x*(1 + erf(x/sqrt(2)))/2"), x, {})[0].error > 100
    assert measure(actune.parse("relu(x) - relu(-x)"), torch.zeros(1), {})[1].error > 100


# -- what the catalogue says of itself --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n in NAMES if actune.family(n).initial_form is not None])
def test_closed_form_is_the_formula(name: str) -> None:
    """The initial form has the value and slope of the formula in 60 digits, far out too; at a kink the slopes may differ."""
    f = actune.family(name)
    assert f.initial_form is not None
    inner = {e.args[0] for e in f.expr.nodes() if e.op == "const"}
    x = [v for v in grid(torch.float64, (0.0,), 60, seed=1).tolist() if abs(v) > 1e-12 and abs(v) not in inner] + [0.0]
    with mpmath.workdps(110):
        for at in x:
            limit = mpmath.mpf("1e-60") * max(1, abs(at)) + mpmath.exp(-200)  # where the formula cuts a tail
            assert abs(exactly(f.expr, f, at) - exactly(f.initial_form, f, at)) <= limit, at
            if at:
                h = mpmath.mpf("1e-40") * abs(at)
                slopes = [(exactly(e, f, at + h) - exactly(e, f, at - h)) / (2 * h) for e in (f.expr, f.initial_form)]
                assert abs(slopes[0] - slopes[1]) <= mpmath.mpf("1e-38") * max(1, abs(slopes[1])), at


def exactly(e: Expr, f: actune.Family, x: Any) -> Any:
    return value(e, {"x": x, **dict(f.initial())})


REPORTED = {
    "gelu_sinc", "gelu_sine", "gmtu", "pangaea_gated_asinh", "pangaea_line_log_sigmoid", "pangaea_min_log_sigmoid",
    "pangaea_selu_swish", "pangaea_softplus_elu", "pangaea_swish_swish",
}  # fmt: skip
PRESETS = {"zorro_gelu": "gelu", "zorro_silu": "silu", "zorro_dsilu": "dsilu", "zorro_dgelu": "dgelu"}


def test_what_is_known_at_second_hand_is_marked() -> None:
    assert {name for name in NAMES if actune.family(name).reported} == REPORTED


@pytest.mark.parametrize(("preset", "goal"), PRESETS.items())
def test_presets_state_their_fit_error(preset: str, goal: str) -> None:
    """The root mean square of the difference on [-8, 8], to the digits that the note gives."""
    x = torch.linspace(-8, 8, 16001, dtype=torch.float64)
    rms = (initial(actune.family(preset), x) - initial(actune.family(goal), x)).square().mean().sqrt().item()
    stated = re.search(r"rms (0\.\d+)", actune.family(preset).notes)
    assert stated
    assert abs(rms - float(stated[1])) <= 0.5 * 10.0 ** -(len(stated[1]) - 2)
    reference = {"gelu": F.gelu, "silu": F.silu}.get(goal)
    if reference is None:  # a derivative: of the very function
        slope = torch.func.vmap(torch.func.grad({"dsilu": F.silu, "dgelu": F.gelu}[goal]))(x)
        torch.testing.assert_close(initial(actune.family(goal), x), slope)


def test_screening_tells_the_families_apart() -> None:
    """Families are different functions to the search, except those that are the same: celu is elu while alpha is 1, and a preset
    with an initial form is what that says."""
    from actune.discovery import screen

    seen: dict[str, list[str]] = {}
    for name in NAMES:
        seen.setdefault(screen(actune.family(name)).fingerprint, []).append(name)
    same = [{n for n in names if actune.family(n).initial_form is None} for names in seen.values()]
    assert [names for names in same if len(names) > 1] in ([], [{"celu", "elu"}])
    for name, f in ((n, actune.family(n)) for n in NAMES):
        if f.initial_form is not None:
            assert screen(f).fingerprint == screen(actune.resolve(f.initial_form)).fingerprint, name
