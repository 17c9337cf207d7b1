"""A start that keeps what was learned: a new function fitted to the one that it replaces, on the inputs that it will see."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .observe import ObservedCall

__all__ = ["Sample", "Samples", "fit_to_samples"]

_ELEMENTS, _CALLS = 65_536, 8  # that are kept: elements of each call, at most; calls of each place
_ITERATIONS = 100


class Sample(NamedTuple):
    """Inputs of an activation function and what it made of them, with the dimensions that the module sees."""

    inputs: Tensor
    outputs: Tensor


class Samples:
    """Keeps some inputs and outputs of each place in runs of a model: it is what `observe_calls` shows the calls to."""

    def __init__(self) -> None:
        self._of: dict[int, Sample] = {}  # of a call, by its id
        self._kept: Counter[object] = Counter()  # of a place

    def __call__(self, call: ObservedCall, x: Tensor, compute: Callable[[Tensor], object]) -> None:
        if self._kept[call.place] < _CALLS:
            inputs = _some(x)
            outputs = compute(inputs.clone())  # which may work in place
            if isinstance(outputs, Tensor):
                self._of[id(call)] = Sample(inputs, outputs)
                self._kept[call.place] += 1

    def of(self, calls: Iterable[ObservedCall]) -> list[Sample]:
        """What was kept of these calls."""
        return [self._of[id(call)] for call in calls if id(call) in self._of]


def _some(x: Tensor) -> Tensor:
    """A copy of some examples of a batch, the first ones."""
    each = max(1, x.numel() // max(1, len(x))) if x.ndim else 1
    return x[: max(1, _ELEMENTS // each)].detach().clone() if x.ndim else x.detach().clone()


def fit_to_samples(new: nn.Module, samples: Sequence[Sample]) -> float | None:
    """Give the parameters of a new module that learn the values with which it comes closest to the samples, by least squares.

    Returns the error that is left: the root of the mean square of the difference, over that of the outputs. None where there is
    nothing to compare. A fit that does not come closer than the initial values leaves these.
    """
    if not samples:
        return None
    pairs = [Sample(s.inputs.double(), s.outputs.double()) for s in samples]
    model = copy.deepcopy(new).double()
    with torch.no_grad():
        model(pairs[0].inputs)  # gives parameters their size
    free = [p for p in model.parameters() if p.requires_grad]
    first = _error(model, pairs)
    if free and first > 0:
        start = [p.detach().clone() for p in free]
        _minimise(model, free, pairs)
        last = _error(model, pairs)
        if not last < first:  # or nan
            with torch.no_grad():
                for p, value in zip(free, start, strict=True):
                    p.copy_(value)
    else:
        last = first
    _copy_parameters(model, new)
    return min(first, last) if math.isfinite(first) else last


def _minimise(model: nn.Module, free: list[nn.Parameter], pairs: Sequence[Sample]) -> None:
    """Newton-like steps with a line search; the parameters move on scales of their own, so a first step is short."""
    optimizer = torch.optim.LBFGS(
        free, max_iter=_ITERATIONS, line_search_fn="strong_wolfe", tolerance_grad=1e-12, tolerance_change=1e-14
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = _squares(model, pairs)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimizer.step(closure)  # type: ignore[no-untyped-call]


def _squares(model: nn.Module, pairs: Sequence[Sample]) -> Tensor:
    """The squares of the differences, over those of the outputs."""
    size = sum(float(s.outputs.square().sum()) for s in pairs) or 1.0
    return torch.stack([(model(s.inputs) - s.outputs).square().sum() for s in pairs]).sum() / size


def _error(model: nn.Module, pairs: Sequence[Sample]) -> float:
    with torch.no_grad():
        return math.sqrt(float(_squares(model, pairs)))


def _copy_parameters(source: nn.Module, target: nn.Module) -> None:
    with torch.no_grad():
        for (name, p), (_, q) in zip(source.named_parameters(), target.named_parameters(), strict=True):
            if is_lazy(q):
                target.load_state_dict({name: p}, strict=False)
            else:
                q.copy_(p)
