"""A module as a file in ONNX, compared with the module in onnxruntime where that is installed."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..module import Activation

__all__ = ["onnx_error", "onnx_example", "onnx_program"]

_INSTALL = "pip install 'actune[export]'"


def onnx_program(module: nn.Module, example: tuple[Any, ...]) -> Any:
    """The program in ONNX that computes a module in evaluation mode; the first dimension of each tensor may have any size.

    Of an activation by itself all dimensions may, but those of its channels or neurons.

    ValueError, one line, where the package that writes ONNX is missing.
    """
    if importlib.util.find_spec("onnxscript") is None:
        raise ValueError(f"ONNX needs the package onnxscript, which is not installed; {_INSTALL}")
    free = isinstance(module, Activation)
    sizes = tuple(dict.fromkeys(range(t.ndim if free else 1), torch.export.Dim.AUTO) if isinstance(t, Tensor) and t.ndim else None
                  for t in example)  # fmt: skip
    with _evaluated(module), _quiet():
        return torch.onnx.export(module, example, dynamo=True, verbose=False, dynamic_shapes=sizes)


def onnx_error(program: Any, module: nn.Module, example: tuple[Any, ...]) -> float | None:
    """The largest difference over max(1, |value|) between a program in onnxruntime and its module; None without onnxruntime."""
    if importlib.util.find_spec("onnxruntime") is None or not all(isinstance(t, Tensor) for t in example):
        return None
    import onnxruntime

    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    inputs = {place.name: t.detach().cpu().numpy() for place, t in zip(session.get_inputs(), example, strict=True)}
    got = [torch.from_numpy(y) for y in session.run(None, inputs)]
    with _evaluated(module), torch.no_grad():
        wanted = [t for t in torch.utils._pytree.tree_leaves(module(*example)) if isinstance(t, Tensor)]
    pairs = zip(got, wanted, strict=False)
    errors = [((a - b.cpu()).abs() / b.cpu().abs().clamp(min=1)).max().item() for a, b in pairs if b.is_floating_point()]
    return max(errors, default=0.0)


def onnx_example(act: Activation) -> Tensor:
    """An input for an activation by itself: with all its channels or neurons, else two rows of eight."""
    if act.channels is None:
        shape: tuple[int, ...] = (2, 8)
    elif isinstance(act.channels, tuple):
        shape = (2, *act.channels)
    else:
        shape = (*(2,) * act.dim, act.channels) if act.dim >= 0 else (2, act.channels, *(2,) * (-1 - act.dim))
    dtype = next((p.dtype for p in act.parameters()), torch.float32)
    return torch.linspace(-6, 6, torch.Size(shape).numel(), dtype=dtype).reshape(shape)


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode, and afterwards as it was."""
    trained = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in trained:
            m.training = True


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the notes of torch's exporter on packages that it could use and on its own deprecated parts."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
