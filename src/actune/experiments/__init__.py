"""Tasks on which activation functions compete, their training, and the comparison that proves one better."""

from .comparison import Comparison, Ranked, Row, compare, rank
from .data.parts import Part, Split
from .models.small import ActivationFactory
from .tasks import Task, list_tasks, task
from .training.loop import ActivationLike, Outcome, train
from .training.together import train_together

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
