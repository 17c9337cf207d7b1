"""What tests of several rooms need."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest

from actune.catalogue.registry import FAMILIES
from actune.language.ops import ALIASES, OPS

# Read when Triton is imported, which torch's compiler may do first: its kernels run in its interpreter, for want of a GPU.
os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_collection_finish() -> None:
    """What is there now stays to the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def registries_as_before() -> Iterator[None]:
    """Families that the test declares are unknown after it."""
    kept = [(table, dict(table)) for table in (FAMILIES, ALIASES, OPS)]
    yield
    for table, entries in kept:
        table.clear()
        table.update(entries)
