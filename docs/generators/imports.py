"""The house: what each module of the package imports, and the floors on which its rooms stand."""

from __future__ import annotations

import ast
from pathlib import Path

__all__ = ["FLOORS", "imports"]

# The lowest first: a module imports from its own floor and from those below.
FLOORS = [
    "messages plain_data tensors results code_objects",
    "special",
    "language",
    "catalogue",
    "kernels",
    "initial",
    "module recurrent",
    "surgery export",
    "integrations inspection",
    "experiments",
    "bench",
    "discovery",
    "papers",
    "show",
    "pages",
    "cli",
]


def imports(source: Path) -> dict[str, set[str]]:
    """What each module imports of the package, also inside functions; `TYPE_CHECKING` blocks are for readers and do not count."""
    modules = {".".join(p.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): p for p in source.rglob("*.py")}
    found: dict[str, set[str]] = {}
    for name, path in modules.items():
        tree = ast.parse(path.read_text())
        hidden = {n for block in ast.walk(tree) if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
                  for n in ast.walk(block)}  # fmt: skip
        base = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
        found[name] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level and node not in hidden:
                target = [*base[: len(base) + 1 - node.level], *(node.module.split(".") if node.module else [])]
                whole = [".".join([*target, alias.name]) for alias in node.names]
                found[name] |= {w if w in modules else ".".join(target) for w in whole} & set(modules)
    return found
