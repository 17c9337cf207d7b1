"""Residual networks of small images: He et al. 2015 (v1) and 2016 (v2), and the wide ones of Zagoruyko and Komodakis.

Weights of convolutions begin normal with the variance 2/(kernel² · outputs), as in the published code of all three.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import pad

from .factory import ActivationFactory
from .images import Bytes, pooled_scores

__all__ = ["resnet_v1", "resnet_v2", "wide_resnet"]


def resnet_v1(activation: ActivationFactory, *, depth: int = 56, width: int = 16, colours: int = 3, classes: int = 10) -> nn.Module:
    """The ResNet of He et al. (arXiv:1512.03385, section 4.2): an activation after each sum, shortcuts without parameters.

    depth   weighted layers, 6n + 2: three stages of n blocks of two 3 × 3 convolutions
    width   channels of the first stage; the next have twice and four times as many
    """
    blocks = _blocks_per_stage(depth, layers=2, others=2)
    stem = [Bytes(), _he_convolution(colours, width), nn.BatchNorm2d(width), activation(width, 1)]
    stages = _stages(partial(_SumThenActivation, activation), width, _basic(width), blocks)
    return nn.Sequential(*stem, *stages, *pooled_scores(4 * width, classes))


def resnet_v2(
    activation: ActivationFactory, *, depth: int = 56, width: int = 16, bottleneck: bool = True, colours: int = 3, classes: int = 10
) -> nn.Module:
    """The ResNet of He et al. (arXiv:1603.05027), where normalisation and activation come before each convolution.

    depth        weighted layers but those of shortcuts: 9n + 2 with bottlenecks, else 6n + 2
    width        channels of the first layer
    bottleneck   blocks of 1 × 1, 3 × 3 and 1 × 1 convolutions that end in 4, 8 and 16 times `width` channels, and whose first two
                 are as wide as the stage before (Keras' examples/cifar10_resnet.py); else of two 3 × 3 as in `resnet_v1`
    """
    stages = _bottlenecks(width) if bottleneck else _basic(width)
    blocks = _blocks_per_stage(depth, layers=len(stages[0]), others=2)
    return _preactivated(activation, width, stages, blocks, colours, classes)


def wide_resnet(
    activation: ActivationFactory, *, depth: int = 10, widening: int = 4, width: int = 16, colours: int = 3, classes: int = 10
) -> nn.Module:
    """The wide ResNet of Zagoruyko and Komodakis (arXiv:1605.07146), WRN-depth-widening, without dropout.

    depth      weighted layers with the shortcut that opens each stage, 6n + 4
    widening   stages have this many times 1, 2 and 4 times `width` channels, the first layer has `width`
    """
    blocks = _blocks_per_stage(depth, layers=2, others=4)
    return _preactivated(activation, width, _basic(widening * width), blocks, colours, classes)


_Stages = Sequence[tuple[int, ...]]  # for each stage, the channels that each convolution of a block gives


def _basic(width: int) -> list[tuple[int, ...]]:
    return [(width, width), (2 * width, 2 * width), (4 * width, 4 * width)]


def _bottlenecks(width: int) -> list[tuple[int, ...]]:
    return [(below, below, above) for below, above in pairwise((width, 4 * width, 8 * width, 16 * width))]


def _blocks_per_stage(depth: int, *, layers: int, others: int) -> int:
    blocks, rest = divmod(depth - others, 3 * layers)
    if rest or blocks < 1:
        raise ValueError(f"depth must be {3 * layers}n + {others} here, such as {9 * layers + others}, got {depth!r}")
    return blocks


def _he_convolution(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Module:
    """A convolution without biases, padded so that stride 1 keeps the size of the image."""
    made = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


def _stages(block: Callable[..., nn.Module], inputs: int, stages: _Stages, blocks: int) -> list[nn.Module]:
    """Stages of equal blocks; the first block of each but the first stage halves the image."""
    made = []
    for stage, widths in enumerate(stages):
        for i in range(blocks):
            made.append(block(inputs, widths, stride=2 if stage > 0 and i == 0 else 1))
            inputs = widths[-1]
    return made


def _preactivated(activation: ActivationFactory, width: int, stages: _Stages, blocks: int, colours: int, classes: int) -> nn.Module:
    """A first convolution, stages of blocks that begin with their activation, and one more activation before the scores."""
    made = _stages(partial(_ActivationFirst, activation), width, stages, blocks)
    last = stages[-1][-1]
    scores = [nn.BatchNorm2d(last), activation(last, 1), *pooled_scores(last, classes)]
    return nn.Sequential(Bytes(), _he_convolution(colours, width), *made, *scores)


class _SumThenActivation(nn.Module):
    """A block of v1. Where it widens, the shortcut takes every second pixel and zeros for the new channels (option A)."""

    def __init__(self, activation: ActivationFactory, inputs: int, widths: Sequence[int], *, stride: int):
        super().__init__()
        inside, outputs = widths
        self.residual = nn.Sequential(
            *(_he_convolution(inputs, inside, 3, stride), nn.BatchNorm2d(inside), activation(inside, 1)),
            *(_he_convolution(inside, outputs), nn.BatchNorm2d(outputs)),
        )
        self.activation, self.stride, self.added = activation(outputs, 1), stride, outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        shortcut = pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.added))
        return self.activation(self.residual(x) + shortcut)


class _ActivationFirst(nn.Module):
    """A block of v2 and of wide networks, with three convolutions a bottleneck.

    Where it widens, a 1 × 1 convolution is the shortcut, after the first activation.
    """

    def __init__(self, activation: ActivationFactory, inputs: int, widths: Sequence[int], *, stride: int):
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(inputs), activation(inputs, 1))
        kernels = (3, 3) if len(widths) == 2 else (1, 3, 1)
        layers: list[nn.Module] = [_he_convolution(inputs, widths[0], kernels[0], stride)]
        for kernel, (below, above) in zip(kernels[1:], pairwise(widths), strict=True):
            layers += [nn.BatchNorm2d(below), activation(below, 1), _he_convolution(below, above, kernel)]
        self.residual = nn.Sequential(*layers)
        self.projection = None if inputs == widths[-1] else _he_convolution(inputs, widths[-1], 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        activated = self.first(x)
        return self.residual(activated) + (x if self.projection is None else self.projection(activated))
