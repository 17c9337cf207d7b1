"""Recipes that several papers' experiments share."""

from __future__ import annotations

from ..experiments.recipe import Recipe

__all__ = ["LAPTOP_IMAGES", "LONG_SGD", "SMOKE_RECIPE"]

SMOKE_RECIPE = Recipe(epochs=1, batch_size=16)
LAPTOP_IMAGES = Recipe(epochs=6, batch_size=64, learning_rate=3e-3, schedule="one cycle", augmentation="crop and flip")
# As networks of CIFAR are commonly trained; the papers do not say all of it.
LONG_SGD = Recipe(
    epochs=200,
    batch_size=128,
    learning_rate=0.1,
    optimizer="sgd",
    optimizer_options={"momentum": 0.9, "nesterov": True},
    weight_decay=5e-4,
    schedule="cosine",
    augmentation="crop and flip",
)
