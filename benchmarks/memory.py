"""The memory that a training step needs at most, with each function between two linear layers, beside torch's GELU there.

    python benchmarks/memory.py             # measure, store in results/memory.jsonl, print; --size
    python benchmarks/memory.py --table     # write the stored result into README.md

Counted are the bytes that torch allocates in the step, less those that it frees, by torch's profiler: forward and backward with the
gradients of both layers and of the function's parameters. What is there before the step, inputs and weights, is not counted.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any
from unittest import mock

import report
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

import actune
from actune import Activation
from actune.export.python import has_torch_form, torch_function

STORED = report.RESULTS / "memory.jsonl"
FEATURES = 64  # of both layers: their gradients are small beside what goes through
DTYPES = ("float32", "bfloat16")
QUIET = {"KINETO_LOG_LEVEL": "99"}  # else the profiler says on the error stream that it starts and stops


def peak_bytes(function: Callable[[Tensor], Tensor], parameters: tuple[Tensor, ...], size: int, dtype: torch.dtype) -> float:
    """The bytes at the peak of a step, per element that goes through the function."""
    draw = torch.Generator().manual_seed(0)
    x, g = (torch.randn((size // FEATURES, FEATURES), generator=draw).to(dtype) for _ in range(2))
    scale = 2 / FEATURES**0.5  # so that x has the standard deviation 2 where it enters the function, as in the other measurements
    layers = [(scale * torch.randn((FEATURES, FEATURES), generator=draw)).to(dtype).requires_grad_() for _ in range(2)]

    def step() -> None:
        y = F.linear(function(F.linear(x, layers[0])), layers[1])
        torch.autograd.grad(y, [*layers, *parameters], g)

    for _ in range(
        3
    ):  # what is made once, tables and compiled functions, does not count; some tables are made when inputs come again
        step()
    return _most_allocated(step) / x.numel()


def _most_allocated(call: Callable[[], Any]) -> int:
    with mock.patch.dict(os.environ, QUIET), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        call()
    assert found.profiler is not None
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]
    now = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        now += event.nbytes()
        most = max(most, now)
    return most


def of_family(name: str, size: int, dtype: torch.dtype, by: str = "actune") -> float:
    """The peak with a family, by actune or by torch's operators."""
    act: nn.Module = Activation(name, dtype=dtype)
    learned = tuple(p for p in act.parameters() if p.requires_grad)
    if by == "actune":
        return peak_bytes(act, learned, size, dtype)
    f = actune.family(name)
    values = tuple(torch.full((1,), v, dtype=dtype).requires_grad_() for _, v in f.initial())
    plain = torch_function(f.expr, ("x", *(n for n, _ in f.initial())))
    return peak_bytes(lambda x: plain(x, *values), values, size, dtype)


def measure(size: int) -> list[dict[str, Any]]:
    """A line per dtype: the peaks of GELU, of every family, and of some by torch's operators."""
    lines = []
    for name in DTYPES:
        dtype = getattr(torch, name)
        line: dict[str, Any] = {"dtype": name, "gelu": peak_bytes(F.gelu, (), size, dtype)}
        line["families"] = {n: of_family(n, size, dtype) for n in actune.list_families()}
        line["eager"] = {
            n: of_family(n, size, dtype, "eager") for n in ("silu", "apalu", "sau") if has_torch_form(actune.family(n).expr)
        }
        lines.append(line)
    return lines


def table(result: dict[str, Any]) -> str:
    """GELU's peak, the smallest, the median and the largest of all families over it, and what torch's operators need."""
    rows = []
    for line in result["results"]:
        order = sorted(line["families"], key=line["families"].get)
        shown = (order[0], order[len(order) // 2], order[-1])
        cells = [f"{line['families'][n] / line['gelu']:.3f} ({n})" for n in shown]
        eager = ", ".join(f"{n} {peak / line['gelu']:.2f}" for n, peak in line["eager"].items())
        rows.append([line["dtype"], f"{line['gelu']:.2f}", *cells, eager])
    header = ["dtype", "GELU: bytes per element", "least of all families, over GELU", "median", "most", "by torch's operators"]
    return report.markdown_table(header, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--table", action="store_true", help="write the result that was stored last into README.md")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        report.append_result(STORED, report.provenance(size=options.size) | {"results": measure(options.size)})
    stored = report.read_results(STORED)
    if not stored:
        raise SystemExit(f"nothing is stored in {STORED.name}; run without --table first")
    print(table(stored[-1]))
    if options.table:
        report.write_block("memory", f"{table(stored[-1])}\n\n{report.source_line(stored[-1])}")


if __name__ == "__main__":
    main()
