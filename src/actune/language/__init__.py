"""The language of formulas: primitives, expressions over them, their exact meaning."""

from . import parser  # noqa: F401 - fills the derivative rules of `expr`
