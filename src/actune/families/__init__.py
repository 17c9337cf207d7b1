"""The catalogue: declarations only."""

from . import apalu, classic, smooth, zorro  # noqa: F401
