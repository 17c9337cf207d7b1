"""Modules as files in ONNX, and what onnxruntime computes with them. What is missing skips the test, and says so."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn


def exported(module: nn.Module, x: Tensor) -> Any:
    """The program that torch's exporter makes of a module, for any number of rows."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'actune[export]'")
    with warnings.catch_warnings():  # of the exporter's own
        warnings.simplefilter("ignore")
        return torch.onnx.export(module, (x,), dynamo=True, verbose=False, dynamic_shapes=({0: "rows"},))


def operators(program: Any) -> list[str]:
    """The operators of a program in their order."""
    return [node.op_type for node in program.model.graph]


def computed(program: Any, x: Tensor) -> Tensor:
    """What onnxruntime computes with a program."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'actune[export]'")
    session = runtime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0])
