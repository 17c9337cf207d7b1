"""Pieces of error messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["shorten", "suggestion"]


def suggestion(name: str, known: Iterable[str]) -> str:
    """The text `; did you mean 'x'?` for an error message, or an empty one when no known name is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def shorten(text: str, width: int = 60) -> str:
    """The text, cut to this width for a message or a legend."""
    return text if len(text) <= width else text[: width - 1] + "…"
