"""Importing actune is cheap and brings nothing that a forward pass does not need."""

from __future__ import annotations

import ast
import statistics
import subprocess
import sys
from pathlib import Path

import actune

HEAVY = ("numba", "optuna", "ray", "matplotlib", "sklearn", "scipy", "typer", "rich", "pooch", "sqlalchemy")
SOURCE = Path(actune.__file__).parent

# The floors of the house, the lowest first: a module imports from its own floor and from those below.
FLOORS = [
    "special interval exact_mittag_leffler elementary",
    "ops",
    "expr",
    "functions exact",
    "family",
    "smoothing",
    "families",
    "saved",
    "kernels",
    "module",
    "surgery",
    "experiments",
    "bench",
    "discovery",
    "show",
    "cli",
]


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_no_heavy_package_is_imported() -> None:
    found = run(f"import sys, actune; print([m for m in {HEAVY} if m in sys.modules])")
    assert found.strip() == "[]"


def test_import_takes_less_than_half_of_torch_on_top() -> None:
    """Total time of `import actune` below 1.5 times that of `import torch`, both in the same process, median of several."""
    code = "from time import perf_counter as t; a = t(); import torch; b = t(); import actune; c = t(); print((c - a)/(b - a))"
    ratios = [float(run(code)) for _ in range(5)]
    assert statistics.median(ratios) < 1.5, ratios


def floor(module: str) -> int | None:
    return next((i for i, names in enumerate(FLOORS) if module in names.split()), None)


def test_imports_only_go_down() -> None:
    """Also inside functions; `TYPE_CHECKING` blocks are for readers and do not count."""
    wrong = []
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        own = floor(parts[0])
        if own is None:
            continue
        tree = ast.parse(path.read_text())
        hidden = {
            n
            for block in ast.walk(tree)
            if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
            for n in ast.walk(block)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level and node not in hidden:
                base = parts[: len(parts) - node.level]
                target = (*base, *(node.module or "").split(".")) if node.module else base
                names = [target[0]] if target and target[0] else [alias.name for alias in node.names]
                wrong += [f"{path.name} imports {name}" for name in names if (floor(name) or 0) > own]
    assert wrong == []


def test_public_names() -> None:
    for name in actune.__all__:
        assert getattr(actune, name) is not None
    assert set(actune.__all__) <= set(dir(actune))
