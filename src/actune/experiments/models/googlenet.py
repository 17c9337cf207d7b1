"""GoogLeNet (Szegedy et al., arXiv:1409.4842) for images of 32 × 32, with batch normalisation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .factory import ActivationFactory
from .images import Bytes, normalised_convolution, pooled_scores

__all__ = ["googlenet_cifar"]

# For each stage, its Inception modules; for each, the channels of: 1 × 1; 1 × 1 then 3 × 3; 1 × 1 then 5 × 5; pooling then 1 × 1.
_STAGES = (
    ((64, (96, 128), (16, 32), 32), (128, (128, 192), (32, 96), 64)),
    (
        *((192, (96, 208), (16, 48), 64), (160, (112, 224), (24, 64), 64), (128, (128, 256), (24, 64), 64)),
        *((112, (144, 288), (32, 64), 64), (256, (160, 320), (32, 128), 128)),
    ),
    ((256, (160, 320), (32, 128), 128), (384, (192, 384), (48, 128), 128)),
)


def googlenet_cifar(
    activation: ActivationFactory, *, multiplier: float = 1.0, stride: int = 1, colours: int = 3, classes: int = 10
) -> nn.Module:
    """GoogLeNet in its common form for CIFAR (kuangliu/pytorch-cifar): one 3 × 3 convolution in place of the first three layers,
    batch normalisation, two 3 × 3 convolutions for each 5 × 5, no dropout and no auxiliary scores; 64 activations.

    multiplier   of the channels of all layers
    stride       of the first convolution; with 2 all that follows costs a quarter
    """
    width = round(192 * multiplier)
    modules: list[nn.Module] = [Bytes(), *_layer(activation, colours, width, stride=stride)]
    for stage, rows in enumerate(_STAGES):
        modules += [nn.MaxPool2d(3, 2, padding=1)] if stage > 0 else []
        for one, (below_3, three), (below_5, five), pooled in rows:
            channels = [round(c * multiplier) for c in (one, below_3, three, below_5, five, pooled)]
            modules.append(_Inception(activation, width, *channels))
            width = channels[0] + channels[2] + channels[4] + channels[5]
    return nn.Sequential(*modules, *pooled_scores(width, classes))


def _layer(activation: ActivationFactory, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1) -> list[nn.Module]:
    return [*normalised_convolution(inputs, outputs, kernel, stride, bias=True), activation(outputs, 1)]


class _Inception(nn.Module):
    """Four branches beside each other, whose channels are concatenated."""

    def __init__(
        self, activation: ActivationFactory, inputs: int, one: int, below_3: int, three: int, below_5: int, five: int, pooled: int
    ):
        super().__init__()

        def layer(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
            return _layer(activation, inputs, outputs, kernel)

        branches = (
            layer(inputs, one, 1),
            [*layer(inputs, below_3, 1), *layer(below_3, three)],
            [*layer(inputs, below_5, 1), *layer(below_5, five), *layer(five, five)],
            [nn.MaxPool2d(3, 1, padding=1), *layer(inputs, pooled, 1)],
        )
        self.branches = nn.ModuleList(nn.Sequential(*branch) for branch in branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)
