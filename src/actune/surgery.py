"""Swap the activation modules of a network that exists, and put the old ones back.

A swap is first planned on the whole model (which modules, which dimension holds the channels, how many), then applied as a list
of assignments: an error leaves the model as it was, and `restore` is the same list backwards.
"""

from __future__ import annotations

import copy
import functools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import is_lazy
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from .family import Family, resolve
from .module import Activation

__all__ = ["Replacement", "SwapReport", "is_activation", "parameter_groups", "restore", "swap"]

Scope = Literal["layer", "channel", "neuron"]
Act = str | Family | nn.Module | Callable[[], nn.Module]
Where = str | type | Sequence[str] | Sequence[type] | Callable[[str, nn.Module], bool] | None

# --- What is an activation --------------------------------------------------------------------------------------------

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
    return isinstance(module, ELEMENTWISE) or (type(module).__name__ in LOOKALIKES and _bare(module))


def _bare(module: nn.Module) -> bool:
    return not module._modules and not module._parameters and not module._buffers


def _is_function(value: object) -> bool:
    """Is it one of torch's functional activations, such as F.relu? (No module has a `__name__`.)"""
    return callable(value) and getattr(value, "__name__", "").strip("_") in FUNCTIONS


# --- Where a layer puts its channels ----------------------------------------------------------------------------------


class _Layout(NamedTuple):
    dim: int
    width: int | None


_LAYERS: tuple[tuple[tuple[type[nn.Module], ...], int, Callable[[Any], int]], ...] = (
    ((nn.Linear, nn.Bilinear), -1, lambda layer: layer.out_features),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), 1, lambda layer: layer.out_channels),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), 1, lambda layer: layer.out_channels),
    ((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm), 1, lambda layer: layer.num_features),
    ((nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d), 1, lambda layer: layer.num_features),
    ((nn.GroupNorm,), 1, lambda layer: layer.num_channels),
    ((nn.LayerNorm, nn.RMSNorm), -1, lambda layer: layer.normalized_shape[-1]),
    ((nn.Embedding, nn.EmbeddingBag), -1, lambda layer: layer.embedding_dim),
    ((nn.MultiheadAttention,), -1, lambda layer: layer.embed_dim),
    ((nn.RNNBase,), -1, lambda layer: (layer.proj_size or layer.hidden_size) * (1 + layer.bidirectional)),
    ((nn.RNNCellBase,), -1, lambda layer: layer.hidden_size),
)

# Layers that keep the channels of their input where they are.
_PASSING = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.LocalResponseNorm,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d, nn.Upsample,
)  # fmt: skip


def _layout(module: nn.Module) -> _Layout | None:
    """The dimension and number of the channels in the output of a layer that has channels (a lazy layer has no number yet)."""
    for classes, dim, width in _LAYERS:
        if isinstance(module, classes):
            return _Layout(dim, width(module) or None)
    return None


class _Seen(NamedTuple):
    """One use of an activation: the layer before it and what its input looks like, as far as known."""

    layer: nn.Module | None = None
    dim: int | None = None
    width: int | None = None
    shape: tuple[int, ...] | None = None
    device: torch.device | None = None


def _look_before(root: nn.Module, name: str) -> _Seen:
    """What comes before the module called `name`, as far as the containers alone can tell."""
    if not name:
        return _Seen()
    prefix, _, key = name.rpartition(".")
    parent = root.get_submodule(prefix)
    if isinstance(parent, nn.Sequential):
        children = list(parent._modules.items())
        before = children[: [child for child, _ in children].index(key)]
        return _last_layer(module for _, module in reversed(before)) or _look_before(root, prefix)
    own = _layout(parent)  # such as timm's BatchNormAct2d: a normalization that holds its activation
    if own is not None:
        return _Seen(parent, *own)
    # Elsewhere the order of the calls is not known, but when all siblings agree the dimension is.
    dims = {layout.dim for child in parent.children() if (layout := _layout(child)) is not None}
    return _Seen(dim=dims.pop()) if len(dims) == 1 else _Seen()


def _last_layer(backwards: Iterable[nn.Module | None]) -> _Seen | None:
    """The last layer with channels before a place in a Sequential; None where the whole stretch only passes its input on."""
    for module in backwards:
        if module is None or isinstance(module, _PASSING) or is_activation(module):
            continue
        layout = _layout(module)
        if layout is not None:
            return _Seen(module, *layout)
        if not isinstance(module, nn.Sequential):
            return _Seen()
        inner = _last_layer(reversed(list(module.children())))
        if inner is not None:
            return inner
    return None


# --- The report -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Replacement:
    """One module that was replaced, under all the names that held it."""

    names: tuple[str, ...]
    old: str
    new: str
    channels: int | tuple[int, ...] | None
    dim: int | None

    def __str__(self) -> str:
        fit = [f"channels={self.channels}"] * (self.channels is not None) + [f"dim={self.dim}"] * (self.dim is not None)
        return f"{' = '.join(name or '(root)' for name in self.names)}: {self.old} -> {self.new} {' '.join(fit)}".rstrip()


@dataclass(frozen=True, eq=False)
class SwapReport:
    """What a swap did.

    model             the model to go on with: the one given, unless that was an activation itself
    replaced          one entry a module
    skipped           (name, class, reason) of what holds an activation, or was meant by `where`, and was not replaced
    functional_calls  how many calls such as `F.relu(x)`, which no swap reaches, one run of the model on `example` made outside of
                      activation modules; None without an example
    """

    model: nn.Module = field(repr=False)
    replaced: tuple[Replacement, ...]
    skipped: tuple[tuple[str, str, str], ...]
    functional_calls: int | None
    _undo: _Undo = field(repr=False)

    def __str__(self) -> str:
        lines = [f"replaced {_count(len(self.replaced), 'module')}", *(f"  {replacement}" for replacement in self.replaced)]
        if self.skipped:
            groups = Counter((kind, reason) for _, kind, reason in self.skipped)
            first = {(kind, reason): name for name, kind, reason in reversed(self.skipped)}
            lines.append(f"skipped {_count(len(self.skipped), 'place')}")
            for key, count in groups.items():
                more = f" and {count - 1} more" if count > 1 else ""
                lines.append(f"  {first[key] or '(root)'}{more}: {key[0]}: {key[1]}")
        if self.functional_calls is not None:
            lines.append(f"{_count(self.functional_calls, 'functional activation call')} out of reach")
        return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + "s" * (number != 1)


# --- Which modules ----------------------------------------------------------------------------------------------------


class _Slot(NamedTuple):
    """A place of the tree that holds a module; it has several names when a parent has. The root's slot has no parent."""

    parent: nn.Module | None
    key: str
    names: tuple[str, ...]


class _Place(NamedTuple):
    """A module to replace and the slots to replace it in."""

    module: nn.Module
    slots: tuple[_Slot, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for slot in self.slots for name in slot.names)


def _slots(model: nn.Module) -> dict[nn.Module, list[_Slot]]:
    """Every module, in the order of the tree, with the slots that hold it."""
    named = dict(model.named_modules(remove_duplicate=False))
    names: dict[tuple[nn.Module | None, str], list[str]] = {}
    for name in named:
        prefix, _, key = name.rpartition(".")
        names.setdefault((named[prefix] if name else None, key), []).append(name)
    slots: dict[nn.Module, list[_Slot]] = {}
    for (parent, key), found in names.items():
        slots.setdefault(named[found[0]], []).append(_Slot(parent, key, tuple(found)))
    return slots


def _matcher(where: Where) -> tuple[Callable[[str, nn.Module], bool], Callable[[nn.Module], bool]]:
    """The two questions of `where`: is this module meant, and may it be replaced?"""
    items = [where] if isinstance(where, str | type) else list(where) if isinstance(where, Sequence) else []
    if where is None:
        return lambda name, module: True, is_activation
    if items and all(isinstance(item, str) for item in items):
        return lambda name, module: any(fnmatchcase(name, str(item)) for item in items), is_activation
    if items and all(isinstance(item, type) for item in items):
        classes = tuple(item for item in items if isinstance(item, type))
        return lambda name, module: isinstance(module, classes), lambda module: True
    if callable(where) and not isinstance(where, nn.Module):
        return where, lambda module: is_activation(module) or _unknown(module)
    raise TypeError(f"where={where!r} must be a name pattern, a class, several of either, or a function of (name, module)")


def _unknown(module: nn.Module) -> bool:
    """A bare module that is not torch's: it may be an activation that only the user knows."""
    return _bare(module) and not type(module).__module__.startswith("torch.nn.modules.")


def _select(model: nn.Module, where: Where) -> tuple[list[_Place], list[tuple[str, str, str]]]:
    """The modules to replace; and (name, class, reason) of those that are meant but cannot be."""
    meant, replaceable = _matcher(where)
    places: list[_Place] = []
    skipped: list[tuple[str, str, str]] = []
    for module, slots in _slots(model).items():
        name = slots[0].names[0]
        chosen = tuple(slot for slot in slots if any(meant(name, module) for name in slot.names))
        reason = _reason(module, where)
        if chosen and replaceable(module):
            places.append(_Place(module, chosen))
        elif chosen and reason:
            skipped.append((chosen[0].names[0], type(module).__name__, reason))
        if not is_activation(module) and not callable(where):
            held = {f"{name}.{key}".lstrip("."): value for key, value in vars(module).items() if _is_function(value)}
            skipped += [(path, value.__name__, "a function, not a module") for path, value in held.items() if meant(path, module)]
    if not places:
        raise ValueError(_nothing(model, where))
    inside = {child: place for place in places for child in place.module.modules() if child is not place.module}
    for place in places:
        if place.module in inside:
            outer = inside[place.module].names[0] or "(root)"
            raise ValueError(f"where={where!r} matches {outer!r} and {place.names[0]!r} inside it; let it match one of them")
    return places, skipped


def _reason(module: nn.Module, where: Where) -> str | None:
    """Why a module is not replaced; None where nobody would expect it to be."""
    if isinstance(module, NOT_ELEMENTWISE):
        return "not elementwise"
    if isinstance(module, RECURRENT):
        return "its activations run inside one fused call"
    return None if where is None or module._modules else "not an activation; where=its class replaces it all the same"


def _nothing(model: nn.Module, where: Where) -> str:
    found = [f"{name or '(root)'} ({type(module).__name__})" for name, module in model.named_modules() if is_activation(module)]
    if not found:
        return f"where={where!r} matches nothing: the model has no activation modules (functional calls are out of reach)"
    rest = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return f"where={where!r} matches no activation module; the model has {', '.join(found[:6])}{rest}"


# --- One run of the model, to see shapes ------------------------------------------------------------------------------


class _CountFunctions(TorchFunctionMode):
    """Counts functional activation calls outside of activation modules."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.depth = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls += self.depth == 0 and getattr(func, "__name__", "").strip("_") in FUNCTIONS
        return func(*args, **(kwargs or {}))


def _observe(model: nn.Module, example: object, places: list[_Place]) -> tuple[dict[nn.Module, list[_Seen]], int]:
    """Run the model once and see what reaches each chosen module; and how many activations are functional."""
    seen: dict[nn.Module, list[_Seen]] = {place.module: [] for place in places}
    made_by = WeakTensorKeyDictionary()
    latest: list[tuple[nn.Module, torch.Size]] = []
    counter = _CountFunctions()

    def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        counter.depth += 1
        x = next((value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor)), None)
        if x is not None and module in seen:
            seen[module].append(_use(x, [made_by.get(x), *(layer for layer, shape in latest if shape == x.shape)]))

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
            elif _layout(module) is not None:
                module.register_forward_hook(layer)
        with counter:
            model(*args, **kwargs)
    return seen, counter.calls


def _use(x: torch.Tensor, layers: list[nn.Module | None]) -> _Seen:
    """Which dimension of x holds channels: as in the layer that made it, or else in the latest of its shape, or else by custom."""
    shape = tuple(x.shape)
    for layer in layers:
        layout = _layout(layer) if layer is not None else None
        if layout is not None and -len(shape) <= layout.dim < len(shape) and shape[layout.dim] == layout.width:
            return _Seen(layer, layout.dim, layout.width, shape, x.device)
    dim = 1 if len(shape) >= 4 else -1
    return _Seen(None, dim, shape[dim] if shape else None, shape, x.device)


@contextmanager
def _every_module_called() -> Iterator[None]:
    """In inference TransformerEncoderLayer takes a path that calls none of its modules."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _untouched(model: nn.Module) -> Iterator[None]:
    """Give back the model as it was: attributes, hooks and buffers of every module, and the random generators."""
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
                    if not torch.equal(buffer, value):  # an expanded buffer cannot be written to, and was not
                        buffer.copy_(value)
            random.setstate(python)
            np.random.set_state(numpy)


def _tables(module: nn.Module) -> list[dict[str, Any]]:
    """The dictionaries among a module's attributes that torch's own machinery changes."""
    tables = [vars(module).get(key) for key in ("_parameters", "_buffers", "_modules", *_HOOKS)]
    return [table for table in tables if isinstance(table, dict)]


# --- The plan ---------------------------------------------------------------------------------------------------------

_HOOKS = (
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks", "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called", "_backward_pre_hooks", "_backward_hooks", "_is_full_backward_hook",
)  # fmt: skip


class _Edit(NamedTuple):
    """One reversible assignment."""

    table: dict[str, Any]
    key: str
    old: Any
    new: Any


class _Fit(NamedTuple):
    dim: int | None
    channels: int | tuple[int, ...] | None


class _Change(NamedTuple):
    """A module, the one that takes its place, and the parameters nearby (nearest first), whose company the new ones keep."""

    place: _Place
    new: nn.Module
    fit: _Fit
    near: tuple[nn.Parameter, ...]


def _fit(uses: list[_Seen], scope: str | None) -> _Fit | str:
    """The dimension and size that suit every use of a module, or the reason why none does."""
    dims = [use.dim for use in uses if use.dim is not None]
    strict = {use.dim for use in uses if use.dim is not None and (use.shape is None or len(use.shape) != 2)}  # in 2-D, 1 is -1
    dim = next(iter(strict or dims), None)
    if scope == "channel":
        widths = list(dict.fromkeys(use.width for use in uses))
        if len({width for width in widths if width is not None}) > 1:
            return f"called with {', '.join(map(str, widths))} channels, which one set of channel parameters cannot serve"
        if len(strict) > 1:
            return f"called with channels in dimensions {', '.join(map(str, dict.fromkeys(dims)))}, which one module cannot serve"
        return _Fit(dim, widths[0] if len(widths) == 1 else None)
    if scope == "neuron":
        shapes = list(dict.fromkeys(use.shape[1:] for use in uses if use.shape is not None))
        if len(shapes) > 1:
            return f"called with {', '.join(map(str, shapes))} neurons, which one set of neuron parameters cannot serve"
        return _Fit(dim, shapes[0] if shapes else None)
    return _Fit(dim, None)


def _maker(act: Act, scope: str | None) -> tuple[str | None, Callable[..., nn.Module]]:
    """The scope to fit, None where there is nothing to fit, and what makes a fresh module from dim, channels, device, dtype."""
    if isinstance(act, str | Family):
        act = Activation(resolve(act), scope=scope or "layer")
    if isinstance(act, Activation):
        return (scope or act.scope) if act.family.params else None, functools.partial(act.fresh, scope=scope)
    if scope is not None:
        raise ValueError(f"scope={scope!r} is for formulas; act={act!r} is a module of its own and has no scope")
    if not callable(act):
        raise TypeError(f"act={act!r} is not a name, a formula, a Family, a module, or a function that makes a module")
    make = functools.partial(copy.deepcopy, act) if isinstance(act, nn.Module) else act

    def fresh(*, device: torch.device | None, dtype: torch.dtype | None, **_: object) -> nn.Module:
        module = make()
        if not isinstance(module, nn.Module):
            raise TypeError(f"act={act!r} made {module!r}, not a module")
        return module.to(device=device, dtype=dtype)

    return None, fresh


def _plan(model: nn.Module, place: _Place, uses: list[_Seen], scope: str | None, make: Callable[..., nn.Module]) -> _Change | str:
    """The module that takes the place, or the reason why none can."""
    uses = uses or [_look_before(model, name) for name in place.names]
    fit = _fit(uses, scope)
    if isinstance(fit, str):
        return fit
    if scope == "channel" and fit.dim is None:
        raise ValueError(f"cannot tell which dimension holds the channels at {place.names[0]!r}; pass example=, a model input")
    near = _near(model, place, uses)
    like = next((p for p in near if p.dtype in (torch.float32, torch.bfloat16, torch.float16, torch.float64)), None)
    device = next((use.device for use in uses if use.device is not None), like.device if like is not None else None)
    new = make(channels=fit.channels, dim=fit.dim, device=device, dtype=like.dtype if like is not None else None)
    new.train(place.module.training)
    owned = list(place.module.parameters())
    if owned and not any(p.requires_grad for p in owned):  # a frozen PReLU is followed by a frozen activation
        new.requires_grad_(False)
    return _Change(place, new, fit, near)


def _near(model: nn.Module, place: _Place, uses: list[_Seen]) -> tuple[nn.Parameter, ...]:
    """Parameters from near to far: of the module itself, the layer before it, the parent, its parent, … the model."""
    path = place.names[0].split(".")[:-1]
    around = [model.get_submodule(".".join(path[:depth])) for depth in range(len(path), -1, -1)]
    modules = [place.module, *(use.layer for use in uses if use.layer is not None), *around]
    return tuple({id(p): p for module in modules for p in module.parameters()}.values())


def _edits(model: nn.Module, changes: list[_Change]) -> Iterator[_Edit]:
    """The assignments that put the new modules in place; each shares the hook tables of the old one, so handles stay valid."""
    fused: set[nn.Module] = set()
    for place, new, _, _ in changes:
        old, parents = place.module, [slot.parent for slot in place.slots]
        if not any(vars(new)[key] for key in _HOOKS):
            yield from (_Edit(vars(new), key, vars(new)[key], vars(old)[key]) for key in _HOOKS)
        elif any(vars(old)[key] for key in _HOOKS):
            raise ValueError(f"{place.names[0]!r} and the new {type(new).__name__} both have hooks; remove those of one side")
        yield from (_Edit(slot.parent._modules, slot.key, old, new) for slot in place.slots if slot.parent is not None)
        fused |= {parent for parent in parents if isinstance(parent, nn.TransformerEncoderLayer)}
    # In inference torch's fused encoder would go on with the old function.
    for module in model.modules():
        if module in fused:
            yield _Edit(vars(module), "activation_relu_or_gelu", vars(module)["activation_relu_or_gelu"], 0)
        elif isinstance(module, nn.TransformerEncoder) and fused.intersection(module.modules()):
            yield _Edit(vars(module), "use_nested_tensor", vars(module)["use_nested_tensor"], False)


# --- The optimizer ----------------------------------------------------------------------------------------------------


class _Removed(NamedTuple):
    """A parameter taken out of an optimizer, and all that is needed to put it back."""

    group: int
    position: int
    parameter: nn.Parameter
    name: str | None
    state: dict[str, Any] | None


def _check_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, changes: list[_Change]) -> None:
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    added = [(change, p) for change in changes for p in change.new.parameters()]
    kind = type(optimizer).__name__
    if not any(id(p) in held for p in model.parameters()):
        raise ValueError(f"optimizer={kind} holds none of the model's parameters; pass the optimizer of this model")
    for change, p in added:
        if is_lazy(p):
            name = change.place.names[0]
            raise ValueError(f"optimizer={kind} cannot hold the parameters of {name!r}, whose size is unknown; pass example=")
    if added and isinstance(optimizer, torch.optim.LBFGS):
        raise ValueError("optimizer=LBFGS allows one parameter group only; make it after the swap")
    if added and getattr(optimizer.step, "_wrapped_by_lr_sched", False):
        raise ValueError(f"optimizer={kind} has a learning-rate scheduler, which allows no new groups; make it after the swap")


def _add(optimizer: torch.optim.Optimizer, changes: list[_Change]) -> tuple[nn.Parameter, ...]:
    """Give the new parameters groups like those of the parameters near them, without weight decay."""
    groups = list(optimizer.param_groups)
    home = {id(p): index for index, group in enumerate(groups) for p in group["params"]}
    joining: dict[int, list[tuple[str, nn.Parameter]]] = {}
    for change in changes:
        index = next((home[id(p)] for p in change.near if id(p) in home), 0)
        joining.setdefault(index, []).extend((f"{change.place.names[0]}.{name}", p) for name, p in change.new.named_parameters())
    try:
        for index, named in joining.items():
            options = copy.deepcopy({key: value for key, value in groups[index].items() if key not in ("params", "param_names")})
            options |= {"weight_decay": 0.0} if "weight_decay" in options else {}
            if named:
                optimizer.add_param_group({"params": named if "param_names" in groups[index] else [p for _, p in named], **options})
    except Exception:
        del optimizer.param_groups[len(groups) :]
        raise
    return tuple(p for named in joining.values() for _, p in named)


def _take_out(optimizer: torch.optim.Optimizer, gone: set[int]) -> tuple[_Removed, ...]:
    """Take the parameters with these ids out of all groups."""
    removed = []
    for index, group in enumerate(optimizer.param_groups):
        names = group.get("param_names")
        for position, p in enumerate(group["params"]):
            if id(p) in gone:
                removed.append(_Removed(index, position, p, names[position] if names else None, optimizer.state.pop(p, None)))
        stay = [position for position, p in enumerate(group["params"]) if id(p) not in gone]
        if names:
            names[:] = [names[position] for position in stay]
        group["params"][:] = [group["params"][position] for position in stay]
    return tuple(removed)


def _put_back(optimizer: torch.optim.Optimizer, removed: tuple[_Removed, ...], added: tuple[nn.Parameter, ...]) -> None:
    emptied = {out.group for out in _take_out(optimizer, {id(p) for p in added})}
    for out in removed:
        group = optimizer.param_groups[out.group]
        group["params"].insert(out.position, out.parameter)
        if out.name is not None:
            group["param_names"].insert(out.position, out.name)
        if out.state is not None:
            optimizer.state[out.parameter] = out.state
    kept = [group for index, group in enumerate(optimizer.param_groups) if group["params"] or index not in emptied]
    optimizer.param_groups[:] = kept


# --- Swap and restore -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Undo:
    root: nn.Module
    pairs: tuple[tuple[nn.Module, nn.Module], ...]
    edits: tuple[_Edit, ...]
    optimizer: torch.optim.Optimizer | None
    removed: tuple[_Removed, ...]
    added: tuple[nn.Parameter, ...]


def _apply(model: nn.Module, root: nn.Module, changes: list[_Change], optimizer: torch.optim.Optimizer | None) -> _Undo:
    edits = tuple(_edits(model, changes))
    pairs = tuple((change.place.module, change.new) for change in changes)
    removed: tuple[_Removed, ...] = ()
    added: tuple[nn.Parameter, ...] = ()
    if optimizer is not None:
        added = _add(optimizer, changes)  # the only step that may fail, so it comes first
    for edit in edits:
        edit.table[edit.key] = edit.new
    if optimizer is not None:
        alive = {id(p) for p in root.parameters()}
        removed = _take_out(optimizer, {id(p) for old, _ in pairs for p in old.parameters()} - alive)
    return _Undo(model, pairs, edits, optimizer, removed, added)


def swap(
    model: nn.Module,
    act: Act,
    *,
    where: Where = None,
    example: object = None,
    optimizer: torch.optim.Optimizer | None = None,
    scope: Scope | None = None,
) -> SwapReport:
    """Replace activation modules of a model in place; go on with `report.model`.

    act        a family name, a formula, a Family or an Activation (a fresh one with the same settings goes to each place), another
               module (copied), or what makes one: `"sau"`, `"x*sigmoid(b*x); b=1"`, `Activation("swish", beta=2.0)`, `nn.GELU`
    where      one name pattern (`"layer1.*"`) or several, to choose among the activation modules; a class or several, to replace
               whatever is of that class; or a function of (name, module), to choose among activation modules and bare modules
               that are not torch's. Default: every elementwise activation module, gates and outputs included
    example    an input of the model: a tensor, a tuple of arguments or a dict of keyword arguments. The model runs on it once, and
               is left without a trace of that, to see which dimension holds the channels and how many there are
    optimizer  the model's: parameters that disappear leave it, new ones join it in a copy of their neighbours' group without
               weight decay
    scope      "layer", "channel" or "neuron", where it is not the one of `act`

    A module held under several names stays one module under these names. New parameters have the dtype and device of those
    around; new modules have the mode (train or eval) and the hooks of the old, and none works in place, as
    `nn.ReLU(inplace=True)` does. What was not replaced is in `report.skipped`, with the reason.
    Raises ValueError where `where` matches no activation or the arguments do not fit the model, TypeError for an argument of
    another kind. The model is then as it was.
    """
    fit_scope, make = _maker(act, scope)
    places, skipped = _select(model, where)
    seen, calls = ({}, None) if example is None else _observe(model, example, places)
    changes: list[_Change] = []
    for place in places:
        change = _plan(model, place, seen.get(place.module, []), fit_scope, make)
        if isinstance(change, str):
            skipped.append((place.names[0], type(place.module).__name__, change))
        else:
            changes.append(change)
    if len({change.new for change in changes} - set(model.modules())) < len(changes):
        raise ValueError(f"act={act!r} returned a module that is already in use; let it make a new one at each call")
    if optimizer is not None:
        _check_optimizer(optimizer, model, changes)
    root = next((change.new for change in changes if change.place.module is model), model)
    undo = _apply(model, root, changes, optimizer)
    return SwapReport(root, tuple(map(_replacement, changes)), tuple(skipped), calls, undo)


def _replacement(change: _Change) -> Replacement:
    new = str(change.new.family) if isinstance(change.new, Activation) else type(change.new).__name__
    return Replacement(change.place.names, type(change.place.module).__name__, new, change.fit.channels, change.fit.dim)


def restore(model: nn.Module, report: SwapReport) -> nn.Module:
    """Undo a swap: the very modules from before, in their places, with their hooks and their state in the optimizer.

    Returns the model (from before, where the root itself was swapped). Several swaps are undone in reverse order.
    """
    undo = report._undo
    if model is not report.model:
        raise ValueError(f"model={type(model).__name__} is not the one of this report; pass report.model")
    if any(edit.table.get(edit.key) is not edit.new for edit in undo.edits if isinstance(edit.new, dict | nn.Module)):
        raise ValueError("report is out of date: its swap was undone, or the model was changed since; undo later swaps first")
    for old, new in undo.pairs:
        old.train(new.training)
        vars(old)["_is_full_backward_hook"] = vars(new)["_is_full_backward_hook"]  # a hook may have joined the shared table
    for edit in reversed(undo.edits):
        edit.table[edit.key] = edit.old
    if undo.optimizer is not None:
        _put_back(undo.optimizer, undo.removed, undo.added)
    return undo.root


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups for an optimizer: those of activations (PReLU's too) without weight decay, all others with it.

    A parameter that several modules share appears once; a group without parameters is left out.
    """
    inside = {id(p) for module in model.modules() if is_activation(module) for p in module.parameters()}
    for name, p in model.named_parameters():
        if is_lazy(p):
            raise ValueError(f"model: the parameter {name!r} has no size yet; run the model once before making its optimizer")
    decayed = [p for p in model.parameters() if id(p) not in inside]
    free = [p for p in model.parameters() if id(p) in inside]
    return [{"params": params, "weight_decay": decay} for params, decay in ((decayed, weight_decay), (free, 0.0)) if params]
