"""Search: space, screening, ageing evolution, the Optuna study that is their only state, its workers, and the proof."""

from .evolution import Past, Proposal, Settings, propose
from .fleet import SearchError
from .proof import Proof, prove
from .screen import Screening, screen
from .space import Space
from .study import best, leaders, replay, search, suggest_activation

__all__ = [
    "Past",
    "Proof",
    "Proposal",
    "Screening",
    "SearchError",
    "Settings",
    "Space",
    "best",
    "leaders",
    "propose",
    "prove",
    "replay",
    "screen",
    "search",
    "suggest_activation",
]
