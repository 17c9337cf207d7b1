"""What counts as an activation function in a model."""

from __future__ import annotations

from torch import nn

from ..messages import shorten
from ..module import Activation
from .libraries import LOOKALIKES

__all__ = ["NOT_ELEMENTWISE", "RECURRENT", "TORCH_FUNCTIONS", "check_model", "is_activation", "is_function", "is_stateless"]

ELEMENTWISE: tuple[type[nn.Module], ...] = (
    Activation, nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid,
    nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.Softshrink, nn.Softsign,
    nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip

NOT_ELEMENTWISE = (nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax, nn.GLU)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)

# The names of torch's functional activations, by whichever way they are called: F.relu, torch.relu, Tensor.relu, relu_.
TORCH_FUNCTIONS = frozenset({
    "celu", "elu", "expit", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log_sigmoid", "logsigmoid",
    "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "special_expit",
    "tanh", "tanhshrink", "threshold",
})  # fmt: skip


def is_activation(module: nn.Module) -> bool:
    """Whether this module is an elementwise activation function, which `swap` replaces by default."""
    return isinstance(module, ELEMENTWISE) or (type(module).__name__ in LOOKALIKES and is_stateless(module))


def is_stateless(module: nn.Module) -> bool:
    """Whether a module holds no parameter, no buffer and no other module."""
    return not module._modules and not module._parameters and not module._buffers


def is_function(value: object) -> bool:
    """Whether this is one of torch's functional activations, such as F.relu. (No module has a `__name__`.)"""
    return callable(value) and getattr(value, "__name__", "").strip("_") in TORCH_FUNCTIONS


def check_model(model: object) -> None:
    """Raise TypeError unless this is a torch module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {shorten(repr(model))}")
