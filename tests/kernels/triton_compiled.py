"""Kernels in Triton as machine code for a GPU, which need not be there. Run by test_triton.py, in a process that interprets none.

python tests/kernels/triton_compiled.py gelu silu     # the instructions per element of each kernel
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

import actune
from actune.kernels.triton import launch
from actune.kernels.triton.source import kernel_source
from actune.kernels.triton.tape import tape_source

LAYOUTS: dict[str, dict[str, Any]] = {
    "flat": {"ROWS": 1, "COLUMNS": 1024, "BY_COLUMNS": False, "outer": 1, "channels": 1},
    "by channels": {"ROWS": 16, "COLUMNS": 64, "BY_COLUMNS": False},
    "by columns": {"ROWS": 64, "COLUMNS": 32, "BY_COLUMNS": True},
}
KINDS = {"TAPE": "*i32"}
NVDISASM = Path(triton.__file__).parent / "backends/nvidia/bin/nvdisasm"


def compiled(text: str, constants: dict[str, Any], half: bool) -> Any:
    """A kernel for a Hopper GPU, where sizes and addresses are multiples of 16."""
    kernel = launch.loaded(text, "run")
    kinds = {a: "constexpr" if a in constants else "i32" if a[0].islower() else KINDS.get(a, "*fp32") for a in kernel.arg_names}
    kinds |= {a: "*bf16" for a in "XGY" if half and a in kinds}
    at = {name: i for i, name in enumerate(kernel.arg_names)}
    even = {(at[a],): [["tt.divisibility", 16]] for a in ("X", "G", "Y", "inner") if a in at}
    source = ASTSource(kernel, kinds, {(at[a],): v for a, v in constants.items()}, even)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=dict(launch.LAUNCH_OPTIONS))


def instructions(made: Any) -> int:
    """How many instructions the machine code has."""
    with NamedTemporaryFile(suffix=".cubin") as file:
        file.write(made.asm["cubin"])
        file.flush()
        found = subprocess.run([NVDISASM, "-c", file.name], capture_output=True, text=True, check=True)
    lines = (line.strip() for line in found.stdout.splitlines())
    return sum(line.startswith("/*") and line[2:6].isalnum() and "NOP" not in line for line in lines)


def rows(name: str) -> Iterator[tuple[str, ...]]:
    """(family, layout, dtype, pass, instructions per element of a thread) of each kernel."""
    f = actune.family(name)
    names = ("x", *(n for n, _ in f.initial()))
    for layout, constants in LAYOUTS.items():
        elements = math.prod(constants[n] for n in ("ROWS", "COLUMNS")) / (32 * launch.WARPS)
        for half in (False, True):
            for wanted in (None, tuple(range(len(names)))):
                made = compiled(kernel_source(f.expr, names, wanted, half), constants, half)
                kind = ("bfloat16" if half else "float32", "forward" if wanted is None else "backward")
                yield name, layout, *kind, f"{instructions(made) / elements:.1f}"


def tape_rows() -> Iterator[tuple[str, ...]]:
    for layout, constants in LAYOUTS.items():
        for backward in (False, True):
            made = compiled(tape_source(), constants | {"BACKWARD": backward}, False)
            yield "tape", layout, "float32", "backward" if backward else "forward", f"{instructions(made)} in all"


if __name__ == "__main__":
    for given in sys.argv[1:]:
        for row in tape_rows() if given == "tape" else rows(given):
            print(*row, sep="\t", flush=True)
