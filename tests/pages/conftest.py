"""One browser for all tests of pages that a process runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import launched


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    with launched() as found:
        yield found
