"""What a training depends on, as plain data: two trials with equal marks would train to the same numbers."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import types
from dataclasses import asdict
from typing import Any

from ..catalogue.registry import Family
from ..language.expr import symbol
from .tasks import Task

__all__ = ["network", "recipe", "training_key"]


def recipe(task: Task) -> dict[str, Any]:
    """How the task trains, and what, as JSON gives it back; `network` is None for what other processes cannot read."""
    found = asdict(task.recipe) | {"scope": task.scope, "loss": task.loss, "fixed": dict(task.fixed), "network": network(task)}
    plain: dict[str, Any] = json.loads(json.dumps(found))  # tuples become lists, as in a study's storage
    return plain


def network(task: Task) -> str | None:
    """A digest of the functions that make the task's network and its data, and prepare it, with their arguments; None where
    they have no names.
    """
    written = io.BytesIO()
    prepared = () if task.prepare is None else (task.prepare,)  # so that studies of tasks without one keep their digests
    try:
        _Pickler(written, protocol=4).dump((task.model, task.data, *prepared))
    except (pickle.PicklingError, AttributeError, TypeError):
        return None
    return _short_digest(written.getvalue())


class _Pickler(pickle.Pickler):
    """Writes the functions and classes of this package by their names alone, so that a study goes on after its code has moved."""

    def persistent_id(self, thing: Any) -> Any:
        package = __name__.partition(".")[0]
        named = isinstance(thing, (types.FunctionType, type)) and thing.__module__.partition(".")[0] == package
        return (package, thing.__qualname__) if named and "<" not in thing.__qualname__ else None


def training_key(task: Task, seed: int, f: Family) -> str | None:
    """A key, equal for equal trainings: recipe, seed and function, whatever its parameters are called; None where not known."""
    found = recipe(task)
    if found["network"] is None:
        return None
    names = {s: symbol(f"p{i}_{j}") for i, (name, p) in enumerate(f.params.items()) for j, s in enumerate(p.symbols(name))}
    params = [(p.init, repr(p.constraint), p.trainable) for p in f.params.values()]
    return _short_digest(repr((task.name, found, seed, str(f.expr.substitute(names).simplify()), params)).encode())


def _short_digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
