"""Search: space, screening, proposers, the Optuna study that is their only state, its workers, and the proof."""

from .proof import Proof, confirm, prove
from .proposers.costs import function_cost
from .proposers.fisher import Fisher
from .proposers.history import Draft, FinishedTrial, History, Probe, Proposer
from .proposers.mixture import PROPOSERS, Proposal, propose
from .proposers.screening import Screening, screen
from .proposers.settings import METHODS, PARTS, Budget, Method, Ranking, Settings
from .proposers.space import Space
from .searching import search
from .study.replaying import replay
from .study.results import best, front, leaders
from .study.storage.patience import SearchError
from .study.suggest import suggest_activation
from .workers.execution import Workers
from .workers.objective import OBJECTIVES

__all__ = [
    "METHODS",
    "OBJECTIVES",
    "PARTS",
    "PROPOSERS",
    "Budget",
    "Draft",
    "FinishedTrial",
    "Fisher",
    "History",
    "Method",
    "Probe",
    "Proof",
    "Proposal",
    "Proposer",
    "Ranking",
    "Screening",
    "SearchError",
    "Settings",
    "Space",
    "Workers",
    "best",
    "confirm",
    "front",
    "function_cost",
    "leaders",
    "propose",
    "prove",
    "replay",
    "screen",
    "search",
    "suggest_activation",
]
