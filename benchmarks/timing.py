"""Interleaved timing for the scripts of this folder: the package's own, with OpenMP's threads put to sleep before torch is loaded.

Import this before torch. OpenMP's threads spin while they wait, by default; two pools on few cores then stall each other for
milliseconds, and the library reads OMP_WAIT_POLICY once, when it is loaded.
"""

from __future__ import annotations

import os
import sys

if "torch" in sys.modules and os.environ.get("OMP_WAIT_POLICY") != "PASSIVE":
    raise ImportError("timing must be imported before torch, or OMP_WAIT_POLICY=PASSIVE be set for the process")
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

from actune.bench.timing import Ratio, interleaved, keep_memory, ratio  # imports torch

__all__ = ["Ratio", "interleaved", "ratio"]

keep_memory()
