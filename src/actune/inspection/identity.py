"""Which family a function of another library is, told by its values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..catalogue.registry import Family, family, list_families
from ..kernels.operators import evaluate

__all__ = ["identified"]

_POINTS = torch.cat([torch.linspace(-8, 8, 81, dtype=torch.float64), torch.tensor([-30.0, 25.0], dtype=torch.float64)])
_NEAR = 3e-6  # of max(1, |value|): float32 with room for functions of two steps


def identified(name: str, compute: Callable[[Tensor], Any]) -> str | None:
    """The formula of the family that has the same values at its initial parameters; None if there is none.

    name  that of the function: of several families with equal values the one of this name is taken, else the first
    """
    try:
        with torch.no_grad():
            values = compute(_POINTS.float())
    except Exception:  # a function that wants inputs of a certain shape, such as a PReLU with many weights
        return None
    if not isinstance(values, Tensor) or values.shape != _POINTS.shape:
        return None
    known = _values()
    distance = (values.detach().double().cpu() - torch.stack([v for _, v in known])).abs()
    near = (distance <= _NEAR * torch.stack([v for _, v in known]).abs().clamp(min=1)).all(1)
    found = [f for (f, _), is_near in zip(known, near.tolist(), strict=True) if is_near]
    found.sort(key=lambda f: name.lower() not in (f.name, *f.aliases))
    return found[0].text if found else None


@functools.cache
def _values() -> list[tuple[Family, Tensor]]:
    """The families of the catalogue with their values."""
    return [(f, evaluate(f.at_initial(), {"x": _POINTS}).expand_as(_POINTS)) for f in map(family, list_families())]
