"""Activation: any formula as a module, with its parameters, their scope and their constraints."""

from __future__ import annotations

import copy
import functools
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._dynamo import eval_frame
from torch.nn.parameter import UninitializedParameter, is_lazy

from .catalogue.files import load
from .catalogue.registry import Family, Param, resolve
from .code_objects import with_own_code
from .initial import InitialValues
from .kernels.dispatch import activate, activate_stored
from .kernels.request import Subject, subject_of_family, symbol_values
from .language.expr import Expr
from .messages import shorten, shown, suggestion
from .tensors import check_input

__all__ = ["SCOPES", "Activation", "parameter_values"]

SCOPES = ("layer", "channel", "neuron")
LARGEST = 2**31 - 1  # numbers in a parameter


class Activation(nn.Module):
    """An activation function as a module: a family, an alias or any formula, with parameters that learn.

    formula    a family name (`"sau"`), an alias (`"silu"`), a formula (`"max(x*sigmoid(b*x), c*atan(x))"`) or a Family
    scope      who shares a parameter: "layer" (all elements), "channel" (one each along `dim`), "neuron" (one each element but
               the batch dimension)
    channels   the size of the input along `dim` (an int), for "neuron" the shape of one sample; left out, it is taken from
               the first input, as in torch's lazy modules
    dim        the channel dimension, negative counts from the end
    trainable  True or False for all parameters, or {name: bool}; default: as the family says
    **initial  initial values of parameters: `Activation("swish", beta=2.0)`; a formula needs one for each of its names

    Input and output have the same shape and dtype. A parameter `p` is stored so that any number is allowed (`p > 0` is
    kept as its logarithm); `values()` gives the values that the formula sees. Its shape is (1,), (channels,) or the shape of
    a sample; a vector parameter of n entries has n in front. No parameter is ever 0-d.
    """

    def __init__(
        self,
        formula: str | Family,
        *,
        scope: str = "layer",
        channels: int | tuple[int, ...] | None = None,
        dim: int = 1,
        trainable: bool | Mapping[str, bool] | None = None,
        device: Any = None,
        dtype: torch.dtype | None = None,
        **initial: Any,
    ):
        super().__init__()
        if scope not in SCOPES:
            near = suggestion(scope, SCOPES) if isinstance(scope, str) else ""
            raise ValueError(f"scope must be one of {', '.join(SCOPES)}, got {shown(scope)}{near}")
        if scope == "layer" and channels is not None:
            raise ValueError(f"channels={shown(channels)} has no meaning for scope 'layer'; leave it out or choose scope='channel'")
        self.family = resolve(formula, **initial)
        self.scope, self.dim = scope, dim
        self.channels = _checked_channels(scope, channels)
        self._initial_values = InitialValues()
        clash = [name for name in self.family.params if hasattr(self, name)]
        if clash:
            whose = f"the parameter {shown(clash[0])} of {shorten(str(self.family))}"
            raise ValueError(f"{whose} has the name of an attribute of a module; rename it")
        chosen = _trainable(self.family, trainable)
        for name, p in self.family.params.items():
            with torch.inference_mode(False):  # what inference mode makes could neither be trained nor given a size afterwards
                if scope != "layer" and channels is None:
                    parameter: Any = UninitializedParameter(requires_grad=chosen[name], device=device, dtype=dtype)  # type: ignore[call-arg]
                else:
                    parameter = nn.Parameter(self._initial(p, device=device, dtype=dtype), requires_grad=chosen[name])
            self.register_parameter(name, parameter)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], **options: Any) -> Activation:
        """The function in a file of `save`: `Activation.from_file("best.json", scope="channel")`; options as above."""
        return cls(load(path), **options)

    def forward(self, x: Tensor) -> Tensor:
        if type(x) is not Tensor and isinstance(x, torch.fx.Proxy):  # torch.fx records operations: this module is one of them
            return x.tracer.create_proxy("call_module", x.tracer.path_of_module(self), (x,), {})  # type: ignore[attr-defined]
        if torch.compiler.is_dynamo_compiling() or _compiler() is None:
            return self._compute(x)
        return _compute_of(self.family.expr)(self, x)  # this module itself is what is compiled

    def _compute(self, x: Tensor) -> Tensor:
        family, shared = self.family, self.scope == "layer"
        if type(x) is not Tensor or (not shared and x.is_nested):
            check_input(x)
        if not (shared or self._is_sized()) and family.params:
            self.materialize(self._shape_of(x))
        if family.initial_form is not None and self._has_initial_values():
            return activate(family.initial_form, x, {})
        if torch.compiler.is_dynamo_compiling():
            return activate(family.expr, x, self._symbols(x) if family.params else {})
        known: Any = self._parameters  # where a module looks first; it takes half a microsecond to say so itself
        try:
            stored = tuple([known[name] for name in family.params])
        except KeyError:  # of a parametrization
            stored = tuple(getattr(self, name) for name in family.params)
        subject, shapes = _shared(family, x.ndim)
        if stored and not shared:
            shapes = (self._broadcast_shape(x),) * len(stored)
        return activate_stored(subject, shapes, x, stored)

    def _names(self) -> tuple[tuple[str, ...], ...]:
        return tuple(names for names, _ in subject_of_family(self.family).sources)

    def _is_sized(self) -> bool:
        return self.channels is not None

    def _stored(self) -> tuple[Tensor, ...]:
        return tuple(self._ready(name) for name in self.family.params)

    def _has_initial_values(self) -> bool:
        """Whether the initial form holds: no parameter is trained and all have their initial values.

        Compiled code takes the values as they are; it is made anew when training starts or a state is loaded.
        """
        if not torch.compiler.is_dynamo_compiling():
            return self._look_at_values()
        learns = any(getattr(self, name).requires_grad for name in self.family.params)
        return not learns and _look_at(self) and self._initial_values.hold

    def _look_at_values(self) -> bool:
        return self._initial_values.look(self.family.params.values(), [getattr(self, name) for name in self.family.params])

    def values(self) -> dict[str, Tensor]:
        """The parameters as the formula sees them, inside their constraints; differentiable."""
        return {name: p.value(self._ready(name)) for name, p in self.family.params.items()}

    def fresh(self, *, scope: str | None = None, channels: int | tuple[int, ...] | None = None, dim: int | None = None,
              device: Any = None, dtype: torch.dtype | None = None) -> Activation:  # fmt: skip
        """A new module with the same formula, initial values and choice of what is trained; its parameters are its own."""
        scope = self.scope if scope is None else scope
        trainable = {name: getattr(self, name).requires_grad for name in self.family.params}
        return Activation(self.family, scope=scope, channels=channels, dim=self.dim if dim is None else dim, trainable=trainable,
                          device=device, dtype=dtype).train(self.training)  # fmt: skip

    def materialize(self, channels: int | tuple[int, ...]) -> None:
        """Give a module that was made without `channels` its size; done by the first call."""
        self.channels = _checked_channels(self.scope, channels)
        for name, p in self.family.params.items():
            parameter = getattr(self, name)
            if isinstance(parameter, UninitializedParameter):
                with torch.inference_mode(False), torch.no_grad():  # training may follow a first call in inference mode
                    value = self._initial(p, device=parameter.device, dtype=parameter.dtype)
                    parameter.materialize(value.shape)
                    parameter.copy_(value)

    def reset_parameters(self) -> None:
        """Give every parameter that has a size its initial value again."""
        with torch.no_grad():
            for name, p in self.family.params.items():
                parameter = getattr(self, name)
                if not is_lazy(parameter):
                    parameter.copy_(self._initial(p, device=parameter.device, dtype=parameter.dtype))

    def extra_repr(self) -> str:
        shape = "" if self.scope == "layer" else f", scope={self.scope!r}, channels={self.channels}"
        dim = f", dim={self.dim}" if self.scope == "channel" else ""
        frozen = [name for name in self.family.params if not getattr(self, name).requires_grad]
        return f"{str(self.family)!r}{shape}{dim}" + (f", frozen={', '.join(frozen)}" if frozen else "")

    def _initial(self, p: Param, *, device: Any, dtype: torch.dtype | None) -> Tensor:
        """The stored form of the initial value: mapped in float64, so that only the last rounding is lost."""
        tail = (1,) if self.scope == "layer" else _tuple(self.channels)
        stored = p.stored()
        shape = (*stored.shape, *tail)
        stored = stored.reshape(*stored.shape, *(1 for _ in tail)).expand(shape)
        device = torch.get_default_device() if device is None else device
        return stored.to(device=device, dtype=dtype or torch.get_default_dtype()).clone()

    def _ready(self, name: str) -> Tensor:
        parameter = getattr(self, name)
        if isinstance(parameter, UninitializedParameter):
            raise RuntimeError(f"the parameter {name!r} has no size yet; call the module once, or give channels=…")
        return parameter

    def _symbols(self, x: Tensor) -> dict[str, Tensor]:
        """Each symbol of the formula, shaped to broadcast against x."""
        sources = zip(self._names(), self.family.params.values(), strict=True)
        shapes = (self._broadcast_shape(x),) * len(self.family.params)
        return symbol_values(x, sources, self._stored(), shapes)

    def _shape_of(self, x: Tensor) -> int | tuple[int, ...]:
        if self.scope == "neuron":
            if x.ndim < 2:
                raise ValueError(f"scope 'neuron' needs an input with a batch dimension, got shape {tuple(x.shape)}")
            return tuple(x.shape[1:])
        return x.shape[self._dim_of(x)]

    def _dim_of(self, x: Tensor) -> int:
        if not -x.ndim <= self.dim < x.ndim:
            raise ValueError(
                f"dim={self.dim} is not a dimension of the input of shape {tuple(x.shape)}; choose the channel dimension"
            )
        return self.dim % x.ndim

    def _broadcast_shape(self, x: Tensor) -> tuple[int, ...]:
        if self.scope == "layer":
            return (1,) * x.ndim
        if not torch.jit.is_tracing() and self._shape_of(x) != self.channels:  # of a traced tensor, sizes are tensors
            where = f"along dim={self.dim}" if self.scope == "channel" else "without the batch dimension"
            raise ValueError(
                f"channels={self.channels} does not fit the input of shape {tuple(x.shape)}, "
                f"which has {self._shape_of(x)} {where}; make the module with that number"
            )
        if self.scope == "neuron":
            return (1, *_tuple(self.channels))
        at = self._dim_of(x)
        return tuple(_tuple(self.channels)[0] if i == at else 1 for i in range(x.ndim))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        # What has no size yet is saved as a tensor without elements, which torch.load reads without trusting the file.
        for name, parameter in self._parameters.items():
            if parameter is not None:
                nothing = torch.empty(0, dtype=parameter.dtype, device=parameter.device) if is_lazy(parameter) else None
                destination[prefix + name] = parameter if keep_vars else parameter.detach() if nothing is None else nothing

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name, p in self.family.params.items():
            given = state_dict.get(prefix + name)
            if given is not None and not is_lazy(given) and given.numel() and is_lazy(getattr(self, name)):
                shape = tuple(given.shape[1 if isinstance(p.init, tuple) else 0 :])
                self.materialize(shape[0] if self.scope == "channel" else shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
        if self.family.initial_form is not None and not any(is_lazy(getattr(self, name)) for name in self.family.params):
            self._look_at_values()

    def __deepcopy__(self, memo: dict[int, Any]) -> Activation:
        new = self.__new__(type(self))
        memo[id(self)] = new
        new.__dict__.update({k: v if k == "family" else copy.deepcopy(v, memo) for k, v in self.__dict__.items()})
        return new


def parameter_values(model: nn.Module) -> dict[str, tuple[float, ...]]:
    """The parameters of a model's activations as their formulas see them, by place and name; of those that have a size."""
    acts = [(path, m) for path, m in model.named_modules() if isinstance(m, Activation) and not any(map(is_lazy, m.parameters()))]
    return {f"{path}.{name}".lstrip("."): tuple(v.flatten().tolist()) for path, m in acts for name, v in m.values().items()}


def _look_at(module: Activation) -> bool:
    """`_look_at_values` as a function of the module: its argument is what makes the compiler tell modules apart."""
    return module._look_at_values()


# The compiler runs these when it compiles, and takes what they give as constant: torch.compiler.assume_constant_result would do
# the same, and would import the whole compiler now.
_constant: tuple[Any, ...] = (_look_at, Activation._is_sized, Activation._names, Activation.materialize)
for _function in _constant:
    _function._dynamo_marked_constant = True

# Each formula has a code object of its own (see `code_objects`). It is compiled if a module is compiled by itself, for `forward` is
# then passed over; in a larger model `forward` is part of its code.
_compiler = eval_frame.get_eval_frame_callback
eval_frame.set_code_exec_strategy(
    Activation.forward.__code__, eval_frame._FrameExecStrategy(eval_frame._FrameAction.SKIP, eval_frame._FrameAction.DEFAULT)
)


@functools.lru_cache(maxsize=512)
def _compute_of(e: Expr) -> Callable[[Activation, Tensor], Tensor]:
    """A copy of `Activation._compute` for modules of this formula."""
    return with_own_code(Activation._compute)


@functools.lru_cache(maxsize=512)
def _shared(family: Family, dims: int) -> tuple[Subject, tuple[tuple[int, ...], ...]]:
    """The subject and the shapes of parameters that all elements of a tensor of so many dimensions share."""
    return subject_of_family(family), ((1,) * dims,) * len(family.params)


def _tuple(channels: int | tuple[int, ...] | None) -> tuple[int, ...]:
    assert channels is not None
    return channels if isinstance(channels, tuple) else (channels,)


def _checked_channels(scope: str, channels: Any) -> int | tuple[int, ...] | None:
    if channels is None:
        return None
    sizes = tuple(channels) if isinstance(channels, (tuple, list, torch.Size)) else (channels,)
    if (
        not sizes
        or any(not isinstance(n, int) or isinstance(n, bool) or n < 1 for n in sizes)
        or (scope == "channel" and len(sizes) != 1)
    ):
        wanted = "a positive number" if scope == "channel" else "the shape of one sample"
        raise ValueError(f"channels must be {wanted} for scope {scope!r}, got {shown(channels)}")
    if math.prod(sizes) > LARGEST:
        raise ValueError(f"channels={shown(channels)} are too many: a parameter may have {LARGEST:,} numbers")
    return sizes[0] if scope == "channel" else sizes


def _trainable(family: Family, choice: bool | Mapping[str, bool] | None) -> dict[str, bool]:
    if isinstance(choice, Mapping):
        for name in choice:
            if name not in family.params:
                near, known = suggestion(name, family.params), shorten(", ".join(family.params) or "none")
                raise ValueError(
                    f"trainable names {shown(name)}, which {shorten(str(family))} does not have{near} (it has {known})"
                )
        return {name: bool(choice.get(name, p.trainable)) for name, p in family.params.items()}
    return {name: p.trainable if choice is None else bool(choice) for name, p in family.params.items()}
