"""Transformers with any activation in their feed-forward layers: of images (ViT) and of characters (GPT).

Normalisation comes first in each block. Weights of linear layers and embeddings begin normal with deviation 0.02, biases at 0.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from .factory import ActivationFactory
from .images import Bytes

__all__ = ["FEED_FORWARD", "character_transformer", "vit"]

FEED_FORWARD = "feed-forward"  # the place of an activation between the two linear layers of a block
_DEVIATION = 0.02


def vit(
    activation: ActivationFactory,
    *,
    side: int = 32,
    patch: int = 4,
    width: int = 192,
    depth: int = 12,
    heads: int = 3,
    colours: int = 3,
    classes: int = 10,
) -> nn.Module:
    """The vision transformer of Dosovitskiy et al. (arXiv:2010.11929) of square images, as wide and deep as ViT-Tiny (DeiT's).

    side, patch   pixels: the image is cut into squares of patch × patch, of which each is one place
    width         numbers for each place; feed-forward layers have four times as many inside
    """
    if side % patch:
        raise ValueError(f"patch must divide the side of the images, {side}, got {patch!r}")
    blocks = [_Block(activation, width, heads, depth, causal=False, bias=True) for _ in range(depth)]
    embedded = _Patches(side, patch, width, colours)
    return nn.Sequential(Bytes(), embedded, *blocks, nn.LayerNorm(width), _FirstPlace(), _linear(width, classes))


def character_transformer(
    activation: ActivationFactory,
    *,
    symbols: int = 65,
    length: int = 256,
    width: int = 384,
    depth: int = 6,
    heads: int = 6,
    bias: bool = False,
) -> nn.Module:
    """Scores of the next symbol after each place, from symbols up to it: (n, places) codes -> (n, places, symbols).

    The defaults are those that nanoGPT has for characters of Shakespeare, without dropout; as there, the scores of symbols share
    their weights with the embedding of symbols, and places are learned.

    length   the most places that an input may have
    """
    return _CharacterTransformer(activation, symbols, length, width, depth, heads, bias)


class _CharacterTransformer(nn.Module):
    def __init__(self, activation: ActivationFactory, symbols: int, length: int, width: int, depth: int, heads: int, bias: bool):
        super().__init__()
        self.symbols, self.places = _normal(symbols, width), _normal(length, width)
        blocks = [_Block(activation, width, heads, depth, causal=True, bias=bias) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(width, bias=bias))

    def forward(self, x: Tensor) -> Tensor:
        length, most = x.shape[1], len(self.places)
        if length > most:
            raise ValueError(f"length must be at least that of the input, {length}, got {most}")
        return linear(self.blocks(self.symbols[x] + self.places[:length]), self.symbols)


class _Patches(nn.Module):
    """An image as places: one of its own for the class, then one for each patch, row by row, each with a learned position."""

    def __init__(self, side: int, patch: int, width: int, colours: int):
        super().__init__()
        self.cut = nn.Conv2d(colours, width, patch, patch)  # a linear layer of each patch, with PyTorch's initial weights
        self.first, self.places = _normal(1, width), _normal(1 + (side // patch) ** 2, width)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.cut(x).flatten(2).transpose(1, 2)
        return torch.cat([self.first.expand(len(x), 1, -1), patches], 1) + self.places


class _FirstPlace(nn.Module):
    """Keeps the place of the class, of (n, places, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class _Block(nn.Module):
    """Attention and a feed-forward layer, each of normalised numbers and added to what was there: (n, places, width) -> the same.

    What is added begins smaller the more blocks there are: with the deviation 0.02/√(2 · depth) (Radford et al. 2019).
    """

    def __init__(self, activation: ActivationFactory, width: int, heads: int, depth: int, *, causal: bool, bias: bool):
        super().__init__()
        if width % heads:
            raise ValueError(f"heads must divide the width, {width}, got {heads!r}")
        self.heads, self.causal = heads, causal
        added = _DEVIATION / math.sqrt(2 * depth)
        self.attended = nn.Sequential(nn.LayerNorm(width, bias=bias), _linear(width, 3 * width, bias=bias))
        self.mixed = _linear(width, width, bias=bias, deviation=added)
        self.feed_forward = nn.Sequential(
            *(nn.LayerNorm(width, bias=bias), _linear(width, 4 * width, bias=bias)),
            *(activation(4 * width, -1, FEED_FORWARD), _linear(4 * width, width, bias=bias, deviation=added)),
        )

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = self.attended(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        found = scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        x = x + self.mixed(found.transpose(1, 2).flatten(2))
        return x + self.feed_forward(x)


def _linear(inputs: int, outputs: int, *, bias: bool = True, deviation: float = _DEVIATION) -> nn.Module:
    made = nn.Linear(inputs, outputs, bias=bias)
    nn.init.normal_(made.weight, std=deviation)
    if bias:
        nn.init.zeros_(made.bias)
    return made


def _normal(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape).normal_(std=_DEVIATION))
