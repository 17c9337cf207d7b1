"""LeNet-5 (LeCun et al., Gradient-based learning applied to document recognition, 1998), with any activation."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from ...messages import suggestion
from .factory import ActivationFactory
from .images import Bytes

__all__ = ["lenet5"]

_POOLINGS: Mapping[str, type[nn.Module]] = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


def lenet5(
    activation: ActivationFactory, *, colours: int = 1, side: int = 28, pooling: str = "max", classes: int = 10
) -> nn.Module:
    """LeNet-5 in its common form: each map of the second convolution sees all of the first, and the scores are linear.

    side      of the square images, 28 or 32: the smaller ones are padded to 32
    pooling   "max", or "average" as in 1998
    """
    if side not in (28, 32):
        raise ValueError(f"side must be 28 or 32 for LeNet-5, got {side!r}; crop or pad the images")
    if pooling not in _POOLINGS:
        raise ValueError(f"pooling must be one of {', '.join(_POOLINGS)}, got {pooling!r}{suggestion(str(pooling), _POOLINGS)}")
    pool = _POOLINGS[pooling]
    return nn.Sequential(
        *(Bytes(), nn.Conv2d(colours, 6, 5, padding=(32 - side) // 2), activation(6, 1), pool(2)),
        *(nn.Conv2d(6, 16, 5), activation(16, 1), pool(2), nn.Flatten()),
        *(nn.Linear(16 * 5 * 5, 120), activation(120), nn.Linear(120, 84), activation(84), nn.Linear(84, classes)),
    )
