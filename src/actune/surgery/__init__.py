"""Swap the activation modules of a network that exists, and put the old ones back."""

from .activations import is_activation
from .optimizer import parameter_groups
from .report import Replacement, SwapPlan
from .swapping import SwapReport, plan, restore, swap

__all__ = ["Replacement", "SwapPlan", "SwapReport", "is_activation", "parameter_groups", "plan", "restore", "swap"]
