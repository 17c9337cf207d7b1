"""actune finds, runs and ships the activation function that suits a neural network."""

from . import families  # noqa: F401 - declares the catalogue
from .expr import Expr, FormulaError, parse
from .family import Family, Param, family, list_families, resolve
from .module import Activation

__all__ = ["Activation", "Expr", "Family", "FormulaError", "Param", "family", "list_families", "parse", "resolve"]
