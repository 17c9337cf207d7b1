"""Recurrent networks: with sigmoid and tanh they are torch's own, and every place takes any function."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from actune.experiments import Part, Recipe, Split, Task, train
from actune.experiments.models.recurrent import gru_classifier, gru_forecaster, lstm_classifier, lstm_forecaster
from actune.experiments.training.networks import network_builder
from actune.recurrent import GRU, LSTM

KINDS = {"lstm": (LSTM, nn.LSTM), "gru": (GRU, nn.GRU)}
FORECASTERS = {"lstm": lstm_forecaster, "gru": gru_forecaster}
CLASSIFIERS = {"lstm": lstm_classifier, "gru": gru_classifier}


def classic(width: int, dim: int = -1, place: str = "hidden") -> nn.Module:
    return nn.Sigmoid() if place == "gate" else nn.Tanh()


def gradients(model: nn.Module, x: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Outputs, and the gradients of a weighted sum of them in the inputs and in each parameter."""
    x = x.clone().requires_grad_()
    found = model(x)
    states = found[0] if isinstance(found, tuple) else found
    named = dict(model.named_parameters())
    slopes = torch.autograd.grad((states * weights).sum(), [x, *named.values()])
    return states.detach(), dict(zip(["x", *named], slopes, strict=True))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_with_sigmoid_and_tanh_it_is_torchs_own(kind: str, layers: int) -> None:
    own, theirs = KINDS[kind]
    torch.manual_seed(layers)
    reference = theirs(3, 7, layers, batch_first=True).double()
    model = own(classic, 3, 7, layers).double()
    model.load_state_dict(reference.state_dict())  # strict: the names and shapes are torch's, and there are no others
    x, weights = torch.randn(5, 11, 3).double(), torch.randn(5, 11, 7).double()
    (found, slopes), (expected, right) = (gradients(m, x, weights) for m in (model, reference))
    assert torch.allclose(found, expected, rtol=0, atol=1e-13)
    assert slopes.keys() == right.keys()
    for name, slope in slopes.items():
        assert torch.allclose(slope, right[name], rtol=1e-11, atol=1e-12), name


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layers", [1, 2])
def test_a_seed_gives_the_initial_weights_of_torch(kind: str, layers: int) -> None:
    def seeded(make: partial[nn.Module]) -> dict[str, Tensor]:
        torch.manual_seed(4)
        return make().state_dict()

    own, theirs = KINDS[kind]
    found, expected = seeded(partial(own, classic, 3, 8, layers)), seeded(partial(theirs, 3, 8, layers))
    assert list(found) == list(expected)
    assert all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("inputs", "width", "layers", "outputs"), [(1, 64, 1, 1), (3, 20, 2, 5)])
def test_forecasters_have_as_many_parameters_as_torchs(kind: str, inputs: int, width: int, layers: int, outputs: int) -> None:
    model = FORECASTERS[kind](classic, inputs=inputs, width=width, layers=layers, outputs=outputs)
    reference = nn.ModuleList([KINDS[kind][1](inputs, width, layers), nn.Linear(width, outputs)])
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in reference.parameters())
    assert model(torch.randn(4, 9, inputs)).shape == (4, outputs)


@pytest.mark.parametrize("kind", KINDS)
def test_a_window_of_numbers_has_one_input_per_step(kind: str) -> None:
    model = FORECASTERS[kind](classic, width=5)
    window = torch.randn(4, 9)
    assert torch.equal(model(window), model(window[..., None]))
    changed = window.clone()
    changed[:, 0] += 1
    assert (model(window) != model(changed)).all()  # the first step reaches the output


@pytest.mark.parametrize("kind", KINDS)
def test_classifiers_read_images_row_by_row(kind: str) -> None:
    torch.manual_seed(0)
    images = torch.randint(256, (3, 2, 6, 4), dtype=torch.uint8)
    for summary in ("last", "mean"):
        model = CLASSIFIERS[kind](classic, inputs=8, width=5, outputs=7, summary=summary)
        reference = KINDS[kind][1](8, 5, batch_first=True)
        reference.load_state_dict(model[1][1].state_dict())
        rows = torch.stack([torch.cat([images[:, 0, r], images[:, 1, r]], 1) for r in range(6)], 1)
        states = reference(rows / 127.5 - 1)[0]
        expected = model[1][3](states[:, -1] if summary == "last" else states.mean(1))
        assert torch.allclose(model(images), expected, atol=1e-6)
    assert CLASSIFIERS[kind](classic)(torch.zeros(2, 1, 28, 28, dtype=torch.uint8)).shape == (2, 10)
    with pytest.raises(ValueError, match=r"^summary must be 'last' or 'mean', got 'first'$"):
        CLASSIFIERS[kind](classic, summary="first")


def waves() -> Split:
    """The next value of sine waves of random phase."""
    phase = torch.rand(90, generator=torch.Generator().manual_seed(0)) * 6
    values = torch.sin(0.7 * torch.arange(10) + phase[:, None])
    parts = (Part(values[at, :-1], values[at, -1:]) for at in (slice(60), slice(60, 75), slice(75, None)))
    return Split(*parts)


@pytest.mark.parametrize("kind", KINDS)
def test_every_place_takes_any_function_and_learns(kind: str) -> None:
    t = Task("waves", "sine waves", waves, partial(FORECASTERS[kind], width=8, layers=2), Recipe(20, 15, 1e-2), loss="mse")
    output = {"output": "gelu"} if kind == "lstm" else {}
    choice = {"gate": "zorro_sigmoid", "cell": "x*sigmoid(b*x); b=1", **output}
    outcome = train(t, choice, 0, course=True)
    assert outcome.validation_loss < 0.05 < outcome.history[0]
    widths = {path: len(values[0]) for path, values in outcome.course.items()}
    gates = 3 if kind == "lstm" else 2
    assert {width for path, width in widths.items() if ".gates." in path} == {8 * gates}
    assert {width for path, width in widths.items() if ".cells." in path} == {8}
    assert {path.split(".")[2] for path in widths} == {"0", "1"}  # each layer has its own
    moved = [values[0] != values[-1] for path, values in outcome.course.items()]
    assert all(moved)


def test_each_place_has_its_own_function() -> None:
    t = Task("waves", "sine waves", waves, lstm_forecaster, loss="mse")
    cell = network_builder(t, {"gate": "sigmoid", "cell": "gelu", "output": "softsign"})()[1]
    assert [str(m[0].family) for m in (cell.gates, cell.cells, cell.outputs)] == ["sigmoid", "gelu", "softsign"]
    with pytest.raises(ValueError, match=r"has no place 'output' \(it has gate, cell\)"):
        network_builder(Task("waves", "", waves, gru_forecaster, loss="mse"), {"output": "gelu", "default": "tanh"})()
