"""Tasks on which activation functions compete, their training, and the comparison that proves one better."""

from .compare import Comparison, Ranked, Row, compare, rank
from .data import Part, Split
from .models import ActivationFactory
from .tasks import Task, list_tasks, task
from .together import train_together
from .training import ActivationLike, Outcome, train

__all__ = [
    "ActivationFactory",
    "ActivationLike",
    "Comparison",
    "Outcome",
    "Part",
    "Ranked",
    "Row",
    "Split",
    "Task",
    "compare",
    "list_tasks",
    "rank",
    "task",
    "train",
    "train_together",
]
