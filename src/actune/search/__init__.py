"""Search: space, screening, ageing evolution, and the Optuna study that is their only state.

`actune.search` is this package and, called, the function `actune.search.study.search`: `actune.search("digits", trials=60)`.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from .evolution import Past, Proposal, Settings, propose
from .fleet import SearchError
from .screen import Screening, screen
from .space import Space
from .study import best, leaders, replay, search, suggest_activation

__all__ = ["Past", "Proposal", "Screening", "SearchError", "Settings", "Space", "best", "leaders", "propose", "replay", "screen",
           "search", "suggest_activation"]  # fmt: skip


class _Callable(ModuleType):
    # Importing a subpackage sets its name on the package above, which would hide a function `actune.search`.
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return search(*args, **kwargs)


sys.modules[__name__].__class__ = _Callable
