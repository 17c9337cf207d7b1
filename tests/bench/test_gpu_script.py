"""The script that measures on a GPU runs where there is none: with tensors of the CPU, on which times mean nothing."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "benchmarks/gpu.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"TRITON_INTERPRET": "1"})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here, on which the script would measure")
def test_without_a_gpu_it_says_so_in_one_line() -> None:
    found = run()
    assert (found.returncode, found.stdout) == (2, "")
    assert found.stderr == "there is no GPU that torch can use here: nothing was measured\n"


def test_it_runs_on_tensors_of_the_cpu_and_stores_each_function(tmp_path: Path) -> None:
    stored = tmp_path / "gpu.jsonl"
    options = "--device cpu --size 64 --rounds 2 --families silu,swish,ml_mish --ways triton,tape,eager,torch"
    found = run(*options.split(), "--json", str(stored))
    assert found.returncode == 0, found.stderr
    lines = [json.loads(line) for line in stored.read_text().splitlines()]
    assert [(x["family"], x["dtype"], x["scope"]) for x in lines] == [
        *((f, dtype, "layer") for dtype in ("float32", "bfloat16") for f in ("silu", "swish", "ml_mish")),
        *((f, dtype, "channel") for dtype in ("float32", "bfloat16") for f in ("swish", "ml_mish")),
    ]
    by_triton = {"triton", "tape"} if importlib.util.find_spec("triton") else set()
    for line in lines:
        expected = {"silu": {"eager", "torch"}, "swish": {"eager"}, "ml_mish": set()}[line["family"]]
        assert set(line["ways"]) == expected | (by_triton if line["family"] != "ml_mish" else set()), line["failed"]
        assert set(line["ways"]) | set(line["failed"]) == {"triton", "tape", "eager", "torch"}
        assert all(way["seconds"]["training"] > 0 for way in line["ways"].values())
    assert found.stdout.count(" | layer | ") == 6
