"""A task that trains in a blink."""

from functools import partial

import numpy as np
import torch

from actune.experiments import Part, Recipe, Split, Task
from actune.experiments.models.small import mlp


def two_classes() -> Split:
    """Points in the plane, labelled by the sign of the product of their coordinates."""
    x = torch.from_numpy(np.random.RandomState(0).uniform(-1, 1, (100, 2))).float()
    y = (x.prod(1) > 0).long()
    return Split(Part(x[:50], y[:50]), Part(x[50:70], y[50:70]), Part(x[70:], y[70:]))


TINY = Task(
    "tiny", "four quadrants", two_classes, partial(mlp, inputs=2, outputs=2, width=8, layers=3), Recipe(epochs=3, batch_size=16)
)
