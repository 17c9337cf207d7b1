"""Every row of what native speed means here, for this version and for an older one, in one run on one machine.

    git worktree add ../older COMMIT
    python benchmarks/rows.py --beside ../older      # --only small,layer; --repeats, --json
    python benchmarks/rows.py --table                # write the stored rows into README.md

Each row is measured in a process of its own, for the older and for this version in turn, `--repeats` times; within a process all
ratios are those of interleaved rounds. A row is stored when it is done, and is not measured again.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import report
import torch
import torch.nn.functional as F
from timing import interleaved
from torch import Tensor, nn

import actune

SIZE = 1_000_000
ROUNDS = 15
LAYER = ("zorro_symmetric", "zorro_tanh", "zorro_sigmoid", "zorro_sloped", "pserf", "erfact", "smu", "sau", "tanhexp",
         "pangaea_swish_swish")  # fmt: skip
HEAVY = ("rational", "zorro_asymmetric")
LIGHT = ("silu", "swish", "gelu", "mish", "elu", "prelu", "apalu", "softplus", "tanh", "snake", "squareplus", "xielu")
PAIRS = ((0.8, 1.0), (0.5, 1.0), (1.0, 1.3), (1.5, 1.0), (0.3, 0.6))
Calls = dict[str, Callable[[], Any]]
Measured = dict[str, list[float]]  # the ratios of the rounds, under the name of a line


def over(calls: Calls, pairs: dict[str, tuple[str, str]], rounds: int = ROUNDS) -> Measured:
    """The ratios of the first call's time to the second's, round by round."""
    seconds = interleaved(calls, rounds, most=12)
    return {line: [a / b for a, b in zip(seconds[own], seconds[base], strict=True)] for line, (own, base) in pairs.items()}


def gradients(act: Callable[[Tensor], Tensor], x: Tensor, g: Tensor, parameters: Iterable[Tensor] = ()) -> Callable[[], Any]:
    wanted = [x, *(p for p in parameters if p.requires_grad)]
    return lambda: torch.autograd.grad(act(x), wanted, g)


def without_gradients(act: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], Any]:
    def call() -> Tensor:
        with torch.no_grad():
            return act(x)

    return call


# -- the rows ------------------------------------------------------------------------------------------------------------


def small() -> Measured:
    """Microseconds of a call without gradients, and of torch's own SiLU."""
    acts = {"silu": actune.Activation("silu"), "apalu": actune.Activation("apalu"), "torch's silu": nn.SiLU()}
    found: Measured = {}
    for shape in ((2, 16), (64, 16)):
        with torch.no_grad():
            seconds = interleaved({name: functools.partial(act, torch.randn(shape)) for name, act in acts.items()}, ROUNDS)
        found |= {f"{name}, {shape}": [1e6 * s for s in seconds[name]] for name in acts}
    return found


def two_parameters() -> Measured:
    """Microseconds of forward and backward of (64, 64), and over torch's PReLU."""
    x, g = torch.randn(64, 64, requires_grad=True), torch.randn(64, 64)
    acts = {"prelu": nn.PReLU(1), "silu": actune.Activation("silu"), "apalu": actune.Activation("apalu")}
    calls = {name: gradients(act, x, g, act.parameters()) for name, act in acts.items()}
    for call in calls.values():
        for _ in range(6000):  # until kernels are compiled
            call()
    seconds = interleaved(calls, ROUNDS)
    found = {f"{name}, microseconds": [1e6 * s for s in seconds[name]] for name in acts}
    return found | {
        f"{n} over PReLU": [a / b for a, b in zip(seconds[n], seconds["prelu"], strict=True)] for n in ("silu", "apalu")
    }


def elements(shape: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(0)
    x, g = (torch.randn(shape, generator=draw) for _ in range(2))
    return (2 * x).to(dtype).requires_grad_(), g.to(dtype)


def beside_gelu(name: str, scope: str, dtype: torch.dtype, kinds: tuple[str, ...]) -> Measured:
    x, g = elements((80, 64, 14, 14) if scope == "channel" else (SIZE,), dtype)
    act = actune.Activation(name, scope=scope, channels=64 if scope == "channel" else None, dtype=dtype)
    calls: Calls = {"forward": without_gradients(act, x), "training": gradients(act, x, g, act.parameters())}
    calls |= {"gelu forward": without_gradients(F.gelu, x), "gelu training": gradients(F.gelu, x, g)}
    for _ in range(25):  # until kernels are compiled
        calls["forward"](), calls["training"]()
    wanted = {n: calls[n] for kind in kinds for n in (kind, f"gelu {kind}")}
    return {f"{name}, {k}": v for k, v in over(wanted, {kind: (kind, f"gelu {kind}") for kind in kinds}).items()}


def families(scope: str, dtype: torch.dtype, kinds: tuple[str, ...], names: Iterable[str]) -> Measured:
    found: Measured = {}
    for name in names:
        if scope == "layer" or actune.family(name).params:
            found |= beside_gelu(name, scope, dtype, kinds)
    return found


def mittag_leffler() -> Measured:
    z, g = elements((SIZE,), torch.float32)
    found: Measured = {}
    for alpha, beta in PAIRS:
        fixed = [torch.tensor([v], requires_grad=True) for v in (alpha, beta)]
        step = iter(range(10**9))

        def moving(alpha: float = alpha, beta: float = beta, step: Any = step) -> list[Tensor]:
            by = 1e-5 * (next(step) % 1000)
            return [torch.tensor([v + by], requires_grad=True) for v in (alpha, beta)]

        def training(values: Callable[[], list[Tensor]]) -> Callable[[], Any]:
            def call() -> Any:
                a, b = values()
                return torch.autograd.grad(actune.mittag_leffler(z, a, b), [z, a, b], g)

            return call

        calls: Calls = {
            "forward": without_gradients(lambda x, p=fixed: actune.mittag_leffler(x, *p), z),  # type: ignore[misc]
            "training": training(lambda p=fixed: p),  # type: ignore[misc]
            "training, changing": training(moving),
            "gelu forward": without_gradients(F.gelu, z),
            "gelu training": gradients(F.gelu, z, g),
        }
        for _ in range(12):
            calls["training, changing"]()
        lines = {
            k: (k, "gelu forward" if k == "forward" else "gelu training") for k in ("forward", "training", "training, changing")
        }
        found |= {f"({alpha:g}, {beta:g}), {k}": v for k, v in over(calls, lines).items()}
    return found


def lenet() -> Measured:
    """A step of training LeNet-5, batches of 128, over that with torch's Mish."""
    from actune.experiments.models.lenet import lenet5

    x, labels = torch.randint(0, 256, (128, 1, 28, 28), dtype=torch.uint8), torch.randint(0, 10, (128,))

    def step(make: Callable[[], nn.Module]) -> Callable[[], Any]:
        torch.manual_seed(0)
        model = lenet5(lambda *_, **__: make())
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

        def call() -> None:
            optimizer.zero_grad()
            F.cross_entropy(model(x), labels).backward()
            optimizer.step()

        return call

    calls = {"torch": step(nn.Mish)}
    calls |= {n: step(lambda n=n: actune.Activation(n, trainable={"beta2": True})) for n in ("ml_mish", "ml_tanh")}  # type: ignore[misc]
    for call in calls.values():
        for _ in range(60):
            call()
    return over(calls, {n: (n, "torch") for n in ("ml_mish", "ml_tanh")}, rounds=40)


def interpreted() -> Measured:
    """Forward and backward as the first calls are computed, before anything is compiled."""
    from actune.kernels.cpu import tiers

    tiers.WORTH = 2**62
    found = {}
    for name in (*LAYER, *HEAVY, *LIGHT, "phish", "logish", "gelu_sinc", "cloglog", "erf", "gcu"):
        x, g = elements((SIZE,), torch.float32)
        # With trained parameters, so that no table serves.
        act = actune.Activation(name, trainable=True)
        calls = {"own": gradients(act, x, g, act.parameters()), "gelu": gradients(F.gelu, x, g)}
        found |= over(calls, {name: ("own", "gelu")}, rounds=7)
    return found


def first_call() -> Measured:
    """Milliseconds of the first call of Mish without gradients, and of its first with them; after that of another formula."""
    x, g = elements((SIZE,), torch.float32)
    other, mish = actune.Activation("x*atan(exp(-abs(x)))"), actune.Activation("mish")

    def once(act: nn.Module) -> tuple[float, float]:
        begin = time.perf_counter()
        without_gradients(act, x)()
        middle = time.perf_counter()
        gradients(act, x, g)()
        return 1e3 * (middle - begin), 1e3 * (time.perf_counter() - middle)

    gradients(F.gelu, x, g)()
    process, own = once(other), once(mish)
    return {"a process's first formula": [sum(process)], "mish, forward": [own[0]], "mish, forward + backward": [own[1]]}


def threads() -> Measured:
    """The speed of two threads over that of one, 1.6e7 elements; of torch's GELU too, which shares out its work by itself."""
    x, g = elements((16_000_000,), torch.float32)
    found = {}
    for name, act in {"torch's gelu": nn.GELU(), **{n: actune.Activation(n) for n in ("silu", "apalu", "pserf", "mish")}}.items():

        def with_threads(count: int, call: Callable[[], Any]) -> Callable[[], Any]:
            def threaded() -> None:
                torch.set_num_threads(count)
                call()

            return threaded

        for kind, call in (("forward", without_gradients(act, x)), ("training", gradients(act, x, g, act.parameters()))):
            call()
            calls = {str(n): with_threads(n, call) for n in (1, 2)}
            found |= over(calls, {f"{name}, {kind}": ("1", "2")}, rounds=9)
    return found


ALL = LAYER + HEAVY + LIGHT
BOTH = ("forward", "training")
ROWS: dict[str, tuple[str, Callable[[], Measured]]] = {
    "small": ("A call of a small tensor without gradients, microseconds", small),
    "two_parameters": ("Forward + backward of (64, 64)", two_parameters),
    "layer": ("One set of parameters, over GELU", lambda: families("layer", torch.float32, BOTH, ALL)),
    "channel": (
        "Parameters per channel of (80, 64, 14, 14), over GELU",
        lambda: families("channel", torch.float32, BOTH, ALL),
    ),
    "bfloat16": ("bfloat16, over GELU in bfloat16", lambda: families("layer", torch.bfloat16, ("forward",), ALL)),
    "bfloat16_channel": ("bfloat16, for each channel", lambda: families("channel", torch.bfloat16, ("forward",), ALL)),
    "mittag_leffler": ("E at (alpha, beta) with z on both sides, over GELU", mittag_leffler),
    "lenet": ("A step of LeNet-5 with a trained beta2, over that with torch's Mish", lenet),
    "interpreted": ("Interpreted: forward + backward of the first calls, over GELU", interpreted),
    "first_call": ("First calls with empty caches, milliseconds", first_call),
    "threads": ("Time of one thread over that of two, 1.6e7 elements", threads),
}


# -- measuring -----------------------------------------------------------------------------------------------------------


def measure(row: str, source: Path) -> Measured:
    """A row in a process of its own, with empty caches, that imports actune from this folder."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"ACTUNE_CACHE": cache, "PYTHONPATH": str(source / "src"), "OMP_WAIT_POLICY": "PASSIVE"}
        done = subprocess.run([sys.executable, __file__, "--measure", row], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{row} with {source} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: Measured = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(row: str, sources: dict[str, Path], repeats: int) -> dict[str, dict[str, list[float]]]:
    """For each line of a row and each version: quartiles of all rounds of all repeats."""
    rounds: dict[str, dict[str, list[float]]] = {}
    for number in range(repeats):
        for version in list(sources)[:: 1 if number % 2 == 0 else -1]:
            for line, values in measure(row, sources[version]).items():
                rounds.setdefault(line, {}).setdefault(version, []).extend(values)
    return {line: {v: quartiles(r) for v, r in of.items()} for line, of in rounds.items()}


def quartiles(values: list[float]) -> list[float]:
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beside", type=Path, help="a checkout of the older version")
    parser.add_argument("--only", default=",".join(ROWS), help="rows, with commas between")
    parser.add_argument("--repeats", type=int, default=3, help="processes per row and version")
    parser.add_argument("--json", type=Path, default=report.RESULTS / "rows.jsonl")
    parser.add_argument("--table", action="store_true", help="write what is stored into README.md")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        torch.set_num_threads(1)
        print(json.dumps(ROWS[given.measure][1]()))
        return
    if not given.table:
        sources = ({"before": given.beside.resolve()} if given.beside else {}) | {"now": report.HERE.parent}
        stored = {r["row"] for r in report.read_results(given.json)} if given.json.exists() else set()
        for row in [r for r in given.only.split(",") if r not in stored]:
            result = compared(row, sources, given.repeats)
            report.append_result(
                given.json, report.provenance(beside=str(given.beside), repeats=given.repeats) | {"row": row, "lines": result}
            )
            print(table([{"row": row, "lines": result}]), flush=True)
        return
    results = report.read_results(given.json)
    report.write_block("rows", "\n\n".join([table(results), report.source_line(results[-1])]))


def table(results: list[dict[str, Any]]) -> str:
    """Medians (quartiles) of each line, before and now."""
    parts = []
    for result in results:
        rows = [(line, *(shown(of.get(v)) for v in ("before", "now"))) for line, of in result["lines"].items()]
        parts.append(f"{ROWS[result['row']][0]}:\n\n{report.markdown_table(('', 'before', 'now'), rows)}")
    return "\n\n".join(parts)


def shown(quarters: list[float] | None) -> str:
    if quarters is None:
        return ""
    low, middle, high = (f"{q:.2f}" if q < 20 else f"{q:.1f}" for q in quarters)
    return f"{middle} ({low} to {high})"


if __name__ == "__main__":
    main()
