"""Results as plain data: what they depend on, where they are kept, and their rows as text."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .timing import WHY_KEPT, WHY_PASSIVE, Ratio

__all__ = ["HEADER", "append", "duration", "facts", "markdown", "notes", "place", "read", "rows", "source", "table"]

PACKAGES = ("actune", "torch", "numpy", "numba", "llvmlite", "torch-activation", "rational-activations")
HEADER = ("function", "computed by", "forward", "forward + backward", "bytes kept", "first calls")


def facts(command: str, settings: dict[str, Any], packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """What a result depends on besides the code: among it the versions of packages, if they are installed."""
    return {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": {"python": platform.python_version()} | {p: v for p in packages if (v := _version(p))},
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


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# -- the rows of a measurement -------------------------------------------------------------------------------------------


def rows(result: dict[str, Any], mark: str = "") -> list[tuple[str, list[tuple[str, ...]]]]:
    """Each kind of tensor with its rows, a cell for each title of HEADER; `mark` goes around a formula."""
    places: dict[str, list[tuple[str, ...]]] = {}
    for record in result["records"]:
        places.setdefault(place(record), []).append(_row(record, mark))
    return list(places.items())


def place(record: dict[str, Any]) -> str:
    """What a record is about, in words: 1,000,000 float32 elements, scope layer, 1 thread."""
    threads = f"{record['threads']} thread{'s'[: record['threads'] > 1]}" if record["device"] == "cpu" else record["device"]
    return f"{record['elements']:,} {record['dtype']} elements, scope {record['scope']}, {threads}"


def _row(record: dict[str, Any], mark: str) -> tuple[str, ...]:
    names = f"{mark}{record['function']}{mark}", record["by"]
    if "failed" in record:
        return (*names, "not possible", "", "", "")
    ratios = (str(Ratio(**record["ratios"][kind])) for kind in ("forward", "training"))
    return (*names, *ratios, f"{record['kept']:.3g}", duration(sum(record["first"].values())))


def duration(seconds: float) -> str:
    """In words: 12 ms, 1.5 s."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def notes(result: dict[str, Any]) -> list[str]:
    """What a reader of the rows must know, a line each."""
    settings = result["settings"]
    trained = "all parameters" if settings["train_all"] else "the parameters that the family trains"
    lines = [
        f"Time over that of F.gelu on the same elements: median (quartiles) of at most {settings['rounds']} interleaved rounds. "
        f"Forward: no gradient is wanted; forward + backward: gradients of x and of {trained}.",
        "Bytes kept: for backward, an element. First calls: one forward and one forward + backward, with what is compiled; "
        "the caches were empty, the next process finds them filled and waits less.",
    ]
    if result["starting"]:
        once = ", ".join(f"{by} {duration(s)}" for by, s in result["starting"].items())
        lines.append(f"What a process waits once, whatever it computes, is not counted there: {once}.")
    lines += [f"{why}." for why in (WHY_PASSIVE, WHY_KEPT)]
    failed = dict.fromkeys(f"{r['function']} by {r['by']}: {r['failed']}" for r in result["records"] if "failed" in r)
    return [*lines, *failed] + [f"{package}: not installed (pip install {package})." for package in result["absent"]]


def markdown(result: dict[str, Any]) -> str:
    """A result in Markdown: a table for each kind of tensor, and what it depends on."""
    tables = [f"{title}:\n\n{table(HEADER, cells)}" for title, cells in rows(result, "`")]
    return "\n\n".join([*tables, *notes(result), source(result)])
