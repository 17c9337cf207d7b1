"""Calls of activation functions in methods: each is found, rewritten and put back, whatever stands around it."""

import copy
import functools
import importlib.util
import pickle
import sys
import types
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.utils.checkpoint import checkpoint

from actune import Activation
from actune.surgery import plan, restore, swap

LEARNING = "x*sigmoid(b*x); b=1.5"


class Wide(nn.Module):
    """Two linear layers, which the models below share."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 4)


def swish_by_hand(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def gelu_by_hand(x: Tensor) -> Tensor:
    """A GELU as it was written before torch had one."""
    inner = 0.79788456 * (x + 0.044715 * torch.pow(x, 3.0))
    return 0.5 * x * (1.0 + torch.tanh(inner))


def relu_and_more(x: Tensor) -> Tensor:
    return F.relu(x).flatten(1)


def twice(x: Tensor, function: Any) -> Tensor:
    return function(function(x))


def loud(function: Any) -> Any:
    """A decorator as libraries have them."""

    @functools.wraps(function)
    def wrapper(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    return wrapper


def decorated_with(factor: float) -> Any:
    def decorator(function: Any) -> Any:
        def wrapper(self: nn.Module, x: Tensor) -> Tensor:
            return factor * function(self, x)

        return wrapper

    return decorator


class Function(Wide):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.first(x)))


class Method(Wide):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x).relu())


class Chain(Wide):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(
            self.first(x)
            .clone()
            .relu_()
        )  # fmt: skip


class Keyword(Wide):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(leaky_relu(negative_slope=0.0, input=self.first(x)))


class Alias(Wide):
    def forward(self, x: Tensor) -> Tensor:
        f = torch.relu
        return self.last(f(self.first(x)))


class Statement(Wide):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x.relu_()
        return self.last(x)


class InPlace(Wide):
    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y = F.relu(x, inplace=True)
        return self.last((x + y) / 2)


class InPlaceOfItems(Wide):
    def forward(self, x: Tensor) -> Tensor:
        parts = [self.first(x), x]
        F.relu_(parts[0])
        return self.last(parts[0])


class Comprehension(Wide):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.stack([F.relu(row) for row in self.first(x)]))


class Inner(Wide):
    def forward(self, x: Tensor) -> Tensor:
        def act(v: Tensor) -> Tensor:
            return F.relu(self.first(v))

        return self.last(act(x))


class Lambda(Wide):
    def forward(self, x: Tensor) -> Tensor:
        return self.last((lambda v: torch.relu(self.first(v)))(x))


class MadeOnTheWay(Wide):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(nn.ReLU()(self.first(x)))


FUNCTIONS = {"relu": nn.ReLU}


class MadeByName(Wide):
    def forward(self, x: Tensor) -> Tensor:
        return self.last(FUNCTIONS["relu"](inplace=True)(self.first(x)))


class Mangled(Wide):
    def __init__(self) -> None:
        super().__init__()
        self.__hidden = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.first(x)) * self.__hidden)


class Super(Wide):
    def __init__(self) -> None:
        super().__init__()

    def extra(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(super().__getattr__("first")(x)))


class Annotated(Wide):
    def forward(self, x: "Unknown", scale: "Missing" = 1.0, *, shift: float = 0.0) -> "Nothing":  # noqa: F821
        return self.last(F.relu(self.first(x)) * scale + shift)


class Decorated(Wide):
    @loud
    @decorated_with(0.5)
    def forward(self, x: Tensor) -> Tensor:
        return self.last(F.relu(self.first(x)))


class Checkpointed(Wide):
    def block(self, x: Tensor) -> Tensor:
        return F.relu(self.first(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(checkpoint(self.block, x, use_reentrant=False))


class Loop(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(3, 3) for _ in range(3))
        self.last = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.relu(layer(x))
        return self.last(x)


class Closure(Wide):
    """Its method has variables of the function in which it was made."""

    def __init__(self) -> None:
        super().__init__()
        scale = 2.0

        class Inside(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return F.relu(scale * x) / scale

        self.inside = Inside()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.inside(self.first(x)))


class Held(Wide):
    def __init__(self) -> None:
        super().__init__()
        self.activation = F.relu

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activation(self.first(x)))


class HeldLambda(Wide):
    def __init__(self) -> None:
        super().__init__()
        self.activation = lambda v: F.leaky_relu(v, 0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.activation(self.first(x)))


CALLS = [
    Function, Method, Chain, Keyword, Alias, Statement, InPlace, InPlaceOfItems, Comprehension, Inner, Lambda, MadeOnTheWay,
    MadeByName, Mangled, Super, Annotated, Decorated, Checkpointed, Loop, Closure, Held, HeldLambda,
]  # fmt: skip


@pytest.mark.parametrize("model", CALLS, ids=lambda c: c.__name__)
def test_a_call_is_reached_and_put_back(model):
    torch.manual_seed(0)
    net, x = model(), torch.randn(2, 3)
    before, keys, kind = net(x), list(net.state_dict()), type(net)
    report = swap(net, "relu", example=x)
    assert (len(report.replaced), report.skipped, report.gates) == (1, (), ())
    assert torch.equal(net(x), before)  # with the function that was there
    assert isinstance(net, kind)
    assert type(net).__name__ == kind.__name__
    assert list(net.state_dict()) == keys
    restore(net, report)
    assert type(net) is kind
    report = swap(net, LEARNING, example=x)
    net(x).sum().backward()
    (parameter,) = (p for name, p in net.named_parameters() if name.endswith(".b"))
    assert parameter.grad is not None
    assert float(parameter.grad.abs().sum()) > 0
    assert not torch.equal(net(x), before)
    twin = copy.deepcopy(net)
    assert torch.equal(twin(x), net(x))
    assert next(p for name, p in twin.named_parameters() if name.endswith(".b")) is not parameter
    restore(net, report)
    assert torch.equal(net(x), before)


@pytest.mark.parametrize("model", [m for m in CALLS if m not in (Closure, HeldLambda)], ids=lambda c: c.__name__)
def test_a_swapped_model_is_pickled(model):
    net, x = model(), torch.randn(2, 3)
    swap(net, LEARNING, example=x)
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), net(x))


@pytest.mark.parametrize("model", [Function, Decorated, Inner, MadeOnTheWay, Held, Loop], ids=lambda c: c.__name__)
def test_a_swapped_model_is_compiled_and_exported(model):
    net, x = model(), torch.randn(2, 3)
    swap(net, LEARNING, example=x)
    torch.testing.assert_close(torch.compile(net, backend="eager", fullgraph=True)(x), net(x))
    torch._dynamo.reset()
    for strict in (True, False):
        batch = {0: torch.export.Dim.DYNAMIC}
        exported = torch.export.export(net, (torch.randn(4, 3),), dynamic_shapes=(batch,), strict=strict).module()
        torch.testing.assert_close(exported(x), net(x))


READABLE = [m for m in CALLS if m not in (Alias, MadeByName, HeldLambda, Keyword)] + [Keyword]


@pytest.mark.parametrize("model", READABLE, ids=lambda c: c.__name__)
def test_a_call_is_found_without_an_example(model):
    net, x = model(), torch.randn(2, 3)
    before = net(x)
    report = swap(net, "relu")
    assert len(report.replaced) == 1
    assert torch.equal(net(x), before)


@pytest.mark.parametrize("model", [Alias, MadeByName, HeldLambda], ids=lambda c: c.__name__)
def test_what_reading_does_not_find(model):
    with pytest.raises(ValueError, match="no activation function that can be replaced"):
        swap(model(), LEARNING)


@pytest.mark.parametrize("function", [swish_by_hand, gelu_by_hand])
@pytest.mark.parametrize("example", [None, torch.randn(2, 3)])
def test_a_function_written_by_hand_is_replaced_as_a_whole(function, example):
    class Net(Wide):
        def forward(self, x: Tensor) -> Tensor:
            return self.last(function(self.first(x)))

    net = Net()
    (replaced,) = swap(net, "0*x", example=example).replaced
    assert replaced.old == function.__name__
    assert torch.equal(net(torch.randn(2, 3)), net.last.bias.expand(2, 4))


def test_a_function_that_does_more_is_left_with_the_reason():
    class Net(Wide):
        def forward(self, x: Tensor) -> Tensor:
            return self.last(F.relu(relu_and_more(self.first(x))))

    report = swap(Net(), LEARNING, example=torch.randn(2, 3))
    assert [r.old for r in report.replaced] == ["relu"]
    assert [(k.function, k.reason) for k in report.skipped] == [("relu", "it stands in relu_and_more, which does more than that")]


def test_calls_with_places_of_their_own():
    """Each call in the source is a place; what torch calls, or a function that is handed on, has none."""

    class Net(Wide):
        def forward(self, x: Tensor) -> Tensor:
            x = F.relu(self.first(x)) + F.gelu(self.last(F.silu(self.first(x))))
            return twice(x, torch.tanh)

    report = swap(Net(), LEARNING, example=torch.randn(2, 3))
    assert [(r.names, r.old) for r in report.replaced] == [(("act",), "relu"), (("act_1",), "silu"), (("act_2",), "gelu")]
    assert [(k.function, k.reason) for k in report.skipped] == [("tanh", "it stands in twice, which does more than that")]
    assert all("Net.forward, test_calls.py:" in r.text for r in report.replaced)


def test_a_method_that_is_reached_through_super_is_left():
    class Derived(Function):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + F.relu(self.first(x))

    net, x = Derived(), torch.randn(2, 3)
    report = swap(net, "relu", example=x)
    assert [r.text.partition(",")[0] for r in report.replaced] == [
        "test_a_method_that_is_reached_through_super_is_left.<locals>.Derived.forward"
    ]
    ((kept),) = report.skipped
    assert "Function.forward is not what Derived runs by that name" in kept.reason


def test_a_method_replaced_on_the_module_itself_is_left():
    net, x = Function(), torch.randn(2, 3)
    net.forward = types.MethodType(Function.forward, net)
    report = swap(net, LEARNING, example=x)
    assert report.replaced == ()
    assert [k.reason for k in report.skipped] == ["the method 'forward' was replaced on this module itself"]
    assert type(net) is Function


# -- the source ------------------------------------------------------------------------------------------------------------

SOURCE = """
import torch.nn.functional as F
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.act_of_mine = nn.Tanh()
        self.last = nn.Linear(4, 4)

    def forward(self, x):
        return self.last(F.relu(self.act_of_mine(self.first(x))))
"""


def imported(path: Any, text: str = SOURCE) -> types.ModuleType:
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    "edit", [("F.relu", "F.gelu"), ("return ", "return 0 * "), ("class Net", "\n\nclass Net"), (SOURCE, "def ("), (SOURCE, "")]
)
def test_a_source_that_was_changed_since_is_not_touched(tmp_path, edit):
    path, x = tmp_path / "edited_model.py", torch.randn(2, 3)
    net = imported(path).Net()
    before = net(x)
    path.write_text(SOURCE.replace(*edit))
    report = swap(net, "relu", where="*", example=x)
    assert [k.function for k in report.skipped if "was changed since it was imported" in k.reason or "no source" in k.reason] == [
        "relu"
    ]
    assert [r.names for r in report.replaced] == [("act_of_mine",)]
    restore(net, report)
    assert torch.equal(net(x), before)


def test_a_model_without_source_keeps_its_calls():
    space: dict[str, Any] = {"__name__": "nowhere"}
    exec(SOURCE, space)
    report = swap(space["Net"](), LEARNING, example=torch.randn(2, 3))
    assert [r.names for r in report.replaced] == [("act_of_mine",)]
    assert [k.reason for k in report.skipped] == ["there is no source of Net.forward"]


def test_a_pickle_finds_the_source_it_was_made_from_or_says_so(tmp_path):
    path, x = tmp_path / "pickled_model.py", torch.randn(2, 3)
    net = imported(path).Net()
    swap(net, LEARNING, example=x)
    kept, given = pickle.dumps(net), net(x)
    imported(path, SOURCE.replace("class Net", "# a comment more\nclass Net"))
    assert torch.equal(pickle.loads(kept)(x), given)  # lines may move
    imported(path, SOURCE.replace("F.relu(", "F.relu(0.5 * "))
    with pytest.raises(ValueError, match=r"Net\.forward has another source than when its activation functions were swapped"):
        pickle.loads(kept)


# -- what calls are told apart ----------------------------------------------------------------------------------------------


class Gated(nn.Module):
    """A gate, an output, and functions that gates have and that are none here."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.deep, self.last = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 1)
        self.sigmoid, self.scale = nn.Sigmoid(), nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.tanh(self.first(x)) * self.scale
        z = self.sigmoid(self.gate(x)).unsqueeze(1)
        mixed = (1 - z) * self.deep(hidden).unsqueeze(1)
        return torch.sigmoid(self.last(F.softplus(self.deep(mixed[:, 0]))))


def test_gates_and_outputs_are_kept():
    net, x = Gated(), torch.randn(2, 3)
    report = swap(net, LEARNING, example=x)
    assert [(r.names, r.old) for r in report.replaced] == [(("act",), "tanh"), (("act_1",), "softplus")]
    assert {(k.name, k.function, k.reason) for k in report.gates} == {
        ("sigmoid", "Sigmoid", "a gate: it multiplies another tensor"), ("act_2", "sigmoid", "it is what the model returns"),
    }  # fmt: skip
    restore(net, report)
    assert len(swap(net, LEARNING, example=x, gates=True).replaced) == 4


@pytest.mark.parametrize(
    ("where", "names"), [("sigmoid", ["sigmoid"]), (["sigmoid", "act"], ["sigmoid", "act"]), (nn.Sigmoid, ["sigmoid"])]
)
def test_a_gate_that_is_named_is_replaced(where, names):
    assert [r.names[0] for r in swap(Gated(), LEARNING, example=torch.randn(2, 3), where=where).replaced] == names


def test_a_pattern_takes_no_gate():
    with pytest.raises(
        ValueError, match=r"all that could be replaced is kept: sigmoid \(Sigmoid\): a gate.*; gates=True replaces gates, too"
    ):
        swap(Gated(), LEARNING, example=torch.randn(2, 3), where="sig*")


def test_gates_without_an_example():
    report = swap(Gated(), LEARNING)
    assert {k.function for k in report.gates} >= {"Sigmoid", "sigmoid"}
    assert "softplus" in {r.old for r in report.replaced}
    squeeze = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(4, 2, 1), nn.Tanh(), nn.Conv2d(2, 4, 1), nn.Sigmoid())
    report = swap(squeeze, LEARNING)
    assert [r.names for r in report.replaced] == [("2",)]
    assert [k.name for k in report.gates] == ["4"]


def test_what_the_example_does_not_call_is_not_counted():
    class Net(Wide):
        def __init__(self) -> None:
            super().__init__()
            self.dead, self.alive = nn.ReLU(), nn.ReLU()

        def forward(self, x: Tensor, deep: bool = False) -> Tensor:
            x = self.alive(self.first(x))
            if deep:
                x = F.gelu(x)
            return self.last(x if self.training else F.silu(x))

    report = swap(Net(), LEARNING, example=torch.randn(2, 3))
    assert [r.old for r in report.replaced] == ["ReLU", "silu"]  # silu runs in evaluation only
    assert {(k.name, k.function, k.reason) for k in report.skipped} == {
        ("dead", "ReLU", "the example never calls it"), ("", "gelu", "the example never calls it"),
    }  # fmt: skip


def test_an_example_that_fails_in_the_other_mode_is_noted():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU()).eval()
    report = swap(net, LEARNING, example=torch.randn(1, 3))
    assert report.note.startswith("in training the example fails: ValueError: Expected more than 1 value per channel")
    assert str(report).endswith(f"note: {report.note}")
    assert len(report.replaced) == 1


def test_a_plan_changes_nothing():
    net, x = Gated(), torch.randn(2, 3)
    before, keys = net(x), list(net.state_dict())
    made = plan(net, "apalu", example=x, scope="channel")
    assert [(r.names[0], r.old, r.shape, r.channels, r.parameters) for r in made.replaced] == [
        ("act", "tanh", (2, 4), 4, 8), ("act_1", "softplus", (2, 4), 4, 8),
    ]  # fmt: skip
    assert len(made.gates) == 2
    assert (type(net), list(net.state_dict())) == (Gated, keys)
    assert torch.equal(net(x), before)
    report = swap(net, "apalu", example=x, scope="channel")
    assert (report.replaced, report.gates, report.skipped) == (made.replaced, made.gates, made.skipped)
    assert str(report) == str(made)


def test_a_second_swap_goes_on_from_the_first():
    net, x = Gated(), torch.randn(2, 3)
    before = net(x)
    first = swap(net, LEARNING, example=x)
    second = swap(net, "swish", example=x, gates=True)
    assert {r.names[0] for r in second.replaced} == {"act", "act_2", "sigmoid", "act_1"}
    assert len([m for m in net.modules() if isinstance(m, Activation)]) == 4
    assert torch.equal(pickle.loads(pickle.dumps(net))(x), net(x))
    with pytest.raises(ValueError, match="undo later swaps first"):
        restore(net, first)
    restore(net, second)
    restore(net, first)
    assert type(net) is Gated
    assert torch.equal(net(x), before)


def test_new_parameters_are_where_the_model_is():
    net = Function().to(torch.float64).eval()
    swap(net, "apalu", scope="channel", example=torch.randn(2, 3, dtype=torch.float64))
    assert {p.dtype for p in net.parameters()} == {torch.float64}
    assert not net.act.training
    assert net.act.channels == 4
    nowhere = Function().to("meta")
    swap(nowhere, "apalu", example=torch.randn(2, 3, device="meta"))
    assert {p.device.type for p in nowhere.parameters()} == {"meta"}


def test_a_state_dict_fits_a_freshly_swapped_twin():
    net, x = Gated(), torch.randn(2, 3)
    swap(net, "apalu", scope="channel", example=x)
    twin = Gated()
    swap(twin, "apalu", scope="channel", example=x)
    twin.load_state_dict(net.state_dict())
    assert torch.equal(twin(x), net(x))
