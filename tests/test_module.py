"""Activation: scopes, sizes, constraints, state, dtypes, and what it keeps for backward."""

from __future__ import annotations

import copy
import io
import pickle
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.nn.parameter import UninitializedParameter

import actune
from actune import Activation
from actune.kernels import operators

SHAPE = (4, 3, 5, 2)
FORMULA = "max(x*sigmoid(b*x), c*atan(x))"


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"scope": "layer"}, (1,)),
        ({"scope": "channel", "dim": 1}, (3,)),
        ({"scope": "channel", "dim": -1}, (2,)),
        ({"scope": "channel", "dim": -2}, (5,)),
        ({"scope": "neuron"}, (3, 5, 2)),
    ],
)
def test_scopes_share_a_parameter_where_they_say(options: dict, shape: tuple[int, ...]) -> None:
    """Each parameter acts on exactly its own elements: moving one entry moves the output there and nowhere else."""
    act = Activation("swish", **options)
    x = torch.randn(SHAPE)
    before = act(x)
    assert act.beta.shape == shape
    with torch.no_grad():
        act.beta.view(-1)[-1] += 1.0
    moved = act(x) != before
    expected = torch.zeros(SHAPE, dtype=torch.bool)
    if options["scope"] == "layer":
        expected[:] = True
    elif options["scope"] == "neuron":
        expected[:, -1, -1, -1] = True
    else:
        expected.movedim(options["dim"], 0)[-1] = True
    assert torch.equal(moved, expected)


@pytest.mark.parametrize("scope", ["layer", "channel", "neuron"])
def test_parameters_follow_the_gradient_of_a_plain_module(scope: str) -> None:
    """Gradients equal those of the same formula written with torch operators, parameters broadcast by hand."""
    act = Activation(FORMULA, b=1.5, c=0.5, scope=scope, dtype=torch.float64)
    x = torch.randn(SHAPE, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(SHAPE, dtype=torch.float64)
    got = torch.autograd.grad(act(x), [x, act.b, act.c], upstream)
    shape = {"layer": (1,), "channel": (1, 3, 1, 1), "neuron": (1, 3, 5, 2)}[scope]
    b, c = (torch.full(shape, v, dtype=torch.float64, requires_grad=True) for v in (1.5, 0.5))
    y = torch.maximum(x * torch.sigmoid(b * x), c * torch.atan(x))
    want = torch.autograd.grad(y, [x, b, c], upstream)
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w.reshape(g.shape))


def test_without_channels_the_first_call_gives_the_size() -> None:
    act = Activation("swish", scope="channel")
    assert isinstance(act.beta, UninitializedParameter)
    with pytest.raises(RuntimeError, match="no size yet"):
        act.values()
    act(torch.randn(2, 7))
    assert act.channels == 7
    assert act.beta.shape == (7,)
    with pytest.raises(ValueError, match=r"channels=7 does not fit the input of shape \(2, 6\), which has 6 along dim=1"):
        act(torch.randn(2, 6))


def test_a_lazy_module_loads_a_state_and_keeps_its_device_and_dtype() -> None:
    done = Activation("rational", scope="channel", channels=6, dtype=torch.float64)
    with torch.no_grad():
        for p in done.parameters():
            p.add_(torch.rand_like(p))
    lazy = Activation("rational", scope="channel").to(torch.float64)
    lazy.load_state_dict(done.state_dict())
    x = torch.randn(3, 6, dtype=torch.float64)
    torch.testing.assert_close(lazy(x), done(x), rtol=0, atol=0)
    half = nn.Sequential(nn.Linear(4, 6), Activation("swish", scope="channel", dim=-1)).to(torch.bfloat16)
    half(torch.randn(2, 4, dtype=torch.bfloat16))
    assert half[1].beta.dtype == torch.bfloat16


@pytest.mark.parametrize("lazy", [True, False])
def test_state_copy_and_pickle(lazy: bool) -> None:
    act = Activation("sau", scope="channel", channels=None if lazy else 3, trainable={"alpha": False})
    x = torch.randn(2, 3, 4)
    for clone in (copy.deepcopy(act), pickle.loads(pickle.dumps(act))):
        assert repr(clone) == repr(act)
        assert [p.requires_grad for p in clone.parameters()] == [False, False]
        assert all(a is not b for a, b in zip(clone.parameters(), act.parameters(), strict=True))
        torch.testing.assert_close(clone(x), copy.deepcopy(act)(x), rtol=0, atol=0)
    buffer = io.BytesIO()
    torch.save(act.state_dict(), buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    assert set(state) == {"alpha", "n"}
    twin = Activation("sau", scope="channel", channels=None if lazy else 3)
    twin.load_state_dict(state)
    assert twin.channels == act.channels
    assert torch.equal(twin(x), act(x))
    sized = Activation("sau", scope="channel", channels=3)
    with nullcontext() if not lazy else pytest.raises(RuntimeError, match=r"size mismatch for alpha.*torch\.Size\(\[0\]\)"):
        sized.load_state_dict(state)


def test_constraints_hold_whatever_the_optimizer_does() -> None:
    act = Activation("apalu")
    assert {k: round(v.item(), 6) for k, v in act.values().items()} == {"a": 0.666667, "b": 1.0}
    optimizer = torch.optim.SGD(act.parameters(), lr=0.1)
    for _ in range(10):  # downhill without end: the sum falls as a falls and b grows
        optimizer.zero_grad()
        act(torch.linspace(-2, 2, 50)).mean().backward()
        optimizer.step()
    values = act.values()
    assert 0 < values["a"].item() < 0.66
    assert 1.01 < values["b"].item() < torch.inf


def test_training_finds_the_shape() -> None:
    """The parameters learn: swish(3) is recovered from its values."""
    torch.manual_seed(0)
    act, goal = Activation("swish"), Activation("swish", beta=3.0)
    x = torch.randn(2000)
    optimizer = torch.optim.Adam(act.parameters(), lr=0.1)
    for _ in range(300):
        optimizer.zero_grad()
        (act(x) - goal(x).detach()).square().mean().backward()
        optimizer.step()
    assert act.values()["beta"].item() == pytest.approx(3.0, abs=1e-3)


def test_trainable_and_frozen() -> None:
    assert [p.requires_grad for p in Activation("sau").parameters()] == [True, False]
    assert [p.requires_grad for p in Activation("sau", trainable=True, n=2.0).parameters()] == [True, True]
    assert [p.requires_grad for p in Activation("sau", trainable=False).parameters()] == [False, False]
    frozen = Activation("swish", trainable=False)
    x = torch.randn(5, requires_grad=True)
    frozen(x).sum().backward()
    assert frozen.beta.grad is None
    assert x.grad is not None


def test_no_parameter_is_0d() -> None:
    for name in actune.list_families():
        assert all(p.ndim >= 1 for p in Activation(name).parameters()), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_output_has_the_dtype_of_x(dtype: torch.dtype) -> None:
    """Whatever the dtype of the parameters, under autocast too; half precision is computed in float32 and rounded once."""
    act = Activation("sau", scope="channel", channels=3)
    x = torch.randn(8, 3).to(dtype).requires_grad_()
    y = act(x)
    assert y.dtype == dtype
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert act(x).dtype == dtype
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    assert act.alpha.grad is not None
    assert act.alpha.grad.dtype == torch.float32
    if dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(y, act(x.float()).to(dtype))


def kept_bytes(function, x: torch.Tensor) -> int:
    """Bytes that autograd keeps for the backward of function(x), each storage once."""
    kept: dict[int, int] = {}

    def pack(t: torch.Tensor) -> torch.Tensor:
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = function(x)
    assert y.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize(("dtype", "bytes_each"), [(torch.float32, 4), (torch.bfloat16, 2)])
@pytest.mark.parametrize("name", ["zorro_tanh", "sau", "apalu", "mish", FORMULA])
def test_backward_keeps_x_and_the_parameters(name: str, dtype: torch.dtype, bytes_each: int) -> None:
    n = 10_000
    act = Activation(name, **({"b": 1.0, "c": 0.5} if name == FORMULA else {}))
    x = torch.randn(n).to(dtype).requires_grad_()
    assert kept_bytes(act, x) <= bytes_each * n + 256


def test_double_backward_and_functional_transforms() -> None:
    act = Activation(FORMULA, b=1.3, c=0.7, dtype=torch.float64)
    x = torch.randn(6, dtype=torch.float64)
    second = torch.func.vmap(torch.func.grad(torch.func.grad(act)))(x)
    want = torch.stack(
        [torch.autograd.functional.hessian(lambda t: torch.maximum(t * torch.sigmoid(1.3 * t), 0.7 * torch.atan(t)), v) for v in x]
    )
    torch.testing.assert_close(second, want)
    tangent = torch.func.jvp(act, (x,), (torch.ones_like(x),))[1]
    torch.testing.assert_close(tangent, torch.func.vmap(torch.func.grad(act))(x))


def test_a_constant_and_the_identity() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    y = Activation("x")(x)
    assert y is not x
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.ones(3, 4))
    assert torch.equal(Activation("2")(x), torch.full((3, 4), 2.0))


def test_empty_0d_and_non_contiguous_inputs() -> None:
    act = Activation("swish", scope="layer")
    assert act(torch.empty(0, 3)).shape == (0, 3)
    assert act(torch.tensor(1.0)).shape == ()
    x = torch.randn(4, 6).t()[::2]
    torch.testing.assert_close(act(x), x * torch.sigmoid(x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Activation("swsh"), "unknown activation function 'swsh'; did you mean 'swish'?"),
        (lambda: Activation("x*sigmoid(b*x)"), "no initial value for b; give one (b=1.0)"),
        (lambda: Activation("swish", beta1=1.0), "swish has no parameter 'beta1'; did you mean 'beta'?"),
        (lambda: Activation("x*c; b=1"), "has no parameter b"),
        (lambda: Activation("x*b; b=one"), "cannot read the initial value 'b=one' after ';'"),
        (lambda: Activation("apalu", a=-1.0), "initial value -1.0 is outside its constraint"),
        (
            lambda: Activation("swish", scope="chanel"),
            "scope must be one of layer, channel, neuron, got 'chanel'; did you mean 'channel'?",
        ),
        (lambda: Activation("swish", channels=3), "channels=3 has no meaning for scope 'layer'"),
        (lambda: Activation("swish", scope="channel", channels=0), "channels must be a positive number for scope 'channel', got 0"),
        (lambda: Activation("swish", trainable={"gamma": True}), "trainable names 'gamma', which swish does not have"),
        (
            lambda: Activation("swish", scope="channel", dim=3)(torch.randn(2, 2)),
            "dim=3 is not a dimension of the input of shape (2, 2)",
        ),
        (lambda: Activation("swish", scope="neuron")(torch.randn(2)), "needs an input with a batch dimension"),
        (lambda: Activation(3), "must be a name, a formula or a Family, got int"),
        (lambda: Activation(torch.nn.ReLU), "got the class ReLU; write 'relu'"),
        (lambda: Activation(torch.nn.Hardtanh()), "got Hardtanh; write 'hardtanh'"),
        (lambda: Activation(torch.tanh), "got tanh; write 'tanh'"),
        (lambda: actune.family("rleu"), "did you mean 'relu'?"),
    ],
)
def test_bad_input_gets_one_line(build, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared
        build()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_integers_are_refused() -> None:
    with pytest.raises(TypeError, match=r"needs a floating-point tensor, got torch.int64; convert it with .float\(\)"):
        Activation("relu")(torch.arange(3))


def test_fresh_is_the_same_function_with_parameters_of_its_own() -> None:
    act = Activation("sau", alpha=0.3, scope="channel", channels=4, trainable={"alpha": False}).eval()
    new = act.fresh(channels=6, dim=-1, dtype=torch.float64)
    assert (new.channels, new.dim, new.scope, new.training) == (6, -1, "channel", False)
    assert new.alpha.shape == (6,)
    assert new.alpha.dtype == torch.float64
    assert new.alpha[0].item() == pytest.approx(0.3)
    assert not new.alpha.requires_grad
    assert act.fresh(scope="layer").alpha.shape == (1,)


def test_initial_values_are_part_of_the_text() -> None:
    f = actune.resolve(FORMULA + "; b=1, c=0.5")
    assert f.text == FORMULA + "; b=1, c=0.5"
    assert actune.resolve(f.text).text == f.text
    assert Activation(f.text).values()["c"].item() == 0.5
    assert actune.resolve("sau; alpha=0.3").params["alpha"].init == 0.3
    assert actune.resolve(" silu ").name == "silu"


def test_activation_checkpointing() -> None:
    from torch.utils.checkpoint import checkpoint

    act = Activation("swish")
    x = torch.randn(7, requires_grad=True)
    checkpoint(act, x, use_reentrant=False).sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.autograd.grad(act(x).sum(), x)[0])


@pytest.mark.parametrize("scope", ["layer", "channel"])
def test_hessian_and_forward_over_reverse(scope: str) -> None:
    act = Activation("swish", scope=scope, **({"channels": 4, "dim": -1} if scope == "channel" else {}))
    x = torch.randn(3, 4)
    silu = torch.nn.functional.silu
    hessian = torch.func.hessian(lambda t: act(t).sum())(x)
    torch.testing.assert_close(hessian, torch.func.hessian(lambda t: silu(t).sum())(x))
    forward = torch.func.jvp(torch.func.jacrev(act), (x,), (x,))[1]
    torch.testing.assert_close(forward, torch.func.jvp(torch.func.jacrev(silu), (x,), (x,))[1])


def test_forward_mode_keeps_dtype_and_shape() -> None:
    """Also where the tangent has the shape of a parameter, and where nothing depends on it."""
    x = torch.randn(3, 4)
    half = x.bfloat16()
    assert torch.func.jvp(Activation("silu"), (half,), (half,))[1].dtype == torch.bfloat16
    assert torch.equal(torch.func.jvp(Activation("2"), (x,), (x,))[1], torch.zeros(3, 4))
    act = Activation("x + b", b=1.0, scope="channel", channels=4, dim=-1)
    direction = torch.arange(4.0)
    tangent = torch.func.jvp(lambda b: torch.func.functional_call(act, {"b": b}, (x,)), (act.b.detach(),), (direction,))[1]
    assert torch.equal(tangent, direction.expand(3, 4))
    many = torch.func.vmap(lambda b: torch.func.functional_call(act, {"b": b}, (x,)))(torch.randn(5, 4))
    assert many.shape == (5, 3, 4)


@pytest.mark.parametrize("stored", [-200.0, 200.0])
def test_a_positive_parameter_stays_positive_and_finite(stored: float) -> None:
    """Its logarithm may go anywhere; value and gradients stay finite numbers."""
    act = Activation("squareplus")
    with torch.no_grad():
        act.b.fill_(stored)
    assert 0 < act.values()["b"].item() < torch.inf
    x = torch.zeros(3, requires_grad=True)
    y = act(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert act.b.grad is not None
    assert act.b.grad.eq(0).all()  # the value no longer depends on it


def test_a_first_call_for_inference_does_not_hinder_training() -> None:
    act = Activation("swish", scope="channel")
    with torch.inference_mode():
        act(torch.randn(2, 3))
    act(torch.randn(2, 3)).sum().backward()
    assert act.beta.grad is not None


@pytest.mark.parametrize("scope", ["layer", "channel", "neuron"])
def test_a_module_that_is_made_in_inference_mode_can_be_trained(scope: str) -> None:
    with torch.inference_mode():
        act = Activation("swish", scope=scope)
    act.double()(torch.randn(2, 3)).sum().backward()
    assert act.beta.grad is not None
    act.load_state_dict(act.state_dict())
    act.reset_parameters()


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_a_frozen_module_with_parameters_of_inference_mode(device: str) -> None:
    with torch.inference_mode():
        act = copy.deepcopy(Activation("ml_tanh", device=device))
    assert act.beta2.is_inference()
    x = torch.linspace(-3, 3, 7, device=device)
    assert act(x).shape == x.shape
    if device == "cpu":
        assert torch.equal(act(x), x.tanh())
        with torch.inference_mode():
            act.beta2.fill_(1.5)
        assert not torch.allclose(act(x), x.tanh())


@pytest.mark.parametrize("name", ["training", "forward", "scope", "values"])
def test_a_parameter_with_the_name_of_an_attribute_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="has the name of an attribute of a module; rename it"):
        Activation(f"x*{name}; {name}=1")


def test_the_output_of_a_constant_can_be_changed_in_place() -> None:
    with torch.no_grad():
        assert torch.equal(Activation("2")(torch.zeros(3)).add_(1), torch.full((3,), 3.0))


def test_parameters_can_be_reset() -> None:
    act = Activation("apalu", scope="channel", channels=3, device="meta").to_empty(device="cpu")
    act.reset_parameters()
    torch.testing.assert_close(act.values()["a"], torch.full((3,), 2 / 3))


def test_spellings_of_torch_and_formulas_as_objects() -> None:
    assert Activation("ReLU").family is actune.family("relu")
    assert Activation(actune.parse("x*sigmoid(b*x)"), b=2.0).values()["b"].item() == 2.0
    smooth = Activation(actune.smooth("clip(x, -1, 1)", kernel="gaussian", width=0.3))
    assert smooth(torch.tensor([5.0])).item() == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("formula", ["x", "2", "x + b; b=1", "b*x; b=2", "b*1; b=2"])
def test_mapped_derivatives_where_something_does_not_depend_on_the_input(formula: str) -> None:
    act = Activation(formula)
    x = torch.randn(5, 3)
    got = torch.func.vmap(torch.func.jacrev(act))(x)
    assert got.shape == (5, 3, 3)
    h = 1e-3
    slope = (act(x + h) - act(x - h)).detach() / (2 * h)
    torch.testing.assert_close(got.detach(), torch.diag_embed(slope), atol=1e-3, rtol=1e-3)
    values = torch.func.vmap(lambda b: torch.func.functional_call(act, {"b": b} if act.family.params else {}, (x[0],)))(
        torch.randn(4, 1)
    )
    assert values.shape == (4, 3)


@pytest.mark.parametrize("scope", ["layer", "channel", "neuron"])
@pytest.mark.parametrize("name", [n for n in actune.list_families() if actune.family(n).params and not n.startswith("ml_")])
def test_stored_parameters_get_the_gradients_of_the_formula(name: str, scope: str) -> None:
    """Whichever of them are trained, and however the input lies in memory."""
    family = actune.family(name)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 5, 6, generator=draw, dtype=torch.float64)
    channels = {"layer": None, "channel": 4, "neuron": (4, 5, 6)}[scope]
    for trained in [*({n} for n in family.params), set(family.params)]:
        act = Activation(name, scope=scope, channels=channels, trainable={n: n in trained for n in family.params}, dtype=x.dtype)
        with torch.no_grad():
            for p in act.parameters():
                p += 0.1 * torch.rand(p.shape, generator=draw, dtype=p.dtype)
        own = [getattr(act, n) for n in trained]
        for laid in (x, x.to(memory_format=torch.channels_last), x.transpose(0, 3).contiguous().transpose(0, 3)):
            inputs = [laid.detach().requires_grad_(), *own]
            found = torch.autograd.grad(act(inputs[0]), inputs, x)
            wanted = torch.autograd.grad(operators.activate_in_torch(family.expr, inputs[0], act._symbols(inputs[0])), inputs, x)
            for a, b in zip(found, wanted, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-10)
