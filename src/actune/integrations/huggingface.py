"""transformers: activation functions by name in a configuration, and models that were swapped, saved and loaded.

config = LlamaConfig(hidden_act="actune:zorro_tanh")      any family or formula, in any field that names a function
swap(model, "apalu"); model.save_pretrained(folder)       the swap is in the configuration
LlamaForCausalLM.from_pretrained(folder)                  …and is made again before the weights are loaded
"""

from __future__ import annotations

import functools
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from torch import nn
from torch.nn.parameter import is_lazy

from ..module import Activation
from ..surgery.description import described_class, swap_as_described
from ..surgery.pretrained import CONFIG_KEY
from ..surgery.rewriting import original_class

__all__ = ["PREFIX", "register"]

PREFIX = "actune:"
_MADE_AGAIN: WeakSet[nn.Module] = WeakSet()
_LEARNS: WeakKeyDictionary[Activation, dict[str, bool]] = WeakKeyDictionary()  # what learns, before weights are loaded


def register() -> None:
    """Teach transformers actune's functions and swapped models; `import actune` does it, before or after transformers.

    In a configuration, `actune:` and a family or a formula is a function with its parameters for each layer:
    hidden_act="actune:swish", hidden_act="actune:x*sigmoid(b*x); b=1", feed_forward_proj="gated-actune:zorro_tanh" (there a formula
    has no "-", which T5 takes for its own).
    """
    from transformers import activations, modeling_utils

    functions: Any = activations.ACT2FN
    model: Any = modeling_utils.PreTrainedModel
    if getattr(model, "_knows_actune", False):
        return
    functions.__class__ = _known_by_name(type(functions))
    model.post_init = _post_init(model.post_init)
    model._initialize_weights = _initialize_weights(model._initialize_weights)
    model.from_pretrained = classmethod(_from_pretrained(model.from_pretrained.__func__))
    model._knows_actune = True


def _known_by_name(table: Any) -> type:
    """A table of functions in which those of actune are found by their names."""

    class Functions(table):  # type: ignore[misc]
        def __contains__(self, name: object) -> bool:
            return (isinstance(name, str) and name.startswith(PREFIX)) or super().__contains__(name)

        def __getitem__(self, name: Any) -> Any:
            if isinstance(name, str) and name.startswith(PREFIX):
                return Activation(name.removeprefix(PREFIX))
            return super().__getitem__(name)

    return Functions


def _post_init(original: Any) -> Any:
    """At the end of its making a model is swapped, if its configuration says that it was: its weights are loaded after that."""

    @functools.wraps(original)
    def post_init(self: Any) -> None:
        description = getattr(self.config, CONFIG_KEY, None)
        if description is not None and described_class(description) == original_class(type(self)).__name__:
            swap_as_described(self, description)
            _MADE_AGAIN.add(self)
        original(self)
        for act in _activations(self):
            _LEARNS[act] = {name: p.requires_grad for name, p in act.named_parameters()}

    return post_init


def _from_pretrained(original: Any) -> Any:
    @functools.wraps(original)
    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        loaded = original(cls, *args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        description = getattr(model.config, CONFIG_KEY, None)
        if description is not None and not any(m in _MADE_AGAIN for m in model.modules()):
            raise ValueError(
                f"the model was swapped as {described_class(description)} and cannot be loaded as {type(model).__name__}; "
                f"load it as {described_class(description)}"
            )
        for act in _activations(model):  # a loaded parameter learns, whatever the one before did
            for name, learns in _LEARNS.pop(act, {}).items():
                getattr(act, name).requires_grad_(learns)
        return loaded

    return from_pretrained


def _activations(model: nn.Module) -> list[Activation]:
    return [m for m in model.modules() if isinstance(m, Activation)]


def _initialize_weights(original: Any) -> Any:
    """Parameters that a checkpoint does not have get the initial values of their function."""

    @functools.wraps(original)
    def initialize_weights(self: Any, module: nn.Module, *args: Any, **kwargs: Any) -> None:
        if isinstance(module, Activation) and not getattr(module, "_is_hf_initialized", False):
            own = [p for p in module.parameters() if not is_lazy(p)]
            if own and not any(getattr(p, "_is_hf_initialized", False) for p in own):
                module.reset_parameters()
        original(self, module, *args, **kwargs)

    return initialize_weights
