"""Where results of this folder's scripts go: JSON lines under results/, and tables in README.md that are written from them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import timing  # noqa: F401 - before anything that imports torch

from actune import results
from actune.results import append_result, markdown_table, read_results, source_line

__all__ = ["README", "RESULTS", "append_result", "markdown_table", "provenance", "read_results", "source_line", "write_block"]

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
README = HERE / "README.md"


PACKAGES = ("actune", "torch", "triton", "numpy", "llvmlite", "pymittagleffler", "dfsc", "optuna")


def provenance(**settings: Any) -> dict[str, Any]:
    """What a result of this script depends on besides the code."""
    command = f"python benchmarks/{shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}"
    return results.provenance(command, settings, PACKAGES)


def write_block(name: str, content: str) -> None:
    """Put a text into the block of this name in this folder's README.md."""
    README.write_text(results.write_block(README.read_text(), name, content))
