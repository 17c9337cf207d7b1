"""Models of transformers: a swap is written into their configuration, which is saved with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from .changes import Change
from .description import describe_swap
from .edits import ABSENT, ClassEdit, Edit

__all__ = ["CONFIG_KEY", "config_edits", "is_pretrained"]

CONFIG_KEY = "actune_swap"


def is_pretrained(module: nn.Module) -> bool:
    """Whether this is a model of transformers, which saves and loads itself with a configuration."""
    return any(c.__name__ == "PreTrainedModel" and c.__module__.startswith("transformers.") for c in type(module).__mro__)


def config_edits(model: nn.Module, changes: Sequence[Change], classes: Sequence[ClassEdit]) -> list[Edit]:
    """The assignments that write a swap into the configurations of the models of transformers that hold its places."""
    edits = []
    for pretrained in _outermost(model):
        inside = set(pretrained.modules())
        mine = [c for c in changes if any(slot.parent in inside for slot in c.place.slots)]
        if mine:
            table: dict[str, Any] = vars(pretrained.config)
            before = table.get(CONFIG_KEY, ABSENT)
            made = describe_swap(pretrained, mine, classes, None if before is ABSENT else before)
            edits.append(Edit(table, CONFIG_KEY, before, made))
    return edits


def _outermost(module: nn.Module) -> Iterator[nn.Module]:
    """The models of transformers in a module that are not inside another one."""
    if is_pretrained(module):
        yield module
    else:
        for child in module.children():
            yield from _outermost(child)
