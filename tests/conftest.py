"""What tests of several rooms need."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from actune.catalogue.registry import FAMILIES
from actune.language.ops import ALIASES, OPS


@pytest.fixture
def registries_as_before() -> Iterator[None]:
    """Families that the test declares are unknown after it."""
    kept = [(table, dict(table)) for table in (FAMILIES, ALIASES, OPS)]
    yield
    for table, entries in kept:
        table.clear()
        table.update(entries)
