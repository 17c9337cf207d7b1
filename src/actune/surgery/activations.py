"""What counts as an activation function in a model, and its parameters in an optimizer."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from ..messages import shorten
from ..module import Activation

__all__ = [
    "FUNCTIONS", "NOT_ELEMENTWISE", "RECURRENT", "check_model", "is_activation", "is_bare", "is_function", "parameter_groups",
]  # fmt: skip

ELEMENTWISE: tuple[type[nn.Module], ...] = (
    Activation, nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.LeakyReLU, nn.LogSigmoid,
    nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.Sigmoid, nn.SiLU, nn.Softplus, nn.Softshrink, nn.Softsign,
    nn.Tanh, nn.Tanhshrink, nn.Threshold,
)  # fmt: skip

# Classes of timm and transformers that are not subclasses of torch's; they count when they hold no parameter and no module.
LOOKALIKES = frozenset({
    "AccurateGELUActivation", "ClippedGELUActivation", "FastGELUActivation", "GELU", "GELUActivation", "GELUTanh", "HardMish",
    "HardMishMe", "HardSigmoid", "HardSigmoidMe", "HardSwish", "HardSwishMe", "LaplaceActivation", "MemoryEfficientSwish", "Mish",
    "MishActivation", "MishMe", "NewGELUActivation", "PytorchGELUTanh", "QuickGELU", "QuickGELUActivation", "ReLUSquaredActivation",
    "Sigmoid", "SiLUActivation", "Swish", "SwishMe", "Tanh",
})  # fmt: skip

NOT_ELEMENTWISE = (nn.Softmax, nn.Softmax2d, nn.Softmin, nn.LogSoftmax, nn.GLU)
RECURRENT = (nn.RNNBase, nn.RNNCellBase)

# Names of torch's functional activations, whatever they are called through: F.relu, torch.relu, Tensor.relu, relu_.
FUNCTIONS = frozenset({
    "celu", "elu", "expit", "gelu", "hardshrink", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "log_sigmoid", "logsigmoid",
    "mish", "prelu", "relu", "relu6", "rrelu", "selu", "sigmoid", "silu", "softplus", "softshrink", "softsign", "special_expit",
    "tanh", "tanhshrink", "threshold",
})  # fmt: skip


def is_activation(module: nn.Module) -> bool:
    """Is this module an elementwise activation function that `swap` replaces by default?"""
    return isinstance(module, ELEMENTWISE) or (type(module).__name__ in LOOKALIKES and is_bare(module))


def is_bare(module: nn.Module) -> bool:
    return not module._modules and not module._parameters and not module._buffers


def is_function(value: object) -> bool:
    """Is it one of torch's functional activations, such as F.relu? (No module has a `__name__`.)"""
    return callable(value) and getattr(value, "__name__", "").strip("_") in FUNCTIONS


def check_model(model: object) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {shorten(repr(model))}")


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: those of activations (PReLU's too) without weight decay, all others with it.

    A parameter that several modules share appears once; a group without parameters is left out.
    """
    check_model(model)
    inside = {id(p) for module in model.modules() if is_activation(module) for p in module.parameters()}
    for name, p in model.named_parameters():
        if is_lazy(p):
            raise ValueError(f"model: the parameter {name!r} has no size yet; run the model once before making its optimizer")
    decayed = [p for p in model.parameters() if id(p) not in inside]
    free = [p for p in model.parameters() if id(p) in inside]
    return [{"params": params, "weight_decay": decay} for params, decay in ((decayed, weight_decay), (free, 0.0)) if params]
