"""Where results of this folder's scripts go: JSON lines under results/, and tables in README.md that are written from them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import timing  # noqa: F401 - before anything that imports torch

from actune.bench import report
from actune.bench.report import append, read, source, table

__all__ = ["README", "RESULTS", "append", "facts", "read", "source", "table", "write_block"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
README = HERE / "README.md"


def facts(**settings: Any) -> dict[str, Any]:
    """What a result depends on besides the code."""
    command = f"python benchmarks/{shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}"
    return report.facts(command, settings, ("actune", "torch", "numpy", "numba", "llvmlite", "pymittagleffler", "dfsc", "optuna"))


def write_block(name: str, text: str) -> None:
    """Put a text between the marks of this name in README.md."""
    marked = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    written, count = marked.subn(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", README.read_text())
    if count != 1:
        raise SystemExit(f"{README.name} has {count} places marked {name!r}; it needs one")
    README.write_text(written)
