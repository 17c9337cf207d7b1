"""actune finds, runs and ships the activation function that suits a neural network."""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from .catalogue import families  # noqa: F401 - declares the catalogue
from .catalogue.families.mittag_leffler import interpolate
from .catalogue.files import load, save
from .catalogue.registry import Family, Param, declare, family, list_families, resolve
from .catalogue.smoothing import smooth
from .export.baking import bake
from .export.exporting import export
from .inspection.cards import ModelCard, card, read_card
from .integrations import tell_libraries
from .kernels.tables.special import mittag_leffler
from .language.expr import Expr, FormulaError
from .language.parser import parse
from .module import Activation
from .surgery import SwapPlan, SwapReport, parameter_groups, plan, restore, swap

if TYPE_CHECKING:
    from .discovery import Proof, SearchError, best, leaders, prove, search, suggest_activation
    from .experiments import compare

# What needs Optuna or scikit-learn is imported when it is first asked for.
_LAZY = {
    "discovery": ("Proof", "SearchError", "best", "leaders", "prove", "search", "suggest_activation"),
    "experiments": ("compare",),
}

__all__ = [
    "Activation",
    "Expr",
    "Family",
    "FormulaError",
    "ModelCard",
    "Param",
    "Proof",
    "SearchError",
    "SwapPlan",
    "SwapReport",
    "bake",
    "best",
    "card",
    "compare",
    "declare",
    "export",
    "family",
    "interpolate",
    "leaders",
    "list_families",
    "load",
    "mittag_leffler",
    "parameter_groups",
    "parse",
    "plan",
    "prove",
    "read_card",
    "resolve",
    "restore",
    "save",
    "search",
    "smooth",
    "suggest_activation",
    "swap",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.metadata.version("actune")
    for package, names in _LAZY.items():
        if name in names:
            return getattr(importlib.import_module(f".{package}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


tell_libraries()
