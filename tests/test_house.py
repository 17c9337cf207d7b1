"""Importing actune is cheap and brings nothing that a forward pass does not need."""

from __future__ import annotations

import ast
import graphlib
import statistics
import subprocess
import sys
from pathlib import Path

from documentation import generator

import actune

HEAVY = ("llvmlite", "optuna", "ray", "matplotlib", "sklearn", "scipy", "typer", "rich", "pooch", "sqlalchemy")
SOURCE = Path(actune.__file__).parent

# The rooms of discovery, likewise; files beside the rooms stand above them.
SEARCH = ["proposers", "study", "workers"]


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


house = generator("imports")  # which draws the picture of the house, too
IMPORTS = house.imports(SOURCE)


def test_imports_only_go_down() -> None:
    floors = {room: i for i, rooms in enumerate(house.FLOORS) for room in rooms.split()}
    rooms = {(a.partition(".")[0], b.partition(".")[0]) for a, targets in IMPORTS.items() for b in targets}
    assert {room for pair in rooms for room in pair} <= {*floors, "__init__", "__main__"}
    assert [(a, b) for a, b in rooms if a in floors and floors.get(b, 0) > floors[a]] == []


def test_the_rooms_of_discovery_import_only_downwards() -> None:
    floors = {f"discovery.{room}": i for i, room in enumerate(SEARCH)}
    top = len(floors)
    pairs = [(a, b) for a, targets in IMPORTS.items() for b in targets if a.startswith("discovery.") and b.startswith("discovery.")]
    where = {name: floors.get(".".join(name.split(".")[:2]), top) for pair in pairs for name in pair}
    assert {where[a] for a, _ in pairs} == {*range(top + 1)}
    assert [(a, b) for a, b in pairs if where[b] > where[a]] == []


def test_nothing_imports_in_a_circle() -> None:
    list(graphlib.TopologicalSorter(IMPORTS).static_order())  # raises CycleError, which names the circle


def defined(path: Path) -> set[str]:
    """The public names that a module defines at its top level."""
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in found if not name.startswith("_")}


# Families are named as in the papers, also where the kernel column has an elementary function of that name.
NAMES = {path: defined(path) for path in SOURCE.rglob("*.py") if path.parent.name != "families" and path.name != "__init__.py"}


def test_a_public_name_stands_in_one_file() -> None:
    places: dict[str, list[str]] = {}
    for path, names in NAMES.items():
        for name in names:
            places.setdefault(name, []).append(str(path.relative_to(SOURCE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_a_file_is_not_named_as_what_it_defines() -> None:
    assert [path.name for path, names in NAMES.items() if path.stem in names] == []


def test_no_function_is_longer_than_a_screen() -> None:
    tops = (node for path in NAMES for node in ast.walk(ast.parse(path.read_text())))
    lengths = {
        node.name: node.end_lineno - node.lineno + 1 for node in tops if isinstance(node, ast.FunctionDef) and node.end_lineno
    }
    assert {name: lines for name, lines in lengths.items() if lines > 60} == {}


def test_docstrings_begin_with_what_they_are_about() -> None:
    """No clause that needs the line before it: a subject and a verb, or the name of what is returned."""
    wrong = []
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            text = ast.get_docstring(node) if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) else None
            if text and text.startswith(("The same", "Of ", "As ", "Now and then")):
                wrong.append(f"{path.relative_to(SOURCE)}: {text.splitlines()[0]}")
    assert wrong == []


def test_public_names() -> None:
    for name in actune.__all__:
        assert getattr(actune, name) is not None
    assert set(actune.__all__) <= set(dir(actune))
