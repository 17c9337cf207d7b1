"""Lightning: a callback that logs the parameters of activation functions as they learn."""

from __future__ import annotations

from statistics import fmean
from typing import Any

from lightning.pytorch.callbacks import Callback

from ..module import parameter_values

__all__ = ["ActivationParameters"]


class ActivationParameters(Callback):
    """Logs the values of all parameters of activation functions, as the formulas see them, and keeps their course.

    every   so many batches between two looks

    Each is logged under `activation/PLACE.PARAMETER`, for parameters of channels or neurons the mean, with `.min` and `.max`
    beside. `course` has the same for each look, with the step: [(step, {name: value}), …].
    """

    def __init__(self, every: int = 50):
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every!r}")
        self.every = every
        self.course: list[tuple[int, dict[str, float]]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step % self.every == 0:
            found = {k: v for name, values in parameter_values(pl_module).items() for k, v in _summary(name, values).items()}
            self.course.append((trainer.global_step, found))
            pl_module.log_dict({f"activation/{name}": value for name, value in found.items()})


def _summary(name: str, values: tuple[float, ...]) -> dict[str, float]:
    """A parameter in numbers: one, or the mean, the least and the greatest."""
    if len(values) == 1:
        return {name: values[0]}
    return {name: fmean(values), f"{name}.min": min(values), f"{name}.max": max(values)}
