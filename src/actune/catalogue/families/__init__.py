"""The catalogue: declarations only."""

from . import apalu, classic, discovered, mittag_leffler, smooth, zorro  # noqa: F401
