"""The Fisher information of a network at initialisation, approximated by Kronecker factors: how each layer would begin to learn.

For a layer with inputs a (a one appended for the bias) and gradients g of log p(label | input) with respect to its outputs, labels
drawn from what the network itself predicts, the layer's block of the Fisher information is about E[a aᵀ] ⊗ E[g gᵀ] (KFAC: Martens
and Grosse, arXiv:1503.05671; convolutions: Grosse and Martens, arXiv:1602.01407). Its eigenvalues are all products of an eigenvalue
of the one factor and one of the other. That they tell activation functions apart is the idea of AQuaSurF (arXiv:2301.05785).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad, unfold

from ...catalogue.registry import Family, resolve
from ...experiments.losses import LOSSES, Loss
from ...experiments.tasks import Task
from ...experiments.training.loop import seeded
from ...experiments.training.networks import network_builder
from ...language.expr import Expr
from ...tensors import Array

__all__ = ["Fisher", "Layer", "kfac"]


_SHARES = (1 / 6, 1 / 2, 5 / 6)  # quantiles of each factor's eigenvalues; more of them tell the surrogate no more
_LEAST = 1e-6, 1e-60  # eigenvalues count as no smaller than this share of the largest (rounding errors are), and than this


@dataclass(frozen=True)
class Fisher:
    """A probe: three quantiles of the logarithms of each Kronecker factor's eigenvalues, layer by layer; None where not finite.

    The network is the task's with the function everywhere, the inputs are the first of the training part. Equal arguments give
    equal numbers, rounded so that the last bits of a machine decide nothing; the global generators keep their state.

    seed    of the weights and of the labels, and of the data where the task draws them
    batch   the number of inputs
    """

    task: Task
    seed: int = 0
    batch: int = 32

    def __call__(self, f: Family) -> tuple[float, ...] | None:
        return _probe_numbers(self, f.expr, tuple(f.initial()))


@functools.lru_cache(maxsize=4096)
def _probe_numbers(fisher: Fisher, e: Expr, initial: tuple[tuple[str, float], ...]) -> tuple[float, ...] | None:
    task, loss = fisher.task, LOSSES[fisher.task.loss]
    if loss.predicts is None:
        raise ValueError(f"the task {task.name!r} has no Fisher information: its network's outputs are no distribution; "
                         f"search without=['fisher'], or by another method")  # fmt: skip
    inputs = task.split(fisher.seed).train.inputs[: fisher.batch]
    with seeded(fisher.seed, torch.device("cpu")), torch.enable_grad():
        model = network_builder(task, resolve(e, **dict(initial)))()
        layers = kfac(model, inputs, loss)
    if layers == ():
        raise ValueError(f"the network of the task {task.name!r} has no Linear or Conv2d layer to probe")
    return None if layers is None else tuple(round(v, 3) for layer in layers for v in layer.summary())


@dataclass(frozen=True, eq=False)
class Layer:
    """The eigenvalues of the two factors, largest first; only those that this batch can tell from zero.

    inputs, outputs   of E[a aᵀ], summed over places, and of E[g gᵀ], the mean over places; shapes (groups, …), where only grouped
                      convolutions have more than one
    """

    name: str
    inputs: Array
    outputs: Array

    def eigenvalues(self) -> Array:
        """The eigenvalues of the layer's block, in no order; those that are missing are zero."""
        return (self.inputs[:, :, None] * self.outputs[:, None, :]).ravel()

    def summary(self) -> list[float]:
        """Quantiles of the decimal logarithms, of the inputs' and then of the outputs', by asinh kept within reach."""
        share, least = _LEAST
        logarithms = (np.log10(np.maximum(e, max(share * float(e.max()), least))) for e in (self.inputs, self.outputs))
        return [float(v) for found in logarithms for v in np.arcsinh(np.quantile(found, _SHARES))]


def kfac(model: nn.Module, inputs: Tensor, loss: Loss) -> tuple[Layer, ...] | None:
    """The spectra of the Linear and Conv2d layers on this batch, in the order of their calls; None where anything is not finite.

    Draws the labels, one for each input (and place), from torch's generator.
    """
    calls: list[tuple[str, nn.Module, Tensor, Tensor]] = []

    def watch(name: str, layer: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> Tensor:
        calls.append((name, layer, args[0].detach().clone(), y))
        return y.clone()  # what comes next may work in place

    hooks = [
        m.register_forward_hook(functools.partial(watch, name))
        for name, m in model.named_modules()
        if isinstance(m, nn.Linear | nn.Conv2d)
    ]
    try:
        outputs = model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not calls:
        return ()
    if not bool(outputs.isfinite().all()):
        return None
    assert loss.predicts is not None  # which `Fisher` has asked
    predicted = loss.predicts(outputs)
    likelihood = predicted.log_prob(predicted.sample()).sum()
    slopes = torch.autograd.grad(likelihood, [y for *_, y in calls], materialize_grads=True)
    found: list[Layer] = []
    for (name, layer, x, _), slope in zip(calls, slopes, strict=True):
        a, g = _layer_rows(layer, x, slope)
        spectra = _spectrum(a, len(inputs)), _spectrum(g, g.shape[1])
        if spectra[0] is None or spectra[1] is None:
            return None
        found.append(Layer(name, spectra[0], spectra[1]))
    return tuple(found)


def _layer_rows(layer: nn.Module, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs (with a one for the bias) and output gradients, a row per place of each input: shapes (groups, rows, width)."""
    groups = 1
    if isinstance(layer, nn.Conv2d):
        groups, mode = layer.groups, "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        padded = pad(x, layer._reversed_padding_repeated_twice, mode)  # type: ignore[arg-type]  # as its own forward does
        x, g = unfold(padded, layer.kernel_size, layer.dilation, 0, layer.stride).mT, g.flatten(2).mT
    a, g = (t.flatten(0, -2).unflatten(-1, (groups, -1)).transpose(0, 1) for t in (x, g))
    return (a if layer.bias is None else torch.cat([a, a.new_ones(*a.shape[:-1], 1)], -1)), g


def _spectrum(rows: Tensor, count: int) -> Array | None:
    """The eigenvalues of rowsᵀ rows / count, min(rows, columns) of them; None where not finite."""
    if not bool(rows.isfinite().all()):
        return None
    wide = rows.double()  # in float32 squares overflow, and LAPACK fails on some matrices or finds nan
    product = wide @ wide.mT if wide.shape[1] < wide.shape[2] else wide.mT @ wide
    return torch.linalg.eigvalsh(product / count).flip(-1).clamp(min=0).numpy()
