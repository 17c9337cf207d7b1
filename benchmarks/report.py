"""Where results go: JSON lines under results/, and tables in README.md that are written from them."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parent / "results"
README = HERE / "README.md"
PACKAGES = ("actune", "torch", "numpy", "numba", "pymittagleffler", "dfsc")


def facts(**settings: Any) -> dict[str, Any]:
    """What a result depends on besides the code."""
    return {
        "command": f"python benchmarks/{shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])}",
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version()} | {p: v for p in PACKAGES if (v := _version(p))},
        "settings": settings,
    }


def append(path: Path, line: dict[str, Any]) -> None:
    """Add one result; numbers that JSON does not have are refused."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        file.write(json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All results of a file that need not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def source(result: dict[str, Any]) -> str:
    """The line under a table: the command that made it, and on what."""
    versions = ", ".join(f"{name} {v}" for name, v in result["versions"].items())
    machine = result["machine"]
    return f"`{result['command']}`, {result['date']}, {machine['cores']} cores of {machine['cpu']}; {versions}."


def write_block(name: str, text: str) -> None:
    """Put a text between the marks of this name in README.md."""
    marked = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    written, count = marked.subn(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", README.read_text())
    if count != 1:
        raise SystemExit(f"{README.name} has {count} places marked {name!r}; it needs one")
    README.write_text(written)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
