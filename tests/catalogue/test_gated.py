"""The gated Mittag-Leffler families: presets against the built-ins, the general form, training, interpolation."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable

import mpmath
import numpy as np
import pytest
import torch
from exact_values import reference
from oracle import DTYPES, grid, truth
from torch import Tensor
from torch.distributions import biject_to, transform_to
from torch.nn import functional as F

import actune
from actune.catalogue.interval import Closed
from actune.catalogue.registry import FAMILIES, Param
from actune.kernels import dispatch
from actune.language.exact import value
from actune.language.expr import FormulaError
from actune.language.parser import parse
from actune.special.exact import scaled

BUILT_IN: dict[str, Callable[[Tensor], Tensor]] = {
    "ml_sigmoid": torch.sigmoid, "ml_swish": F.silu, "ml_mish": F.mish, "ml_softsign": F.softsign, "ml_elu": F.elu,
    "ml_tanh": torch.tanh, "ml_identity": torch.clone, "ml_erf": torch.erf, "ml_relu": F.relu, "ml_gelu": F.gelu,
}  # fmt: skip
CLASSIC = {
    "ml_sigmoid": "1/(1 + exp(-x))", "ml_swish": "x/(1 + exp(-x))", "ml_mish": "x*tanh(log1p(exp(x)))",
    "ml_softsign": "x/(1 + abs(x))", "ml_elu": "where(x > 0, x, expm1(x))",
    "ml_tanh": "tanh(x)", "ml_identity": "x", "ml_erf": "erf(x)", "ml_relu": "max(x, 0)",
    "ml_gelu": "x*erfc(-x/sqrt(2))/2",
}  # fmt: skip
NAMES = list(BUILT_IN)

every_preset = pytest.mark.parametrize("name", NAMES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])


def points(name: str, dtype: torch.dtype, count: int) -> Tensor:
    """Points up to |x| = 1e4; kinks are left to a test of their own."""
    x = grid(dtype, (0.0,), count)
    return x[x != 0] if name == "ml_relu" else x


def errors(act: actune.Activation, name: str, x: Tensor, cut: float = 0.0) -> tuple[float, float]:
    """The largest errors of value and slope against exact arithmetic, in u of |y| + |x y'| and of max(1, |y'| + |x y''|).

    cut     what counts as nothing
    """
    x = x.requires_grad_()
    y = act(x)
    (d,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == d.dtype == x.dtype
    at, info = x.detach().double().numpy(), torch.finfo(x.dtype)
    true = truth(parse(CLASSIC[name]), at, {})
    scales = np.abs(true.value) + np.abs(at * true.first[0]), np.maximum(1, np.abs(true.first[0]) + np.abs(at * true.second[0, 0]))
    found = []
    for got, wanted, rest, scale in zip(
        (y, d), (true.value, true.first[0]), (true.value_rest, true.first_rest[0]), scales, strict=True
    ):
        error = np.abs(got.detach().double().numpy() - wanted - rest) - info.tiny * np.maximum(1, np.abs(at))
        assert np.isfinite(error).all()
        found.append(float((np.maximum(error - cut, 0) / (scale + info.tiny)).max() / (info.eps / 2)))
    return found[0], found[1]


# -- presets -------------------------------------------------------------------------------------------------------------


@every_dtype
@every_preset
def test_fixed_preset_is_the_built_in(name: str, dtype: torch.dtype) -> None:
    """Value and gradient are within 4 u of the conditioned scale up to |x| = 1e4, and agree with torch's function."""
    act = actune.Activation(name, dtype=dtype)
    assert not [p for p in act.parameters() if p.requires_grad]
    x = points(name, dtype, 300)
    assert max(errors(act, name, x)) <= 4
    torch.testing.assert_close(act(x), BUILT_IN[name](x), rtol=8 * torch.finfo(dtype).eps, atol=8 * torch.finfo(dtype).eps + 4e-9)


@every_dtype
@every_preset
def test_general_form_is_the_built_in(name: str, dtype: torch.dtype) -> None:
    """The quotient of two Mittag-Leffler functions itself, as it is when parameters may be trained."""
    value, slope = errors(actune.Activation(name, trainable=True, dtype=dtype), name, points(name, dtype, 300), cut=1e-90)
    if dtype != torch.float64:
        assert max(value, slope) <= 4
    else:
        u, kappa = torch.finfo(dtype).eps / 2, 100**2 if name == "ml_gelu" else 1  # |z E'/E| = x^2, to where the gate is cut
        assert value <= kappa * 2e-13 / u
        assert slope <= 1e-10 / u


@every_dtype
def test_relu_at_its_kink(dtype: torch.dtype) -> None:
    for trainable in (False, True):
        x = torch.zeros(2, dtype=dtype, requires_grad=True)
        y = actune.Activation("ml_relu", trainable=trainable, dtype=dtype)(x)
        assert y.tolist() == [0, 0]
        assert torch.autograd.grad(y.sum(), x)[0].tolist() == [0, 0]


@every_preset
def test_fixed_preset_costs_no_more_than_its_closed_form(name: str) -> None:
    """The formula that runs has no Mittag-Leffler function in it, and gives the bits of the classic family."""
    f = actune.family(name)
    assert f.initial_form is not None
    x = grid(torch.float32, (0.0,), 200)
    assert torch.equal(actune.Activation(name)(x), dispatch.activate(f.initial_form, x, {}))
    assert "mittag" not in str(parse(f"{name}(x)").expand())


@every_dtype
@every_preset
def test_finite_to_the_largest_number(name: str, dtype: torch.dtype) -> None:
    info = torch.finfo(dtype)
    x = torch.tensor([0.0, info.tiny, 1e-4, 1.0, 50.0, 300.0, info.max / 2, info.max * 0.99], dtype=torch.float64)
    x = torch.cat([x, -x]).to(dtype)
    x = x[x.isfinite()].requires_grad_()
    for act in (actune.Activation(name, dtype=dtype), actune.Activation(name, trainable=True, dtype=dtype)):
        y = act(x)
        assert y.isfinite().all()
        assert torch.autograd.grad(y.sum(), x)[0].isfinite().all()


@every_preset
def test_at_zero(name: str) -> None:
    """Value and every derivative are finite where x and the power's exponent start, and at other exponents."""
    for gamma in (0.0, 0.5, 1.0, 1.5, 2.0):
        act = actune.Activation(name, trainable=True, gamma=gamma, dtype=torch.float64)
        x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
        y = act(x)
        grads = torch.autograd.grad(y.sum(), [x, *act.parameters()])
        assert y.item() == (0.5 if name == "ml_sigmoid" and gamma == 0 else 0.0)
        assert all(g.isfinite().all() for g in grads), gamma


# -- the general form ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("beta2", "known"), [(1.5, (0.8111, 2.2351, 4.4721)), (1.25, (0.7707, 1.4949, 2.1147))])
def test_known_values_between_tanh_and_identity(beta2: float, known: tuple[float, ...]) -> None:
    act = actune.Activation("ml_tanh", beta2=beta2, dtype=torch.float64)
    x = torch.tensor([1.0, 5.0, 20.0, 0.0], dtype=torch.float64, requires_grad=True)
    y = act(x)
    assert [round(v, 4) for v in y[:3].tolist()] == list(known)
    assert torch.autograd.grad(y.sum(), x)[0][3].item() == pytest.approx(math.gamma(beta2), rel=1e-14)


@pytest.mark.parametrize("beta2", [1.0, 1.25, 1.5, 2.0, 2.5])
def test_tail_is_its_power_law_to_the_end(beta2: float) -> None:
    """sign(x)|x|^(beta2 - 1), across the point where the quotient is continued, in value and slope."""
    act = actune.Activation("ml_tanh", trainable=True, beta2=beta2, dtype=torch.float64)
    x = torch.cat([torch.logspace(3, 38, 200, dtype=torch.float64), torch.tensor([1e6, 999999.9, 1000000.1], dtype=torch.float64)])
    x = torch.cat([x, -x]).requires_grad_()
    y = act(x)
    (d,) = torch.autograd.grad(y.sum(), x)
    size = x.detach().abs()
    assert torch.allclose(y, x.sign() * size ** (beta2 - 1), rtol=1e-13, atol=0)
    assert ((d - (beta2 - 1) * size ** (beta2 - 2)).abs() <= 1e-13 * size.clamp(max=1e6) * size ** (beta2 - 2)).all()


def test_a_smaller_alpha_of_the_numerator_counts_as_that_of_the_denominator() -> None:
    x = torch.linspace(-40, 40, 101)
    for name, share in (("ml_tanh", 1.0), ("ml_gelu", 0.5)):
        least = actune.Activation(name, alpha1=share * 1.5, alpha2=1.5)
        assert torch.equal(actune.Activation(name, alpha1=0.55, alpha2=1.5)(x), least(x))
        assert not torch.equal(actune.Activation(name, alpha1=1.75, alpha2=1.5)(x), least(x))


@every_preset
def test_wild_steps_stay_in_range_and_finite(name: str) -> None:
    """Plain gradient descent with a learning rate of 10 throws the parameters about; nothing breaks."""
    act = actune.Activation(name, trainable=True, scope="channel", channels=4)
    optimizer = torch.optim.SGD(act.parameters(), lr=10.0)
    draw = torch.Generator().manual_seed(0)
    for _ in range(25):
        x = (torch.randn(32, 4, generator=draw) * 3).requires_grad_()
        optimizer.zero_grad()
        y = act(x)
        (y - torch.sin(3 * x)).square().mean().backward()
        assert y.isfinite().all()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in act.parameters())
        optimizer.step()
        for n, v in act.values().items():
            assert act.family.params[n].constraint.check(v).all(), (n, v)


@every_preset
def test_finite_at_the_ends_of_the_ranges(name: str) -> None:
    """Each parameter at its lowest and highest, the alphas together: value and every gradient in float32 to |x| = 1e4."""
    f = actune.family(name)
    ends = {n: (p.constraint.lower_bound, p.constraint.upper_bound) for n, p in f.params.items() if n != "c"}
    alphas = [n for n in ends if n.startswith("alpha")]
    for side in (0, 1):
        for names in (alphas, *([n] for n in ends)):
            act = actune.Activation(name, trainable=True, **{n: ends[n][side] for n in names})
            x = torch.cat([t * torch.logspace(-3, 4, 50) for t in (1, -1)]).requires_grad_()
            y = act(x)
            assert y.isfinite().all(), (names, side)
            for g in torch.autograd.grad(y.sum(), [x, *act.parameters()]):
                assert g.isfinite().all(), (names, side)


@pytest.mark.parametrize("name", ["ml_sigmoid", "ml_swish", "ml_mish"])
def test_left_tail_ends_whatever_the_parameters(name: str) -> None:
    """No oscillation at the largest alpha, no growth of the power at the largest gamma."""
    x = -torch.tensor([50.0, 100.0, 200.0, 1e4, 1e30, 1e300], dtype=torch.float64)
    f = actune.family(name)
    for n in ("alpha1", "gamma"):
        act = actune.Activation(name, dtype=torch.float64, **{n: f.params[n].constraint.upper_bound})
        assert act(x).abs().max() < 1e-15, n


@every_preset
def test_every_parameter_gets_a_gradient(name: str) -> None:
    act = actune.Activation(name, trainable=True, dtype=torch.float64)
    x = torch.linspace(-4, 4, 200, dtype=torch.float64)
    (act(x) * (1.5 + torch.sin(3 * x))).sum().backward()
    for n, p in act.named_parameters():
        assert p.grad is not None
        assert p.grad.isfinite().all()
        assert (p.grad != 0).all(), n


def test_adaptive_beta2_learns() -> None:
    """Training leads from tanh to half way to the identity when the data say so."""
    act = actune.Activation("ml_tanh", trainable={"beta2": True})
    assert [n for n, p in act.named_parameters() if p.requires_grad] == ["beta2"]
    x = torch.linspace(-6, 6, 200)
    goal = actune.Activation("ml_tanh", beta2=1.5)(x)
    optimizer = torch.optim.Adam(act.parameters(), lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        (act(x) - goal).square().mean().backward()
        optimizer.step()
    assert act.beta2.item() == pytest.approx(1.5, abs=0.02)


def test_a_changed_parameter_leaves_the_initial_form() -> None:
    """A parameter that is written to in place, loaded, passed functionally or copied is noticed; and so is its return."""
    x = torch.linspace(-3, 3, 20)
    act, other = actune.Activation("ml_tanh"), actune.Activation("ml_tanh", beta2=1.5)
    tanh = dispatch.activate(parse("tanh(x)"), x, {})
    assert torch.equal(act(x), tanh)
    wanted = other(x)
    assert not torch.allclose(wanted, tanh)
    with torch.no_grad():
        act.beta2.fill_(1.5)
    assert torch.equal(act(x), wanted)
    act.reset_parameters()
    assert torch.equal(act(x), tanh)
    act.load_state_dict(other.state_dict())
    assert torch.equal(act(x), wanted)
    for again in (copy.deepcopy(act), pickle.loads(pickle.dumps(act))):
        assert torch.equal(again(x), wanted)
    fixed = actune.Activation("ml_tanh")
    assert torch.equal(torch.func.functional_call(fixed, {"beta2": torch.tensor([1.5])}, (x,)), wanted)
    assert torch.equal(fixed(x), tanh)
    many = torch.func.vmap(lambda b: torch.func.functional_call(fixed, {"beta2": b}, (x,)))(torch.tensor([[1.0], [1.5]]))
    assert torch.allclose(many, torch.stack([torch.tanh(x), wanted]), rtol=1e-6)


def test_closed_form_in_other_scopes_and_without_values() -> None:
    x = torch.linspace(-3, 3, 12).reshape(3, 4)
    for options in ({"scope": "channel"}, {"scope": "neuron"}, {"scope": "channel", "channels": 4}):
        act = actune.Activation("ml_erf", **options)
        assert torch.equal(act(x), dispatch.activate(parse("erf(x)"), x, {}))
        with torch.no_grad():
            act.beta2.view(-1)[2] = 1.25
        assert torch.equal(act(x)[:, :2], actune.Activation("ml_erf", trainable=True)(x)[:, :2])
        assert not torch.allclose(act(x), torch.erf(x))
    assert actune.Activation("ml_erf", device="meta")(x.to("meta")).shape == x.shape


@pytest.mark.filterwarnings("ignore:Dynamo detected", "ignore:.*should not be instantiated:DeprecationWarning")
def test_closed_form_is_compiled_and_exported() -> None:
    act, x = actune.Activation("ml_tanh"), torch.linspace(-3, 3, 20)
    assert torch.equal(torch.compile(act, backend="eager")(x), torch.tanh(x))
    assert torch.equal(torch.export.export(act, (x,)).module()(x), torch.tanh(x))
    act.load_state_dict(actune.Activation("ml_tanh", beta2=1.5).state_dict())
    torch.compiler.reset()
    assert torch.equal(torch.compile(act, backend="eager")(x), act(x))
    torch.compiler.reset()


# -- interpolation -------------------------------------------------------------------------------------------------------


def test_interpolate_walks_between_members() -> None:
    tanh, identity = actune.family("ml_tanh"), actune.family("ml_identity")
    assert actune.interpolate("ml_tanh", "ml_identity", 0) is tanh
    assert actune.interpolate("ml_tanh", "ml_identity", 1.0) is identity
    half = actune.interpolate(tanh, "ml_identity", 0.5)
    assert half.expr is tanh.expr
    assert {n: p.init for n, p in half.params.items()} == {"gamma": 1, "alpha1": 2, "beta1": 2, "alpha2": 2, "beta2": 1.5}
    assert half.name == "ml_tanh~ml_identity@0.5"
    assert half.initial_form is None
    x = torch.linspace(-5, 5, 50)
    assert torch.equal(actune.Activation(half)(x), actune.Activation("ml_tanh", beta2=1.5)(x))
    path = [actune.Activation(actune.interpolate("ml_erf", "ml_identity", t))(torch.tensor(3.0)).item() for t in (0, 0.3, 0.6, 1)]
    assert path == sorted(path)
    assert path[0] == pytest.approx(1.0, abs=1e-4)
    assert path[-1] == 3.0
    assert copy.deepcopy(half) is half
    assert pickle.loads(pickle.dumps(half)).expr is half.expr


@pytest.mark.parametrize(
    ("a", "b", "t", "message"),
    [
        ("ml_tanh", "ml_relu", 0.5, "ml_tanh and ml_relu have no form in common; ml_tanh shares its own with .*ml_identity"),
        ("ml_tanh", "gelu", 0.5, "ml_tanh and gelu have no form in common; .*gelu shares its own with none"),
        ("ml_tanh", "ml_erf", 1.5, r"t = 1.5 is outside \[0, 1\]"),
        ("ml_tanh", "ml_erf", math.nan, r"t = nan is outside \[0, 1\]"),
        ("ml_tahn", "ml_erf", 0.5, "did you mean 'ml_tanh'"),
    ],
)
def test_interpolate_refuses(a: str, b: str, t: float, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        actune.interpolate(a, b, t)
    assert "\n" not in str(error.value)


# -- declaration ---------------------------------------------------------------------------------------------------------


def test_the_catalogue_has_the_ten_presets_all_fixed() -> None:
    assert {n for n in actune.list_families() if n.startswith("ml_")} == set(NAMES)
    for name in NAMES:
        f = actune.family(name)
        assert f.paper == "arXiv:2302.11007"
        assert not any(p.trainable for p in f.params.values())
        assert set(f.params) - {"c"} in ({"gamma", "alpha1", "beta1", "alpha2", "beta2"}, {"gamma", "alpha1", "beta1", "beta2"})
        assert ("alpha2" in f.params) != ("alpha2 has no effect" in f.notes)


def test_a_closed_form_has_no_parameters_and_falls_with_other_initial_values() -> None:
    f = actune.family("ml_tanh")
    assert f.with_initial(beta2=1.5).initial_form is None
    with pytest.raises(FormulaError, match=r"the initial form .* must have no symbol but x"):
        actune.Family("line", parse("k*x"), {"k": Param(2.0)}, initial_form=parse("k*x"))
    line = actune.Family("line", parse("k*x"), {"k": Param(2.0)}, initial_form=parse("x + x"))
    assert str(line(parse("x^2"))) == "x^2 + x^2"
    assert FAMILIES["ml_tanh"](parse("x")).expand() is parse("tanh(x)")


# -- the interval --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (0.05, 3.0), (0.5, 2.0), (-1.0, 0.3)])
def test_closed_interval(low: float, high: float, dtype: torch.dtype) -> None:
    """The ends are exact, values stay inside, the slope is ±1 everywhere, and stored numbers are mirrored, also from far out."""
    transform = transform_to(Closed(low, high))
    assert isinstance(biject_to(Closed(low, high)), type(transform))
    ends = torch.tensor([low, high], dtype=dtype)
    assert torch.equal(transform(transform.inv(ends)), ends)
    width = high - low
    size = torch.logspace(-3, math.log10(torch.finfo(dtype).max) - 0.01, 60, dtype=torch.float64)
    turns = torch.arange(1, 2000, dtype=torch.float64) * width  # the mirrors themselves, where rounding may lead outside
    size = torch.cat([size, turns, turns * (1 + 1e-3), high + turns, low + turns])
    x = torch.cat([ends, torch.cat([size, -size]).to(dtype), torch.tensor([math.inf, -math.inf], dtype=dtype)]).requires_grad_()
    y = transform(x)
    assert ((y >= ends[0]) & (y <= ends[1])).all()
    y.sum().backward()
    assert x.grad is not None
    assert (x.grad[:-2].abs() == 1).all()
    step = torch.tensor([0.1 * width], dtype=torch.float64)
    assert torch.allclose(transform(high + step), high - step)
    assert torch.allclose(transform(low - step), low + step)
    assert torch.allclose(transform(low + step + 2 * width), low + step)


def test_an_interval_must_be_one() -> None:
    with pytest.raises(ValueError, match=r"an interval needs low < high, got \[2, 1\]"):
        Closed(2, 1)
    with pytest.raises(ValueError, match=r"initial value 3.5 is outside its constraint Closed\(0, 2\)"):
        Param(3.5, Closed(0, 2))


# -- the exact values ----------------------------------------------------------------------------------------------------


def test_exact_values_are_those_of_the_generator() -> None:
    """mpmath's column against the stored values, which come from series and asymptotic expansions; then against itself."""
    narrow, wide = reference()
    rows = torch.cat([narrow[::120], wide[::12, :5]])
    with mpmath.workdps(30):
        for alpha, beta, z, exact, scale in rows.tolist():
            m, t = scaled(z, alpha, beta)
            assert abs(m * mpmath.exp(t) - exact) <= 2e-16 * scale, (alpha, beta, z)


@pytest.mark.parametrize("at", [(-1e76, 2.0, 1.0), (1e76, 0.5, 2.0), (-1e76, 1.0, 1.5), (-5000.0, 1.0, 1.0), (-1e4, 1.5, 0.0),
                                (1e-40, 0.7, 0.0), (0.3, 0.0, 2.0), (-7.0, 1e-25, 1.0), (3.7, 1.3, 1.3)])  # fmt: skip
def test_exact_values_are_exact_to_the_working_precision(at: tuple[float, float, float]) -> None:
    with mpmath.workdps(60):
        m, t = scaled(*at)
    with mpmath.workdps(150):
        wanted, exponent = scaled(*at)
        assert abs(m - wanted) <= abs(wanted) * mpmath.mpf("1e-54")
        assert abs(t - exponent) <= abs(exponent) * mpmath.mpf("1e-58")


def test_exact_ratio_of_values_that_no_float_holds() -> None:
    with mpmath.workdps(50):
        y = value(parse("x*mittag_leffler_ratio(x^2, 2, 2, x^2, 2, 1)"), {"x": 1e38})
        assert abs(y - 1) < mpmath.mpf("1e-45")
