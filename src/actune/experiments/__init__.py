"""Tasks on which activation functions compete, their training, and the comparison that proves one better."""

from .comparison import Comparison, Ranked, Row, compare, rank
from .data.parts import Part, Split
from .measures import MEASURES, Measure
from .models.factory import ActivationFactory
from .recipe import Recipe
from .tasks import Task, list_tasks, task
from .training.loop import Outcome, train
from .training.networks import ActivationChoice, ActivationLike
from .training.together import train_together

__all__ = [
    "MEASURES",
    "ActivationChoice",
    "ActivationFactory",
    "ActivationLike",
    "Comparison",
    "Measure",
    "Outcome",
    "Part",
    "Ranked",
    "Recipe",
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
