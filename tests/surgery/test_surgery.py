"""Surgery: what a swap replaces, what it keeps, what it refuses; and that restore undoes all of it."""

import copy
import random
import re
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import lr_scheduler as schedulers

from actune import Activation, resolve
from actune.surgery import is_activation, parameter_groups, restore, swap

LEARNING = "x*sigmoid(b*x); b=1.5"  # one parameter, so that scopes and optimizers have something to hold
FIXED = "max(x, 0)"


# --- Models --------------------------------------------------------------------------------------------------------------


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Dropout(0.5), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 3), nn.Softmax(-1))


def conv_net() -> nn.Module:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.ReLU6())
    return nn.Sequential(body, nn.GELU(), nn.Flatten(), nn.LazyLinear(6), nn.SiLU())


class Block(nn.Module):
    """A residual block of ResNet with its one ReLU, used `width` and then `out` channels wide."""

    def __init__(self, width: int = 4, out: int = 4):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(out, width, 3, padding=1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, out, 3, padding=1), nn.BatchNorm2d(out)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + x)


class Tagger(nn.Module):
    """A recurrent network with an activation module, two functional calls and a convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.conv, self.act, self.head = nn.LSTM(5, 6, batch_first=True), nn.Conv1d(6, 8, 1), nn.ELU(), nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        time = F.relu(self.lstm(x)[0]).transpose(1, 2)
        return self.head(self.act(self.conv(time)).transpose(1, 2).tanh_())


class GELUActivation(nn.Module):
    """An activation as transformers has them: no subclass of torch's, and it holds a function."""

    def __init__(self) -> None:
        super().__init__()
        self.act = F.gelu

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)


class MySwish(nn.Module):
    """An activation that no table knows."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x)


def kinds(model: nn.Module) -> list[str]:
    return [type(module).__name__ for module in model.modules()]


def told(kept: tuple[Any, ...]) -> list[tuple[str, str, str]]:
    """What is said of each place that keeps its function, but for where it stands in the source."""
    return [(k.name, k.function, k.reason) for k in kept]


def activations(model: nn.Module) -> dict[str, Activation]:
    return {name: module for name, module in model.named_modules() if isinstance(module, Activation)}


# --- What is an activation -----------------------------------------------------------------------------------------------


def test_every_elementwise_activation_of_torch_is_known():
    other = {"GLU", "MultiheadAttention", "Softmin", "Softmax", "Softmax2d", "LogSoftmax"}
    arguments = {"Threshold": (0.0, 0.0)}
    for name in set(nn.modules.activation.__all__) - other:
        assert is_activation(getattr(nn, name)(*arguments.get(name, ()))), name
    for name in other - {"MultiheadAttention"}:
        assert not is_activation(getattr(nn, name)()), name
    assert not is_activation(nn.MultiheadAttention(4, 2))
    assert not is_activation(nn.Identity())
    assert is_activation(Activation("x"))


def test_lookalikes_count_only_when_they_are_bare():
    assert is_activation(GELUActivation())
    assert not is_activation(MySwish())
    learning = GELUActivation()
    learning.scale = nn.Parameter(torch.ones(1))
    assert not is_activation(learning)


# --- Where ---------------------------------------------------------------------------------------------------------------


def test_default_replaces_activations_and_reports_the_rest():
    model = mlp()
    report = swap(model, LEARNING)
    assert report.model is model
    assert [(r.names, r.old, r.new, r.channels, r.dim) for r in report.replaced] == [
        (("1",), "ReLU", "x*sigmoid(b*x); b=1.5", None, -1),
        (("4",), "Tanh", "x*sigmoid(b*x); b=1.5", None, -1),
    ]
    assert told(report.skipped) == [("6", "Softmax", "not elementwise")]
    assert (report.gates, report.note) == ((), "")
    assert kinds(model) == ["Sequential", "Linear", "Activation", "Dropout", "Linear", "Activation", "Linear", "Softmax"]
    x = torch.randn(2, 5)
    hidden = model[0](x)
    torch.testing.assert_close(model[1](hidden), hidden * torch.sigmoid(1.5 * hidden))


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("4", ["4"]),
        ("[14]", ["1", "4"]),
        (["1", "nothing"], ["1"]),
        (nn.Tanh, ["4"]),
        ((nn.Tanh, nn.ReLU), ["1", "4"]),
        ([nn.ReLU], ["1"]),
        (nn.Softmax, ["6"]),
        (nn.Dropout, ["2"]),
        (lambda name, module: name > "3", ["4"]),
    ],
)
def test_where(where, expected):
    model = mlp()
    report = swap(model, FIXED, where=where)
    assert [name for r in report.replaced for name in r.names] == expected == list(activations(model))


def test_what_a_pattern_or_function_means_but_cannot_replace_is_reported():
    skipped = swap(mlp(), FIXED, where="*").skipped
    assert [(k.name, k.function) for k in skipped] == [
        ("0", "Linear"), ("2", "Dropout"), ("3", "Linear"), ("5", "Linear"), ("6", "Softmax"),
    ]  # fmt: skip
    model = mlp()
    report = swap(model, FIXED, where=lambda name, module: name in ("3", "4"))
    assert told(report.skipped) == [("3", "Linear", "not an activation; where=its class replaces it all the same")]
    assert isinstance(model[3], nn.Linear)


def test_a_function_may_choose_an_activation_that_no_table_knows():
    model = nn.Sequential(nn.Linear(2, 2), MySwish(), nn.ReLU())
    with pytest.raises(ValueError, match="matches no activation module"):
        swap(model, FIXED, where="1")
    assert [r.old for r in swap(model, FIXED, where=lambda name, module: isinstance(module, MySwish)).replaced] == ["MySwish"]
    norm = MySwish()
    norm.weight = nn.Parameter(torch.ones(1))  # too much for a function that may have meant a whole block
    model = nn.Sequential(norm, nn.ReLU())
    assert [k.name for k in swap(model, FIXED, where=lambda name, module: name != "").skipped] == ["0"]
    assert [r.old for r in swap(model, FIXED, where=MySwish).replaced] == ["MySwish"]


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("layr*", "where='layr*' matches no activation module; the model has 1 (ReLU), 4 (Tanh)"),
        ("0", "where='0' matches no activation module; the model has 1 (ReLU), 4 (Tanh)"),
        (nn.GELU, f"where={nn.GELU!r} matches no activation module; the model has 1 (ReLU), 4 (Tanh)"),
    ],
)
def test_where_that_matches_nothing(where, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        swap(mlp(), FIXED, where=where)


def test_a_model_without_activation_modules():
    with pytest.raises(ValueError, match=r"^the model has no activation function that can be replaced$"):
        swap(nn.Linear(2, 2), FIXED)


def test_a_long_list_of_activations_is_cut():
    with pytest.raises(ValueError, match=r"5 \(ReLU\) and 4 more$"):
        swap(nn.Sequential(*(nn.ReLU() for _ in range(10))), FIXED, where="x")


@pytest.mark.parametrize("where", [3, [], [nn.ReLU, "1"], {"1"}, nn.ReLU()])
def test_where_of_another_kind(where):
    with pytest.raises(TypeError, match=r"where=.* must be a name pattern"):
        swap(mlp(), FIXED, where=where)


def test_a_module_and_one_inside_it_cannot_both_be_replaced():
    model = nn.Sequential(nn.Sequential(nn.ReLU()), nn.ReLU())
    with pytest.raises(ValueError, match=r"matches '\(root\)' and '0' inside it"):
        swap(model, FIXED, where=(nn.Sequential, nn.ReLU))
    assert "Activation" not in kinds(model)


# --- Act -----------------------------------------------------------------------------------------------------------------


def test_an_activation_is_copied_with_its_settings():
    act = Activation(LEARNING, scope="channel", b=0.25, trainable=False)
    model = mlp()
    swap(model, act)
    first, second = activations(model).values()
    assert act not in (first, second)
    assert (first.channels, second.channels) == (7, 6)
    for new in (first, second):
        torch.testing.assert_close(new.values()["b"], torch.full((new.channels,), 0.25))
        assert not new.b.requires_grad


def test_family_scope_and_modules():
    assert [a.scope for a in activations(swap(mlp(), resolve(LEARNING), scope="channel").model).values()] == ["channel"] * 2
    model = swap(mlp(), nn.GELU).model
    assert isinstance(model[1], nn.GELU)
    assert model[1] is not model[4]
    leaky = nn.LeakyReLU(0.3)
    model = swap(mlp(), leaky).model
    assert model[1].negative_slope == model[4].negative_slope == 0.3
    assert len({leaky, model[1], model[4]}) == 3
    assert isinstance(swap(mlp(), lambda: nn.PReLU(7), where="1").model[1], nn.PReLU)


@pytest.mark.parametrize(
    ("act", "scope", "error", "message"),
    [
        (3, None, TypeError, "act=3 is not a name"),
        ("swsh", None, ValueError, "unknown activation function 'swsh'"),
        (LEARNING, "chanel", ValueError, "scope must be one of"),
        (nn.GELU, "channel", ValueError, "scope='channel' is for formulas"),
        (lambda: "relu", None, TypeError, "made 'relu', not a module"),
    ],
)
def test_act_of_another_kind(act, scope, error, message):
    model = mlp()
    with pytest.raises(error, match=message):
        swap(model, act, scope=scope)
    assert kinds(model) == kinds(mlp())


def test_a_factory_must_make_new_modules():
    one = nn.GELU()
    with pytest.raises(ValueError, match="already in use"):
        swap(mlp(), lambda: one)
    model = mlp()
    with pytest.raises(ValueError, match="already in use"):
        swap(model, lambda: model[4], where="1")


# --- Dimension and channels ----------------------------------------------------------------------------------------------


def test_channels_without_an_example():
    model = conv_net()
    report = swap(model, LEARNING, scope="channel")
    fits = {r.names[0]: (r.channels, r.dim) for r in report.replaced}
    assert fits == {"0.2": (4, 1), "0.4": (4, 1), "1": (4, 1), "4": (6, -1)}
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 6)


@pytest.mark.parametrize("training", [True, False])
def test_channels_with_an_example(training):
    model = Tagger().train(training)
    report = swap(model, LEARNING, scope="channel", example=torch.randn(2, 9, 5))
    assert [(r.names, r.channels, r.dim) for r in report.replaced] == [
        (("act",), 8, 1), (("act_1",), 6, -1), (("act_2",), 8, -1),
    ]  # fmt: skip
    assert model(torch.randn(3, 4, 5)).shape == (3, 4, 2)


def test_channels_last_and_layers_between():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear, self.gate = nn.Conv2d(3, 6, 1), nn.Linear(6, 8), nn.Linear(8, 6)
            self.last, self.gated = nn.GELU(), nn.GELU()

        def forward(self, x: Tensor) -> Tensor:
            first = self.conv(x)
            y = self.last(self.linear(first.permute(0, 2, 3, 1)) + 1.0)
            # The latest layer is the gate, 6 wide as the picture is; the channels are those of the convolution.
            return self.gated(first * self.gate(y.mean((1, 2)))[..., None, None])

    report = swap(Net(), LEARNING, scope="channel", example=torch.randn(2, 3, 6, 6))
    assert [(r.names, r.channels, r.dim) for r in report.replaced] == [(("last",), 8, -1), (("gated",), 6, 1)]


def test_the_layer_that_made_the_input_comes_before_the_latest():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear, self.act = nn.Conv2d(3, 6, 1), nn.Linear(6, 6), nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            first, second = self.conv(x), self.linear(x[:, :1].expand(-1, 6, -1, -1))
            return self.act(first) + second

    assert [r.dim for r in swap(Net(), LEARNING, scope="channel", example=torch.randn(2, 3, 6, 6)).replaced] == [1]


def test_an_activation_inside_a_normalization():
    norm = nn.BatchNorm2d(5)
    norm.act = nn.ReLU()
    assert [(r.channels, r.dim) for r in swap(nn.Sequential(norm), LEARNING, scope="channel").replaced] == [(5, 1)]


@pytest.mark.parametrize("example", [{"x": torch.randn(2, 5)}, (torch.randn(2, 5),), torch.randn(2, 5)])
def test_forms_of_an_example(example):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp()

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    assert [r.channels for r in swap(Net(), LEARNING, scope="channel", example=example).replaced] == [7, 6]


def test_the_scope_neuron():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    (replacement,) = swap(model, LEARNING, scope="neuron", example=torch.randn(2, 3, 8, 8)).replaced
    assert replacement.channels == (4, 6, 6)
    assert model(torch.randn(5, 3, 8, 8)).shape == (5, 4, 6, 6)


def test_a_dimension_that_cannot_be_told_is_an_error():
    model = nn.Sequential(nn.Linear(4, 4), nn.Unflatten(1, (2, 2)), nn.ReLU())
    with pytest.raises(ValueError, match="cannot tell which dimension holds the channels at '2'"):
        swap(model, LEARNING, scope="channel")
    assert "Activation" not in kinds(model)
    assert swap(model, LEARNING).replaced[0].dim is None  # of no importance to one parameter for all
    assert swap(model, LEARNING, scope="channel", example=torch.randn(3, 4)).replaced[0].channels == 2


def test_a_block_that_uses_one_activation_twice():
    block = Block()
    x = torch.randn(2, 4, 5, 5)
    assert [(r.names, r.channels, r.dim) for r in swap(block, LEARNING, scope="channel").replaced] == [
        (("relu",), None, 1), (("relu_1",), None, 1),
    ]  # fmt: skip
    assert block(x).shape == x.shape
    assert [(r.channels, r.dim) for r in swap(Block(width=6), LEARNING, scope="channel", example=x).replaced] == [(6, 1), (4, 1)]
    block = Block()
    assert [(r.channels, r.dim) for r in swap(block, LEARNING, scope="channel", shared=True).replaced] == [(None, 1)]
    assert block(x).shape == x.shape
    assert [(r.channels, r.dim) for r in swap(Block(), LEARNING, scope="channel", example=x, shared=True).replaced] == [(4, 1)]


def test_different_widths_at_one_module():
    block = Block(width=6)
    x = torch.randn(2, 4, 5, 5)
    report = swap(block, LEARNING, scope="channel", example=x, shared=True)
    reason = "called with 6, 4 channels, which one set of channel parameters cannot serve"
    assert report.replaced == ()
    assert told(report.skipped) == [("relu", "ReLU", reason)]
    assert isinstance(block.relu, nn.ReLU)
    assert reason in str(report)
    assert swap(block, FIXED, scope="channel", example=x, shared=True).replaced  # no parameters, no conflict
    assert swap(Block(width=6), LEARNING, example=x, shared=True).replaced
    shared = nn.ReLU()
    model = nn.Sequential(nn.Linear(2, 3), shared, nn.Linear(3, 4), shared)
    refused = swap(model, LEARNING, scope="channel", shared=True).skipped
    assert told(refused) == [("1", "ReLU", reason.replace("6, 4", "3, 4"))]
    (kept,) = swap(model, LEARNING, scope="neuron", example=torch.randn(1, 2), shared=True).skipped
    assert kept.reason == "called with (3,), (4,) neurons, which one set of neuron parameters cannot serve"


def test_a_width_known_at_one_of_two_places_is_left_to_the_first_call():
    shared = nn.ReLU()
    model = nn.Sequential(nn.Linear(2, 3), shared, nn.Unflatten(1, (3, 1)), nn.Flatten(), shared)
    assert [(r.channels, r.dim) for r in swap(model, LEARNING, scope="channel", shared=True).replaced] == [(None, -1)]


def test_different_dimensions_at_one_module():
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.linear, self.act = nn.Conv2d(3, 4, 1), nn.Linear(4, 4), nn.ReLU()
            self.wide = nn.Linear(5, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = self.act(self.conv(x))
            return self.act(self.linear(x.mean((2, 3)))) if x.shape[-1] != 5 else self.act(self.wide(x))

    # In two dimensions the last is also dimension 1, in four it is not.
    (fits,) = swap(Net(), LEARNING, scope="channel", example=torch.randn(2, 3, 4, 4), shared=True).replaced
    assert (fits.channels, fits.dim) == (4, 1)
    (kept,) = swap(Net(), LEARNING, scope="channel", example=torch.randn(2, 3, 4, 5), shared=True).skipped
    assert kept.reason == "called with channels in dimensions 1, -1, which one module cannot serve"


# --- The run on the example leaves no trace ------------------------------------------------------------------------------


class Restless(nn.Module):
    """A module that changes everything that a forward pass may change."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop, self.act, self.calls = nn.BatchNorm1d(4), nn.Dropout(0.5), nn.RReLU(inplace=True), 0
        self.register_buffer("cache", None)
        self.register_buffer("seen", torch.zeros(1).expand(3))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.cache = torch.ones(1)
        self.train(not self.training)
        torch.rand(())
        random.random()
        np.random.rand()
        return self.drop(self.norm(self.act(x)))


def test_the_example_leaves_no_trace():
    model, x = Restless().train(), torch.randn(8, 4)
    heard: list[nn.Module] = []
    model.act.register_forward_hook(lambda module, args, output: heard.append(module))
    before, given = copy.deepcopy(model.state_dict()), x.clone()
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    swap(model, LEARNING, example=x)
    assert heard  # the model did run
    after = model.state_dict()
    assert set(after) - {"act.b"} == set(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert torch.equal(x, given)
    assert torch.equal(torch.get_rng_state(), generators[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == generators[1:]
    assert (model.calls, model.cache) == (0, None)
    assert all(module.training for module in model.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in (model, model.norm, model.drop))
    assert len(model.act._forward_hooks) == 1
    assert not torch.is_inference_mode_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


def test_an_example_that_fails_leaves_the_model_alone():
    model = mlp().train()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        swap(model, LEARNING, example=torch.randn(2, 4))
    assert kinds(model) == kinds(mlp())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_lazy_model_must_run_before_an_example_does():
    with pytest.raises(ValueError, match=r"example: '3\.weight' of the model has no shape yet; run the model once"):
        swap(conv_net(), LEARNING, example=torch.randn(2, 3, 8, 8))


# --- Functional calls ----------------------------------------------------------------------------------------------------


def test_what_runs_inside_one_fused_call_is_reported():
    report = swap(Tagger(), LEARNING, example=torch.randn(2, 9, 5))
    assert told(report.skipped) == [
        ("lstm", "LSTM", "its activations run inside one fused call; act={'gate': …, 'cell': …} replaces the layer")
    ]
    model = nn.Sequential(nn.Linear(2, 2), GELUActivation())  # its own call of F.gelu is no further place
    assert [r.names for r in swap(model, LEARNING, example=torch.randn(1, 2)).replaced] == [("1",)]


FUNCTIONAL = [
    F.relu, F.relu_, F.relu6, F.elu, F.elu_, F.selu, F.celu, F.leaky_relu, F.gelu, F.silu, F.mish, F.softplus, F.softsign,
    F.softshrink, F.hardshrink, F.tanhshrink, F.hardtanh, F.hardswish, F.hardsigmoid, F.logsigmoid, F.sigmoid, F.tanh, F.rrelu,
    lambda x: F.threshold(x, 0.0, 0.0), lambda x: F.prelu(x, torch.ones(1)),
    torch.relu, torch.sigmoid, torch.tanh, torch.selu, torch.relu_, torch.special.expit,
    Tensor.relu, Tensor.sigmoid, Tensor.tanh, Tensor.tanh_,
]  # fmt: skip


@pytest.mark.parametrize("function", FUNCTIONAL, ids=lambda f: getattr(f, "__name__", ""))
def test_each_functional_activation_is_one_place(function):
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu, self.out = nn.ReLU(), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(function(F.softmax(self.relu(x).exp(), -1) + 1.0))

    model = Net()
    assert [r.names for r in swap(model, "0*x", example=torch.randn(2, 3)).replaced] == [("relu",), ("act",)]
    assert torch.equal(model(torch.randn(2, 3)), model.out.bias.expand(2, 3))


def test_a_transformer_layer_with_a_function():
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), nn.ReLU()).eval()
    x = torch.randn(2, 5, 8)
    before = model(x)
    report = swap(model, "0*x", example=x)
    assert [(r.names, r.old) for r in report.replaced] == [(("1",), "ReLU"), (("0.activation",), "relu")]
    assert isinstance(model[0].activation, Activation)
    layer = model[0]
    with torch.no_grad():
        attended = layer.norm1(x + layer.self_attn(x, x, x)[0])
        torch.testing.assert_close(layer(x), layer.norm2(attended + layer.linear2.bias))
    restore(model, report)
    assert torch.equal(model(x), before)
    assert layer.activation is F.relu


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")  # the old model's own
def test_a_fused_transformer_uses_the_new_activation():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation=nn.GELU())
    model = nn.TransformerEncoder(layer, 2).eval()
    x, padding = torch.randn(2, 5, 8), torch.tensor([[False] * 5, [False] * 3 + [True] * 2])

    def outputs() -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            fused = model(x, src_key_padding_mask=padding)
        return fused[0], model(x, src_key_padding_mask=padding)[0].detach()

    before = outputs()
    report = swap(model, "0*x", example=(x,))
    assert [(r.names, r.dim) for r in report.replaced] == [(("layers.0.activation",), -1), (("layers.1.activation",), -1)]
    fused, plain = outputs()
    torch.testing.assert_close(fused, plain)
    assert not torch.allclose(fused, before[0], atol=1e-2)
    restore(model, report)
    assert model.use_nested_tensor
    assert [layer.activation_relu_or_gelu for layer in model.layers] == [2, 2]
    for new, old in zip(outputs(), before, strict=True):
        assert torch.equal(new, old)


# --- What a swap keeps ---------------------------------------------------------------------------------------------------


def test_one_module_under_several_names_stays_one():
    shared = nn.ReLU()
    block = nn.Sequential(nn.Linear(2, 2), shared)
    model = nn.ModuleDict({"a": block, "b": block, "c": nn.Sequential(nn.Linear(2, 2), shared), "d": nn.ReLU()})
    report = swap(model, LEARNING)
    assert [r.names for r in report.replaced] == [("a.1", "b.1"), ("c.1",), ("d",)]
    assert model["a"][1] is model["b"][1] is not model["c"][1]
    restore(model, report)
    report = swap(model, LEARNING, shared=True)
    assert [r.names for r in report.replaced] == [("a.1", "b.1", "c.1"), ("d",)]
    assert model["a"][1] is model["b"][1] is model["c"][1] is not model["d"]
    assert "a.1 = b.1 = c.1: ReLU -> " in str(report)
    restore(model, report)
    assert model["a"][1] is model["c"][1] is shared


def test_a_pattern_takes_only_the_names_it_matches():
    shared = nn.ReLU()
    model = nn.ModuleDict({"a": nn.Sequential(shared), "b": nn.Sequential(shared)})
    assert [r.names for r in swap(model, LEARNING, where="b.*").replaced] == [("b.0",)]
    assert model["a"][0] is shared
    assert isinstance(model["b"][0], Activation)


def test_the_root():
    root = nn.PReLU(3).eval()
    report = swap(root, LEARNING, scope="channel", example=torch.randn(4, 3))
    assert isinstance(report.model, Activation)
    assert not report.model.training
    assert report.replaced[0].names == ("",)
    assert "(root): PReLU -> " in str(report)
    with pytest.raises(ValueError, match=r"is not the one of this report; pass report\.model"):
        restore(root, report)
    assert restore(report.model, report) is root


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("act", [LEARNING, nn.PReLU])
def test_dtype(dtype, act):
    model = mlp().to(dtype)
    swap(model, act)
    assert {p.dtype for p in model.parameters()} == {dtype}
    if dtype is not torch.float16:
        assert model(torch.randn(2, 5, dtype=dtype)).dtype is dtype


def test_dtype_is_that_of_the_neighbours():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2).bfloat16(), nn.ReLU())
    swap(model, LEARNING)
    assert (model[1].b.dtype, model[3].b.dtype) == (torch.float32, torch.bfloat16)


def test_a_storage_dtype_is_not_that_of_an_activation():
    linear = nn.Linear(2, 2)
    linear.weight = nn.Parameter(linear.weight.to(torch.float8_e4m3fn), requires_grad=False)
    linear.bias.data = linear.bias.data.bfloat16()
    assert swap(nn.Sequential(linear, nn.ReLU()), LEARNING).model[1].b.dtype is torch.bfloat16


def test_device():
    with torch.device("meta"):
        model = mlp()
    swap(model, LEARNING, scope="channel")
    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_mode_and_frozen_parameters():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.PReLU(), nn.PReLU().requires_grad_(False))
    model[1].eval()
    report = swap(model, LEARNING)
    assert [module.training for module in model] == [True, False, True, True]
    assert [activation.b.requires_grad for activation in activations(model).values()] == [True, True, False]
    model.eval()
    restore(model, report)
    assert not any(module.training for module in model.modules())


def test_hooks_move_with_their_handles():
    model, calls = mlp(), []
    old = model[1]
    handles = [
        old.register_forward_pre_hook(lambda module, args: calls.append(("pre", module))),
        old.register_forward_hook(lambda module, args, kwargs, output: calls.append(("post", module)), with_kwargs=True),
        old.register_full_backward_pre_hook(lambda module, grad: calls.append(("back pre", module))),
        old.register_full_backward_hook(lambda module, grad_in, grad_out: calls.append(("back", module))),
    ]
    order = ["pre", "post", "back pre", "back"]

    def heard() -> list[tuple[str, nn.Module]]:
        calls.clear()
        model(torch.randn(2, 5)).sum().backward()
        return calls

    report = swap(model, LEARNING)
    assert heard() == [(kind, model[1]) for kind in order]
    handles.pop(0).remove()
    later = model[4].register_full_backward_hook(lambda module, grad_in, grad_out: calls.append(("late", module)))
    assert [kind for kind, _ in heard()] == ["post", "late", "back pre", "back"]
    restore(model, report)
    assert model[1] is old
    assert heard() == [("post", old), ("late", model[4]), ("back pre", old), ("back", old)]
    for handle in [*handles, later]:
        handle.remove()
    assert heard() == []


def test_hooks_on_both_sides_are_refused():
    hooked = nn.GELU()
    hooked.register_forward_hook(lambda module, args, output: None)
    model = mlp()
    assert swap(model, hooked, where="4").model[4]._forward_hooks
    model[1].register_forward_hook(lambda module, args, output: None)
    with pytest.raises(ValueError, match="'1' and the new GELU both have hooks"):
        swap(model, hooked, where="1")
    assert isinstance(model[1], nn.ReLU)


def test_a_swapped_model_can_be_copied_saved_and_swapped_again():
    model = mlp()
    report = swap(model, LEARNING, scope="channel")
    twin = copy.deepcopy(model)
    twin.load_state_dict(model.state_dict())
    x = torch.randn(2, 5)
    assert torch.equal(twin.eval()(x), model.eval()(x))
    again = swap(model, FIXED)
    assert [r.old for r in again.replaced] == ["Activation"] * 2
    with pytest.raises(ValueError, match="report is out of date"):
        restore(model, report)
    restore(restore(model, again), report)
    assert kinds(model) == kinds(mlp())
    with pytest.raises(ValueError, match="report is out of date"):
        restore(model, report)


def test_restore_gives_the_very_modules_back():
    model = conv_net()
    before = list(model.modules())
    names = list(dict(model.named_modules()))
    report = swap(model, LEARNING)
    assert list(dict(model.named_modules())) == names
    assert restore(model, report) is model
    assert all(old is new for old, new in zip(model.modules(), before, strict=True))
    with pytest.raises(ValueError, match="is not the one of this report"):
        restore(mlp(), report)


# --- Optimizers ----------------------------------------------------------------------------------------------------------


def trained(named: bool = False) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A model with PReLU and Adam in two groups, after a step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.PReLU(7), nn.Linear(7, 3), nn.PReLU())
    parts = [list((m.named_parameters if named else m.parameters)())[::-1] for m in (model[:2], model[2:])]
    groups = [{"params": parts[0], "lr": 0.1, "weight_decay": 0.01}, {"params": parts[1], "lr": 0.2, "weight_decay": 0.02}]
    optimizer = torch.optim.AdamW(groups, betas=(0.8, 0.9))
    step(model, optimizer)
    return model, optimizer


def step(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    model(torch.linspace(-2, 2, 20).reshape(4, 5)).square().sum().backward()
    optimizer.step()


def test_an_optimizer_follows():
    model, optimizer = trained()
    old = [model[1].weight, model[3].weight]
    swap(model, LEARNING, scope="channel", optimizer=optimizer)
    new = [model[1].b, model[3].b]
    groups = [{key: group[key] for key in ("lr", "weight_decay", "betas")} for group in optimizer.param_groups]
    assert groups[2:] == [{**groups[0], "weight_decay": 0.0}, {**groups[1], "weight_decay": 0.0}]
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in model.parameters()}
    assert [id(p) for group in optimizer.param_groups[2:] for p in group["params"]] == [id(p) for p in new]
    assert not any(p in optimizer.state for p in old)
    before = [p.detach().clone() for p in new]
    step(model, optimizer)
    assert not any(torch.equal(p, value) for p, value in zip(new, before, strict=True))


@pytest.mark.parametrize("named", [False, True])
def test_restore_gives_an_optimizer_its_state_back(named):
    model, optimizer = trained(named)
    twin, untouched = trained(named)
    restore(model, swap(model, LEARNING, optimizer=optimizer))
    after, before = optimizer.state_dict(), untouched.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert str(sorted(after["state"].items(), key=str)) == str(sorted(before["state"].items(), key=str))
    if named:
        assert [group["param_names"] for group in optimizer.param_groups] == [
            ["1.weight", "0.bias", "0.weight"], ["3.weight", "2.bias", "2.weight"],
        ]  # fmt: skip
    step(model, optimizer)
    step(twin, untouched)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), twin.parameters(), strict=True))


def test_restore_after_training_and_loading():
    model, optimizer = trained()
    state = copy.deepcopy(optimizer.state[model[1].weight])
    weight = model[1].weight
    report = swap(model, LEARNING, optimizer=optimizer)
    step(model, optimizer)
    optimizer.load_state_dict(optimizer.state_dict())  # makes new group dictionaries
    restore(model, report)
    assert [len(group["params"]) for group in optimizer.param_groups] == [3, 3]
    assert optimizer.param_groups[0]["params"][0] is weight
    assert str(optimizer.state[weight]) == str(state)
    assert len(optimizer.state) == 6
    step(model, optimizer)


def test_names_of_new_parameters():
    model, optimizer = trained(named=True)
    swap(model, LEARNING, optimizer=optimizer)
    assert [group["param_names"] for group in optimizer.param_groups[2:]] == [["1.b"], ["3.b"]]


def test_a_parameter_that_lives_on_stays_in_the_optimizer():
    model = nn.Sequential(nn.Linear(2, 2), nn.PReLU(), nn.PReLU())
    model[2].weight = model[1].weight
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    report = swap(model, FIXED, where="1", optimizer=optimizer)
    assert len(optimizer.param_groups) == 1  # nothing new to hold
    assert any(p is model[2].weight for p in optimizer.param_groups[0]["params"])
    restore(model, report)
    assert len(optimizer.param_groups[0]["params"]) == 3


class ThreeGroups(torch.optim.SGD):
    """An optimizer that refuses a fourth group, so that the second of two new ones fails."""

    def add_param_group(self, param_group):
        if len(self.param_groups) == 3:
            raise RuntimeError("three groups are enough")
        super().add_param_group(param_group)


def scheduled(model: nn.Module) -> torch.optim.Optimizer:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    return optimizer


REFUSALS = [
    (lambda model: torch.optim.SGD(mlp().parameters(), lr=0.1), "holds none of the model's parameters"),
    (lambda model: torch.optim.LBFGS(model.parameters()), "LBFGS allows one parameter group only"),
    (scheduled, "has a learning-rate scheduler"),
    (lambda model: ThreeGroups([{"params": part.parameters()} for part in (model[:2], model[2:])], lr=0.1), "three groups"),
]


@pytest.mark.parametrize(("make", "message"), REFUSALS)
def test_an_optimizer_that_cannot_follow(make, message):
    model = mlp()
    optimizer = make(model)
    groups = [list(group["params"]) for group in optimizer.param_groups]
    with pytest.raises((ValueError, RuntimeError), match=message):
        swap(model, LEARNING, optimizer=optimizer)
    assert kinds(model) == kinds(mlp())
    assert all(len(a["params"]) == len(b) for a, b in zip(optimizer.param_groups, groups, strict=True))


SCHEDULERS = {
    "LambdaLR": lambda optimizer: schedulers.LambdaLR(optimizer, lambda epoch: 0.9**epoch),
    "MultiplicativeLR": lambda optimizer: schedulers.MultiplicativeLR(optimizer, lambda epoch: 0.9),
    "StepLR": lambda optimizer: schedulers.StepLR(optimizer, 2),
    "MultiStepLR": lambda optimizer: schedulers.MultiStepLR(optimizer, [1, 3]),
    "ConstantLR": lambda optimizer: schedulers.ConstantLR(optimizer, total_iters=3),
    "LinearLR": lambda optimizer: schedulers.LinearLR(optimizer, total_iters=3),
    "ExponentialLR": lambda optimizer: schedulers.ExponentialLR(optimizer, 0.9),
    "SequentialLR": lambda optimizer: schedulers.SequentialLR(
        optimizer, [schedulers.ConstantLR(optimizer), schedulers.LambdaLR(optimizer, lambda epoch: 0.9**epoch)], [3]
    ),
    "CosineAnnealingLR": lambda optimizer: schedulers.CosineAnnealingLR(optimizer, 3),
    "ChainedScheduler": lambda optimizer: schedulers.ChainedScheduler(
        [schedulers.LambdaLR(optimizer, lambda epoch: 0.9**epoch), schedulers.ConstantLR(optimizer)]
    ),
    "ReduceLROnPlateau": lambda optimizer: schedulers.ReduceLROnPlateau(optimizer, patience=0),
    "CyclicLR": lambda optimizer: schedulers.CyclicLR(optimizer, 0.01, 0.1, step_size_up=2),
    "CosineAnnealingWarmRestarts": lambda optimizer: schedulers.CosineAnnealingWarmRestarts(optimizer, 3),
    "OneCycleLR": lambda optimizer: schedulers.OneCycleLR(optimizer, 0.1, total_steps=9),
    "PolynomialLR": lambda optimizer: schedulers.PolynomialLR(optimizer, 6),
    "SWALR": lambda optimizer: torch.optim.swa_utils.SWALR(optimizer, 0.05),
}


def rates(model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: Any, epochs: int) -> list[float]:
    """The learning rate of the first group after each of these epochs, in none of which the loss falls."""
    found = []
    for _ in range(epochs):
        step(model, optimizer)
        scheduler.step(*[1.0] * isinstance(scheduler, schedulers.ReduceLROnPlateau))
        found.append(optimizer.param_groups[0]["lr"])
    return found


def test_every_scheduler_of_torch_is_tried():
    assert set(schedulers.__all__) - {"LRScheduler"} == set(SCHEDULERS) - {"SWALR"}


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_that_was_made_after_the_swap_goes_on_after_restore(name):
    found = []
    for swapped in (True, False):
        model, _ = trained()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        report = swap(model, LEARNING, optimizer=optimizer) if swapped else None
        scheduler = SCHEDULERS[name](optimizer)
        first = rates(model, optimizer, scheduler, 2)
        if report is not None:
            restore(model, report)
            assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {id(p) for p in model.parameters()}
        found.append(first + rates(model, optimizer, scheduler, 4))
    assert found[0] == found[1]


@pytest.mark.parametrize("name", [name for name in SCHEDULERS if name != "ReduceLROnPlateau"])
def test_a_scheduler_that_was_made_before_the_swap_is_refused(name):
    model, _ = trained()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    SCHEDULERS[name](optimizer)
    with pytest.raises(ValueError, match="has a learning-rate scheduler, which allows no new groups; make it after the swap"):
        swap(model, LEARNING, optimizer=optimizer)


def test_what_reduces_on_a_plateau_may_be_made_before_the_swap_and_says_what_a_list_needs():
    """ReduceLROnPlateau leaves no trace in the optimizer; with one minimum per group torch itself says what to do."""
    for least, expected in ((0.0, nullcontext()), ([0.001], pytest.raises(RuntimeError, match="modify the `min_lrs` field"))):
        model, _ = trained()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = schedulers.ReduceLROnPlateau(optimizer, patience=0, min_lr=least)
        report = swap(model, LEARNING, optimizer=optimizer)
        with expected:
            rates(model, optimizer, scheduler, 2)
        restore(model, report)
        assert rates(model, optimizer, scheduler, 1)


def test_an_optimizer_needs_sizes():
    block = Block()
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="cannot hold the parameters of 'relu', whose size is unknown; pass example="):
        swap(block, LEARNING, scope="channel", optimizer=optimizer)
    swap(block, LEARNING, scope="channel", optimizer=optimizer, example=torch.randn(1, 4, 3, 3))
    assert list(map(id, optimizer.param_groups[1]["params"])) == [id(block.relu.b), id(block.relu_1.b)]


def test_parameter_groups():
    model = swap(mlp(), LEARNING, where="1").model
    model.append(nn.PReLU())
    model.append(model[1])  # shared: still once
    decayed, free = parameter_groups(model, weight_decay=0.1)
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert [id(p) for p in free["params"]] == [id(model[1].b), id(model[7].weight)]
    assert len(decayed["params"]) == 6
    torch.optim.SGD([decayed, free], lr=0.1)
    assert [group["weight_decay"] for group in parameter_groups(nn.Linear(2, 2), 0.1)] == [0.1]
    assert [group.get("lr") for group in parameter_groups(model, 0.1, learning_rate=0.5)] == [None, 0.5]
    with pytest.raises(ValueError, match="the parameter 'b' has no size yet"):
        parameter_groups(Activation(LEARNING, scope="channel"), 0.1)


# --- The report ----------------------------------------------------------------------------------------------------------


def test_the_report_reads():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.LSTM(3, 3), nn.LSTM(3, 3))
    assert str(swap(model, LEARNING, scope="channel")) == (
        "replaced 1 activation function\n"
        "  1: ReLU -> x*sigmoid(b*x); b=1.5 channels=3 dim=-1\n"
        "skipped 2 places\n"
        "  2 and 1 more: LSTM: its activations run inside one fused call; act={'gate': …, 'cell': …} replaces the layer"
    )
    text = str(swap(Block(), LEARNING, example=torch.randn(2, 4, 5, 5)))
    assert re.search(
        r"relu_1: ReLU -> x\*sigmoid\(b\*x\); b=1\.5  dim=1  \[Block\.forward, test_surgery\.py:\d+\]".replace("  dim", " dim"),
        text,
    )
