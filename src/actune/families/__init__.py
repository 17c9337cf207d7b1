"""The catalogue: declarations only."""

from . import classic  # noqa: F401
