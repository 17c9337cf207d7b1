"""Where a call of an activation function stands in the source, found from the frames that run."""

from __future__ import annotations

import ast
import functools
import types
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from torch import nn

from .activations import is_activation
from .handwritten import TORCH_FOLDER, why_no_activation
from .rewriting import Form, original_code
from .source import Position, SourceError, end_of, is_inside, method_source, own_attribute, position_of, text_place

__all__ = ["CallSite", "attribute_called", "find_site"]

_MODULE = str(Path(TORCH_FOLDER) / "nn" / "modules" / "module.py")


class CallSite(NamedTuple):
    """A call in a method of a module: the module, the code of the method, where the call ends, and what it looks like.

    function   the name of what is called: "gelu", or the attribute for a module, "act"
    """

    owner: nn.Module
    code: types.CodeType
    end: Position
    form: Form
    function: str

    def __str__(self) -> str:
        return text_place(self.code, self.end.line)


def find_site(frame: types.FrameType | None, owners: Collection[nn.Module], function: str, form: Form) -> CallSite | str:
    """The call in a method of one of these modules that a frame inside it belongs to, or the reason why there is none."""
    end: Position | None = None
    while frame is not None:
        code, first = frame.f_code, _first_argument(frame)
        if isinstance(first, nn.Module) and first in owners and code.co_filename != _MODULE:
            end = end or position_of(frame)
            return (
                CallSite(first, original_code(code), end, form, function)
                if end
                else f"{code.co_qualname} does not know its columns"
            )
        if code.co_filename.startswith(TORCH_FOLDER) or (isinstance(first, nn.Module) and is_activation(first)):
            # torch's own functions, or a module that is made on the way: nn.ReLU()(x). What calls it is the call.
            frame, end, form = frame.f_back, None, form if form == "module" else "function"
            continue
        end = end or position_of(frame)
        around = _enclosing(frame, owners)
        if around is not None:
            frame = around
            continue
        reason = why_no_activation(code, end)
        if reason is not None:
            return reason
        caller = frame.f_back
        if caller is None or caller.f_code.co_filename.startswith(TORCH_FOLDER):
            return f"{code.co_qualname} is called by torch, not by the model"
        frame, end, form, function = caller, None, "helper", code.co_name.strip("<>")
    return "no method of the model calls it"


def _first_argument(frame: types.FrameType) -> object:
    code = frame.f_code
    return frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None


def _enclosing(frame: types.FrameType, owners: Collection[nn.Module]) -> types.FrameType | None:
    """The frame of the method in which the function or comprehension of this frame was written."""
    outer = frame.f_back
    while outer is not None:
        if is_inside(frame.f_code, outer.f_code) and _first_argument(outer) in owners:
            return outer
        outer = outer.f_back
    return None


def attribute_called(site: CallSite) -> str | None:
    """KEY where the call is self.KEY(…), else None."""
    return _attribute_at(site.code, site.end)


@functools.lru_cache(maxsize=4096)
def _attribute_at(code: types.CodeType, end: Position) -> str | None:
    try:
        method = method_source(code)
    except SourceError:
        return None
    call = next((n for n in ast.walk(method) if isinstance(n, ast.Call) and end_of(n) == end), None)
    return None if call is None else own_attribute(call.func, method)
