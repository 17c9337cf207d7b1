"""Pieces of error messages. Whatever they are about, they are short, on one line, and printable."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable

__all__ = ["hidden_password", "shorten", "shown", "suggestion"]

LONGEST = 100  # a longer text is nobody's misspelt name


def suggestion(name: str, known: Iterable[str]) -> str:
    """The text `; did you mean 'x'?` for an error message, or an empty one when no known name is near."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6) if len(name) <= LONGEST else []
    return f"; did you mean {near[0]!r}?" if near else ""


def hidden_password(text: str) -> str:
    """The text with *** for the password of a URL in it, scheme://user:password@host."""
    return re.sub(r"(://[^/:@]*):[^@]*@", r"\1:***@", text)


def shorten(text: str, width: int = 60) -> str:
    """The text on one line, cut to this width, for a message or a legend; what cannot be printed is escaped."""
    begin = text[: 4 * width]
    line = "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(begin.split()))
    return line if len(line) <= width and begin == text else line[: width - 1] + "…"


def shown(value: object, width: int = 60) -> str:
    """What `repr` says of a value, on one line cut to this width; only the beginning of large or deep data is looked at."""
    return shorten(_SHOWING.repr(value), width)


class _Showing(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        return repr(x) if x.bit_length() < 1000 else f"an integer of {x.bit_length():,} bits"  # Python writes no very long ones


_SHOWING = _Showing()
_SHOWING.maxlist = _SHOWING.maxtuple = _SHOWING.maxdict = _SHOWING.maxset = 20
_SHOWING.maxstring = _SHOWING.maxother = 400
