"""Frozen networks whose features others build on: AlexNet and VGG-16 as torchvision publishes them, and a small random one.

Parameters have torchvision's names, so that its files of weights fit. Nothing is downloaded.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn

from ..data.files import open_data
from .factory import ActivationFactory

__all__ = ["ALEXNET", "VGG16", "Extractor", "alexnet", "outputs_at", "random_extractor", "vgg16", "vgg_layers"]

ALEXNET, VGG16 = "alexnet-owt-7be5be79.pth", "vgg16-397923af.pth"  # torchvision's files; the digits begin their SHA-256
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the colours of ImageNet, from 0 to 1
_VGG16 = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class Extractor(nn.Module):
    """Layers that do not learn; gives the outputs of some of them, each (n, channels, height, width).

    taps     the numbers of these layers, rising
    Images are colours from 0 to 255, bytes or floats, (n, 3, height, width).
    """

    def __init__(self, layers: nn.Sequential, taps: Sequence[int]):
        super().__init__()
        self.features: nn.Sequential
        self.features, self.taps = layers.requires_grad_(False), tuple(taps)
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", 255 * torch.tensor(_MEAN)[:, None, None], persistent=False)
        self.register_buffer("spread", 255 * torch.tensor(_SPREAD)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        return outputs_at(self.features, self.taps, self.normalise(images))

    def normalise(self, images: Tensor) -> Tensor:
        """The images as floats in which the colours of ImageNet have mean 0 and deviation 1."""
        return ((images - self.mean) / self.spread).contiguous(memory_format=torch.channels_last)

    @property
    def channels(self) -> list[int]:
        """The number of channels of each output."""
        convolutions = [[m.out_channels for m in list(self.features)[: tap + 1] if isinstance(m, nn.Conv2d)] for tap in self.taps]
        return [widths[-1] for widths in convolutions]


def outputs_at(layers: nn.Sequential, taps: Sequence[int], x: Tensor) -> list[Tensor]:
    """The outputs of the layers with these numbers."""
    found = []
    for number, layer in enumerate(list(layers)[: taps[-1] + 1]):
        x = layer(x)
        if number in taps:
            found.append(x)
    return found


def alexnet(*, weights: str | None = ALEXNET) -> Extractor:
    """The convolutions of AlexNet (Krizhevsky, arXiv:1404.5997), which give 256 maps; 2,469,696 parameters.

    weights   a file of the folder `weights` of ACTUNE_DATA; None: random ones, from torch's generator
    """
    modules: list[nn.Module] = [nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    modules += [nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2)]
    for below, above in pairwise((192, 384, 256, 256)):
        modules += [nn.Conv2d(below, above, 3, padding=1), nn.ReLU()]
    layers = nn.Sequential(*modules, nn.MaxPool2d(3, 2))
    return _with_weights(Extractor(layers, [len(layers) - 1]), weights)


def vgg16(*, weights: str | None = VGG16) -> Extractor:
    """The convolutions of VGG-16 (Simonyan and Zisserman, arXiv:1409.1556); 14,714,688 parameters.

    It gives the last activations of each of the blocks 2 to 5. `weights` is as in `alexnet`.
    """
    return _with_weights(_vgg(_VGG16), weights)


def random_extractor(*, widths: Sequence[Sequence[int]] = ((4,), (8, 8), (8,))) -> Extractor:
    """A small network in the form of `vgg16` with random weights, from torch's generator."""
    return _vgg(widths)


def _vgg(widths: Sequence[Sequence[int]]) -> Extractor:
    layers, ends = vgg_layers(lambda width, dim=-1, place="": nn.ReLU(), widths)
    return Extractor(nn.Sequential(*layers, nn.MaxPool2d(2)), ends[1:])


def vgg_layers(
    activation: ActivationFactory, widths: Sequence[Sequence[int]], *, normalised: bool = False
) -> tuple[nn.Sequential, list[int]]:
    """Blocks of 3 × 3 convolutions with a halving between them, and the number of the last activation of each.

    widths       the channels of each convolution, block by block
    normalised   with batch normalisation before each activation
    """
    modules: list[nn.Module] = []
    ends, below = [], 3
    for block in widths:
        modules += [nn.MaxPool2d(2)] if modules else []
        for above in block:
            between = [nn.BatchNorm2d(above)] if normalised else []
            modules += [nn.Conv2d(below, above, 3, padding=1), *between, activation(above, 1)]
            below = above
        ends.append(len(modules) - 1)
    return nn.Sequential(*modules), ends


# -- weights -------------------------------------------------------------------------------------------------------------


def _with_weights(extractor: Extractor, weights: str | None) -> Extractor:
    if weights is not None:
        with open_data(f"weights/{weights}") as path:
            extractor.load_state_dict(_read_weights(path, path.stat().st_mtime_ns))
    return extractor


@functools.lru_cache(maxsize=2)  # every network of a comparison has the same
def _read_weights(path: Path, changed: int) -> dict[str, Tensor]:
    """The weights of the convolutions in a file of torchvision's, whose name ends in the beginning of its checksum."""
    expected = path.stem.rpartition("-")[2]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()[: len(expected)]
    if found != expected:
        raise ValueError(f"its SHA-256 begins with {found}, not {expected}")
    stored: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return {name: value.clone() for name, value in stored.items() if name.startswith("features.")}  # without the rest of the file
