"""Time, memory and first calls of each way to compute a function, beside torch's GELU in the same rounds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from statistics import median
from typing import Any

import torch
from torch import Tensor

from .plan import Plan
from .timing import PASSIVE, interleaved, keep_memory, ratio, seconds_of
from .ways import BASELINE, Computed, Way, Where, torch_ways, ways

__all__ = ["kept", "measure", "starting"]

MOST = 15.0  # seconds for the rounds of one function
KINDS = ("forward", "training")
STARTER = "x*atan(exp(-abs(x)))"  # what no one measures: it pays for what a process pays once


def measure(plan: Plan) -> Iterator[list[dict[str, Any]]]:
    """The results of one step after the other; a record for each way to compute one function.

    ratios    to GELU: forward without gradients, and forward and backward with gradients of x and the parameters
    kept      bytes an element that are kept for backward
    first     seconds of the first call of each kind, in which it compiles
    failed    why there is none of this

    Sets the number of threads of this process, which must have been started with OMP_WAIT_POLICY=PASSIVE;
    `actune.bench.run` does that in a process of its own.
    """
    if any(os.environ.get(name) != value for name, value in PASSIVE.items()):
        raise ValueError("OMP_WAIT_POLICY must be PASSIVE before torch is imported; actune.bench.run sees to it")
    keep_memory()
    for where, functions in plan.places():
        torch.set_num_threads(where.threads)
        if "torch" in plan.beside:
            yield _step(torch_ways(where), where, plan)
        for function in functions:
            yield _step(ways(function, where, plan.beside, plan.train_all), where, plan)
            if "torch.compile" in plan.beside:
                torch.compiler.reset()


def starting(plan: Plan) -> dict[str, float]:
    """The seconds that a process pays once, whatever the first formula is; not counted among the first calls."""
    where = Where(min(max(plan.sizes), 1_000_000), plan.dtypes[0], "layer", plan.threads[0], plan.device)
    found = {}
    for way in ways(STARTER, where, plan.beside):
        with suppress(Exception):  # it fails again, and is recorded, where it is measured
            found[way.by] = sum(_first(way.make(), _Inputs(where, plan.seed)).values())
    return found


class _Inputs:
    """What functions are called with: x = 2 randn, the same with a gradient wanted, and the gradient that comes back."""

    def __init__(self, where: Where, seed: int):
        draw = torch.Generator(where.device).manual_seed(seed)
        plain, g = (torch.randn(where.shape, generator=draw, device=where.device) for _ in range(2))
        self.x, self.g = (2 * plain).to(where.options["dtype"]), g.to(where.options["dtype"])
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


def _step(candidates: Iterable[Way], where: Where, plan: Plan) -> list[dict[str, Any]]:
    """The records of some ways, which share their rounds."""
    inputs = _Inputs(where, plan.seed)
    made: list[tuple[Way, Computed, dict[str, float]]] = []
    failed = []
    for way in candidates:
        try:
            f = way.make()
            made.append((way, f, _first(f, inputs)))
        except Exception as error:  # what others cannot do is a result; our own function must work
            if way.by == "actune":
                raise
            said = str(error).strip().partition("\n")[0]
            failed.append(_facts(way, where) | {"failed": f"{type(error).__name__}: {said}"})
    calls = {(i, kind): call for i, (_, f, _) in enumerate(made) for kind, call in inputs.calls(f).items()}
    calls |= {(-1, kind): call for kind, call in inputs.calls(BASELINE).items()}
    seconds = interleaved(calls, plan.rounds, plan.seed, most=MOST, finish=inputs.finish)
    measured = [{kind: (seconds[i, kind], seconds[-1, kind]) for kind in KINDS} for i in range(len(made))]
    records = [_facts(way, where) | _record(times) | {"kept": kept(f, inputs.learned), "first": first}
               for (way, f, first), times in zip(made, measured, strict=True)]  # fmt: skip
    return records + failed


def _record(times: Mapping[str, tuple[list[float], list[float]]]) -> dict[str, Any]:
    """What is kept of the rounds: ratios to GELU, and median seconds, which depend on the neighbours of a shared machine."""
    return {
        "ratios": {kind: asdict(ratio(own, base)) for kind, (own, base) in times.items()},
        "seconds": {kind: median(own) for kind, (own, _) in times.items()},
        "rounds": len(times["forward"][0]),
    }


def _facts(way: Way, where: Where) -> dict[str, Any]:
    return {"function": way.function, "by": way.by} | asdict(where) | {"elements": torch.Size(where.shape).numel()}


def _first(f: Computed, inputs: _Inputs) -> dict[str, float]:
    return {kind: seconds_of(call, finish=inputs.finish) for kind, call in inputs.calls(f).items()}


def kept(f: Computed, x: Tensor) -> float:
    """The bytes an element that one call keeps for backward, each storage once, without those of the parameters."""
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
