"""Who computes a function: actune, torch's operators, torch.compile, other packages."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..catalogue.registry import resolve
from ..export.python import has_torch_form, torch_function
from ..language.expr import Expr
from ..module import Activation

__all__ = [
    "BASELINE",
    "PEER_PACKAGES",
    "TORCH",
    "Computed",
    "Contender",
    "Tensors",
    "absent",
    "formula_contenders",
    "torch_contenders",
]

SAMPLE, CHANNELS, PIXELS = 1024, 64, 14  # features of a linear layer; channels and height of a convolution's output


@dataclass(frozen=True)
class Tensors:
    """The tensors that a function is applied to: their size and dtype, who shares a parameter, and how many threads work."""

    size: int
    dtype: str
    scope: str
    threads: int
    device: str = "cpu"

    @property
    def shape(self) -> tuple[int, ...]:
        """Flat for "layer", images of 64 channels for "channel", samples of 1024 features for "neuron"; about `size` elements."""
        if self.scope == "layer":
            return (self.size,)
        if self.scope == "neuron":
            features = min(SAMPLE, self.size)
            return (max(1, round(self.size / features)), features)
        side = next(n for n in range(PIXELS, 0, -1) if n == 1 or CHANNELS * n * n <= self.size)
        return (max(1, round(self.size / (CHANNELS * side * side))), CHANNELS, side, side)

    @property
    def channels(self) -> Any:
        """The `channels` of a module for these tensors."""
        return {"layer": None, "channel": self.shape[1:2], "neuron": self.shape[1:]}[self.scope]

    @property
    def options(self) -> dict[str, Any]:
        """Keyword arguments for creating tensors of this kind: dtype and device."""
        return {"dtype": getattr(torch, self.dtype), "device": self.device}


@dataclass(frozen=True)
class Computed:
    """A function of a tensor, and the parameters that get a gradient with it."""

    call: Callable[[Tensor], Tensor]
    parameters: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Contender:
    """One who computes a function. It is made when it is its turn, which may fail."""

    function: str
    by: str
    make: Callable[[], Computed]


# -- torch's own ---------------------------------------------------------------------------------------------------------

BASELINE = Computed(F.gelu)
TORCH: dict[str, Callable[[], nn.Module] | None] = {"mish": nn.Mish, "prelu": None, "silu": nn.SiLU, "relu": nn.ReLU}


def torch_contenders(tensors: Tensors) -> list[Contender]:
    """The functions that torch has a kernel for; PReLU has a slope per channel where the scope has channels."""
    slopes = nn.PReLU(tensors.shape[1] if tensors.scope != "layer" else 1, **tensors.options)
    modules = {name: slopes if make is None else make() for name, make in TORCH.items()}
    return [Contender(name, "torch", partial(Computed, m, tuple(m.parameters()))) for name, m in modules.items()]


# -- a formula -----------------------------------------------------------------------------------------------------------


def formula_contenders(function: str, tensors: Tensors, kinds: Sequence[str], train_all: bool = False) -> Iterator[Contender]:
    """Contenders of these kinds for a family or a formula; actune is the first."""
    act = Activation(resolve(function), scope=tensors.scope, channels=tensors.channels, trainable=True if train_all else None,
                     **tensors.options)  # fmt: skip
    yield Contender(function, "actune", partial(Computed, act, tuple(p for p in act.parameters() if p.requires_grad)))
    for by in ("eager", "torch.compile"):
        if by in kinds:
            yield Contender(function, by, partial(_torch_contender, act, tensors, by))
    if "peers" in kinds and tensors.scope == "layer":
        for peer in PEERS:
            if peer.family == act.family.name and peer.found():
                yield Contender(function, peer.package, partial(_by_peer, act, tensors, peer))


def _folded_formula(act: Activation) -> Expr:
    """The formula that a user would write: parameters that are not trained are numbers."""
    f, learns = act.family, {name for name, p in act.named_parameters() if p.requires_grad}
    if f.initial_form is not None and not learns:
        return f.initial_form
    values = dict(f.initial())
    return f.expr.substitute({s: values[s] for name in f.params if name not in learns for s in f.params[name].symbols(name)})


def _torch_contender(act: Activation, tensors: Tensors, by: str) -> Computed:
    """Compute the formula by torch's operators, plain or compiled, with parameters that broadcast."""
    e, values = _folded_formula(act), dict(act.family.initial())
    if not has_torch_form(e):
        raise NotImplementedError("torch has no operator for the Mittag-Leffler function")
    names = [s for s in e.symbols() if s != "x"]
    shape = {"layer": (1,), "channel": (CHANNELS, 1, 1), "neuron": tensors.shape[1:]}[tensors.scope]
    parameters = tuple(torch.full(shape, values[s], **tensors.options).requires_grad_() for s in names)
    written = torch_function(e, ("x", *names))
    run = torch.compile(written, fullgraph=True, dynamic=False) if by == "torch.compile" else written
    return Computed(lambda x: run(x, *parameters), parameters)


# -- other packages ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """A function of another package: its module, its class and what it is made with, for our family of that name.

    Its parameters are those of the family, in order, unless it says `others`.
    """

    package: str
    module: str
    name: str
    family: str
    options: tuple[tuple[str, Any], ...] = ()
    others: bool = False

    def load(self) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about parts of it that need more packages
            return getattr(importlib.import_module(self.module), self.name)

    def found(self) -> bool:
        try:
            self.load()
        except (ImportError, AttributeError):
            return False
        return True


_LEARN = (("learnable", True),)
_SAME = {"SAU": "sau", "SMU": "smu", "ErfAct": "erfact", "PSerf": "pserf", "SinLU": "sinlu", "StarReLU": "star_relu"}
PEERS = (
    *(Peer("torch-activation", "torch_activation", name, family, _LEARN) for name, family in _SAME.items()),
    Peer("rational-activations", "rational.torch", "Rational", "rational", (("cuda", False),), others=True),
)
PEER_PACKAGES = tuple(dict.fromkeys(p.package for p in PEERS))


def absent() -> list[str]:
    """The packages that are not installed."""
    return [package for package in PEER_PACKAGES if not any(p.found() for p in PEERS if p.package == package)]


def _by_peer(act: Activation, tensors: Tensors, peer: Peer) -> Computed:
    """Compute by another package's module, given our initial values; it trains what ours does, where it has our parameters."""
    module = peer.load()(**dict(peer.options))
    parameters = tuple(module.parameters())
    if not peer.others:
        for (name, value), p in zip(act.family.initial(), parameters, strict=True):
            p.requires_grad_(getattr(act, name).requires_grad)
            with torch.no_grad():
                p.fill_(value)
    module.to(**tensors.options)
    return Computed(module, tuple(p for p in module.parameters() if p.requires_grad))
