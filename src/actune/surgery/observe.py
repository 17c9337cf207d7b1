"""Runs of a model on an example, to see which activation functions it calls, where, and on what. They leave no trace in it."""

from __future__ import annotations

import random
import sys
import types
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from .activations import TORCH_FUNCTIONS, is_activation
from .gates import GateWatch, can_be_gate, tensors_in
from .handwritten import TORCH_FOLDER
from .layout import Use, channel_layout
from .sites import CallSite, find_site

__all__ = ["HOOKS", "Look", "ObservedCall", "observe_calls", "output_of", "relative_change", "watch_calls"]

HOOKS = (
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_backward_pre_hooks", "_backward_hooks", "_is_full_backward_hook",
)  # fmt: skip


@dataclass
class ObservedCall:
    """One call of an activation function in a run of the model.

    function  the class of the module, or the name of the function
    module    the module that was called; None for a function
    site      where the call stands in the source; for what has no such place the reason, in words
    use       what its input looked like
    gate      why it is a gate; "" if it is none
    """

    function: str
    module: nn.Module | None
    site: CallSite | str
    use: Use
    gate: str = ""

    @property
    def place(self) -> object:
        """What is the same for all calls of one place: the module, if it is one, and where the call stands."""
        return self.module, self.site


# What is shown a call before it runs: the call, its input, and what it computes from such an input.
Look = Callable[[ObservedCall, torch.Tensor, Callable[[torch.Tensor], object]], None]


def observe_calls(
    model: nn.Module, example: object, chosen: Collection[nn.Module], look: Look | None = None
) -> tuple[list[ObservedCall], str]:
    """Run the model on an example, in its own mode and in the other one (training or evaluation).

    look   is shown each call before it runs

    Returns the calls of activation functions, in their order, of `chosen` modules too; and why the other mode could not be run, ""
    if it could. In the model's own mode, an error is raised.
    """
    found = watch_calls(model, example, chosen, model.training, look)
    other = not model.training
    try:
        return found + watch_calls(model, example, chosen, other, look), ""
    except Exception as error:  # a batch norm that trains wants more than one example, say
        first = str(error).partition("\n")[0]
        return found, f"in {'training' if other else 'evaluation'} the example fails: {type(error).__name__}: {first}"


class _Observer:
    """Hears what happens in a run, and writes down the calls of activation functions."""

    # Which layer made the input of an activation? Most often that very tensor was the output of a layer: `made_by` knows. Otherwise
    # it was computed from one, as in act(conv(x) + x): then the latest layer with an output of that shape is taken (`latest`).
    # While modules are `entered`, calls such as F.relu are their own and do not count.

    def __init__(self, owners: Collection[nn.Module], look: Look | None):
        self.owners, self.look = owners, look
        self.calls: list[ObservedCall] = []
        self.entered: list[tuple[int, torch.Tensor | None]] = []  # key and input
        self.made_by = WeakTensorKeyDictionary()
        self.latest: tuple[nn.Module, torch.Size] | None = None
        self.gates = GateWatch(self._tell_gate)

    def _tell_gate(self, key: int, reason: str) -> None:
        self.calls[key].gate = self.calls[key].gate or reason

    def _write(self, function: str, module: nn.Module | None, site: CallSite | str, x: torch.Tensor | None) -> int:
        use = Use()
        if x is not None:
            layers = [self.latest[0]] if self.latest is not None and self.latest[1] == x.shape else []
            use = _use_on(x, [self.made_by.get(x), *layers])
        self.calls.append(ObservedCall(function, module, site, use))
        return len(self.calls) - 1

    def _show(self, key: int, x: torch.Tensor | None, compute: Callable[[torch.Tensor], object]) -> None:
        if self.look is not None and x is not None and x.is_floating_point():
            self.look(self.calls[key], x, compute)

    def function(self, func: Any, args: Any, kwargs: Any, frame: types.FrameType) -> Any:
        """Call one of torch's functions, which this frame calls, and note what it gives."""
        name, key = getattr(func, "__name__", "").strip("_"), None
        if not self.entered and name in TORCH_FUNCTIONS:
            x = _first_tensor(args, kwargs)
            is_method = isinstance(func, types.MethodDescriptorType) and not frame.f_code.co_filename.startswith(TORCH_FOLDER)
            site = find_site(frame, self.owners, name, "method" if is_method else "function")
            key = self._write(name, None, site, x)
            self._show(key, x, lambda other: _with_first(func, x, other, args, kwargs))
        output = func(*args, **kwargs)
        self.gates.see(name, (args, kwargs), output)
        if key is not None and can_be_gate(name):
            self.gates.mark(output, key, _first_tensor(args, kwargs))
        return output

    def enter(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x, site = _first_tensor(args, kwargs), find_site(sys._getframe(1), self.owners, type(module).__name__, "module")
        key = self._write(type(module).__name__, module, site, x)
        self.entered.append((key, x))
        self._show(key, x, lambda other: _with_first(module.forward, x, other, args, kwargs))  # without the hooks

    def leave(self, module: nn.Module, args: object, output: object) -> None:
        key, given = self.entered.pop()
        if can_be_gate(module):
            self.gates.mark(output, key, given)

    def layer(self, module: nn.Module, args: object, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        if isinstance(tensor, torch.Tensor):
            self.made_by[tensor] = module
            self.latest = (module, tensor.shape)


class _Watch(TorchFunctionMode):
    """Hands each call of one of torch's functions to an observer, with the frame that calls it."""

    def __init__(self, observer: _Observer):
        super().__init__()
        self.observer = observer

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self.observer.function(func, args, kwargs or {}, sys._getframe(1))


def watch_calls(
    model: nn.Module, example: object, chosen: Collection[nn.Module], training: bool, look: Look | None = None
) -> list[ObservedCall]:
    """The calls of activation functions, and of `chosen` modules, in one run on an example, in training or in evaluation."""
    observer = _Observer({m for m in model.modules() if m not in chosen and not is_activation(m)}, look)
    args, kwargs = _arguments(example)
    with _untouched(model), torch.no_grad(), _every_module_called():
        if training != model.training:
            model.train(training)
        for module in model.modules():
            if module in chosen or is_activation(module):
                module.register_forward_pre_hook(observer.enter, with_kwargs=True)
                module.register_forward_hook(observer.leave)
            elif channel_layout(module) is not None:
                module.register_forward_hook(observer.layer)
        with _Watch(observer):
            observer.gates.returned(model(*args, **kwargs))
    return observer.calls


def _arguments(example: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the model, copied: its first layer may work in place."""
    inputs: Any = dict(example) if isinstance(example, Mapping) else example
    inputs = tree_map_only(torch.Tensor, lambda tensor: tensor.detach().clone(), inputs)
    if isinstance(example, Mapping):
        return (), inputs
    return (inputs if isinstance(inputs, tuple) else (inputs,)), {}


def output_of(model: nn.Module, example: object) -> list[torch.Tensor]:
    """The tensors that a model gives for an example in evaluation, while nothing in it is changed."""
    args, kwargs = _arguments(example)
    with _untouched(model), torch.no_grad():
        model.eval()
        return [t.detach().double() for t in tensors_in(model(*args, **kwargs)) if t.is_floating_point()]


def relative_change(before: list[torch.Tensor], after: list[torch.Tensor]) -> float:
    """The root mean square of the change of some tensors, over that of the tensors before."""
    change = sum(float((b - a).square().sum()) for b, a in zip(before, after, strict=True))
    size = sum(float(b.square().sum()) for b in before)
    return (change / size) ** 0.5 if size else 0.0


def _first_tensor(args: Any, kwargs: Mapping[str, Any]) -> torch.Tensor | None:
    return next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)


def _with_first(function: Callable[..., Any], first: object, other: torch.Tensor, args: Any, kwargs: Mapping[str, Any]) -> Any:
    """The function of the same arguments, but for this tensor, which is another one."""
    return function(*(other if a is first else a for a in args), **{k: other if v is first else v for k, v in kwargs.items()})


def _use_on(x: torch.Tensor, layers: list[nn.Module | None]) -> Use:
    """The use of an activation on x. Its channels are where the first of these layers that fits x has them, or else where is usual.

    Usual is dimension 1 from four dimensions on, and otherwise the last.
    """
    shape = tuple(x.shape)
    for layer in layers:
        layout = channel_layout(layer) if layer is not None else None
        if layout is not None and -len(shape) <= layout.dim < len(shape) and shape[layout.dim] == layout.width:
            return Use(layer, layout.dim, layout.width, shape, x.device)
    dim = 1 if len(shape) >= 4 else -1
    return Use(None, dim, shape[dim] if shape else None, shape, x.device)


@contextmanager
def _every_module_called() -> Iterator[None]:
    """Turn off the fast path of TransformerEncoderLayer, which calls none of its modules in inference."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Restore the model afterwards: attributes, hooks and buffers of every module, and the random generators."""
    lazy = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if is_lazy(tensor)]
    if lazy:
        raise ValueError(f"example: {lazy[0]!r} of the model has no shape yet; run the model once before the swap")
    tables = [table for module in model.modules() for table in (vars(module), *_tables(module))]
    saved = [(table, table.copy()) for table in tables]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    devices = {tensor.device.index or 0 for tensor in (*model.parameters(), *model.buffers()) if tensor.is_cuda}
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=sorted(devices)):
        try:
            yield
        finally:
            for table, entries in saved:
                table.clear()
                table.update(entries)
            with torch.no_grad():
                for buffer, value in buffers:
                    if not torch.equal(buffer, value):  # an expanded buffer cannot be written to, so it is unchanged
                        buffer.copy_(value)
            random.setstate(python)
            np.random.set_state(numpy)


def _tables(module: nn.Module) -> list[dict[str, Any]]:
    """The attributes of a module that are dictionaries of torch's own: parameters, buffers, modules and hooks."""
    tables = [vars(module).get(key) for key in ("_parameters", "_buffers", "_modules", *HOOKS)]
    return [table for table in tables if isinstance(table, dict)]
