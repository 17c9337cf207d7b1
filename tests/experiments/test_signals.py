"""Gradients and dead units of small networks, worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from actune import Activation
from actune.experiments.data.parts import Part
from actune.experiments.training.signals import layer_signals
from actune.papers.procedures import _decades


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


def mean_output(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.mean()


def part(*inputs: list[float]) -> Part:
    return Part(torch.tensor(inputs), torch.zeros(len(inputs)))


def test_gradients_of_a_linear_network() -> None:
    """d mean / d (input of the second activation) is 5 * 7 / n, and of the first 2 * 3 times that, for each of n = 4 inputs."""
    model = nn.Sequential(linear([[11.0]]), Activation("2*x"), linear([[3.0]]), Activation("5*x"), linear([[7.0]]))
    first, second = layer_signals(model, part([1.0], [2.0], [-3.0], [0.5]), mean_output)
    assert second.gradient == pytest.approx(35 / 4)
    assert first.gradient == pytest.approx(6 * 35 / 4)
    assert (first.dead, second.dead) == (0, 0)


def test_the_gradient_is_a_root_mean_square_over_inputs_and_units() -> None:
    model = nn.Sequential(linear([[1.0], [1.0]]), Activation("relu"), linear([[3.0, 4.0]]))
    (signal,) = layer_signals(model, part([1.0], [-1.0]), mean_output)  # the second input has no gradient
    assert signal.gradient == pytest.approx(math.sqrt((1.5**2 + 2**2) / 4))


def test_dead_units() -> None:
    """One of four has a large negative bias, one is above zero for one of the inputs only."""
    model = nn.Sequential(linear([[1.0]] * 4, [-100.0, 0.0, 100.0, -1.5]), Activation("relu"), linear([[1.0] * 4]))
    (signal,) = layer_signals(model, part([1.0], [2.0]), mean_output)
    assert signal.dead == 0.25
    (signal,) = layer_signals(model, part([1.0], [1.0]), mean_output)
    assert signal.dead == 0.5
    smooth = nn.Sequential(linear([[1.0]] * 4, [-3.0, 0.0, 3.0, -1.5]), Activation("gelu"), linear([[1.0] * 4]))
    assert layer_signals(smooth, part([1.0], [2.0]), mean_output)[0].dead == 0


def test_units_are_channels() -> None:
    """A channel of an image is alive where one of its pixels is."""
    model = nn.Sequential(Shifted(), Activation("relu", dim=1))
    images = torch.zeros(2, 3, 2, 2)
    images[1, 0, 1, 1] = 2.0
    (signal,) = layer_signals(model, Part(images, torch.zeros(2)), mean_output)
    assert signal.dead == pytest.approx(2 / 3)


class Shifted(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        return x - self.by


def test_units_of_a_network_that_diverged_are_dead() -> None:
    model = nn.Sequential(linear([[math.nan], [1.0]]), Activation("gelu"), linear([[1.0, 1.0]]))
    (signal,) = layer_signals(model, part([1.0], [2.0]), mean_output)
    assert signal.dead == 0.5


def test_the_network_stays_as_it_is() -> None:
    model = nn.Sequential(linear([[1.0]] * 2), nn.BatchNorm1d(2), Activation("relu"), linear([[1.0] * 2])).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with torch.no_grad():
        layer_signals(model, part([1.0], [2.0]), mean_output)
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks for m in model.modules())


@pytest.mark.parametrize("odd", [0.0, math.inf, math.nan])
def test_gradients_over_decades(odd: float) -> None:
    assert _decades([1e-3, 1.0, 10.0], 1e-3) == pytest.approx(4)
    assert _decades([1e-3, 1.0, 10.0], 1.0) == pytest.approx(1)
    assert _decades([1.0, odd], min(1.0, odd)) is _decades([odd, 1.0], min(odd, 1.0)) is None
