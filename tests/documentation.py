"""The documentation as tests see it: its pages, the blocks of code on them, and the programs that make pages."""

from __future__ import annotations

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NOT_RUN = "Not run: "  # how the title of a block begins that no test runs; then comes the reason
FENCE = re.compile(r'^```(\w+)(?: title="([^"]*)")?\n(.*?)^```$', re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code on a page, by its language, with its title and its first line."""

    language: str
    title: str
    text: str
    line: int

    @property
    def is_run(self) -> bool:
        return self.language in ("python", "sh") and not self.title.startswith(NOT_RUN)


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, with the files that they include."""
    text = page.read_text()
    found = [Block(m[1], m[2] or "", m[3], text.count("\n", 0, m.start()) + 2) for m in FENCE.finditer(text)]
    if 2 * len(found) != sum(line.startswith("```") for line in text.splitlines()):
        raise ValueError(f'{page.name} has a block that is not written as the others: ```LANGUAGE title="…"')
    return [Block(b.language, b.title, _included(b.text), b.line) for b in found]


def _included(text: str) -> str:
    return re.sub(r'^--8<-- "(.+)"$', lambda m: (ROOT / m[1]).read_text().rstrip(), text, flags=re.MULTILINE)


def generator(name: str) -> ModuleType:
    """A program of docs/generators, which is no package; those that import others find them."""
    folder = str(ROOT / "docs/generators")
    spec = importlib.util.spec_from_file_location(f"generators_{name}", f"{folder}/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a data class looks for its annotations
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(folder)
    return module
