"""Where a layer puts its channels, and which layer comes before a place in the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn

from .activations import is_activation

__all__ = ["ChannelLayout", "Use", "channel_layout", "look_before"]


class ChannelLayout(NamedTuple):
    """The dimension that holds the channels, and their number (None while a lazy layer does not know it)."""

    dim: int
    width: int | None


# Layers with channels: their classes, the dimension of the channels in the output, and how many there are.
_LAYERS: tuple[tuple[tuple[type[nn.Module], ...], int, Callable[[Any], int]], ...] = (
    ((nn.Linear, nn.Bilinear), -1, lambda layer: layer.out_features),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), 1, lambda layer: layer.out_channels),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), 1, lambda layer: layer.out_channels),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm), 1, lambda layer: layer.num_features),
    ((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), 1, lambda layer: layer.num_features),
    ((nn.GroupNorm,), 1, lambda layer: layer.num_channels),
    ((nn.LayerNorm, nn.RMSNorm), -1, lambda layer: layer.normalized_shape[-1]),
    ((nn.Embedding, nn.EmbeddingBag), -1, lambda layer: layer.embedding_dim),
    ((nn.MultiheadAttention,), -1, lambda layer: layer.embed_dim),
    ((nn.RNNBase,), -1, lambda layer: (layer.proj_size or layer.hidden_size) * (1 + layer.bidirectional)),
    ((nn.RNNCellBase,), -1, lambda layer: layer.hidden_size),
)

# Layers that keep the channels of their input where they are.
_PASSING = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.LocalResponseNorm,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample,
)  # fmt: skip


def channel_layout(module: nn.Module) -> ChannelLayout | None:
    """Where the channels are in the output of a layer; None for a module without channels."""
    for classes, dim, width in _LAYERS:
        if isinstance(module, classes):
            return ChannelLayout(dim, width(module) or None)
    return None


class Use(NamedTuple):
    """One use of an activation: the layer before it and what its input looks like, as far as known."""

    layer: nn.Module | None = None
    dim: int | None = None
    width: int | None = None
    shape: tuple[int, ...] | None = None
    device: torch.device | None = None


def look_before(root: nn.Module, name: str) -> Use:
    """The use of the module called `name` as far as its containers tell: in a Sequential the layer before it is known."""
    if not name:
        return Use()
    prefix, _, key = name.rpartition(".")
    parent = root.get_submodule(prefix)
    if isinstance(parent, nn.Sequential) and key in parent._modules:
        children = list(parent._modules.items())
        before = children[: [child for child, _ in children].index(key)]
        return _last_layer(module for _, module in reversed(before)) or look_before(root, prefix)
    own = channel_layout(parent)  # such as timm's BatchNormAct2d: a normalization that holds its activation
    if own is not None:
        return Use(parent, *own)
    # Elsewhere the order of the calls is not known, but when all siblings agree the dimension is.
    dims = {layout.dim for child in parent.children() if (layout := channel_layout(child)) is not None}
    return Use(dim=dims.pop()) if len(dims) == 1 else Use()


def _last_layer(backwards: Iterable[nn.Module | None]) -> Use | None:
    """The last layer with channels before a place in a Sequential; None where the whole stretch only passes its input on."""
    for module in backwards:
        if module is None or isinstance(module, _PASSING) or is_activation(module):
            continue
        layout = channel_layout(module)
        if layout is not None:
            return Use(module, *layout)
        if not isinstance(module, nn.Sequential):
            return Use()
        inner = _last_layer(reversed(list(module.children())))
        if inner is not None:
            return inner
    return None
