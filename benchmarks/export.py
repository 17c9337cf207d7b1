"""Trained Mittag-Leffler functions outside of actune: what they become, how near that is, and what it costs.

    python benchmarks/export.py                  # --rounds, --size; resumable
    python benchmarks/export.py --table

Each preset with β2 as a training may leave it is baked, written as ONNX, and run in onnxruntime beside torch's Mish (one node
there), and compiled by torch.compile in a process whose cache is empty.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import report
import timing
import torch
from torch import nn

import actune

STORED = report.RESULTS / "export.jsonl"
VALUES = (0.8, 1.3)  # of β2
COMPILE = """
import time, torch, actune
act, x = actune.bake(actune.Activation({name!r}, beta2={beta2})), torch.randn(10_000)
start = time.perf_counter()
with torch.no_grad():
    torch.compile(act, fullgraph=True)(x)
print(time.perf_counter() - start)
"""


def session(program: Any) -> Callable[[Any], Any]:
    """A program in ONNX as a function of its input, in onnxruntime with one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    made = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = made.get_inputs()[0].name
    return lambda x: made.run(None, {name: x})


def compile_seconds(name: str, beta2: float) -> float:
    """The time of the first call of the compiled function, in a process of its own without a cache."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": folder, "OMP_NUM_THREADS": "1"}
        code = COMPILE.format(name=name, beta2=beta2)
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout)


def examine(name: str, beta2: float, size: int, rounds: int) -> dict[str, Any]:
    act, x = actune.Activation(name, beta2=beta2).eval(), torch.randn(size, generator=torch.Generator().manual_seed(0))
    start = time.perf_counter()
    try:
        baked = actune.bake(act)
    except ValueError as error:
        return {"refused": str(error)}
    seconds = time.perf_counter() - start
    done = actune.export(act, to="onnx", example=x[:1000])
    run, beside = session(done.program), session(actune.export(nn.Mish(), to="onnx", example=x[:1000]).program)
    inputs = x.numpy()
    times = timing.interleaved({"act": lambda: run(inputs), "mish": lambda: beside(inputs)}, rounds)
    return {
        "form": baked.family.notes, "error": done.errors["activation"], "baking": seconds,
        "nodes": len(list(done.program.model.graph)), "over mish": asdict(timing.ratio(times["act"], times["mish"])),
        "compiling": compile_seconds(name, beta2),
    }  # fmt: skip


def write() -> None:
    rows = []
    results = report.read_results(STORED)
    for r in results:
        name, beta2 = r["settings"]["name"], r["settings"]["beta2"]
        if "refused" in r:
            rows.append((name, f"{beta2:g}", r["refused"], "", "", "", "", ""))
            continue
        over = r["over mish"]
        rows.append((
            name, f"{beta2:g}", r["form"].removeprefix("Baked as ").partition(":")[0], f"{r['error']:.1e}", str(r["nodes"]),
            f"{over['median']:.2f} ({over['low']:.2f}–{over['high']:.2f})", f"{r['baking']:.1f}", f"{r['compiling']:.1f}",
        ))  # fmt: skip
    head = (
        "preset", "β2", "baked as", "error over max(1, size)", "nodes in ONNX", "time in onnxruntime over Mish",
        "seconds to bake", "seconds of torch.compile",
    )  # fmt: skip
    sources = dict.fromkeys(report.source_line(r) for r in results)
    report.write_block("export", "\n\n".join([report.markdown_table(head, rows), *sources]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    if options.table:
        write()
        return
    known = {(r["settings"]["name"], r["settings"]["beta2"]) for r in report.read_results(STORED)}
    for name in actune.list_families():
        for beta2 in VALUES if "beta2" in actune.family(name).params and name.startswith("ml_") else ():
            if (name, beta2) not in known:
                found = examine(name, beta2, options.size, options.rounds)
                settings = {"name": name, "beta2": beta2, "size": options.size, "rounds": options.rounds}
                report.append_result(STORED, report.provenance(**settings) | found)
                print(f"{name}, β2 = {beta2:g}: {found}", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
