"""Activation together with the rest of torch: compilers, exporters, transforms and wrappers, over every family."""

from __future__ import annotations

import copy
import io
import pickle
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from oracle import asked
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch._dynamo.utils import counters
from torch.utils.checkpoint import checkpoint
from two_processes import assert_trained_as_alone, rank_of

import actune
from actune import Activation
from actune.kernels import gpu, operators
from actune.kernels.operators import ExportError
from actune.language.expr import Expr
from actune.language.ops import OPS

pytestmark = [  # torch's own, when its compiler is first used and where it traces
    pytest.mark.filterwarnings("ignore:`torch.jit.(script|script_method|trace|trace_method|load|save)` is deprecated"),
]
needs_compiler = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("clang++")), reason="inductor needs a C++ compiler")

NAMES = actune.list_families()
# With trained parameters these are Mittag-Leffler functions, thousands of operators each: at their initial values they are tanh, …
CLOSED = [name for name in NAMES if actune.family(name).initial_form is not None]
TRAINED = [name for name in NAMES if name not in CLOSED]
HANDFUL = ["apalu", "zorro_tanh", "gelu", "rational", "ml_tanh"]
SCOPES: dict[str, dict[str, Any]] = {
    "layer": {},
    "channel": {"scope": "channel", "channels": 3},
    "neuron": {"scope": "neuron", "channels": (3, 8)},
}
# -1000 and 1000: where autograd of where(x > 0, x, exp(x) - 1) would give nan.
X = torch.tensor([-1000.0, -20.0, -1.3, -0.0, 1e-3, 0.7, 2.0, 1000.0]).expand(2, 3, 8).contiguous()


class Every(nn.Module):
    """Several families in one module: (families, *shape of x)."""

    def __init__(self, names: list[str], **options: Any):
        super().__init__()
        self.each = nn.ModuleList(Activation(name, **options) for name in names)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([act(x) for act in self.each])


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    yield
    torch.compiler.reset()


def value_and_gradients(function: Callable[[Tensor], Tensor], module: nn.Module, x: Tensor) -> list[Tensor]:
    x = x.clone().requires_grad_()
    y = function(x)
    wanted = [x, *(p for p in module.parameters() if p.requires_grad)]
    module.zero_grad()
    y.sum().backward()
    return [y.detach(), *(torch.zeros_like(t) if t.grad is None else t.grad for t in wanted)]


def assert_same(got: list[Tensor], wanted: list[Tensor]) -> None:
    for g, w in zip(got, wanted, strict=True):
        torch.testing.assert_close(g, w, rtol=2e-5, atol=1e-5)


# -- torch.compile ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "options"),
    [(NAMES, {}), (TRAINED, {"trainable": True, **SCOPES["channel"]}), (NAMES[::3], {"trainable": False, **SCOPES["neuron"]})],
    ids=["layer", "channel, trained", "neuron, frozen"],
)
def test_all_families_compile_as_one_graph(names: list[str], options: dict[str, Any]) -> None:
    """Without a break or a warning, with the derived backward. (Inductor takes a minute for as much, aot_eager some seconds.)"""
    module = Every(names, **options)
    found = value_and_gradients(torch.compile(module, fullgraph=True, backend="aot_eager"), module, X)
    assert_same(found, value_and_gradients(module, module, X))
    assert not found[1].isnan().any()


@needs_compiler
def test_a_handful_through_inductor() -> None:
    module = Every(HANDFUL, **SCOPES["channel"])
    run = torch.compile(module, fullgraph=True)
    assert_same(value_and_gradients(run, module, X), value_and_gradients(module, module, X))
    half = X.bfloat16()
    assert run(half).dtype == torch.bfloat16
    torch.testing.assert_close(run(half), module(half))


def test_trained_mittag_leffler_compiles() -> None:
    act = Activation("ml_softsign", trainable=True)
    x = torch.linspace(-3, 3, 7)
    run = torch.compile(act, fullgraph=True, backend="aot_eager")
    assert_same(value_and_gradients(run, act, x), value_and_gradients(act, act, x))


@pytest.mark.parametrize("alone", [True, False])
def test_no_formula_is_dropped_by_the_compiler(alone: bool) -> None:
    """Each is compiled, also the 9th and later, which run uncompiled where all are versions of one code object."""
    counter = CompileCounter()
    for i in range(12):
        act = Activation(f"x*sigmoid(b*x) + {i}*tanh(x)", b=1.0)
        module = act if alone else nn.Sequential(nn.Linear(8, 8), act)
        run = torch.compile(module, fullgraph=True, backend=counter)
        torch.testing.assert_close(run(X), module(X))
        if not alone:
            torch.compiler.reset()  # one model class with twelve formulas: a user's own code object
    assert counter.frame_count == 12


def test_modules_of_one_formula_share_what_is_compiled() -> None:
    counter = CompileCounter()
    for beta in range(12):
        act = Activation("swish", beta=float(beta))
        torch.testing.assert_close(torch.compile(act, fullgraph=True, backend=counter)(X), act(X))
    assert counter.frame_count == 1


@pytest.mark.parametrize("scope", SCOPES)
def test_sizes_recompile_as_for_gelu(scope: str) -> None:
    counts = []
    for module in (nn.GELU(), Activation("swish", **SCOPES[scope])):
        counter = CompileCounter()
        run = torch.compile(module, fullgraph=True, backend=counter)
        for n in (2, 5, 7, 16, 33):
            assert run(X[:1].expand(n, 3, 8)).shape == (n, 3, 8)
        counts.append(counter.frame_count)
    assert counts[0] == counts[1]


def test_compiled_closed_form_is_left_when_it_no_longer_holds() -> None:
    act, x = Activation("ml_tanh"), torch.linspace(-3, 3, 20)
    other = Activation("ml_tanh", beta2=1.5)
    other.family = act.family  # the same formula and initial values; the parameter was moved
    run, run_other = (torch.compile(m, fullgraph=True, backend="eager") for m in (act, other))
    assert torch.equal(run(x), torch.tanh(x))
    torch.testing.assert_close(run_other(x), other(x))
    assert not torch.allclose(other(x), torch.tanh(x))
    act.beta2.requires_grad_()
    run(x).sum().backward()
    assert act.beta2.grad is not None
    act.beta2.requires_grad_(False)
    act.load_state_dict(other.state_dict())
    torch.testing.assert_close(run(x), other(x))


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("scope", ["channel", "neuron"])
def test_the_first_call_of_a_compiled_module_gives_its_size(scope: str, alone: bool) -> None:
    act = Activation("swish", scope=scope)
    run = torch.compile(act if alone else nn.Sequential(act), fullgraph=True, backend="aot_eager")
    run(X).sum().backward()
    assert act.beta.grad is not None
    assert act.beta.shape == ((3,) if scope == "channel" else (3, 8))


def test_transforms_inside_a_compiled_function() -> None:
    act = Activation("apalu")
    slope = torch.func.vmap(torch.func.grad(act))
    tangent = lambda x: torch.func.jvp(act, (x,), (torch.ones_like(x),))[1]  # noqa: E731
    for function in (slope, tangent):
        x = torch.linspace(-3, 3, 9)
        torch.testing.assert_close(torch.compile(function, fullgraph=True, backend="aot_eager")(x), function(x))


@pytest.mark.parametrize("in_place", [True, False])
def test_a_module_that_was_compiled_can_be_copied_and_pickled(in_place: bool) -> None:
    act = Activation("swish", **SCOPES["channel"])
    if in_place:
        act.compile(fullgraph=True, backend="aot_eager")
        y = act(X)
    else:
        y = torch.compile(act, fullgraph=True, backend="aot_eager")(X)
    for clone in (copy.deepcopy(act), pickle.loads(pickle.dumps(act))):
        torch.testing.assert_close(clone(X), y)
        assert clone.beta is not act.beta


# -- export ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "strict", "names"),
    [("layer", False, NAMES), ("channel", False, NAMES), ("neuron", False, NAMES[::3]), ("channel", True, NAMES[1::3])],
)
def test_all_families_export(scope: str, strict: bool, names: list[str]) -> None:
    module = Every(names, **SCOPES[scope])
    program = torch.export.export(module, (X,), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=strict)
    assert all(str(n.target).startswith("aten.") for n in program.graph.nodes if n.op == "call_function")
    for x in (X, X[:1].expand(5, 3, 8)):
        torch.testing.assert_close(program.module()(x), module(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", [op.name for op in OPS.values() if callable(op.onnx)])
def test_what_stands_for_an_operator_in_onnx_keeps_its_digits(name: str, dtype: torch.dtype) -> None:
    """From operators that ONNX has, as float32 and float64 compute them."""
    op = OPS[name]
    size = torch.logspace(-30, 30, 601, dtype=torch.float64)
    x = torch.cat([-size, size, torch.tensor([0.0, torch.inf, -torch.inf, torch.nan])]).to(dtype)
    more = [torch.tensor(v, dtype=dtype) for v in (0.7, 0.0, torch.inf)]
    for arguments in ([x],) if op.arity == 1 else [[x[:-1], m] for m in more]:
        got, wanted = op.onnx(*arguments), op.torch(*(t.double() for t in arguments)).to(dtype)
        rtol = (16 if name == "hypot" else 8) * torch.finfo(dtype).eps
        torch.testing.assert_close(got, wanted, rtol=rtol, atol=torch.finfo(dtype).tiny if dtype == torch.float32 else 1e-300,
                                   equal_nan=True)  # fmt: skip


@pytest.mark.parametrize("text", ["i0e(x)", "x*i1e(x) + 1", "sigmoid(x) - i0e(a*x); a=1"])
def test_what_onnx_cannot_express_is_refused_in_one_line(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.onnx._internal.exporter._flags._is_onnx_exporting", True)
    module = nn.Sequential(nn.Linear(8, 8), Activation(text))
    with pytest.raises(ExportError, match=r"^i[01]e has no ONNX operator, .*; bake it with actune.export, or .*$"):
        torch.export.export(module, (X,))
    monkeypatch.undo()
    torch.testing.assert_close(torch.export.export(module, (X,)).module()(X), module(X))


class Apart(Every):
    """Each family at its own part of the input, (batch, families, …): onnxscript 0.7 cannot write two clips of one tensor."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([act(x[:, i]) for i, act in enumerate(self.each)], 1)


def onnx_outputs(module: nn.Module, *inputs: Tensor) -> Tensor:
    """What onnxruntime computes with the exported module; all its operators are standard ones."""
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    program = torch.onnx.export(module, inputs[:1], dynamo=True, verbose=False, dynamic_shapes=({0: "batch"},))
    assert {node.domain for node in program.model.graph} == {""}
    assert not program.model.functions
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.cat([torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]) for x in inputs])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")  # of the exporter
def test_all_families_in_onnx(scope: str) -> None:
    """To a few units in the last place of the larger of x and the value: runtimes have tanh and sigmoid to that."""
    # Without parameters, a scope says nothing; and how they are broadcast, a third of the families show.
    names = NAMES if scope == "layer" else [n for n in NAMES if actune.family(n).params][::3]
    module = Apart(names, **SCOPES[scope])
    grid = torch.cat([torch.linspace(-100, 100, 96), torch.linspace(-4, 4, 96)]).reshape(8, 1, 3, 8)
    parts = [x.expand(-1, len(names), -1, -1).contiguous() for x in (X.clamp(-100, 100).unsqueeze(1), grid)]
    got, x = onnx_outputs(module, *parts), torch.cat(parts).double()
    wanted = module(x)
    error = (got - wanted).abs() / torch.maximum(wanted.abs(), x.abs().clamp(min=1))
    assert not {name: e.max().item() for name, e in zip(names, error.unbind(1), strict=True) if not e.max() < 2e-6}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_refused_by_the_onnx_exporter_too() -> None:
    pytest.importorskip("onnxscript")
    with pytest.raises(ExportError, match=r"^i0e has no ONNX operator"):
        torch.onnx.export(Activation("x*i0e(x)"), (X,), dynamo=True, verbose=False)
    assert not torch.onnx.is_in_onnx_export()


# -- tracing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
def test_all_families_trace_without_a_warning_and_the_trace_is_saved(scope: str) -> None:
    module = Every(NAMES, **SCOPES[scope])
    trace = torch.jit.trace(module, X)
    file = io.BytesIO()
    torch.jit.save(trace, file)
    file.seek(0)
    x = torch.randn(5, 3, 8)
    torch.testing.assert_close(torch.jit.load(file)(x), module(x))


def test_a_module_is_a_leaf_to_fx() -> None:
    module = nn.Sequential(nn.Linear(8, 8), Activation("swish", **SCOPES["channel"]), Every(["gelu", "ml_tanh"]))
    graph = torch.fx.symbolic_trace(module)
    assert [n.target for n in graph.graph.nodes if n.op == "call_module"] == ["0", "1", "2.each.0", "2.each.1"]
    torch.testing.assert_close(graph(X), module(X))


# -- derivatives -----------------------------------------------------------------------------------------------------------


def without_kinks(name: str) -> Tensor:
    """Three points of a family where it is smooth."""
    f = actune.family(name)
    x = torch.tensor([-1.37, 0.43, 2.13], dtype=torch.float64)
    assert all(abs(v - k) > 0.01 for v in x for k in (*f.kinks, *f.joints)), name
    return x


@pytest.mark.parametrize("name", NAMES)
def test_double_backward_by_finite_differences(name: str) -> None:
    act = Activation(name, dtype=torch.float64, trainable=name not in CLOSED)
    x = without_kinks(name).requires_grad_()
    parameters = dict(act.named_parameters())
    with torch.no_grad():  # at its initial values a family may have a kink in a parameter
        for p in parameters.values():
            p.add_(0.03 if p.requires_grad else 0.0)

    def function(x: Tensor, *values: Tensor) -> Tensor:
        return torch.func.functional_call(act, dict(zip(parameters, values, strict=True)), (x,))

    inputs = (x, *parameters.values())
    assert torch.autograd.gradcheck(function, inputs)
    assert torch.autograd.gradgradcheck(function, inputs)


@pytest.mark.parametrize("name", NAMES)
def test_transforms_agree_with_autograd(name: str) -> None:
    """grad, vmap over x and over parameters, jvp and forward mode, and all of them nested."""
    act = Activation(name, dtype=torch.float64)
    x = without_kinks(name)
    y = act(x.requires_grad_())
    (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    x = x.detach()
    mapped = torch.func.vmap(torch.func.grad(act))(x)
    torch.testing.assert_close(mapped, slope)
    torch.testing.assert_close(torch.func.jvp(act, (x,), (torch.full_like(x, 2.0),))[1], 2 * slope)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))
        torch.testing.assert_close(torch.autograd.forward_ad.unpack_dual(act(dual)).tangent, slope)
    stacked = {n: torch.stack([p.detach(), p.detach() + 0.1]) for n, p in act.named_parameters()}
    if stacked and name not in CLOSED:
        both = torch.func.vmap(lambda values: torch.func.functional_call(act, values, (x,)))(stacked)
        for got, i in zip(both, range(2), strict=True):
            one = torch.func.functional_call(act, {n: p[i] for n, p in stacked.items()}, (x,))
            torch.testing.assert_close(got, one)


# -- contexts --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_leaves_the_dtype(dtype: torch.dtype) -> None:
    module = Every(NAMES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = module(X.to(dtype))
        assert torch.compile(Activation("apalu"), fullgraph=True, backend="aot_eager")(X.to(dtype)).dtype == dtype
    assert y.dtype == dtype
    assert torch.equal(y, module(X.to(dtype)))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(mode: Any) -> None:
    module = Every(NAMES)
    with mode():
        y = module(X)
        z = torch.compile(Activation("apalu"), fullgraph=True, backend="aot_eager")(X)
    assert not y.requires_grad
    assert y.is_inference() == z.is_inference() == (mode is torch.inference_mode)
    assert torch.equal(y, module(X).detach())


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints(reentrant: bool) -> None:
    module = Every(NAMES)
    found = value_and_gradients(lambda x: checkpoint(module, x, use_reentrant=reentrant), module, X)
    for got, wanted in zip(found, value_and_gradients(module, module, X), strict=True):
        assert torch.equal(got, wanted)


# -- kinds of tensors ------------------------------------------------------------------------------------------------------

LAYOUTS = {
    "channels_last": lambda x: x.to(memory_format=torch.channels_last),
    "reversed": lambda x: x.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
    "strided": lambda x: x.repeat_interleave(2, 3)[..., ::2],
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("scope", SCOPES)
def test_results_lie_in_memory_as_x_does(scope: str, layout: str) -> None:
    options = SCOPES[scope] | ({"channels": (3, 4, 5)} if scope == "neuron" else {})
    plain = torch.randn(2, 3, 4, 5)
    x = LAYOUTS[layout](plain)
    strides = torch.empty_like(x).stride()
    for name in TRAINED + CLOSED:
        act = Activation(name, **options)
        by_formula = operators.activate_in_torch(act.family.expr, x, act._symbols(x)) if name in TRAINED else act(x)
        for y in (act(x), by_formula):
            assert y.stride() == strides, name
            torch.testing.assert_close(y, act(plain))
    run = torch.compile(Activation("swish", **options), fullgraph=True, backend="aot_eager")
    assert run(x).stride() == strides


def test_a_constant_has_the_layout_of_x() -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    act = Activation("2*b", b=1.0)
    assert act(x).is_contiguous(memory_format=torch.channels_last)
    act(x).sum().backward()
    assert act.b.grad is not None
    assert act.b.grad.item() == 240


@pytest.mark.parametrize("shape", [(0, 3, 8), (2, 3, 0)])
def test_no_elements(shape: tuple[int, ...]) -> None:
    module = Every(NAMES)
    y, gx, *_ = value_and_gradients(module, module, torch.empty(shape))
    assert y.shape == (len(NAMES), *shape)
    assert gx.shape == shape
    assert torch.compile(Activation("apalu"), fullgraph=True, backend="aot_eager")(torch.empty(shape)).shape == shape


def test_tensors_without_values() -> None:
    module = Every(NAMES, device="meta")
    y, gx, *_ = value_and_gradients(module, module, X.to("meta"))
    assert y.is_meta
    assert gx.shape == X.shape
    with torch._subclasses.FakeTensorMode():
        module = Every(NAMES)
        y, gx, *_ = value_and_gradients(module, module, torch.empty(2, 3, 8, dtype=torch.bfloat16))
        assert y.shape == (len(NAMES), 2, 3, 8)
        assert (y.dtype, gx.dtype) == (torch.bfloat16, torch.bfloat16)


class Marked(Tensor):
    """A tensor of a class of its own."""


class Counted(torch.utils._python_dispatch.TorchDispatchMode):
    """Sees every operator."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operators.append(str(function))
        return function(*args, **(kwargs or {}))


def test_subclasses_and_modes_see_the_operators() -> None:
    module = Every(NAMES)
    y = module(X.as_subclass(Marked))
    assert type(y) is Marked
    torch.testing.assert_close(y.as_subclass(Tensor), module(X))
    with Counted() as seen:
        Activation("gelu")(torch.randn(100_000))
    assert "aten.erfc.default" in seen.operators


# -- wrappers --------------------------------------------------------------------------------------------------------------


def _train(rank: int, world: int, file: str, wrapper: str) -> None:
    from torch.distributed.fsdp import fully_shard

    with rank_of(rank, world, file):
        x = torch.randn(4, 3, 8, generator=torch.Generator().manual_seed(0))
        assert_trained_as_alone(Every(TRAINED, **SCOPES["channel"]), x, wrapper)
        closed = Activation("ml_tanh", **SCOPES["channel"])  # frozen parameters, of which the values are looked at
        wrapped = closed if wrapper == "ddp" else fully_shard(closed)
        torch.testing.assert_close(wrapped(x), torch.tanh(x))


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this torch is built without torch.distributed")
@pytest.mark.parametrize("wrapper", ["ddp", "fsdp"])
@pytest.mark.parametrize("world", [2])
def test_data_parallel_training(world: int, wrapper: str, tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_train, (world, str(tmp_path / "rendezvous"), wrapper), nprocs=world)


# -- one compiled function a formula, as on a GPU --------------------------------------------------------------------------

CASES = {  # shape of x, shape of the parameters, layout
    "layer": ((7, 5, 3), (1, 1, 1), "strided"),
    "channel": ((7, 6, 4, 5), (1, 6, 1, 1), None),
    "channels_last": ((7, 6, 4, 5), (1, 6, 1, 1), "channels_last"),
    "neuron": ((9, 6, 5), (1, 6, 5), None),
    "one of each": ((1, 6), (1, 6), None),
}


def on_gpu(e: Expr, x: Tensor, p: Mapping[str, Tensor]) -> Tensor:
    """By what torch compiles, as if x were on a GPU; else by operators."""
    way = gpu.gpu_way(asked(e, x, p, "gpu"))
    y = None if way is None else way(x, tuple(p.values()))
    return operators.activate_in_torch(e, x, p) if y is None else y


def initial(name: str, shape: tuple[int, ...]) -> dict[str, Tensor]:
    return {n: (v + 0.1 * torch.rand(shape)).requires_grad_() for n, v in actune.resolve(name).initial()}


@needs_compiler
@pytest.mark.parametrize("name", ["apalu", "gelu", "2*b; b=1"])
def test_compiled_functions_agree_with_the_formula(name: str) -> None:
    e = actune.resolve(name).expr
    for case, (shape, of_parameters, layout) in CASES.items():
        for dtype in (torch.float32, torch.bfloat16) if case == "channel" else (torch.float32,):
            x = 3 * torch.randn(shape)
            x = (LAYOUTS[layout](x) if layout and len(shape) == 4 else x).to(dtype).requires_grad_()
            p = initial(name, of_parameters)
            y, wanted = on_gpu(e, x, p), operators.activate_in_torch(e, x, p)
            assert (y.dtype, y.stride()) == (dtype, x.stride())
            g = torch.randn(shape).to(dtype)
            found = [torch.autograd.grad(v, [x, *p.values()], g, materialize_grads=True) for v in (y, wanted)]
            rtol = 1e-4 if dtype == torch.float32 else 2e-2
            torch.testing.assert_close([y, *found[0]], [wanted, *found[1]], rtol=rtol, atol=rtol)


@needs_compiler
def test_compiled_functions_are_compiled_once_for_all_sizes() -> None:
    """Ranks, sizes and further formulas compile nothing anew, and no formula is the ninth version of a code object."""
    e = actune.family("swish").expr
    gpu._function.cache_clear()
    gpu._compiles("cpu")
    counters.clear()
    for shape, of_parameters in [((4, 6, 5), (1, 6, 1)), ((9, 4, 3, 7), (1, 4, 1, 1)), ((2, 3, 4, 5, 6), (1, 3, 1, 1, 1))]:
        on_gpu(e, torch.randn(shape), initial("swish", of_parameters)).sum().backward()
    assert counters["stats"]["unique_graphs"] == 2
    for i in range(10):
        on_gpu(actune.parse(f"x*sigmoid(x) + {i}*x"), torch.randn(3, 4), {})
    assert counters["stats"]["unique_graphs"] == 12


@needs_compiler
def test_compiled_functions_have_further_derivatives_and_take_changes() -> None:
    act = Activation("swish", dtype=torch.float64)
    x = torch.linspace(-3, 3, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x, b: on_gpu(act.family.expr, x, {"beta": b}), (x, act.beta))
    on_gpu(act.family.expr, x, {"beta": act.beta}).mul_(2).sum().backward()
    assert x.grad is not None
    slope = torch.func.grad(lambda x: act(x).sum())(x.detach())
    torch.testing.assert_close(x.grad, 2 * slope)


def test_without_a_compiler_the_formula_is_used_and_one_warning_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", fails)
    gpu._compiles.cache_clear()
    e, x = actune.family("gelu").expr, torch.randn(5)
    with pytest.warns(UserWarning, match=r"torch\.compile does not work for cpu here \(RuntimeError: no compiler here\)"):
        y = on_gpu(e, x, {})
    assert torch.equal(on_gpu(e, x, {}), y)
    assert torch.equal(operators.activate_in_torch(e, x, {}), y)
    gpu._compiles.cache_clear()
