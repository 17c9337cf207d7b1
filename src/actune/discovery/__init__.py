"""Search: space, screening, proposers, the Optuna study that is their only state, its workers, and the proof."""

from .cost import cost
from .fisher import Fisher
from .fleet import SearchError
from .history import Draft, History, Past, Probe, Proposer
from .objective import OBJECTIVES
from .proof import Proof, confirm, prove
from .propose import PROPOSERS, Proposal, propose
from .screen import Screening, screen
from .search import search
from .settings import METHODS, PARTS, Budget, Method, Ranking, Settings
from .space import Space
from .study import best, front, leaders, replay, suggest_activation

__all__ = [
    "METHODS",
    "OBJECTIVES",
    "PARTS",
    "PROPOSERS",
    "Budget",
    "Draft",
    "Fisher",
    "History",
    "Method",
    "Past",
    "Probe",
    "Proof",
    "Proposal",
    "Proposer",
    "Ranking",
    "Screening",
    "SearchError",
    "Settings",
    "Space",
    "best",
    "confirm",
    "cost",
    "front",
    "leaders",
    "propose",
    "prove",
    "replay",
    "screen",
    "search",
    "suggest_activation",
]
