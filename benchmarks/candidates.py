"""Random candidates of the search: what an interpreted formula costs that nobody has seen before, and LeNet-5 with one each.

    python benchmarks/candidates.py                          # draw, measure, store in results/candidates.jsonl, print
    ACTUNE_DATA=FOLDER python benchmarks/candidates.py --lenet       # candidates a minute, with ReLU in turns
    python benchmarks/candidates.py --table                  # write the stored results into README.md

Candidates come from the search space and have passed its screen. Each is timed beside F.gelu and beside the same tree in eager
torch (autograd through torch's operators). One thread; nothing is compiled for a candidate unless --compiled.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import report
import timing
import torch
from torch.nn.functional import cross_entropy, gelu

from actune import Activation
from actune.catalogue.registry import Family
from actune.discovery.proposers.screening import screen
from actune.discovery.proposers.space import Space, candidate_family, parametrise, random_formula
from actune.experiments.data.images import idx_images
from actune.experiments.data.parts import Part
from actune.experiments.models.lenet import lenet5
from actune.export.python import torch_function
from actune.kernels.cpu import tiers

STORED = report.RESULTS / "candidates.jsonl"
SIZE, STEPS, BATCH = 1_000_000, 200, 128


def candidates(seed: int) -> Iterator[Family]:
    """Random formulas with parameters, as the search draws them first."""
    rng, space = random.Random(seed), Space()
    while True:
        found = candidate_family(parametrise(random_formula(rng, space), rng, space))
        if screen(found).reason is None:
            yield found


def timed(f: Family, rounds: int) -> dict[str, Any]:
    """Forward and backward of a candidate, of GELU and of the same tree in eager torch, all gradients, interleaved."""
    x, g = (torch.randn(SIZE, generator=torch.Generator().manual_seed(i)) * 2 for i in (0, 1))
    names = [name for name, _ in f.initial()]
    act, plain = Activation(f), torch_function(f.expr, ("x", *names))
    values = [getattr(act, name) for name in names]
    x.requires_grad_()

    def backward(y: Callable[[], torch.Tensor], *inputs: torch.Tensor) -> Callable[[], Any]:
        return lambda: torch.autograd.grad(y(), (x, *inputs), g, allow_unused=True)

    seconds = timing.interleaved(
        {
            "gelu": backward(lambda: gelu(x)),
            "actune": backward(lambda: act(x), *values),
            "eager": backward(lambda: plain(x, *values), *values),
        },
        rounds,
    )
    return {
        "formula": str(f),
        "over_gelu": timing.ratio(seconds["actune"], seconds["gelu"]).median,
        "eager_over": timing.ratio(seconds["eager"], seconds["actune"]).median,
    }


def minutes(makes: Callable[[], torch.nn.Module], seed: int, data: Part) -> float:
    """The minutes that LeNet-5 takes for its steps, with the making of the network and all that is prepared."""
    start = time.perf_counter()
    torch.manual_seed(seed)
    model = lenet5(lambda width, dim=-1, place="": makes())
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[: STEPS * BATCH]
    for batch in order.split(BATCH):
        optimizer.zero_grad()
        cross_entropy(model(data.inputs[batch]), data.targets[batch]).backward()
        optimizer.step()
    return (time.perf_counter() - start) / 60


def measure(count: int, rounds: int, seed: int, compiled: bool) -> dict[str, Any]:
    tiers.WORTH = 0 if compiled else 2**62
    drawn = (f for f in candidates(seed) if "mittag_leffler" not in str(f.expr.expand()))  # eager torch has no such operator
    found = [timed(f, rounds) for f, _ in zip(drawn, range(count), strict=False)]
    over, eager_over = ([c[key] for c in found] for key in ("over_gelu", "eager_over"))
    return {
        "candidates": found,
        "over_gelu": spread(over),
        "eager_over": spread(eager_over),
    }


def spread(values: list[float]) -> list[float]:
    """The nine values that part them into tenths."""
    return statistics.quantiles(values, n=10) if len(values) > 1 else values * 9


def lenet(count: int, seed: int) -> dict[str, Any]:
    """A network for each candidate, and one with ReLU before each."""
    data = idx_images("mnist", 60_000).train
    drawn = [f for f, _ in zip(candidates(seed), range(count), strict=False)]
    minutes(torch.nn.ReLU, seed, data)  # warm
    relu, ours = [], []
    for f in drawn:
        relu.append(minutes(torch.nn.ReLU, seed, data))
        ours.append(minutes(lambda f=f: Activation(f), seed, data))
    return {
        "formulas": [str(f) for f in drawn],
        "minutes": ours,
        "relu_minutes": relu,
        "a_minute": len(ours) / sum(ours),
        "relu_a_minute": len(relu) / sum(relu),
    }


def text(result: dict[str, Any]) -> str:
    """One result in a sentence."""
    if "a_minute" in result:
        return (
            f"LeNet-5, {STEPS} steps of {BATCH}, one thread, another candidate each: {result['a_minute']:.1f} a minute; ReLU in "
            f"turns with them: {result['relu_a_minute']:.1f}."
        )
    over, eager_over, count = result["over_gelu"], result["eager_over"], len(result["candidates"])
    how = "compiled" if result["settings"]["compiled"] else "interpreted, nothing compiled"
    return (
        f"{count} candidates, {how}: forward and backward with all gradients takes {statistics.median(over):.2f} × GELU "
        f"(a tenth of them less than {over[0]:.2f}, a tenth more than {over[-1]:.2f}); the same trees in eager torch take "
        f"{statistics.median(eager_over):.1f} × as long."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, help="candidates: 200, or 20 for --lenet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compiled", action="store_true", help="compile each candidate instead of interpreting it")
    parser.add_argument("--lenet", action="store_true")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if not options.table:
        settings = {"seed": options.seed, "compiled": options.compiled, "threads": 1}
        if options.lenet:
            found = lenet(options.count or 20, options.seed)
        else:
            found = measure(options.count or 200, options.rounds, options.seed, options.compiled)
        report.append_result(STORED, report.provenance(**settings) | found)
        print(text(report.read_results(STORED)[-1]))
        return
    latest = {(r["settings"]["compiled"], "a_minute" in r): r for r in report.read_results(STORED)}
    report.write_block("candidates", "\n\n".join(f"{text(r)}\n\n{report.source_line(r)}" for r in latest.values()))


if __name__ == "__main__":
    main()
