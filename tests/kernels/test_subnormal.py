"""Subnormal numbers count as zero in every kernel, whatever the caller's floating-point state, which is left as it was."""

from __future__ import annotations

import ctypes
import functools
import math
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
import torch
from oracle import parameters
from passes import DTYPES, KERNELS, MAKERS, families, passes, same
from torch import Tensor

import actune
from actune.kernels.cpu import compiler, interpreter, llvm
from actune.kernels.cpu.fused import slopes
from actune.kernels.cpu.strips import Cut, bind_strips
from actune.kernels.cpu.subnormal import without_subnormals

X86 = pytest.mark.skipif(llvm.architecture() != "x86", reason="another register holds the state")
INVALID, DENORMAL, INEXACT = 0x01, 0x02, 0x20  # sticky flags of MXCSR; DENORMAL: an operation met a subnormal number
CONTROL = 0xFFC0  # its bits that say how to compute
USUAL, FLUSHING, UPWARD, TO_ZERO = 0x1F80, 0x9FC0, 0x5F80, 0x7F80

# Half precision is computed in float32: a few families show that what is around it keeps the promise too.
HALF = (torch.bfloat16, torch.float16)
CASES = [(name, dtype) for dtype in DTYPES for name in (families()[::8] if dtype in HALF else families())]
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: str(d)[6:])
every_family_and_dtype = pytest.mark.parametrize(("name", "dtype"), CASES, ids=lambda v: str(v).removeprefix("torch."))
every_family_and_subnormal_dtype = pytest.mark.parametrize(
    ("name", "dtype"), [case for case in CASES if case[1] != torch.float16], ids=lambda v: str(v).removeprefix("torch.")
)
every_kernel = pytest.mark.parametrize("how", KERNELS)
subnormal_dtypes = pytest.mark.parametrize("dtype", DTYPES[:3], ids=lambda d: str(d)[6:])  # computed in with subnormal numbers


@functools.cache
def state_functions() -> tuple[Callable[[], int], Callable[[int], None]]:
    """Read MXCSR, and set it."""
    text = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
define i32 @read() {
  %at = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %at)
  %state = load i32, ptr %at
  ret i32 %state
}
define void @write(i32 %state) {
  %at = alloca i32
  store i32 %state, ptr %at
  call void @llvm.x86.sse.ldmxcsr(ptr %at)
  ret void
}"""
    library = llvm.compile_assembly(text, ("read", "write"))
    return library.function("read", result=ctypes.c_uint32), library.function("write", ctypes.c_uint32)


@pytest.fixture
def before() -> Iterator[None]:
    """The state of this thread is afterwards what it was."""
    read, write = state_functions()
    found = read()
    yield
    write(found)


def least(dtype: torch.dtype) -> Tensor:
    """A few subnormal numbers of this dtype, both signs."""
    integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[dtype.itemsize]
    numbers = torch.tensor([1, 2, 3, 100], dtype=integer).view(dtype)
    numbers = torch.cat([numbers, torch.full((1,), torch.finfo(dtype).tiny / 2, dtype=dtype)])
    return torch.cat([numbers, -numbers])


def everywhere(dtype: torch.dtype) -> Tensor:
    """Numbers of all sizes: every exponent, and where functions that fall off exponentially underflow, slowly and fast."""
    info = torch.finfo(dtype)
    powers = torch.exp2(torch.arange(math.log2(info.tiny), math.log2(info.max), 0.5, dtype=torch.float64))
    near = torch.cat([torch.linspace(-reach, reach, 601, dtype=torch.float64) for reach in (1, 30, 120, 800)])
    return torch.cat([powers, -powers, near]).to(dtype)


def kernel_output(how: str, f: actune.Family, x: Tensor, g: Tensor | None) -> tuple[int, Tensor]:
    """The flags that one call of a kernel raises, and what it writes: the values, or with g the gradient of x."""
    read, write = state_functions()
    values = parameters(f, x.dtype, 0.3 if f.params else 0.0)
    names = tuple(values)
    exprs = (f.expr,) if g is None else slopes(f.expr, names)
    strip = MAKERS[how](exprs, names, x.dtype, False, g is not None)
    numbers = torch.tensor([[v] for v in values.values()], dtype=compiler.compute_dtype(x.dtype)).reshape(-1, 1)
    y, sums = torch.empty_like(x), torch.zeros((len(names), 1), dtype=torch.float64)
    call = bind_strips(strip, Cut(1, 1, x.numel()), numbers, x, y, g, None if g is None else sums)
    write(USUAL)
    call()
    return read() & ~CONTROL, y


@X86
@every_kernel
@every_family_and_dtype
@pytest.mark.usefixtures("before")
def test_no_subnormal_number_is_met_nor_made(name: str, how: str, dtype: torch.dtype) -> None:
    """By the processor's own account; x and the gradient hold some too. In float16 they are normal float32 numbers."""
    x = everywhere(dtype)
    x = torch.cat([x, least(dtype)]) if dtype != torch.float16 else x
    g = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    g[::7] = 1
    g[:10] = least(dtype) if dtype != torch.float16 else 1
    for gradient in (None, g):
        raised, y = kernel_output(how, actune.family(name), x, gradient)
        assert not raised & DENORMAL
        if dtype != torch.float16:
            small = (y != 0) & (y.abs() < torch.finfo(dtype).tiny)
            assert not small.any(), (x[small], y[small])


@every_family_and_subnormal_dtype
def test_a_subnormal_number_counts_as_zero(name: str, dtype: torch.dtype) -> None:
    """A subnormal x or gradient gives the bits of a zero with its sign."""
    f, small = actune.family(name), least(dtype)
    zero = torch.where(small < 0, -0.0, 0.0).to(dtype)
    p = {n: torch.full((1,), v, dtype=dtype) for n, v in parameters(f, dtype, 0.3).items()}
    for how in KERNELS:
        assert same(passes(how, f.expr, small, p, torch.ones_like(small)), passes(how, f.expr, zero, p, torch.ones_like(small)))
        x = torch.ones_like(small)
        assert same(passes(how, f.expr, x, p, small), passes(how, f.expr, x, p, zero))


@subnormal_dtypes
@every_kernel
def test_a_subnormal_parameter_counts_as_zero(how: str, dtype: torch.dtype) -> None:
    """Also one that is the result, or chosen as it."""
    wide = compiler.compute_dtype(dtype)
    x = torch.tensor([-2.0, 0.5, 3.0] * 20, dtype=dtype)
    for text in ("a", "-a", "a*x", "x/a", "log(a) + x", "max(x, a)", "where(x > 1, a, x)", "abs(a) + 0*x", "a*1e30*x"):
        found, wanted = (passes(how, actune.parse(text), x, {"a": torch.tensor([a], dtype=wide)}, torch.ones_like(x))
                         for a in (least(wide)[-1].item(), -0.0))  # fmt: skip
        assert same(found, wanted), text


@every_kernel
def test_what_that_gives(how: str) -> None:
    """In float32; what is normal stays, to the last bit of it."""
    tiny = torch.finfo(torch.float32).tiny
    x = torch.tensor([tiny / 2, -tiny / 2, tiny, -tiny], dtype=torch.float32)
    for text, wanted in {
        "x": [0.0, -0.0, tiny, -tiny], "abs(x)": [0.0, 0.0, tiny, tiny], "relu(x)": [0.0, -0.0, tiny, 0.0],
        "x*0.75": [0.0, -0.0, 0.0, -0.0], "x*1.5": [0.0, -0.0, 1.5 * tiny, -1.5 * tiny], "sin(x)": [0.0, -0.0, tiny, -tiny],
        "log(abs(x))": [-math.inf, -math.inf, math.log(tiny), math.log(tiny)], "1/x": [math.inf, -math.inf, 1 / tiny, -1 / tiny],
        "sqrt(abs(x))": [0.0, 0.0, 2.0**-63, 2.0**-63], "abs(x)^0.25": [0.0, 0.0, 2.0**-31.5, 2.0**-31.5],
        "where(x > 0, 2, 1)": [1.0, 1.0, 2.0, 1.0],
        "x/1e-40": [math.nan, math.nan, math.inf, -math.inf], "where(x > 0, 1e-40, x)": [0.0, -0.0, 0.0, -tiny],
    }.items():  # fmt: skip
        y = passes(how, actune.parse(text), x, {}, torch.ones_like(x))[0]
        assert same([y], [torch.tensor(wanted, dtype=torch.float32)]), text


@every_kernel
def test_subnormal_float16_numbers_are_exact(how: str) -> None:
    """They are normal in float32."""
    x = least(torch.float16)
    for text in ("x", "x*1", "sin(x)", "1024*x", "exp(log(abs(x)))"):
        y, *_ = passes(how, actune.parse(text), x, {}, torch.ones_like(x))
        assert torch.equal(y, {"1024*x": 1024 * x, "exp(log(abs(x)))": x.abs()}.get(text, x)), text
    assert torch.equal(passes(how, actune.parse("x"), torch.ones_like(x), {}, x)[1], x)


# -- the caller's state --------------------------------------------------------------------------------------------------


@X86
@every_dtype
@every_kernel
@pytest.mark.usefixtures("before")
def test_the_callers_state_neither_changes_nor_matters(how: str, dtype: torch.dtype) -> None:
    """Flushing or not, any rounding; flags that are raised stay so, and those of the kernel are added."""
    read, write = state_functions()
    x, numbers = everywhere(dtype), torch.empty((0, 1), dtype=compiler.compute_dtype(dtype))
    e, whole, gradient = actune.family("gelu").expr, Cut(1, 1, x.numel()), torch.ones_like(x)
    forward = MAKERS[how]((e,), (), dtype, False, False)
    backward = MAKERS[how](slopes(e, ()), (), dtype, False, True)
    found = []
    for state in (USUAL, FLUSHING, UPWARD, TO_ZERO, USUAL | INVALID):
        y, gx = torch.empty_like(x), torch.empty_like(x)
        calls = bind_strips(forward, whole, numbers, x, y), bind_strips(backward, whole, numbers, x, gx, gradient)
        write(state)
        for call in calls:
            call()
        after = read()
        write(USUAL)
        assert after & CONTROL == state & CONTROL
        assert after & state & ~CONTROL == state & ~CONTROL
        assert after & INEXACT
        found.append([y, gx])
    assert all(same(one, found[0]) for one in found)


@X86
def test_the_state_of_a_kernel() -> None:
    """Neither operands nor results are subnormal, no operation traps, and all round to the nearest."""
    body = "\n  call void @llvm.x86.sse.stmxcsr(ptr %Y)"
    run = llvm.compile_assembly(without_subnormals("run", "ptr %Y", "", body), ("run",)).function("run", ctypes.c_void_p)
    state = ctypes.c_uint32()
    run(ctypes.addressof(state))
    assert state.value == FLUSHING


@every_kernel
def test_every_thread_flushes(how: str) -> None:
    """Also those of our own, whatever the caller's setting, which torch makes for its thread alone."""
    x = torch.linspace(-3, 3, 300_000)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = []
        for flush in (False, True):
            torch.set_flush_denormal(flush)
            found.append(passes(how, actune.parse("exp(-900*x*x)*a"), x, {"a": torch.ones(1)}, torch.ones_like(x)))
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
    assert same(*found)
    assert not ((found[0][0] != 0) & (found[0][0] < torch.finfo(torch.float32).tiny)).any()


# -- other processors ----------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Text is written for a processor of this kind without any special instructions."""
    monkeypatch.setattr(llvm.platform, "machine", lambda: request.param)
    monkeypatch.setattr(llvm, "cpu_features", lambda: frozenset())


def texts() -> list[str]:
    """Kernels, compiled and interpreted, of values and slopes, in rows and columns."""
    e = actune.parse("x*sigmoid(a*x) + log(abs(x))")
    return [
        text
        for dtype in DTYPES
        for columns in (False, True)
        for text in (
            compiler.formula_assembly((e,), ("a",), dtype, columns, False),
            compiler.formula_assembly(slopes(e, ("a",)), ("a",), dtype, columns, True),
            interpreter._strip(dtype, columns, True),
        )
    ]


@pytest.mark.parametrize("elsewhere", ["aarch64"], indirect=True)
@pytest.mark.usefixtures("elsewhere")
def test_on_arm() -> None:
    """LLVM makes of every kernel code that sets the bit FZ of FPCR, and FPCR back to what it was."""
    from llvmlite import binding

    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    machine = binding.Target.from_triple("aarch64-unknown-linux-gnu").create_target_machine(opt=2)
    for text in texts():
        module = binding.parse_assembly(text)
        module.verify()
        options = binding.create_pipeline_tuning_options(speed_level=2)
        builder = binding.create_pass_builder(machine, options)
        builder.getModulePassManager().run(module, builder)
        lines = [line.strip() for line in machine.emit_assembly(module).splitlines()]
        body = lines[lines.index("run:") :]
        saved, changed, _, restored = (line.split() for line in body if "FPCR" in line or line == "bl\trun.body")
        assert (saved[0], restored) == ("mrs", ["msr", "FPCR,", saved[1][:-1]])
        assert f"mov\t{changed[2].replace('x', 'w')}, #{1 << 24}" in body


@pytest.mark.parametrize("elsewhere", ["riscv64"], indirect=True)
@pytest.mark.usefixtures("elsewhere")
def test_elsewhere_nothing_is_changed() -> None:
    for text in texts():
        assert "mxcsr" not in text
        assert "fpcr" not in text


def test_the_kernels_of_this_processor_change_it() -> None:
    with mock.patch.object(llvm, "cpu_features", return_value=frozenset()):
        assert all("mxcsr" in text or "fpcr" in text for text in texts())
