"""Docstrings as the reference shows them: the aligned lists of arguments that they have become lists of Markdown."""

from __future__ import annotations

import re
from typing import Any

import griffe

__all__ = ["ListsOfNames", "with_lists"]

ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*) {2,}(\S.*)$")  # "scope      who shares a parameter"; also "scope  who …"

NAME = re.compile(r"\*{0,2}\w+ ")


class ListsOfNames(griffe.Extension):
    """What mkdocstrings calls for each object that it reads."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = with_lists(obj.docstring.value)


def with_lists(text: str) -> str:
    """The text with each paragraph that is a list of names, and what they are, as a list of Markdown."""
    return "\n\n".join(_as_list(part) or part for part in re.split(r"\n\s*\n", text))


def _as_list(paragraph: str) -> str | None:
    """The paragraph as a list; None if it is none. Lines that begin with a blank go on with the entry above.

    Lines that are no entry and begin without a blank are text above or below the list.
    """
    lines = paragraph.split("\n")
    entries: list[str] = []
    column = 0
    for at, line in enumerate(lines):
        if found := ENTRY.match(line):
            entries.append(f"- `{found[1]}`: {_text(found[2])}")
            column = found.start(2)
        elif entries and NAME.fullmatch(line[:column]):  # a name so long that one blank follows it
            entries.append(f"- `{line[:column].strip()}`: {_text(line[column:])}")
        elif entries and line.startswith(" "):
            entries[-1] += f" {_text(line.strip())}"
        elif entries:
            return "\n".join(entries) + "\n\n" + "\n".join(lines[at:])
        else:
            rest = _as_list("\n".join(lines[at + 1 :])) if at + 1 < len(lines) else None
            return rest and f"{line}\n\n{rest}"
    return "\n".join(entries)


def _text(text: str) -> str:
    return text.replace("<", "&lt;") if "`" not in text else text
