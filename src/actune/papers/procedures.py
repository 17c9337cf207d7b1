"""What runs of experiments do: a training, a look through the layers of a deep network, a race against the clock, a search."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..discovery.searching import search
from ..discovery.study.results import best, finite_trials
from ..discovery.study.storage.patience import SearchError
from ..experiments.data.parts import Part
from ..experiments.losses import LOSSES
from ..experiments.recipe import make_optimizer, model_groups
from ..experiments.tasks import Task
from ..experiments.training.loop import Outcome, begin_training, seeded, train
from ..experiments.training.networks import network_builder
from ..experiments.training.signals import layer_signals
from ..experiments.training.steps import take_step
from .declaration import FunctionChoice, activation_choice, choice_text

__all__ = ["race", "search_and_train", "train_and_look_inside", "train_once"]

_Place = tuple[str | Path, str] | None
_SHOWN = 512  # inputs on which the layers are looked at
_FRESH = 10_000  # added to the seed of a search for the training that is measured


def train_once(
    task: Task, choice: FunctionChoice, seed: int, device: str, place: _Place = None, *, course: bool = False
) -> dict[str, Any]:
    """Train a network and measure it on the test part.

    course   also keep how those parameters of the activations that moved did so: the mean over channels after each epoch
    """
    outcome = train(task, activation_choice(choice, task.scope), seed, test=True, course=course, device=device)
    return _plain(outcome)


def _plain(outcome: Outcome) -> dict[str, Any]:
    scores = {name: _finite(v) for name, v in (outcome.test_scores or {}).items()} | {"seconds": round(outcome.seconds, 2)}
    found: dict[str, Any] = {"scores": scores, "history": [_short(v) for v in outcome.history]}
    if outcome.diverged:
        found["diverged"] = True
    if outcome.course:
        means = {name: [_short(statistics.fmean(at)) for at in after] for name, after in outcome.course.items()}
        found["course"] = {name: after for name, after in means.items() if len(set(after)) > 1}
    return found


def _finite(value: float) -> float | None:
    """The number as JSON keeps it; None stands for the worst, which a network that diverged has."""
    return value if math.isfinite(value) else None


def _short(value: float) -> float | None:
    return _finite(float(f"{value:.5g}"))


# -- through the layers ---------------------------------------------------------------------------------------------------


def train_and_look_inside(task: Task, choice: FunctionChoice, seed: int, device: str, place: _Place = None) -> dict[str, Any]:
    """Train a network and look at its layers before and after.

    scores   "dead units": the share, after training, of units whose slope is zero for every input, the mean over the layers;
             "gradient decades", "gradient growth": log10 of the largest gradient of a layer before training over the smallest, and
             over that of the last layer, from where gradients come
    layers   for each layer, the gradient before and after, and the share of dead units after
    """
    shown = task.split(seed).validation
    seen: list[list[Any]] = []

    def look(model: nn.Module) -> None:
        part = Part(shown.inputs[:_SHOWN], shown.targets[:_SHOWN]).to(device)
        seen.append(layer_signals(model, part, LOSSES[task.loss].function))

    outcome = train(task, activation_choice(choice, task.scope), seed, test=True, inspect=look, device=device)
    begin, end = seen
    found = _plain(outcome)
    found["scores"] |= {
        "dead units": statistics.fmean(s.dead for s in end),
        "gradient decades": _decades([s.gradient for s in begin], min(s.gradient for s in begin)),
        "gradient growth": _decades([s.gradient for s in begin], begin[-1].gradient),
    }
    found["layers"] = {
        "gradient before": [_short(s.gradient) for s in begin],
        "gradient after": [_short(s.gradient) for s in end],
        "dead after": [_short(s.dead) for s in end],
    }
    return found


def _decades(gradients: list[float], least: float) -> float | None:
    """How many powers of ten the largest gradient is above `least`; None, the worst, where one is 0, infinite or nan."""
    is_usable = least > 0 and all(map(math.isfinite, gradients))
    return math.log10(max(gradients) / least) if is_usable else None


# -- against the clock ----------------------------------------------------------------------------------------------------


def race(
    task: Task,
    choice: FunctionChoice,
    seed: int,
    device: str,
    place: _Place = None,
    *,
    pairs: Mapping[str, FunctionChoice],
    turns: int = 30,
) -> dict[str, Any]:
    """Train two equal networks in turns of a few steps, and compare their times; other work on the machine then slows both.

    pairs   by the text of a choice, the function that it is timed against
    scores  "time ratio": the median over turns of the seconds of this function over those of the other
    """
    other = pairs[choice_text(choice)]
    part = task.split(seed).train.to(device)
    contestants = [_steps(task, f, seed, part, device) for f in (choice, other)]
    for advance in contestants:  # compilation and caches
        advance(2)
    ratios = []
    for turn in range(turns):
        order = (0, 1) if turn % 2 else (1, 0)
        seconds = {i: contestants[i](5) for i in order}
        ratios.append(seconds[0] / seconds[1])
    return {"scores": {"time ratio": statistics.median(ratios)}, "turns": [_short(r) for r in ratios]}


def _steps(task: Task, choice: FunctionChoice, seed: int, part: Part, device: str) -> Callable[[int], float]:
    """A function that trains a network for so many more steps and gives the seconds."""
    with seeded(seed, torch.device(device)):
        begun = begin_training(task, network_builder(task, activation_choice(choice, task.scope)), len(part))
    model, loss = begun.model.to(device).train(), LOSSES[task.loss].function
    optimizer = make_optimizer(task.recipe, model_groups(model, task.recipe))
    batches = [batch for order in begun.orders for batch in order.split(task.recipe.batch_size)]
    step = 0

    def advance(steps: int) -> float:
        nonlocal step
        start = time.perf_counter()
        for _ in range(steps):
            batch = batches[step % len(batches)].to(device)
            take_step(model, optimizer, loss, part.inputs[batch], part.targets[batch], task.recipe.clip)
            step += 1
        if torch.device(device).type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    return advance


# -- a search -------------------------------------------------------------------------------------------------------------


def search_and_train(
    task: Task, choice: FunctionChoice, seed: int, device: str, place: _Place = None, *, methods: Mapping[str, str], trials: int
) -> dict[str, Any]:
    """Search a function for the task, then train it with a seed that the search did not use; other choices are only trained.

    methods   by the text of a choice, the method by which it is searched
    """
    method = methods.get(choice_text(choice))
    if method is None:
        return train_once(task, choice, _FRESH + seed, device)
    storage, study = place or (None, None)
    try:
        finished = search(task, trials=trials, storage=storage, study=study, seed=seed, method=method)
    except SearchError as error:  # as such it would end the search that carries out the experiments, of which this is one run
        raise RuntimeError(f"the search ended: {error}") from None
    if not finite_trials(finished):  # none could be trained, which is the worst that a search can find
        return {"scores": dict.fromkeys(m.name for m in task.measured), "found": None}
    found = best(finished)
    return train_once(task, found, _FRESH + seed, device) | {"found": str(found)}
