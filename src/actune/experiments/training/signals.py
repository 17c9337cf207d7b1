"""What happens to a signal on its way through a network: the gradient at each activation, and the units that are dead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...inspection.slopes import live_units, slope
from ...module import Activation
from ..data.parts import Part

__all__ = ["LayerSignal", "layer_signals"]


@dataclass(frozen=True)
class LayerSignal:
    """One activation of a network, seen over some inputs.

    gradient   the root mean square of the gradient of the loss in what enters the activation
    dead       the share of its units whose slope exceeds 1e-6 for none of the inputs: it is zero, or, where the network diverged,
               nan
    """

    gradient: float
    dead: float


def layer_signals(model: nn.Module, part: Part, loss: Callable[[Tensor, Tensor], Tensor]) -> list[LayerSignal]:
    """The signal at each activation of a network, in the order in which it calls them; the network stays as it is.

    Units are the entries along the activation's `dim`.
    """
    calls: list[tuple[Activation, Tensor]] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, Activation)
        calls.append((module, inputs[0]))

    hooks = [m.register_forward_hook(keep) for m in model.modules() if isinstance(m, Activation)]
    training = model.training
    try:
        model.eval()  # running statistics stay as they are
        with torch.enable_grad():
            mean = loss(model(part.inputs), part.targets)
            gradients = torch.autograd.grad(mean, [x for _, x in calls], allow_unused=True)
    finally:
        model.train(training)
        for hook in hooks:
            hook.remove()
    return [
        LayerSignal(0.0 if g is None else float(g.square().mean().sqrt()), _dead_share(module, x))
        for (module, x), g in zip(calls, gradients, strict=True)
    ]


def _dead_share(module: Activation, x: Tensor) -> float:
    return 1 - float(live_units(slope(module, x), module.dim).double().mean())
