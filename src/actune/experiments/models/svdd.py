"""Deep SVDD: a network that maps what is normal close to a centre; the distance from it is the score of an input.

Ruff et al., "Deep One-Class Classification", ICML 2018, with the network for MNIST of the authors' published code.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ..data.parts import Part
from ..losses import OUTLIERS
from ..recipe import Recipe
from ..training.steps import compute_outputs, draw_orders, fit_epochs
from .factory import ActivationFactory

__all__ = ["PRETRAINING", "deep_svdd", "find_centre", "pretrain_and_centre"]

PRETRAINING = Recipe(
    epochs=150,
    batch_size=200,
    learning_rate=1e-4,
    weight_decay=5e-4,
    schedule="steps",
    schedule_options={"at": (1 / 3,)},
)
FEATURES = 32  # outputs of the encoder


def deep_svdd(
    activation: ActivationFactory, *, boundary: Literal["one-class", "soft"] = "one-class", nu: float = OUTLIERS, warmup: int = 300
) -> nn.Module:
    """The LeNet of the authors' code for images (n, 1, 28, 28), floats from 0 to 1; its outputs, (n, 1), are scores.

    boundary   "one-class": scores are distance² to the centre. "soft": they are distance² - R², above zero beyond the boundary
    nu         the share of the training inputs that may lie beyond a soft boundary
    warmup     the number of batches after which a soft boundary begins to follow the distances; R is 0 until then

    It has no biases, for which a network could learn to give the centre for every input. A task prepares it by
    `pretrain_and_centre`, and trains it by the loss "score", or "soft boundary".
    """
    if boundary not in ("one-class", "soft"):
        raise ValueError(f"boundary must be 'one-class' or 'soft', got {boundary!r}")
    if not 0 < nu <= 1:
        raise ValueError(f"nu must be a share above 0 and up to 1, got {nu!r}")
    return DeepSVDD(_encoder(activation), partial(_decoder, activation), nu if boundary == "soft" else None, warmup)


class DeepSVDD(nn.Module):
    """An encoder and the centre of its outputs; with `nu`, a boundary too.

    decoder   makes the rest of an autoencoder, of which this encoder is the first half
    """

    def __init__(self, encoder: nn.Sequential, decoder: Callable[[], nn.Sequential], nu: float | None = None, warmup: int = 0):
        super().__init__()
        self.encoder, self.decoder, self.nu, self.warmup = encoder, decoder, nu, warmup
        self.centre: Tensor
        self.radius_squared: Tensor
        self.batches: Tensor
        self.register_buffer("centre", torch.zeros(FEATURES))
        self.register_buffer("radius_squared", torch.zeros(()))
        self.register_buffer("batches", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        distances = (self.encoder(x) - self.centre).square().sum(1, keepdim=True)
        if self.nu is None:
            return distances
        scores = distances - self.radius_squared
        if self.training:
            self._follow(distances.detach(), self.nu)
        return scores

    @torch.no_grad()
    def _follow(self, distances: Tensor, nu: float) -> None:
        """Let R be the quantile of a batch's distances that leaves the share nu outside; it is in force from the next batch on."""
        self.batches += 1
        if self.batches > self.warmup:
            self.radius_squared.copy_(distances.sqrt().quantile(1 - nu).square())


class _ChannelsLast(nn.Module):
    """Lays images out with the channels last, in which a CPU convolves and pools small ones in two thirds of the time."""

    def forward(self, x: Tensor) -> Tensor:
        return x.clone(memory_format=torch.channels_last)  # `contiguous` would find that one channel has any layout


def _encoder(activation: ActivationFactory) -> nn.Sequential:
    modules: list[nn.Module] = [_ChannelsLast()]
    for below, above in ((1, 8), (8, 4)):
        modules += [nn.Conv2d(below, above, 5, padding=2, bias=False), _normalise(above), activation(above, 1), nn.MaxPool2d(2)]
    return nn.Sequential(*modules, nn.Flatten(), nn.Linear(4 * 7 * 7, FEATURES, bias=False))


def _decoder(activation: ActivationFactory) -> nn.Sequential:
    """From (n, 32) to images from 0 to 1: maps of 4 × 4, doubled before each transposed convolution; 16 × 16 are cut to 14 × 14."""
    modules: list[nn.Module] = [nn.Unflatten(1, (2, 4, 4)), _ChannelsLast(), activation(2, 1)]
    for below, above, cut in ((2, 4, 2), (4, 8, 3)):
        transposed = nn.ConvTranspose2d(below, above, 5, padding=cut, bias=False)
        modules += [nn.Upsample(scale_factor=2), transposed, _normalise(above), activation(above, 1)]
    return nn.Sequential(*modules, nn.Upsample(scale_factor=2), nn.ConvTranspose2d(8, 1, 5, padding=2, bias=False), nn.Sigmoid())


def _normalise(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-4, affine=False)


# -- what is done before training ----------------------------------------------------------------------------------------


def pretrain_and_centre(model: nn.Module, part: Part, *, recipe: Recipe = PRETRAINING) -> None:
    """Train the encoder of a `deep_svdd` as half of an autoencoder, on the squared error, and find its centre."""
    assert isinstance(model, DeepSVDD)
    autoencoder = nn.Sequential(model.encoder, model.decoder()).to(part.inputs.device)
    images = Part(part.inputs, part.inputs)
    for _ in fit_epochs(autoencoder, images, recipe, mse_loss, draw_orders(recipe.epochs, len(part))):
        pass
    find_centre(model, part)


def find_centre(model: nn.Module, part: Part, *, least: float = 0.1) -> None:
    """Put the centre of a `deep_svdd` to the mean of what its encoder gives for this part.

    Coordinates nearer to zero than `least` are moved there: a network reaches zero by zero weights, whatever the input.
    """
    assert isinstance(model, DeepSVDD)
    centre = compute_outputs(model.encoder, part.inputs).mean(0)
    model.centre.copy_(torch.where(centre < 0, centre.clamp(max=-least), centre.clamp(min=least)))
