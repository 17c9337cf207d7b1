"""What a swap reaches in models that people have, by a count that knows nothing of actune.

    pip install timm --no-deps
    python benchmarks/models.py                  # 35 known models and 16 drawn ones; --only NAME, --seed; resumable
    python benchmarks/models.py --table

For each model: the calls of activation functions in one forward pass, and how many of them still are what they were after a swap;
which of these the report names; whether the new parameters learn, and whether the model is copied, pickled, compiled, exported and
put back as before.
"""

from __future__ import annotations

import argparse
import copy
import gc
import os
import pickle
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import report
import torch
import zoo
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

import actune

STORED = report.RESULTS / "models.jsonl"
FUNCTIONS = {
    "relu", "relu6", "gelu", "silu", "mish", "leaky_relu", "elu", "selu", "celu", "hardswish", "hardtanh", "hardsigmoid", "prelu",
    "rrelu", "softplus", "softsign", "tanhshrink", "softshrink", "hardshrink", "threshold", "logsigmoid", "log_sigmoid",
    "sigmoid", "tanh",
}  # fmt: skip
TORCH = str(Path(torch.__file__).parent)
# What a place has, and the family that is the same function.
SAME = {
    "relu": "relu", "silu": "silu", "siluactivation": "silu", "gelu": "gelu", "geluactivation": "gelu", "relu6": "relu6",
    "hardswish": "hardswish", "tanh": "tanh",
}  # fmt: skip


class Count(TorchFunctionMode):
    """Calls of activation functions: the name, whether an actune module made it, and the lines of the model that it comes from."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, bool, list[str]]] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "").strip("_")
        if name in FUNCTIONS:
            frame, ours, lines = sys._getframe(1), False, []
            while frame is not None:
                ours |= isinstance(frame.f_locals.get("self"), actune.Activation)
                file = frame.f_code.co_filename
                if not file.startswith(TORCH) and file != __file__:
                    lines.append(f"{Path(file).name}:{frame.f_lineno}")
                frame = frame.f_back
            self.calls.append((name, ours, lines))
        return func(*args, **(kwargs or {}))


def call(model: nn.Module, example: Any) -> Tensor:
    found = model(**example) if isinstance(example, dict) else model(*example)
    for key in ("logits", "last_hidden_state"):
        found = getattr(found, key, found)
    return found if isinstance(found, Tensor) else found[0]


def attempt(check: Callable[[], bool]) -> str:
    """yes, no, or the kind of error."""
    try:
        return "yes" if check() else "no"
    except Exception as error:
        return type(error).__name__


def examine(model: zoo.Model, seed: int) -> dict[str, Any]:
    torch.manual_seed(seed)
    net, example, other = awake(model.build()).eval(), model.example(2), model.example(3)
    with torch.no_grad():
        before = call(net, example)
    original = {name: attempt(lambda check=check: check(net, example, other)) for name, check in CHECKS.items()}
    with torch.no_grad(), Count() as count:
        call(net, example)
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in net.parameters()), "calls": len(count.calls)}
    try:
        made = actune.swap(net, "apalu", example=example)
    except ValueError as error:
        return found | {"refused": str(error), "left": len(count.calls), "unexplained": unexplained(count, str(error))}
    with torch.no_grad(), Count() as after:
        call(net, example)
    with torch.no_grad():
        swapped = call(net, example)
    left = [c for c in after.calls if not c[1]]
    found |= {
        "replaced": len(made.replaced), "gates": len(made.gates), "skipped": len(made.skipped), "left": len(left),
        "unexplained": len([c for c in left if not any(_names(k, c) for k in (*made.gates, *made.skipped))]),
        "finite": bool(torch.isfinite(swapped).all()) or not bool(torch.isfinite(before).all()),
    }  # fmt: skip
    found |= {name: attempt(lambda check=check: check(net, example, other)) for name, check in CHECKS.items()}
    found["original"] = {name: value for name, value in original.items() if value != "yes"}
    state = copy.deepcopy(net.state_dict())
    found["without gradient"] = train(net, example)
    net.load_state_dict(state)
    actune.restore(net.eval(), made)
    with torch.no_grad():
        found["restored"] = torch.equal(call(net, example), before)
    found["same"] = same_function(net, example, before)
    return found


def awake(net: nn.Module) -> nn.Module:
    """The network, whose weights are not all zero in any layer: a head that starts so would hide what the rest does."""
    with torch.no_grad():
        for p in net.parameters():
            if p.ndim > 1 and not p.any():
                p.normal_(0, 0.02)
    return net


def _names(kept: Any, one: tuple[str, bool, list[str]]) -> bool:
    """Whether an entry of the report is about this call: it gives the line, or, for what has no line, the function.

    The line is that where the model calls the module, which may be timm's own Sigmoid with a line of its own.
    """
    return any(map(kept.text.endswith, one[2][:2])) if kept.text else kept.function.lower() == one[0]


def unexplained(count: Count, said: str) -> int:
    return len([c for c in count.calls if c[0] not in said])


def train(net: nn.Module, example: Any) -> int:
    """The number of activation parameters that three steps of training gave no gradient."""
    acts = [p for m in net.modules() if isinstance(m, actune.Activation) for p in m.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(net.parameters(), 1e-4)
    reached: set[int] = set()
    for _ in range(3):
        optimizer.zero_grad()
        call(net.train(), example).float().square().mean().backward()
        reached |= {id(p) for p in acts if p.grad is not None and bool(p.grad.abs().sum() > 0)}
        optimizer.step()
    return len(acts) - len(reached)


def same_function(net: nn.Module, example: Any, before: Tensor) -> dict[str, float]:
    """For each function of the model that the catalogue has: how far the output moves when it is put in the place of itself."""
    moved = {}
    for name in sorted({SAME[r.old.lower()] for r in actune.plan(net, "relu", example=example).replaced if r.old.lower() in SAME}):
        places = [r.names[0] for r in actune.plan(net, name, example=example).replaced if SAME.get(r.old.lower()) == name]
        made = actune.swap(net, name, example=example, where=places)
        with torch.no_grad():
            moved[name] = float((call(net, example) - before).abs().max() / before.abs().max().clamp(min=1e-30))
        actune.restore(net, made)
    return moved


# -- what a model does, swapped or not --------------------------------------------------------------------------------------


def is_copied(net: nn.Module, example: Any, other: Any) -> bool:
    with torch.no_grad():
        return close(call(copy.deepcopy(net), example), call(net, example))


def is_pickled(net: nn.Module, example: Any, other: Any) -> bool:
    with torch.no_grad():
        return close(call(pickle.loads(pickle.dumps(net)), example), call(net, example))


def is_compiled(net: nn.Module, example: Any, other: Any) -> bool:
    torch._dynamo.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with torch.no_grad():
        return close(call(compiled, example), call(net, example))


def is_exported(net: nn.Module, example: Any, other: Any, strict: bool) -> bool:
    args, kwargs = ((), example) if isinstance(example, dict) else (example, {})
    shapes = {k: {0: torch.export.Dim.AUTO} for k in kwargs} or tuple({0: torch.export.Dim.AUTO} for _ in args)
    program = torch.export.export(net, args, kwargs, dynamic_shapes=shapes, strict=strict).module()
    with torch.no_grad():
        return close(call(program, example), call(net, example)) and close(call(program, other), call(net, other))


def close(a: Tensor, b: Tensor) -> bool:
    return bool(torch.allclose(a, b, rtol=1e-4, atol=1e-4 * float(b.abs().max())))


CHECKS: dict[str, Callable[[nn.Module, Any, Any], bool]] = {
    "copied": is_copied,
    "pickled": is_pickled,
    "compiled": is_compiled,
    "exported, strict": lambda net, example, other: is_exported(net, example, other, True),
    "exported, not strict": lambda net, example, other: is_exported(net, example, other, False),
}


# -- the table --------------------------------------------------------------------------------------------------------------


def line(row: dict[str, Any]) -> tuple[str, ...]:
    name = row["settings"]["model"]
    if "refused" in row:
        reasons = re.sub(r"\s+", " ", row["refused"])[:60]
        return (name, str(row["calls"]), "0", "0", str(row["left"]), str(row["unexplained"]), f"refused: {reasons}…", "", "", "")
    checks = [check if row[check] == "yes" else f"{check}: {row[check]}" for check in CHECKS]
    wrong = [c for check, c in zip(CHECKS, checks, strict=True) if row[check] != "yes" and check not in row["original"]]
    hard = [check for check in CHECKS if check in row["original"]]
    moved = max(row["same"].values(), default=None)
    says = "all" if not wrong else ", ".join(wrong)
    return (
        name, str(row["calls"]), str(row["replaced"]), str(row["gates"]), str(row["left"]), str(row["unexplained"]),
        says + (f" (the original cannot be {', '.join(hard)})" if hard else ""), str(row["without gradient"]),
        "—" if moved is None else f"{moved:.0e}" if moved else "0", "yes" if row["restored"] and row["finite"] else "**no**",
    )  # fmt: skip


def write() -> None:
    rows = {r["settings"]["model"]: r for r in report.read_results(STORED)}
    head = (
        "model", "calls", "places replaced", "gates kept", "calls left", "not in the report", "copied, pickled, compiled, exported",
        "parameters without gradient", "same function: output moved", "finite, and restored bit for bit",
    )  # fmt: skip
    sources = dict.fromkeys(report.source_line(r) for r in rows.values())
    report.write_block("models", "\n\n".join([report.markdown_table(head, map(line, rows.values())), *sources]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of models, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--drawn", type=int, default=8, help="so many of transformers and of timm, drawn with the seed")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        write()
        return
    warnings.simplefilter("ignore")
    known = {r["settings"]["model"] for r in report.read_results(STORED)}
    models = zoo.known_models() | (zoo.drawn_models(options.seed, options.drawn) if options.drawn else {})
    for name in options.only.split(",") if options.only else models:
        if name not in known:
            found = examine(models[name], options.seed)
            report.append_result(STORED, report.provenance(model=name, seed=options.seed) | found)
            print(f"{name}: {found}", flush=True)
            gc.collect()


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
