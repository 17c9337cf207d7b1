"""Time, memory and first calls of each contender, beside torch's GELU in the same rounds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from torch import Tensor

from .contenders import BASELINE, Computed, Contender, Tensors, formula_contenders, torch_contenders
from .plan import Plan
from .timing import PASSIVE, interleaved, keep_memory, ratio, seconds_of

__all__ = ["bytes_kept", "measure_steps", "starting"]

MOST = 15.0  # seconds that the rounds of one step may take
PASSES = ("forward", "training")
STARTER = "x*atan(exp(-abs(x)))"  # warm-up formula; it absorbs what a process pays once


def measure_steps(plan: Plan) -> Iterator[list[dict[str, Any]]]:
    """Measure one step after the other: give the records of its contenders, one each.

    ratios    to GELU: forward without gradients, and forward and backward with gradients of x and the parameters
    kept      bytes per element that are kept for backward
    first     seconds of the first call of each kind, in which it compiles
    failed    why the record has none of these

    Sets the number of threads of this process, which must have been started with OMP_WAIT_POLICY=PASSIVE;
    `actune.bench.run` does that in a process of its own.
    """
    if any(os.environ.get(name) != value for name, value in PASSIVE.items()):
        raise ValueError("OMP_WAIT_POLICY must be PASSIVE before torch is imported; actune.bench.run sees to it")
    keep_memory()
    for tensors, functions in plan.steps():
        torch.set_num_threads(tensors.threads)
        if "torch" in plan.beside:
            yield _step(torch_contenders(tensors), tensors, plan)
        for function in functions:
            yield _step(formula_contenders(function, tensors, plan.beside, plan.train_all), tensors, plan)
            if "torch.compile" in plan.beside:
                torch.compiler.reset()


def starting(plan: Plan) -> dict[str, float]:
    """The seconds that a process waits once, whatever its first formula is; first calls do not count them."""
    tensors = Tensors(min(max(plan.sizes), 1_000_000), plan.dtypes[0], "layer", plan.threads[0], plan.device)
    found = {}
    for contender in formula_contenders(STARTER, tensors, plan.beside):
        with suppress(Exception):  # it fails again, and is recorded, where it is measured
            found[contender.by] = sum(_first(contender.make(), _Inputs(tensors, plan.seed)).values())
    return found


class _Inputs:
    """What functions are called with: x = 2 randn, a copy of it that wants a gradient, and the gradient that comes back."""

    def __init__(self, tensors: Tensors, seed: int):
        draw = torch.Generator(tensors.device).manual_seed(seed)
        plain, g = (torch.randn(tensors.shape, generator=draw, device=tensors.device) for _ in range(2))
        self.x, self.g = (2 * plain).to(tensors.options["dtype"]), g.to(tensors.options["dtype"])
        self.learned = self.x.clone().requires_grad_()
        self.finish = torch.cuda.synchronize if self.x.is_cuda else None

    def calls(self, f: Computed) -> dict[str, Callable[[], Any]]:
        """The calls that are timed."""
        return {"forward": lambda: self.forward(f), "training": lambda: self.training(f)}

    def forward(self, f: Computed) -> Tensor:
        with torch.no_grad():
            return f.call(self.x)

    def training(self, f: Computed) -> tuple[Tensor, ...]:
        return torch.autograd.grad(f.call(self.learned), [self.learned, *f.parameters], self.g)


def _step(candidates: Iterable[Contender], tensors: Tensors, plan: Plan) -> list[dict[str, Any]]:
    """The records of these contenders, which are timed in the same rounds."""
    inputs = _Inputs(tensors, plan.seed)
    made: list[tuple[Contender, Computed, dict[str, float]]] = []
    failed = []
    for contender in candidates:
        try:
            f = contender.make()
            made.append((contender, f, _first(f, inputs)))
        except Exception as error:  # what others cannot do is a result; our own function must work
            if contender.by == "actune":
                raise
            said = str(error).strip().partition("\n")[0]
            failed.append(_facts_of(contender, tensors) | {"failed": f"{type(error).__name__}: {said}"})
    calls = {(i, kind): call for i, (_, f, _) in enumerate(made) for kind, call in inputs.calls(f).items()}
    calls |= {(-1, kind): call for kind, call in inputs.calls(BASELINE).items()}
    seconds = interleaved(calls, plan.rounds, plan.seed, most=MOST, finish=inputs.finish)
    measured = [{kind: (seconds[i, kind], seconds[-1, kind]) for kind in PASSES} for i in range(len(made))]
    records = [_facts_of(contender, tensors) | _measured_record(times) | {"kept": bytes_kept(f, inputs.learned), "first": first}
               for (contender, f, first), times in zip(made, measured, strict=True)]  # fmt: skip
    return records + failed


def _measured_record(times: Mapping[str, tuple[list[float], list[float]]]) -> dict[str, Any]:
    """What a record says of the rounds: ratios to GELU, and median seconds, which neighbours on a shared machine change."""
    return {
        "ratios": {kind: asdict(ratio(own, base)) for kind, (own, base) in times.items()},
        "seconds": {kind: median(own) for kind, (own, _) in times.items()},
        "rounds": len(times["forward"][0]),
    }


def _facts_of(contender: Contender, tensors: Tensors) -> dict[str, Any]:
    return {"function": contender.function, "by": contender.by} | asdict(tensors) | {"elements": torch.Size(tensors.shape).numel()}


def _first(f: Computed, inputs: _Inputs) -> dict[str, float]:
    return {kind: seconds_of(call, finish=inputs.finish) for kind, call in inputs.calls(f).items()}


def bytes_kept(f: Computed, x: Tensor) -> float:
    """The bytes per element that one call keeps for backward; each storage counts once, those of the parameters not."""
    storages: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        storages[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        y = f.call(x)
    for t in _tensors_on(y.grad_fn):
        pack(t)
    for p in f.parameters:
        storages.pop(p.untyped_storage().data_ptr(), None)
    return sum(storages.values()) / x.numel()


def _tensors_on(node: Any) -> Iterator[Tensor]:
    """Tensors that the nodes of a graph have as attributes, where no hook sees them."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [below for below, _ in node.next_functions]
            yield from (v for v in getattr(node, "__dict__", {}).values() if isinstance(v, Tensor))
