"""Papers as data: their claims, the experiments that test them, and what was measured."""

from ..discovery.workers.execution import Workers
from .claims import Better, Claim, Equivalent, NotWorse, Verdict, Within
from .declaration import Experiment, Paper, Scale, Variant
from .declared import PAPERS
from .evidence import Finding, weigh
from .measured import reproduction_overview
from .reproducing import Reproduction, read_runs, reproduce
from .runs import list_experiments, selected_papers

__all__ = [
    "PAPERS",
    "Better",
    "Claim",
    "Equivalent",
    "Experiment",
    "Finding",
    "NotWorse",
    "Paper",
    "Reproduction",
    "Scale",
    "Variant",
    "Verdict",
    "Within",
    "Workers",
    "list_experiments",
    "read_runs",
    "reproduce",
    "reproduction_overview",
    "selected_papers",
    "weigh",
]
