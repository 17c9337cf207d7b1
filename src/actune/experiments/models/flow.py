"""DifferNet: a normalising flow learns the density of the features of normal images; what is unlikely is an anomaly.

Rudolph, Wandt and Rosenhahn, "Same Same But DifferNet", WACV 2021, arXiv:2008.12577. The flow is a Real-NVP (Dinh et al.,
arXiv:1605.08803) with couplings of both halves, as in the authors' code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import affine_grid, grid_sample, interpolate

from .extractors import Extractor, alexnet
from .factory import ActivationFactory
from .small import mlp

__all__ = ["Flow", "coupling_flow", "differnet"]


def differnet(
    activation: ActivationFactory,
    *,
    extractor: Callable[[], Extractor] = alexnet,
    scales: Sequence[int] = (448, 224, 112),
    rotations: int = 64,
    blocks: int = 8,
    hidden: int = 2048,
    layers: int = 3,
    clamp: float = 3.0,
) -> nn.Module:
    """A flow over features of a frozen extractor; outputs are (n, 1), for images as the extractor takes them.

    extractor   its last maps, averaged over the image, are the features
    scales      the sides to which each image is brought, whose features are joined
    rotations   the number of angles, evenly over the circle, over which the score of an image is averaged
    blocks, hidden, layers, clamp   of the flow: see `coupling_flow`

    In training each image is turned by a random angle, and its output is the negative log-likelihood per dimension, up to a
    constant; otherwise it is the score: the mean of |z|² per dimension over the rotations. A task trains it by the loss "score".
    """
    made = extractor()
    dimension = made.channels[-1] * len(scales)
    flow = coupling_flow(activation, dimension=dimension, blocks=blocks, hidden=hidden, layers=layers, clamp=clamp)
    return DifferNet(made, flow, scales, rotations)


class DifferNet(nn.Module):
    """The extractor, the flow, and the turns and scales between an image and them."""

    def __init__(self, extractor: Extractor, flow: Flow, scales: Sequence[int], rotations: int):
        super().__init__()
        self.extractor, self.flow, self.scales, self.rotations = extractor, flow, tuple(scales), rotations

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            z, volume = self.flow(self._features(images, torch.rand(len(images), device=images.device)))
            return (0.5 * z.square().sum(1, keepdim=True) - volume[:, None]) / z.shape[1]
        turns = (images.new_full((len(images),), k / self.rotations, dtype=torch.float32) for k in range(self.rotations))
        return torch.stack([self.flow(self._features(images, t))[0].square().mean(1, keepdim=True) for t in turns]).mean(0)

    def _features(self, images: Tensor, turns: Tensor) -> Tensor:
        """The features of images, each turned by this part of a full turn."""
        turned = turn_images(images.float(), turns)
        scaled = (interpolate(turned, size=(side, side), mode="bilinear", antialias=True) for side in self.scales)
        return torch.cat([self.extractor(some)[-1].mean((2, 3)) for some in scaled], 1)


def turn_images(images: Tensor, turns: Tensor) -> Tensor:
    """Images (n, channels, side, side), each turned counterclockwise by its part of a full turn; what comes from outside is 0."""
    cos, sin = (2 * math.pi * turns).cos(), (2 * math.pi * turns).sin()
    zero = torch.zeros_like(cos)
    inverse = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    return grid_sample(images, affine_grid(inverse, list(images.shape), align_corners=False), align_corners=False)


# -- the flow ------------------------------------------------------------------------------------------------------------


def coupling_flow(
    activation: ActivationFactory, *, dimension: int, blocks: int = 8, hidden: int = 2048, layers: int = 3, clamp: float = 3.0
) -> Flow:
    """A flow of coupling blocks, each after a random permutation that stays as it is.

    hidden, layers   the width and number of the hidden layers of the perceptrons that give scales and shifts
    clamp            the logarithm of a scale stays between minus this and this: σ(s) = 2 clamp/π arctan(s/clamp)
    """
    if dimension < 2:
        raise ValueError(f"dimension must be at least 2, one for each half of a coupling, got {dimension}")
    return Flow([_CouplingBlock(activation, dimension, hidden, layers, clamp) for _ in range(blocks)])


class Flow(nn.Module):
    """A bijection x -> z, under which the x that it was trained on become standard normal."""

    def __init__(self, blocks: Sequence[_CouplingBlock]):
        super().__init__()
        self.blocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """z, (n, dimension), and log|det dz/dx|, (n,)."""
        volume = x.new_zeros(len(x))
        for block in self.blocks:
            x, more = block(x)
            volume = volume + more
        return x, volume

    def inverse(self, z: Tensor) -> Tensor:
        """The x that is mapped to z."""
        for block in reversed(list(self.blocks)):
            assert isinstance(block, _CouplingBlock)
            z = block.inverse(z)
        return z


class _CouplingBlock(nn.Module):
    """Permutes x = (x₁, x₂), and scales and shifts each half by what the other gives:

    y₁ = x₁·exp(σ(s₂(x₂))) + t₂(x₂),  y₂ = x₂·exp(σ(s₁(y₁))) + t₁(y₁)
    """

    def __init__(self, activation: ActivationFactory, dimension: int, hidden: int, layers: int, clamp: float):
        super().__init__()
        self.order: Tensor
        self.register_buffer("order", torch.randperm(dimension))
        self.sizes, self.clamp = (dimension // 2, dimension - dimension // 2), clamp
        first, second = self.sizes
        self.from_first = mlp(activation, inputs=first, outputs=2 * second, width=hidden, layers=layers + 1)
        self.from_second = mlp(activation, inputs=second, outputs=2 * first, width=hidden, layers=layers + 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        first, second = x[:, self.order].split(self.sizes, 1)
        stretch, shift = self._coupling(self.from_second, second)
        first = first * stretch.exp() + shift
        volume = stretch.sum(1)
        stretch, shift = self._coupling(self.from_first, first)
        return torch.cat([first, second * stretch.exp() + shift], 1), volume + stretch.sum(1)

    def inverse(self, y: Tensor) -> Tensor:
        first, second = y.split(self.sizes, 1)
        stretch, shift = self._coupling(self.from_first, first)
        second = (second - shift) * (-stretch).exp()
        stretch, shift = self._coupling(self.from_second, second)
        first = (first - shift) * (-stretch).exp()
        return torch.cat([first, second], 1)[:, self.order.argsort()]

    def _coupling(self, perceptron: nn.Module, given: Tensor) -> tuple[Tensor, Tensor]:
        """The logarithms of the scales, clamped, and the shifts."""
        s, shift = perceptron(given).chunk(2, 1)
        return self.clamp * 2 / math.pi * (s / self.clamp).atan(), shift
