"""Something to be done when a module is imported, now if it is already."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

__all__ = ["when_imported"]


def when_imported(name: str, module: str, function: str) -> None:
    """Call a function, by the name of its module and its own, when the module `name` has been imported."""

    def act() -> None:
        getattr(importlib.import_module(module), function)()

    if name in sys.modules:
        act()
    else:
        sys.meta_path.insert(0, _Watcher(name, act))


class _Watcher(MetaPathFinder):
    """Finds one module as the other finders do, and acts once it has been executed."""

    def __init__(self, name: str, act: object):
        self.name, self.act, self.is_looking = name, act, False

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self.name or self.is_looking:
            return None
        self.is_looking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.is_looking = False
        if spec is None or spec.loader is None:
            return None
        execute, act = spec.loader.exec_module, self.act

        def exec_module(module: ModuleType) -> None:
            execute(module)
            act()  # type: ignore[operator]

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
