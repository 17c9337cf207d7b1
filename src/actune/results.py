"""Results of measurements as plain data: what they depend on, where they are kept, and how a document shows them.

A result is one line of JSON with its provenance. A document has marked blocks, `<!-- NAME: … -->` to `<!-- end of NAME -->`,
which are written from results and by nobody.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

__all__ = ["PACKAGES", "append_result", "markdown_table", "provenance", "read_results", "source_line", "versions", "write_block"]


PACKAGES = ("actune", "torch", "numpy", "llvmlite", "torch-activation", "rational-activations")


def provenance(command: str, settings: dict[str, Any], packages: Sequence[str] = PACKAGES) -> dict[str, Any]:
    """What a result depends on besides the code: command, date, machine, settings and versions (of packages that are installed)."""
    return {
        "command": command,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.system()},
        "versions": versions(packages),
        "settings": settings,
    }


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """The versions of Python and of these packages; those that are not installed are left out."""
    return {"python": platform.python_version()} | {p: v for p in packages if (v := _version(p))}


def append_result(path: Path, line: dict[str, Any], once: str | None = None) -> bool:
    """Append one result to a file, to which other processes may append too; a number that JSON does not have raises ValueError.

    once   a name: nothing is appended where a line of the file has the same value under it, and the answer is False
    """
    written = json.dumps(line, allow_nan=False, ensure_ascii=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        _lock(file)
        _drop_torn_line(file)
        file.seek(0)
        if once is not None and any(json.loads(known)[once] == line[once] for known in file):
            return False
        file.write(written.encode())
        return True


def _lock(file: IO[bytes]) -> None:
    """Wait until no other process writes to this file, and let none do so until it is closed; Windows has no such lock."""
    if sys.platform != "win32":
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)


def _drop_torn_line(file: IO[bytes]) -> None:
    """Cut off a last line without an end, which a crash in the middle of writing leaves."""
    if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) is not None and file.read(1) != b"\n":
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def read_results(path: Path) -> list[dict[str, Any]]:
    """The results in a file, in their order; none if there is no file. A last line that a crash has torn is left out."""
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    return [json.loads(line) for line in whole.split(b"\n") if line]


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The rows as a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows))


def source_line(result: dict[str, Any]) -> str:
    """The line under a table: the command that made it, and on what."""
    versions = ", ".join(f"{name} {v}" for name, v in result["versions"].items())
    machine = result["machine"]
    return f"`{result['command']}`, {result['date']}, {machine['cores']} cores of {machine['cpu']}; {versions}."


def write_block(text: str, name: str, content: str) -> str:
    """The text of a document, with this content in its block of this name; ValueError unless there is exactly one such block."""
    marked = re.compile(rf"(<!-- {re.escape(name)}: [^>]*-->\n).*?(<!-- end of {re.escape(name)} -->)", re.DOTALL)
    written, count = marked.subn(lambda m: f"{m[1]}\n{content}\n\n{m[2]}", text)
    if count != 1:
        raise ValueError(f"the text has {count} blocks {name!r}; it needs one, from <!-- {name}: … --> to <!-- end of {name} -->")
    return written


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.+)", info.read_text()) if info.exists() else None
    return found[1] if found else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
