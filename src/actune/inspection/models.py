"""Models and their inputs by the names of files, for the command line. No pickle is read that could run code."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..messages import shorten, shown

__all__ = ["read_batch", "read_model"]


def read_model(what: str, state: Path | None = None) -> nn.Module:
    """The model that is meant, in evaluation.

    what   FILE.py:NAME or MODULE:NAME, where NAME is a model or a function without arguments that makes one; or the folder of a
           model of transformers
    state  a file with a state dict for it, by torch.save or in safetensors

    Raises ValueError, one line that says what is missing.
    """
    if Path(what).is_dir():
        model = _pretrained(Path(what))
    else:
        source, _, name = what.rpartition(":")
        if not source or Path(what).is_file():
            raise ValueError(f"MODEL is {what!r}; give FILE.py:NAME or MODULE:NAME, where NAME makes the model, with what it has "
                             "learned in --state FILE, or the folder of a model of transformers")  # fmt: skip
        model = _built(what, source, name)
    if state is not None:
        _load_state(model, state)
    return model.eval()


def _built(what: str, source: str, name: str) -> nn.Module:
    module = _module_of_file(Path(source)) if source.endswith(".py") else _module_by_name(source)
    made = getattr(module, name, None)
    if made is None:
        raise ValueError(f"{source} has no {name!r}, as MODEL={what!r} wants")
    model = made() if not isinstance(made, nn.Module) and callable(made) else made
    if not isinstance(model, nn.Module):
        raise ValueError(f"MODEL={what!r} gives {shown(model)}; let it be a torch.nn.Module, or a function that makes one")
    return model


def _module_of_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise ValueError(f"there is no file {str(path)!r} to take the model from")
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(path.stem, module)  # by which its classes are found
    spec.loader.exec_module(module)
    return module


def _module_by_name(name: str) -> Any:
    sys.path.insert(0, "")  # modules of the folder of the user, as `python -m` finds them
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"there is no module {name!r} to take the model from ({error})") from None
    finally:
        sys.path.remove("")


def _pretrained(folder: Path) -> nn.Module:
    try:
        import transformers
    except ImportError:
        raise ValueError(f"{str(folder)!r} is read by transformers; pip install 'actune[huggingface]'") from None
    try:
        (name,) = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"]
        model = getattr(transformers, name)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{str(folder)!r} is no folder of save_pretrained: its config.json names no model of transformers "
                         f"({shorten(f'{type(error).__name__}: {error}')})") from None  # fmt: skip
    loaded: nn.Module = model.from_pretrained(folder, local_files_only=True)
    return loaded


def _load_state(model: nn.Module, path: Path) -> None:
    state = _load_safetensors(path) if path.suffix == ".safetensors" else _load(path, "a state dict")
    try:
        model.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"--state {path} does not fit the model: {shorten(' '.join(str(error).split()), 200)}") from None


def _load_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ValueError(f"{path} needs safetensors; pip install safetensors") from None
    return load_file(path)


def read_batch(path: Path) -> Any:
    """The inputs in a file: by torch.save a tensor, a tuple of arguments or a dict of keyword arguments; by numpy.save an array."""
    if path.suffix == ".npy":
        try:
            return torch.from_numpy(np.load(path, allow_pickle=False))
        except (OSError, ValueError, TypeError) as error:
            raise ValueError(f"--input {path} cannot be read: {shorten(str(error), 100)}") from None
    batch = _load(path, "a tensor, a tuple of tensors or a dict of tensors")
    return tuple(batch) if isinstance(batch, list) else batch


def _load(path: Path, what: str) -> Any:
    """What torch.save wrote, if it is plain data."""
    if not path.is_file():
        raise ValueError(f"there is no file {str(path)!r}; it should hold {what}, written by torch.save")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # of many kinds, for a file of any content
        raise ValueError(f"{str(path)!r} is damaged, or holds objects that may run code; save {what} by torch.save") from None
