"""A formula over torch operators, with its derived backward: works on every device, in every dtype, to any order.

The backward never goes through autograd of the forward operators: the derivative is a formula too, evaluated from `x` and
the parameters, which are all that is kept. Half precision is computed in float32 and rounded once; a formula with a wide
operator in it (`Op.float64`), and each of its derivatives, in float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..language.exact import folded
from ..language.expr import Expr, FormulaError, const, from_json, order, to_json
from ..language.ops import OPS
from ..tensors import check_input

__all__ = ["ExportError", "activate_in_torch", "evaluate", "needs_float64", "ordered"]


class ExportError(BaseException):
    """A formula that cannot be exported. No Exception: torch's exporter catches each of those, and raises a page of its own."""


_WIDER = {torch.float16: torch.float32, torch.bfloat16: torch.float32}


@dataclass(frozen=True)
class Program:
    """Formulas over common inputs as straight-line code, each common part computed once.

    constants  (slot, number)
    steps      (torch function to a tuple, slots of its arguments, slots of its results, slots that nobody needs after it)
    outputs    the slot of each formula; the first slots are the inputs
    wide       some operator wants float64
    """

    constants: tuple[tuple[int, float], ...]
    steps: tuple[tuple[Callable[..., tuple[Tensor, ...]], tuple[int, ...], tuple[int, ...], tuple[int, ...]], ...]
    outputs: tuple[int, ...]
    wide: bool = False

    def precision(self, dtype: torch.dtype) -> torch.dtype:
        """What to compute in, for inputs of this dtype."""
        return torch.float64 if self.wide else _WIDER.get(dtype, dtype)

    def run(self, inputs: tuple[Tensor, ...], dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Compute every output in this dtype; shapes broadcast. A formula without inputs gives a tensor of no dimensions."""
        slots: dict[int, Any] = {i: t.to(dtype) for i, t in enumerate(inputs)}
        device = inputs[0].device if inputs else None
        for i, number in self.constants:
            # torch refuses a number beyond the dtype; rounding makes it infinite, as it is in kernels.
            rounded = math.copysign(math.inf, number) if abs(number) > torch.finfo(dtype).max else number
            slots[i] = torch.full((), rounded, dtype=dtype, device=device)
        for function, arguments, results, dead in self.steps:
            slots.update(zip(results, function(*(slots[a] for a in arguments)), strict=True))
            for i in dead:
                del slots[i]
        return tuple(slots[i] for i in self.outputs)


@functools.lru_cache(maxsize=512)
def compile_program(exprs: tuple[Expr, ...], names: tuple[str, ...], onnx: bool = False) -> Program:
    """Order the operations of these formulas over the named inputs; onnx: of what ONNX has operators for."""
    outputs, nodes = ordered(exprs)
    slots = {e: names.index(e.args[0]) for e in nodes if e.op == "symbol"}
    slots |= {e: len(names) + i for i, e in enumerate(e for e in nodes if e.op != "symbol")}
    calls = _joined([e for e in nodes if not e.is_leaf])
    last_use = {a: i for i, es in enumerate(calls) for a in es[0].args}
    temporary = {e for es in calls for e in es} - set(outputs)
    steps = tuple(
        (
            _torch(es, onnx),
            tuple(slots[a] for a in es[0].args),
            tuple(slots[e] for e in es),
            tuple({slots[a] for a in es[0].args if last_use[a] == i and a in temporary}),
        )
        for i, es in enumerate(calls)
    )
    constants = tuple((slots[e], e.args[0]) for e in nodes if e.op == "const")
    wide = any(OPS[e.op].float64 for es in calls for e in es)
    return Program(constants, steps, tuple(slots[e] for e in outputs), wide)


def ordered(exprs: tuple[Expr, ...]) -> tuple[tuple[Expr, ...], tuple[Expr, ...]]:
    """The formulas in their simplest form, and all their parts, each before what is made of it."""
    outputs = tuple(map(_simplest, exprs))
    return outputs, order(outputs)


@functools.lru_cache(maxsize=2048)
def _simplest(e: Expr) -> Expr:
    """The formula as it is computed. Kept, because a candidate is screened and trained, with the same derivatives."""
    return _multiplied(folded(e.expand().simplify())).simplify()


@functools.lru_cache(maxsize=512)
def needs_float64(e: Expr) -> bool:
    """Whether some operator of a formula, a Mittag-Leffler function, has to be computed in float64."""
    return compile_program((e,), e.symbols()).wide


def _joined(calls: list[Expr]) -> list[tuple[Expr, ...]]:
    """The calls in their order, those that one function computes together (`Op.several`) at the place of the first."""
    found: dict[Any, list[Expr]] = {}
    for e in calls:
        several = OPS[e.op].several
        found.setdefault(e if several is None else (several, e.args), []).append(e)
    return [tuple(es) for es in found.values()]


def _torch(es: tuple[Expr, ...], onnx: bool) -> Callable[..., tuple[Tensor, ...]]:
    op = OPS[es[0].op]
    if onnx and op.onnx is None:
        raise ExportError(
            f"{op.name} has no ONNX operator, so a formula with {op.name} cannot be exported as it is; "
            "bake it with actune.export, or choose another formula"
        )
    if onnx and callable(op.onnx):
        return functools.partial(_single, op.onnx)
    if op.several is not None:
        return functools.partial(op.several, tuple(OPS[e.op].order for e in es))
    if op.torch is None:
        raise FormulaError(f"{op.name} has no torch operator")
    return functools.partial(_single, op.torch)


def _single(function: Callable[..., Tensor], *arguments: Tensor) -> tuple[Tensor]:
    return (function(*arguments),)


def _inverse(e: Expr) -> Expr | None:
    """What to multiply by instead of dividing by a number, or by 1/p of a parameter."""
    if e.op == "div" and e.args[0] is const(1) and "x" not in e.symbols():
        return e.args[1]
    if e.op != "const" or not 1e-37 < abs(e.args[0]) < 1e37:  # both must be normal numbers, of float32 too
        return None
    return const(1 / e.args[0])


def _multiplied(e: Expr) -> Expr:
    """Divide by numbers and parameters by multiplying with their inverses: a division costs ten times a product."""

    def node(n: Expr, *args: Expr) -> Expr:
        factor = _inverse(args[1]) if n.op == "div" else None
        return Expr(n.op, args) if factor is None else Expr("mul", (factor, args[0]))

    return e.fold(lambda n: n, node)


@functools.lru_cache(maxsize=512)
def _dependencies(exprs: tuple[Expr, ...], names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """Which formula (i) has which input (j) in it: a constant slope has a shape of its own and no gradient to pass on."""
    return tuple((i, j) for i, e in enumerate(ordered(exprs)[0]) for j, name in enumerate(names) if name in e.symbols())


class _Formula(torch.autograd.Function):
    """Several formulas of the same inputs; their derivative is this Function again, so every order exists."""

    @staticmethod
    def forward(exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, *inputs: Tensor) -> tuple[Tensor, ...]:
        program = compile_program(exprs, names, _for_onnx())
        outputs = program.run(inputs, torch.float64 if dtype == torch.float64 else program.precision(inputs[0].dtype))
        # An output that is an input (x itself, or max(x, x)) must be a tensor of its own for autograd.
        return tuple(y.to(dtype) if y.dtype != dtype else y.clone() if any(y is t for t in inputs) else y for y in outputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.exprs, ctx.names, _, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        ctx.set_materialize_grads(False)
        ctx.like = tuple((y.shape, y.dtype) for y in output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        result: list[Tensor | None] = [None] * len(inputs)
        wanted = [(i, j) for i, j in _dependencies(ctx.exprs, ctx.names) if grads[i] is not None and ctx.needs_input_grad[3 + j]]
        slopes = _slopes(ctx, inputs, wanted)
        for (i, j), slope in zip(wanted, slopes, strict=True):
            g = grads[i]
            assert g is not None
            part = (g.to(slope.dtype) * slope).sum_to_size(inputs[j].shape)
            known = result[j]
            result[j] = part if known is None else known + part
        return None, None, None, *(r if r is None else r.to(t.dtype) for r, t in zip(result, inputs, strict=True))

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor | None) -> tuple[Tensor, ...]:
        inputs = ctx.saved_tensors
        wanted = [(i, j) for i, j in _dependencies(ctx.exprs, ctx.names) if tangents[3 + j] is not None]
        total: list[Any] = [0.0] * len(ctx.exprs)
        for (i, j), slope in zip(wanted, _slopes(ctx, inputs, wanted), strict=True):
            t = tangents[3 + j]
            assert t is not None
            total[i] = total[i] + slope * t
        return tuple(
            torch.as_tensor(t, device=inputs[0].device).to(dtype).expand(shape).clone()
            for t, (shape, dtype) in zip(total, ctx.like, strict=True)
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], exprs: Any, names: Any, dtype: Any, *inputs: Tensor) -> tuple[Any, Any]:
        """The mapped dimension comes first and all inputs get the same number of dimensions, so that they broadcast as before."""
        dims = in_dims[3:]
        rank = max(t.ndim - (d is not None) for t, d in zip(inputs, dims, strict=True))
        moved = [t.unsqueeze(0) if d is None else t.movedim(d, 0) for t, d in zip(inputs, dims, strict=True)]
        moved = [t.reshape(t.shape[0], *(1,) * (rank + 1 - t.ndim), *t.shape[1:]) for t in moved]
        outputs = _apply(exprs, names, dtype, *moved)
        mapped = {i for i, j in _dependencies(exprs, names) if dims[j] is not None}
        results = tuple(y if i in mapped or y.ndim <= rank else y.squeeze(0) for i, y in enumerate(outputs))
        return results, tuple(0 if i in mapped else None for i in range(len(outputs)))


class _Eager(_Formula):
    """`_Formula` in a form that torch calls a tenth of a millisecond faster, and that function transforms cannot take."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:  # type: ignore[override]
        outputs = _Formula.forward(*inputs)
        _Formula.setup_context(ctx, inputs, outputs)
        return outputs

    # Its presence is what makes torch call the other form.
    setup_context = torch.autograd.Function.setup_context


def _apply(exprs: tuple[Expr, ...], names: tuple[str, ...], dtype: torch.dtype, *inputs: Tensor) -> tuple[Tensor, ...]:
    """The formulas at these inputs, differentiable where gradients are recorded."""
    if torch._C._are_functorch_transforms_active():
        return _Formula.apply(exprs, names, dtype, *inputs)
    if torch._C._get_tracing_state() is not None:  # a trace is saved, and a Function of ours cannot be
        return _Formula.forward(exprs, names, dtype, *inputs)
    if (torch.is_grad_enabled() and any(t.requires_grad for t in inputs)) or torch.autograd.forward_ad._current_level >= 0:
        return _Eager.apply(exprs, names, dtype, *inputs)
    return _Formula.forward(exprs, names, dtype, *inputs)


def _slopes(ctx: Any, inputs: tuple[Tensor, ...], wanted: list[tuple[int, int]]) -> tuple[Tensor, ...]:
    """The derivatives (of output i in input j), in the precision that they are computed in."""
    if not wanted:
        return ()
    compute = compile_program(ctx.exprs, ctx.names).precision(inputs[0].dtype)
    return _apply(tuple(ctx.exprs[i].diff(ctx.names[j]) for i, j in wanted), ctx.names, compute, *inputs)


def activate_in_torch(e: Expr, x: Tensor, parameters: Mapping[str, Tensor]) -> Tensor:
    """The value of the formula at `x`, in the dtype and shape of `x`; parameters must broadcast to it.

    Differentiable to any order in `x` and the parameters. Keeps `x` and the parameters for backward, nothing else.
    """
    check_input(x)
    names = ("x", *parameters)
    if torch.compiler.is_dynamo_compiling():
        text = _for_graph(e)
        return _in_graph(text, names, x, *parameters.values())
    return _value(e, names, x, *parameters.values())


def _value(e: Expr, names: tuple[str, ...], x: Tensor, *parameters: Tensor) -> Tensor:
    y = _apply((e,), names, x.dtype, x, *parameters)[0]
    return y if _has_x(e) else torch.zeros_like(x) + y


@functools.lru_cache(maxsize=512)
def _has_x(e: Expr) -> bool:
    return "x" in ordered((e,))[0][0].symbols()


def _for_graph(e: Expr) -> str:
    """The formula as text: what the compiler's graph may hold. The compiler runs this when it compiles, and guards `e`."""
    torch.compiler.allow_in_graph(_in_graph)
    return to_json(e)


_for_graph._dynamo_marked_constant = True  # type: ignore[attr-defined]


def _in_graph(text: str, names: tuple[str, ...], x: Tensor, *parameters: Tensor) -> Tensor:
    """A formula as one node of the compiler's graph; what is below, and the derived backward, it sees as torch operators."""
    return _value(from_json(text), names, x, *parameters)


def _for_onnx() -> bool:
    """Whether what is computed now goes into an ONNX file."""
    return (torch.compiler.is_exporting() or torch._C._get_tracing_state() is not None) and torch.onnx.is_in_onnx_export()


def evaluate(e: Expr, values: Mapping[str, Tensor | float]) -> Tensor:
    """The value of a formula at tensors or numbers that broadcast, in the dtype of the first tensor (float64 without one)."""
    tensors = [v for v in values.values() if isinstance(v, Tensor)]
    dtype = tensors[0].dtype if tensors else torch.float64
    device = tensors[0].device if tensors else None
    inputs = tuple(v if isinstance(v, Tensor) else torch.tensor(v, dtype=dtype, device=device) for v in values.values())
    program = compile_program((e,), tuple(values), _for_onnx())
    return program.run(inputs, program.precision(dtype))[0].to(dtype)
