"""Swap the activation modules of a network that exists, and put the old ones back."""

from .activations import is_activation
from .optimizer import parameter_groups
from .swapping import Replacement, SwapReport, restore, swap

__all__ = ["Replacement", "SwapReport", "is_activation", "parameter_groups", "restore", "swap"]
