"""The catalogue: declarations only."""

from . import apalu, classic, discovered, smooth, zorro  # noqa: F401
