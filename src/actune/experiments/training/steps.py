"""The steps of a training by a recipe, without a task: batches, their learning rates, the optimizer; and outputs afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from ..data.augmentation import AUGMENTATIONS
from ..data.parts import Part
from ..recipe import Recipe, learning_rate_at, make_optimizer, model_groups

__all__ = ["EVALUATED", "compute_outputs", "draw_orders", "fit_epochs", "take_step"]

EVALUATED = 512  # inputs at a time, for the memory of a convolutional network


def draw_orders(epochs: int, n: int) -> list[Tensor]:
    """The order of n inputs in each epoch, from torch's generator."""
    return [torch.randperm(n) for _ in range(epochs)]


def fit_epochs(
    model: nn.Module,
    part: Part,
    recipe: Recipe,
    loss: Callable[[Tensor, Tensor], Tensor],
    orders: Sequence[Tensor],
    draw: torch.Generator | None = None,
) -> Iterator[int]:
    """Train a network by a recipe; yields the number of each epoch, from 0, when it is over.

    loss     (outputs, targets) -> the mean that training minimises
    orders   of the inputs, one for each epoch
    draw     the generator of the augmentation; needed where the recipe has one
    """
    optimizer = make_optimizer(recipe, model_groups(model, recipe))
    augment = AUGMENTATIONS[recipe.augmentation]
    batches = [order.to(part.inputs.device).split(recipe.batch_size) for order in orders]
    total, step = sum(map(len, batches)), 0
    for number, epoch in enumerate(batches):
        model.train()
        for batch in epoch:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate_at(recipe, step, total)
            inputs = part.inputs[batch]
            if augment is not None and draw is not None:
                inputs = augment(inputs, draw)
            take_step(model, optimizer, loss, inputs, part.targets[batch], recipe.clip)
            step += 1
        yield number


def take_step(
    model: nn.Module,
    optimizer: Optimizer,
    loss: Callable[[Tensor, Tensor], Tensor],
    inputs: Tensor,
    targets: Tensor,
    clip: float | None = None,
) -> None:
    """One step of a training: gradients of the loss, not longer than `clip`, and what the optimizer makes of them."""
    optimizer.zero_grad()
    loss(model(inputs), targets).backward()
    if clip is not None:
        clip_grad_norm_(model.parameters(), clip)
    optimizer.step()


@torch.no_grad()
def compute_outputs(model: nn.Module, inputs: Tensor) -> Tensor:
    """The outputs of a network that is not training, computed for some inputs at a time."""
    model.eval()
    return torch.cat([model(some) for some in inputs.split(EVALUATED)])
