"""How a candidate came about, as a trial records it: settings and numbers as plain data, written and read.

A trial keeps its candidate in the user attribute `activation:NAME`, as text, and its origin in `activation:NAME:origin`: the number
of the trial whose generator drew it, the proposer and what it did, the parents, the finished trials that were seen ("0-31,33"), the
fingerprints of the trials that ran meanwhile, its own fingerprint, the settings that are not the default, and what a probe told of
it if there was one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..proposers.settings import Settings
from ..proposers.space import Space

__all__ = ["changed_settings", "read_ranges", "recorded_settings", "write_ranges"]


def changed_settings(settings: Settings) -> dict[str, Any]:
    """A record of the settings that are not the default: {"settings": {name: value}}, or nothing."""

    def differences(value: Any, default: Any) -> dict[str, Any]:
        pairs = ((f.name, getattr(value, f.name), getattr(default, f.name)) for f in dataclasses.fields(value))
        return {name: differences(v, d) if dataclasses.is_dataclass(v) else _plain_origin(v) for name, v, d in pairs if v != d}

    changed = differences(settings, Settings())
    return {"settings": changed} if changed else {}


def _plain_origin(value: Any) -> Any:
    """The value with lists for tuples, as JSON has them, so that a study in memory has the records of one in a database."""
    return [_plain_origin(v) for v in value] if isinstance(value, tuple) else value


def recorded_settings(origin: dict[str, Any]) -> Settings:
    """The settings by which this candidate was drawn."""
    changed = {k: _frozen(v) for k, v in origin.get("settings", {}).items() if k != "space"}
    space = {k: _frozen(v) for k, v in origin.get("settings", {}).get("space", {}).items()}
    return Settings(**changed, space=Space(**space))


def _frozen(value: Any) -> Any:
    """The value with tuples for lists, as it was before JSON."""
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


def write_ranges(numbers: Sequence[int] | NDArray[np.int64]) -> str:
    """Ascending numbers in short: "0-31,33"."""
    found = np.asarray(numbers, dtype=np.int64)
    runs = np.split(found, np.flatnonzero(np.diff(found) != 1) + 1) if len(found) else []
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def read_ranges(ranges: str) -> list[int]:
    """The numbers that were written in short."""
    runs = [[int(n) for n in run.split("-")] for run in ranges.split(",") if run]
    return [n for run in runs for n in range(run[0], run[-1] + 1)]
