"""Published pickles, read as data: only where the checksum is that of the publisher, and nothing in them is called."""

from __future__ import annotations

import hashlib
import io
import pickle
from typing import Any

import numpy as np

from .files import open_data
from .sources import PICKLES

__all__ = ["read_pickle"]


def read_pickle(name: str) -> dict[bytes, Any]:
    """The dictionary in a file of `PICKLES`."""
    with open_data(name) as path:
        content = path.read_bytes()
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != PICKLES[name]:
            raise ValueError(f"its MD5 is {found}, that of the published file is {PICKLES[name]}")
        read: dict[bytes, Any] = _ArraysOnly(io.BytesIO(content), encoding="bytes").load()
        return read


class _ArraysOnly(pickle.Unpickler):
    """Reads a pickle of plain data and NumPy arrays, and refuses to call anything else."""

    def find_class(self, module: str, name: str) -> Any:
        if module.removeprefix("numpy.").replace("_core", "core") in ("core.multiarray", "numpy") and name in _ARRAYS:
            return _ARRAYS[name]
        if (module, name) == ("_codecs", "encode"):  # how Python 3 writes bytes for Python 2
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it would call {module}.{name}")


_ARRAYS = {"_reconstruct": np.empty(0).__reduce__()[0], "ndarray": np.ndarray, "dtype": np.dtype}
