"""The browser that all tests of pages share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import browsing
import pytest


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    yield from browsing.open_browser()
