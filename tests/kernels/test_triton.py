"""Kernels in Triton: their source for every family, and, where Triton is installed, what its interpreter makes of it on the CPU.

What runs on a GPU is measured nowhere here: benchmarks/gpu.py does that.
"""

from __future__ import annotations

import ast
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
import torch
from oracle import Computed, grid, parameters
from passes import families, same
from test_fused import special
from torch import Tensor

import actune
from actune.discovery.proposers.space import Space, candidate_family, parametrise, random_formula
from actune.kernels import gpu, operators
from actune.kernels.autograd import apply_way
from actune.kernels.layout import layout_of
from actune.kernels.triton import launch
from actune.kernels.triton import tape as triton_tape
from actune.kernels.triton.interpreted import is_interpreted
from actune.kernels.triton.source import kernel_source
from actune.language.expr import Expr

every_family = pytest.mark.parametrize("name", families())
NEEDED = "Triton is not installed (pip install triton), so its interpreter cannot run the kernels"

# -- the source -----------------------------------------------------------------------------------------------------------


def sources(name: str) -> list[str]:
    """The kernels of a family: the values and all gradients, in float32 and brief."""
    f = actune.family(name)
    names = ("x", *(n for n, _ in f.initial()))
    return [kernel_source(f.expr, names, wanted, brief) for wanted in (None, tuple(range(len(names)))) for brief in (False, True)]


@every_family
def test_the_source_is_a_kernel_that_uses_what_it_names_and_defines(name: str) -> None:
    for text in sources(name):
        (run,) = (node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef))
        known = {a.arg for a in run.args.args} | {"tl", "libdevice", "float"}
        for line in run.body:  # in order
            stored = {n.id for n in ast.walk(line) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            assert {n.id for n in ast.walk(line) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} <= known | stored
            known |= stored


def test_the_source_is_the_same_in_every_process() -> None:
    """Triton keeps what it has compiled by the source."""
    names = ["apalu", "sau", "zorro_symmetric"]
    code = f"import test_triton; print([text for n in {names} for text in test_triton.sources(n)])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment("17"))
    assert found.stdout.strip() == str([text for n in names for text in sources(n)])


def environment(seed: str) -> dict[str, str]:
    return os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}


def test_tiles_cover_every_element_once_and_hold_few_that_are_none() -> None:
    for outer, channels, inner in [
        (1, 1, 1),
        (1, 1, 10**8),
        (80, 64, 196),
        (5, 7, 1),
        (3, 2, 31),
        (10**6, 3, 1),
        (2, 10**6, 1),
        (7, 3, 33),
    ]:
        at = launch.tiling(outer, channels, inner)
        across = -(-(channels * inner if at.by_columns else inner) // at.columns)
        down = -(-outer // at.rows)
        assert at.tiles == across * down * (1 if at.by_columns else channels)
        assert at.rows & (at.rows - 1) == at.columns & (at.columns - 1) == 0
        assert at.rows * at.columns <= 2048
    assert launch.tiling(80, 64, 196).columns == 32


def test_torch_compile_is_used_until_triton_was_measured() -> None:
    assert (frozenset(), 0) == (gpu.TRITON_WINS, gpu.TAPED_ELEMENTS)


# -- the interpreter ------------------------------------------------------------------------------------------------------


@pytest.fixture
def interpreter() -> Iterator[None]:
    pytest.importorskip("triton", reason=NEEDED)
    assert is_interpreted(), "conftest.py sets TRITON_INTERPRET before anybody imports Triton"
    with np.errstate(all="ignore"):
        yield


def by_triton(e: Expr, x: Tensor, p: Mapping[str, Tensor], by: gpu.Maker = "triton") -> Tensor:
    """As if x were on a GPU, and Triton the way that was chosen."""
    layout = layout_of(tuple(x.shape), None if x.is_contiguous() else x.stride(), tuple(tuple(t.shape) for t in p.values()))
    assert layout is not None
    assert launch.has_triton_kernel(e, x.dtype)
    return apply_way(gpu.GpuWay(e, ("x", *p), layout, by), x, tuple(p.values()))


def by_tape(e: Expr, x: Tensor, p: Mapping[str, Tensor]) -> Tensor:
    return by_triton(e, x, p, "tape")


def both(
    e: Expr, x: Tensor, p: Mapping[str, Tensor], g: Tensor, other: Callable[..., Tensor] = operators.activate_in_torch
) -> list[list[Tensor]]:
    """[y, dx, the gradient of each parameter], by Triton and by torch's operators, or another way."""
    found = []
    for way in (by_triton, other):
        inputs = [t.detach().clone().requires_grad_() for t in (x, *p.values())]
        y = way(e, inputs[0], dict(zip(p, inputs[1:], strict=True)))
        found.append([y.detach(), *torch.autograd.grad(y, inputs, g, allow_unused=True, materialize_grads=True)])
    return found


def assert_near(found: list[Tensor], wanted: list[Tensor], dtype: torch.dtype, terms: int) -> None:
    """Elements to some units in the last place, sums to that of so many terms."""
    u = torch.finfo(dtype).eps
    for i, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        assert i or a.stride() == b.stride()
        sizes = b[b.isfinite()].abs()
        slack = max(1.0, float(sizes.max()) if i > 1 and len(sizes) else 1.0) * (terms**0.5 if i > 1 else 1.0)
        torch.testing.assert_close(a, b, rtol=16 * u if dtype == torch.float32 else u, atol=slack * 4e-6, equal_nan=True)


def near_oracle(e: Expr, x: Tensor, values: dict[str, float]) -> Computed:
    """What the oracle calls a way: the points are the neurons of one row."""
    row = x.detach()[None]
    p = {n: torch.full_like(row, v) for n, v in values.items()}
    found, _ = both(e, row, p, torch.ones_like(row))
    return found[0][0].double().numpy(), torch.cat(found[1:]).double().numpy()


@every_family
def test_values_and_slopes_are_near_the_truth(name: str, interpreter: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(oracle.WAYS, "triton", near_oracle)
    f = actune.family(name)
    x = grid(torch.float32, f.kinks + f.joints, 24)
    values = parameters(f, torch.float32, 0.3)
    up = oracle.truth(f.expr, x.double().numpy(), values)
    for worst in oracle._measured(f.expr, x, values, up, "triton"):
        assert worst.error <= oracle.ALLOWED, str(worst)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:])
@every_family
def test_every_family_beside_torchs_operators(name: str, dtype: torch.dtype, interpreter: None) -> None:
    """One parameter for all, and one per channel, with few and many numbers in a row."""
    f = actune.family(name)
    draw = torch.Generator().manual_seed(0)
    for shape, of_parameters in [((777,), (1,)), ((3, 5, 40), (1, 5, 1)), ((41, 5, 3), (1, 5, 1))]:
        x, g = (3 * torch.randn(shape, generator=draw) for _ in range(2))
        p = {n: torch.full(of_parameters, v) for n, v in parameters(f, dtype, 0.3).items()}
        found, wanted = both(f.expr, x.to(dtype), p, g.to(dtype))
        assert_near(found, wanted, dtype, x.numel())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=lambda d: str(d)[6:])
@every_family
def test_extremes_are_those_of_torchs_operators(name: str, dtype: torch.dtype, interpreter: None) -> None:
    f, x = actune.family(name), special(dtype)
    x = x[(x == 0) | ~(x.abs() < torch.finfo(dtype).tiny)]
    p = {n: torch.full((1,), v) for n, v in parameters(f, dtype, 0.3).items()}
    found, wanted = both(f.expr, x, p, torch.ones_like(x))
    for a, b in zip(found[:2], wanted[:2], strict=True):
        rtol = 1e-4 if dtype == torch.float32 else 4 * torch.finfo(dtype).eps
        torch.testing.assert_close(a, b, rtol=rtol, atol=4 * torch.finfo(dtype).tiny, equal_nan=True)


def test_random_formulas(interpreter: None) -> None:
    """Not near zero, where such formulas have poles."""
    rng, space, draw = random.Random(5), Space(), torch.Generator().manual_seed(0)
    for k in range(50):
        f = candidate_family(parametrise(random_formula(rng, space), rng, space))
        x, g = (2 * torch.randn((4, 3, 50), generator=draw) for _ in range(2))
        x += 0.05 * x.sign()
        p = {n: v + 0.1 * torch.rand((1, (1, 3)[k % 2], 1), generator=draw) for n, v in f.initial()}
        for a, b in zip(*both(f.expr, x, p, g), strict=True):
            sizes = b[b.isfinite()].abs()
            slack = 2e-5 * max(1.0, float(sizes.max()) if len(sizes) else 0.0)
            torch.testing.assert_close(a, b, rtol=2e-4, atol=slack, equal_nan=True, msg=lambda said, f=f: f"{f.text}: {said}")


def test_sizes_and_memory_formats(interpreter: None) -> None:
    f, draw = actune.family("apalu"), torch.Generator().manual_seed(0)
    cases: list[tuple[Any, ...]] = [((n,), (1,), None) for n in (1, 2, 31, 1023, 1024, 1025, 5000)]
    cases += [
        ((2, 5, 7, 3), (1, 5, 1, 1), torch.channels_last),
        ((9, 6, 5), (1, 6, 5), None),
        ((1, 6), (1, 6), None),
        ((70, 1), (1, 1), None),
        ((41, 5, 3), (1, 5, 1), None),
        ((70, 3, 40), (1, 3, 1), None),  # several tiles along outer, by channels
        ((300, 3, 3), (1, 3, 1), None),  # and by columns
    ]
    for shape, of_parameters, memory in cases:
        x, g = (torch.randn(shape, generator=draw) for _ in range(2))
        x = x.to(memory_format=memory) if memory else x
        p = {n: v + torch.rand(of_parameters, generator=draw) for n, v in f.initial()}
        found, wanted = both(f.expr, x, p, g)
        assert_near(found, wanted, torch.float32, x.numel())
        found, wanted = both(f.expr, x, p, g.new_ones(()).expand(shape))
        assert_near(found, wanted, torch.float32, x.numel())


def test_no_element_is_written_beyond_the_tensor(interpreter: None) -> None:
    memory = torch.full((3000,), 7.0)
    x = memory[1000:1777]
    way = launch.triton_function(actune.family("silu").expr, ("x",), None)
    (y,) = way(x)
    assert torch.equal(memory, torch.full((3000,), 7.0))
    torch.testing.assert_close(y, torch.nn.functional.silu(x))


def test_what_stands_in_for_no_element_adds_nothing(interpreter: None) -> None:
    """There x is 1, where this slope is infinite."""
    e, x = actune.parse("a*log(abs(x - 1))"), torch.linspace(2, 3, 5)
    for a, b in zip(*both(e, x, {"a": torch.ones(1)}, torch.ones(5)), strict=True):
        torch.testing.assert_close(a, b)


def test_one_parameter_per_channel_and_one_for_all(interpreter: None) -> None:
    e, draw = actune.family("apalu").expr, torch.Generator().manual_seed(0)
    for shape in [(4, 3, 40), (4, 3, 2)]:
        x, g = (torch.randn(shape, generator=draw) for _ in range(2))
        p = {"a": torch.rand((1, 3, 1), generator=draw), "b": torch.rand((1, 1, 1), generator=draw)}
        found, wanted = both(e, x, p, g)
        assert_near(found, wanted, torch.float32, x.numel())
        assert same(found, both(e, x, p, g, by_tape)[1])


def test_sums_are_the_same_every_time_and_as_exact_as_a_sum_in_float64(interpreter: None) -> None:
    f, draw = actune.family("apalu"), torch.Generator().manual_seed(0)
    x, g = (torch.randn(5_000, generator=draw) for _ in range(2))
    p = {n: torch.full((1,), v) for n, v in f.initial()}
    found = [both(f.expr, x, p, g)[0] for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    _, wanted = operators_in_float64(f, x, p, g)
    torch.testing.assert_close(torch.stack(found[0][2:]).double(), torch.stack(wanted), rtol=1e-5, atol=1e-4)


def operators_in_float64(f: actune.Family, x: Tensor, p: Mapping[str, Tensor], g: Tensor) -> tuple[Tensor, list[Tensor]]:
    inputs = [t.double().requires_grad_() for t in (x, *p.values())]
    y = operators.activate_in_torch(f.expr, inputs[0], dict(zip(p, inputs[1:], strict=True)))
    return y, list(torch.autograd.grad(y, inputs, g.double())[1:])


def test_a_formula_without_x_and_second_derivatives(interpreter: None) -> None:
    x, b = torch.randn(40, requires_grad=True), torch.ones(1, requires_grad=True)
    y = by_triton(actune.resolve("2*b; b=1").expr, x, {"b": b})
    assert torch.equal(y, torch.full((40,), 2.0))
    assert torch.autograd.grad(y.sum(), [x, b], materialize_grads=True)[1].item() == 80
    e = actune.family("swish").expr
    (slope,) = torch.autograd.grad(by_triton(e, x, {"beta": b}).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.sum(), x)
    (wanted,) = torch.autograd.grad(operators.activate_in_torch(e.diff(), x, {"beta": b}).sum(), x)
    torch.testing.assert_close(second, wanted)


# -- tapes ----------------------------------------------------------------------------------------------------------------


@every_family
def test_a_tape_gives_the_same_bits(name: str, interpreter: None) -> None:
    """Of values, slopes and sums: its operators are the same lines, each with its result in memory."""
    f, draw = actune.family(name), torch.Generator().manual_seed(0)
    x = torch.cat([2 * torch.randn(60, generator=draw), special(torch.float32)])
    g = torch.randn(x.shape, generator=draw)
    p = {n: torch.full((1,), v) for n, v in parameters(f, torch.float32, 0.3).items()}
    assert same(*both(f.expr, x, p, g, by_tape))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=lambda d: str(d)[6:])
def test_tapes_of_random_formulas_with_parameters_of_channels(dtype: torch.dtype, interpreter: None) -> None:
    rng, space, draw = random.Random(3), Space(), torch.Generator().manual_seed(0)
    for shape in [(3, 5, 40), (41, 5, 3)] * 4:
        f = candidate_family(parametrise(random_formula(rng, space), rng, space))
        x, g = (2 * torch.randn(shape, generator=draw).to(dtype) for _ in range(2))
        p = {n: v + 0.1 * torch.rand((1, 5, 1), generator=draw) for n, v in f.initial()}
        found, wanted = both(f.expr, x, p, g, by_tape)
        if dtype == torch.float32:
            assert same(found, wanted)
        else:  # the kernel of a formula is brief there
            torch.testing.assert_close(found[:2], wanted[:2], rtol=0.02, atol=1e-3, equal_nan=True)


def test_programs_take_one_tile_after_the_other(interpreter: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triton_tape, "PROGRAMS", 2)
    f, draw = actune.family("apalu"), torch.Generator().manual_seed(0)
    x, g = (torch.randn(2500, generator=draw) for _ in range(2))
    assert same(*both(f.expr, x, {n: torch.full((1,), v) for n, v in f.initial()}, g, by_tape))


def test_slots_are_used_again() -> None:
    e = actune.parse("exp(-abs(tanh(sin(x) + 1)*2)) + x")
    tape = triton_tape.formula_tape((e,), ("x",))
    assert len(tape.rows) == 8
    assert tape.slots == 2  # x, and what is made of it
    assert triton_tape.formula_tape((e, e.diff()), ("x",)).slots < 8


def test_a_formula_is_taped_for_so_many_elements_and_then_compiled(interpreter: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TAPED_ELEMENTS", 50)
    ran = []
    monkeypatch.setattr(gpu, "tape_function", lambda *_: lambda x: (ran.append("tape") or x.clone(),))
    monkeypatch.setattr(gpu, "_compiles", lambda _: True)
    monkeypatch.setattr(gpu, "_run_compiled", lambda e, names, wanted, inputs: (ran.append("compiled") or inputs[0].clone(),))
    x = torch.randn(30)
    way = gpu.gpu_way(oracle.asked(actune.family("silu").expr, x, {}, "gpu"))
    assert way is not None
    for _ in range(4):
        way(x, ())
    assert ran == ["tape", "tape", "compiled", "compiled"]


# -- the compiler ---------------------------------------------------------------------------------------------------------


def test_the_compiler_makes_code_for_a_gpu_that_is_not_there() -> None:
    pytest.importorskip("triton", reason=NEEDED)
    command = [sys.executable, Path(__file__).with_name("triton_compiled.py"), "gelu", "apalu", "tape"]
    found = subprocess.run(command, capture_output=True, text=True, env=environment("0") | {"TRITON_INTERPRET": "0"})
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.splitlines()) == 2 * 12 + 6
