"""Servers for lobbies, and another thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from rtcio_sync.server import Server


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Runs something in another thread; the test ends when that has."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit
