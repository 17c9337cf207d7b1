"""Functions on a GPU: how near the memory's speed they are, beside torch.compile, eager torch and torch's own, in under 8 minutes.

    python benchmarks/gpu.py                                      # measure, store in results/gpu.jsonl as it goes, print
    python benchmarks/gpu.py --table                              # write the last stored run into README.md
    TRITON_INTERPRET=1 python benchmarks/gpu.py --device cpu --size 1e4 --rounds 2   # try the script itself, without a GPU

1e8 elements (1e6 for Mittag-Leffler functions), float32 and bfloat16; one set of parameters, and one per channel. In each round
every way computes a function once, in a new random order, between two CUDA events; so do a copy and F.gelu, in whose times of the
same round the others are given. Every line is stored when it is measured: a run that is cut off loses its last function at most.

On the CPU, where a clock takes the place of the events, times say nothing: it is to see that the script runs.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import report
import torch
import torch.nn.functional as F
from timing import Ratio, ratio
from torch import Tensor

from actune import Activation
from actune.bench.contenders import CHANNELS, Tensors
from actune.export.python import has_torch_form, torch_function
from actune.kernels.autograd import apply_way
from actune.kernels.gpu import GpuWay
from actune.kernels.layout import layout_of
from actune.kernels.operators import needs_float64
from actune.kernels.triton.launch import has_triton_kernel

STORED = report.RESULTS / "gpu.jsonl"
FAMILIES = ("relu", "silu", "gelu", "mish", "apalu", "sau", "pserf", "zorro_symmetric", "rational", "swish", "elu", "ml_mish")
OWN: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "silu": F.silu, "gelu": F.gelu, "mish": F.mish, "elu": F.elu}
DTYPES = ("float32", "bfloat16")
WAYS = ("torch.compile", "triton", "tape", "eager", "torch")
WANTED = {"forward": 0.9, "training": 1.1, "training, channel": 1.3}  # of the copy's bandwidth; times the time of GELU
BUDGET = 440.0  # seconds; functions that would begin later are left out, and said to be
BEFORE = 2**28  # numbers that are written before a call: the cache is full of them, and the call is queued before it can begin
SMALLER = 100  # times, where torch's operators compute in float64 with much memory
Call = Callable[[], Any]


@dataclass(frozen=True)
class Case:
    """What is measured: a family on a kind of tensor."""

    family: str
    dtype: str
    scope: str


@dataclass(frozen=True)
class Machine:
    """Where it is measured, and how long a call takes there."""

    device: str

    @functools.cached_property
    def _scratch(self) -> Tensor:
        return torch.empty(BEFORE, device=self.device)

    def seconds(self, call: Call) -> float:
        """The seconds of one call: between two events on a GPU, without what Python takes to queue it."""
        if self.device == "cpu":
            start = time.perf_counter()
            call()
            return time.perf_counter() - start
        events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
        self._scratch.zero_()
        events[0].record()
        call()
        events[1].record()
        torch.cuda.synchronize()
        return events[0].elapsed_time(events[1]) / 1000

    def peak(self, call: Call) -> int | None:
        """The bytes that a call needs at most, besides what there is before it; unknown on the CPU."""
        if self.device == "cpu":
            return None
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        kept = call()
        torch.cuda.synchronize()
        del kept
        return torch.cuda.max_memory_allocated() - before

    @property
    def name(self) -> str:
        return "no GPU: the CPU" if self.device == "cpu" else torch.cuda.get_device_name()


class Inputs:
    """x, the gradient that comes back, and calls on them; about `size` elements."""

    def __init__(self, case: Case, size: int, device: str):
        shape, dtype = Tensors(size, case.dtype, case.scope, 1).shape, getattr(torch, case.dtype)
        self.x = torch.randn(shape, device=device, dtype=dtype).mul_(2).requires_grad_()
        self.g = torch.randn(shape, device=device, dtype=dtype)
        self.out = torch.empty_like(self.g)

    def forward(self, f: Callable[[Tensor], Tensor]) -> Tensor:
        with torch.no_grad():
            return f(self.x.detach())

    def training(self, f: Callable[[Tensor], Tensor], parameters: tuple[Tensor, ...] = ()) -> tuple[Tensor, ...]:
        return torch.autograd.grad(f(self.x), [self.x, *parameters], self.g)


def cases(families: tuple[str, ...]) -> Iterator[Case]:
    """The most telling first, so that a run that is cut off has them."""
    for scope in ("layer", "channel"):
        for dtype in DTYPES:
            for family in families:
                if scope == "layer" or Activation(family).family.params:
                    yield Case(family, dtype, scope)


def function_of(case: Case, way: str, device: str) -> tuple[Callable[[Tensor], Tensor], tuple[Tensor, ...]]:
    """A function by one of WAYS, and its parameters that learn; LookupError where the way has no such function."""
    if way == "torch":
        if case.scope != "layer" or case.family not in OWN:
            raise LookupError("torch has none of its own")
        return OWN[case.family], ()
    channels = {} if case.scope == "layer" else {"channels": CHANNELS}
    act = Activation(case.family, scope=case.scope, **channels).to(device)
    e, learned = act.family.expr, tuple(p for p in act.parameters() if p.requires_grad)
    of_parameters = (1,) if case.scope == "layer" else (1, CHANNELS, 1, 1)
    p = {n: torch.full(of_parameters, v, device=device).requires_grad_(bool(learned)) for n, v in act.family.initial()}
    values = tuple(p.values())
    if way == "eager":
        if not has_torch_form(e):
            raise LookupError("torch has no operator for the Mittag-Leffler function")
        plain = torch_function(e, ("x", *p))
        return lambda x: plain(x, *(v.to(x.dtype) for v in values)), values
    by_us = way in ("triton", "tape")
    if by_us and importlib.util.find_spec("triton") is None:
        raise LookupError("Triton is not installed")
    if needs_float64(e):  # by what actune takes for it: tables, or torch's operators
        if by_us:
            raise LookupError("there is no kernel in Triton of the Mittag-Leffler function")
        return act, learned
    assert not by_us or has_triton_kernel(e, getattr(torch, case.dtype))
    return lambda x: _by_gpu_way(e, p, way, x), values


def _by_gpu_way(e: Any, p: dict[str, Tensor], way: Any, x: Tensor) -> Tensor:
    layout = layout_of(tuple(x.shape), None, tuple(tuple(v.shape) for v in p.values()))
    assert layout is not None
    return apply_way(GpuWay(e, ("x", *p), layout, way), x, tuple(p.values()))


def measured(case: Case, ways: tuple[str, ...], size: int, rounds: int, machine: Machine) -> dict[str, Any]:
    """The line of a case: for each way the ratios to the copy and to GELU, the seconds, the peak of memory, the first call."""
    inputs = Inputs(case, max(1, size // SMALLER) if needs_float64(Activation(case.family).family.expr) else size, machine.device)
    calls: dict[tuple[str, str], Call] = {
        ("copy", "forward"): lambda: inputs.out.copy_(inputs.g),
        ("gelu", "forward"): lambda: inputs.forward(F.gelu),
        ("gelu", "training"): lambda: inputs.training(F.gelu),
    }
    first: dict[str, float] = {}
    failed: dict[str, str] = {}
    for way in ways:
        try:
            f, p = function_of(case, way, machine.device)
            own = {"forward": lambda f=f: inputs.forward(f), "training": lambda f=f, p=p: inputs.training(f, p)}
            first[way] = sum(_timed(call, machine) for call in own.values())
            calls |= {(way, kind): call for kind, call in own.items()}
        except Exception as error:  # what cannot be had, or others cannot do, is a result
            failed[way] = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    peaks = {key: machine.peak(call) for key, call in calls.items()}
    seconds = _rounds(calls, rounds, machine)
    found = {way: _record(way, seconds, peaks, inputs.x.numel()) | {"first": first[way]} for way in first}
    return asdict(case) | {"elements": inputs.x.numel(), "ways": found, "failed": failed,
                           "copy": sorted(seconds["copy", "forward"])[rounds // 2]}  # fmt: skip


def _timed(call: Call, machine: Machine) -> float:
    start = time.perf_counter()
    machine.seconds(call)
    return time.perf_counter() - start


def _rounds(calls: dict[tuple[str, str], Call], rounds: int, machine: Machine) -> dict[tuple[str, str], list[float]]:
    """The seconds of each call in each round, each round in another order; one round before them does not count."""
    order, rng = list(calls), random.Random(0)
    found: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for i in range(rounds + 1):
        rng.shuffle(order)
        for key in order:
            seconds = machine.seconds(calls[key])
            if i:
                found[key].append(seconds)
    return found


def _record(way: str, seconds: dict[Any, list[float]], peaks: dict[Any, int | None], elements: int) -> dict[str, Any]:
    forward, training = seconds[way, "forward"], seconds[way, "training"]
    peak, of_gelu = peaks[way, "training"], peaks["gelu", "training"]
    return {
        "of bandwidth": asdict(ratio(seconds["copy", "forward"], forward)),  # both read and write each element once
        "forward over gelu": asdict(ratio(forward, seconds["gelu", "forward"])),
        "training over gelu": asdict(ratio(training, seconds["gelu", "training"])),
        "seconds": {"forward": sorted(forward)[len(forward) // 2], "training": sorted(training)[len(training) // 2]},
        "peak bytes": None if peak is None else peak / elements,
        "peak bytes of gelu": None if of_gelu is None else of_gelu / elements,
    }


def table(lines: list[dict[str, Any]]) -> str:
    """The stored lines of one run in Markdown; what misses what is wanted is bold."""
    header = [
        "family",
        "dtype",
        "scope",
        *(f"{way}: share of bandwidth; training over GELU" for way in WAYS),
        "peak bytes an element",
    ]
    return report.markdown_table(header, map(_row, lines))


def _row(line: dict[str, Any]) -> list[str]:
    limit = WANTED["training" if line["scope"] == "layer" else "training, channel"]
    cells = []
    for way in WAYS:
        found = line["ways"].get(way)
        if found is None:
            cells.append("")
            continue
        share, over = Ratio(**found["of bandwidth"]), Ratio(**found["training over gelu"])
        cells.append(f"{_marked(share, share.median < WANTED['forward'])}; {_marked(over, over.median > limit)}")
    peaks = {way: found["peak bytes"] for way, found in line["ways"].items() if found["peak bytes"] is not None}
    return [line["family"], line["dtype"], line["scope"], *cells, ", ".join(f"{way} {peak:.1f}" for way, peak in peaks.items())]


def _marked(r: Ratio, missed: bool) -> str:
    return f"**{r}**" if missed else str(r)


def last_run(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines of the run that was stored last."""
    return [line for line in lines if line["run"] == lines[-1]["run"]] if lines else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--size", type=float, default=1e8)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--families", default=",".join(FAMILIES))
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--json", type=Path, default=STORED, help="where results are added, one line a function")
    parser.add_argument(
        "--table", action="store_true", help="write the run that was stored last into README.md, and measure nothing"
    )
    options = parser.parse_args()
    if options.table:
        lines = last_run(report.read_results(options.json))
        if not lines:
            raise SystemExit(f"nothing is stored in {options.json.name}; run without --table on a machine with a GPU first")
        report.write_block("gpu", f"{table(lines)}\n\n{lines[-1]['gpu']}; {report.source_line(lines[-1])}")
        return
    if options.device == "cuda" and not torch.cuda.is_available():
        print("there is no GPU that torch can use here: nothing was measured", file=sys.stderr)
        raise SystemExit(2)
    machine, start = Machine(options.device), time.time()
    known = report.provenance(size=options.size, rounds=options.rounds) | {"gpu": machine.name, "run": start}
    left, ways = list(cases(tuple(options.families.split(",")))), tuple(options.ways.split(","))
    while left and time.time() - start < BUDGET:
        line = known | measured(left.pop(0), ways, int(options.size), options.rounds, machine)
        if options.device == "cuda" or options.json != STORED:  # times on the CPU are no results
            report.append_result(options.json, line)
        print(" | ".join(_row(line)), *(f"{way}: {why}" for way, why in line["failed"].items()), sep="\n    ", flush=True)
    if left:
        print(
            f"{len(left)} functions were left out, for want of time: {', '.join(f'{c.family} {c.dtype} {c.scope}' for c in left)}"
        )


if __name__ == "__main__":
    main()
