"""One run of a model on an example, to see what reaches its activations. It leaves no trace in the model."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from .activations import TORCH_FUNCTIONS, is_activation
from .layout import Use, channel_layout
from .select import ModulePlace

__all__ = ["HOOKS", "observe_uses"]

HOOKS = (
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_backward_pre_hooks", "_backward_hooks", "_is_full_backward_hook",
)  # fmt: skip


class _CountFunctions(TorchFunctionMode):
    """Counts functional activation calls outside of activation modules."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.depth = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += self.depth == 0 and getattr(func, "__name__", "").strip("_") in TORCH_FUNCTIONS
        return func(*args, **(kwargs or {}))


def observe_uses(model: nn.Module, example: object, places: list[ModulePlace]) -> tuple[dict[nn.Module, list[Use]], int]:
    """Run the model once on an example.

    Returns the uses of the module of each place, in the order of the calls, and the number of functional activation calls outside
    of activation modules.
    """
    # Which layer made the input of an activation? Most often that very tensor was the output of a layer: `made_by` knows. Otherwise
    # it was computed from one, as in act(conv(x) + x): then the latest layer with an output of that shape is taken (`latest`).
    # `counter.depth` is above 0 inside an activation module, whose own calls such as F.relu do not count as functional.
    seen: dict[nn.Module, list[Use]] = {place.module: [] for place in places}
    made_by = WeakTensorKeyDictionary()
    latest: list[tuple[nn.Module, torch.Size]] = []
    counter = _CountFunctions()

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        counter.depth += 1
        x = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
        if x is not None and module in seen:
            seen[module].append(_use_on(x, [made_by.get(x), *(layer for layer, shape in latest if shape == x.shape)]))

    def leave(module: nn.Module, args: object, output: object) -> None:
        counter.depth -= 1

    def layer(module: nn.Module, args: object, output: Any) -> None:
        tensor = output[0] if isinstance(output, tuple) else output
        if isinstance(tensor, torch.Tensor):
            made_by[tensor] = module
            latest[:] = [(module, tensor.shape)]

    inputs: Any = dict(example) if isinstance(example, Mapping) else example
    inputs = tree_map_only(torch.Tensor, lambda tensor: tensor.detach().clone(), inputs)  # the first layer may work in place
    args, kwargs = ((), inputs) if isinstance(inputs, Mapping) else (inputs if isinstance(inputs, tuple) else (inputs,), {})
    with _untouched(model), torch.no_grad(), _every_module_called():
        for module in model.modules():
            if module in seen or is_activation(module):
                module.register_forward_pre_hook(enter, with_kwargs=True)
                module.register_forward_hook(leave)
            elif channel_layout(module) is not None:
                module.register_forward_hook(layer)
        with counter:
            model(*args, **kwargs)
    return seen, counter.calls


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
