"""LeNet-5 on MNIST with Mittag-Leffler activations, beside torch's own: training time, accuracy, and what adaptive ones learn.

    ACTUNE_DATA=FOLDER python benchmarks/lenet.py            # train what results/lenet.jsonl does not have yet, store, print
    python benchmarks/lenet.py --table                       # write the stored results into README.md

All networks of a seed start from the same weights and see the same batches. They take turns every few batches, in another order
each time, and a turn's seconds are compared with those of torch's Mish in the same round: on a machine with neighbours, only such
ratios hold. One thread.
"""

from __future__ import annotations

import argparse
import gzip
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import report
import timing
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from actune import Activation

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "torch Mish": nn.Mish,
    "ml_mish": lambda: Activation("ml_mish", trainable=False),
    "ml_mish, β2 learns": lambda: Activation("ml_mish", trainable={"beta2": True}),
    "ml_tanh, β2 learns": lambda: Activation("ml_tanh", trainable={"beta2": True}),
    "torch Tanh": nn.Tanh,
    "torch ReLU": nn.ReLU,
}
BASELINE = "torch Mish"
BATCH, TURN = 128, 10  # samples a batch, batches a turn
LEARNING_RATE = 1e-3
STORED = report.RESULTS / "lenet.jsonl"
FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")


@dataclass
class Learned:
    """One adaptive parameter: its values at the start and the end, and the share of turns that ended with a gradient for it."""

    name: str
    start: list[float]
    end: list[float] = field(default_factory=list)
    with_gradient: float = 0.0


class Run:
    """One network in training, with the seconds of its turns."""

    def __init__(self, activation: Callable[[], nn.Module], seed: int):
        torch.manual_seed(seed)
        self.model = lenet5(activation)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, fused=True)
        self.seconds: list[float] = []
        self.learned = [Learned(name, _values(act, key)) for name, act, key in _adaptive(self.model)]

    def turn(self, batches: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Some steps, timed; then, untimed, a look at the gradients of the last one."""
        start = time.perf_counter()
        for inputs, classes in batches:
            self.optimizer.zero_grad()
            cross_entropy(self.model(inputs), classes).backward()
            self.optimizer.step()
        self.seconds.append(time.perf_counter() - start)
        for learned, (_, act, key) in zip(self.learned, _adaptive(self.model), strict=True):
            gradient = getattr(act, key).grad
            learned.with_gradient += bool(gradient is not None and gradient.isfinite().all() and gradient.any())

    @torch.no_grad()
    def result(self, inputs: Tensor, classes: Tensor) -> dict[str, Any]:
        self.model.eval()
        found = torch.cat([self.model(part).argmax(-1) for part in inputs.split(1000)])
        for learned, (_, act, key) in zip(self.learned, _adaptive(self.model), strict=True):
            learned.end, learned.with_gradient = _values(act, key), learned.with_gradient / len(self.seconds)
        seconds = [round(s, 5) for s in self.seconds]
        return {
            "accuracy": int((found == classes).sum()) / len(classes),
            "seconds": seconds,
            "learned": [asdict(x) for x in self.learned],
        }


def lenet5(activation: Callable[[], nn.Module]) -> nn.Module:
    """LeCun's network for 28 × 28 pixels; it has four places for an activation."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), activation(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), activation(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), activation(), nn.Linear(120, 84), activation(), nn.Linear(84, 10),
    )  # fmt: skip


def mnist() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Standardised training images, their classes, and the same for testing, from $ACTUNE_DATA/mnist."""
    folder = Path(os.environ.get("ACTUNE_DATA", "")) / "mnist"
    if "ACTUNE_DATA" not in os.environ or any(not (folder / name).exists() for name in FILES):
        raise SystemExit(f"set ACTUNE_DATA to a folder in which mnist/ holds MNIST's original files: {', '.join(FILES)}")
    raw = [np.frombuffer(gzip.decompress((folder / name).read_bytes()), np.uint8) for name in FILES]
    images = [torch.tensor(r[16:]).reshape(-1, 1, 28, 28) for r in raw[::2]]
    classes = [torch.tensor(r[8:]).long() for r in raw[1::2]]
    train, test = ((i / 255 - 0.1307) / 0.3081 for i in images)  # mean and deviation of the training images
    return train, classes[0], test, classes[1]


def train(activations: dict[str, Callable[[], nn.Module]], seed: int, epochs: int, data: Sequence[Tensor]) -> dict[str, Any]:
    """Train one network for each activation, in turns."""
    inputs, classes, test_inputs, test_classes = data
    runs = {name: Run(make, seed) for name, make in activations.items()}
    shuffle, rng, order = torch.Generator().manual_seed(seed), random.Random(seed), list(runs)
    for _ in range(epochs):
        for places in torch.randperm(len(inputs), generator=shuffle).split(BATCH * TURN):
            batches = [(inputs[batch], classes[batch]) for batch in places.split(BATCH)]
            rng.shuffle(order)
            for name in order:
                runs[name].turn(batches)
    return {name: run.result(test_inputs, test_classes) for name, run in runs.items()}


def tables(results: Sequence[dict[str, Any]]) -> str:
    """Stored results, a line a seed, in Markdown."""
    settings = results[0]["settings"]
    seeds = [str(r["settings"]["seed"]) for r in results]
    rows = [_row(name, [r["activations"] for r in results]) for name in results[0]["activations"]]
    learned = [row for name in results[0]["activations"] for row in _learned(name, results)]
    return "\n\n".join(
        [
            f"Training time over that of torch's Mish: median and quartiles of all turns of {TURN} batches; and as a whole, with "
            f"what is compiled or prepared at the start. Epochs: {settings['epochs']}; seeds: {', '.join(seeds)}; one thread. Test "
            "accuracy: mean ± standard deviation over the seeds, and paired difference from Mish:",
            report.markdown_table(["activation", "time", "time as a whole", "test accuracy %", "difference in points"], rows),
            "What adaptive parameters learned, for each of the four places (seed: start → end), and the share of turns after which "
            "the parameter had a finite gradient that is not 0:",
            report.markdown_table(["activation", "parameter", "learned", "with gradient"], learned),
            report.source_line(results[-1]),
        ]
    )


def _row(name: str, results: Sequence[dict[str, Any]]) -> list[str]:
    seconds, base = ([s for r in results for s in r[n]["seconds"]] for n in (name, BASELINE))
    accuracy = [100 * r[name]["accuracy"] for r in results]
    difference = [100 * (r[name]["accuracy"] - r[BASELINE]["accuracy"]) for r in results]
    whole = f"{sum(seconds) / sum(base):.2f}"
    if name == BASELINE:
        return [name, "1", "1", _spread(accuracy), ""]
    return [name, str(timing.ratio(seconds, base)), whole, _spread(accuracy), _spread(difference, "+")]


def _learned(name: str, results: Sequence[dict[str, Any]]) -> list[list[str]]:
    """A row for each adaptive parameter of this activation."""
    rows = []
    for i, first in enumerate(results[0]["activations"][name]["learned"]):
        each = [r["activations"][name]["learned"][i] for r in results]
        seeds = [r["settings"]["seed"] for r in results]
        moves = "; ".join(f"{s}: {_numbers(x['start'])} → {_numbers(x['end'])}" for s, x in zip(seeds, each, strict=True))
        rows.append([name, first["name"], moves, f"{100 * statistics.fmean(x['with_gradient'] for x in each):.0f} %"])
    return rows


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{v:.3f}" for v in values)


def _spread(values: Sequence[float], sign: str = "") -> str:
    return f"{statistics.fmean(values):{sign}.2f}" + (f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else "")


def _adaptive(model: nn.Module) -> list[tuple[str, Activation, str]]:
    """Every parameter of an activation that is trained: its place, the module and its name there."""
    found = [(place, m) for place, m in model.named_modules() if isinstance(m, Activation)]
    return [(f"{p} in module {place}", m, p) for place, m in found for p in m.family.params if getattr(m, p).requires_grad]


def _values(act: Activation, parameter: str) -> list[float]:
    return act.values()[parameter].detach().flatten().tolist()


def chosen(names: Sequence[str]) -> dict[str, Callable[[], nn.Module]]:
    """Rows of ACTIVATIONS, or any name or formula of actune's; the baseline is always there."""
    return {n: ACTIVATIONS.get(n, partial(Activation, n)) for n in dict.fromkeys((BASELINE, *names))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0")
    parser.add_argument("--activations", nargs="+", default=list(ACTIVATIONS), help="names of the table, of actune, or formulas")
    parser.add_argument("--json", type=Path, default=STORED, help="where results are, one line a seed, and new ones are added")
    parser.add_argument("--table", action="store_true", help="write the stored results into README.md, and train nothing")
    options = parser.parse_args()
    activations = chosen(options.activations)
    fixed = {"epochs": options.epochs, "batch": BATCH, "learning_rate": LEARNING_RATE, "threads": 1}

    def stored() -> dict[int, dict[str, Any]]:
        """The results of this very experiment, by seed."""
        lines = {x["settings"]["seed"]: x for x in report.read_results(options.json) if list(x["activations"]) == list(activations)}
        return {s: x for s, x in sorted(lines.items()) if s < options.seeds and x["settings"] == {**fixed, "seed": s}}

    if not options.table:
        torch.set_num_threads(1)
        data = mnist()
        for seed in range(options.seeds):
            if seed not in stored():
                line = report.provenance(**fixed, seed=seed) | {"activations": train(activations, seed, options.epochs, data)}
                report.append_result(options.json, line)
                print(f"seed {seed}: " + ", ".join(f"{n} {r['accuracy']:.4f}" for n, r in line["activations"].items()), flush=True)
    results = list(stored().values())
    if not results:
        raise SystemExit(f"nothing stored in {options.json.name} for these settings; run without --table first")
    text = tables(results)
    report.write_block("lenet", text) if options.table else print(text)


if __name__ == "__main__":
    main()
