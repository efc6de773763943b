"""Servers for lobbies, several workers with theirs, and another thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from rtcio_sync.server import Server
from tests.lobby.many_lobbies import Network


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def elsewhere() -> Iterator[Callable[..., Any]]:
    """Runs something in another thread; the test ends when that has."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    """Workers with their lobbies, of one host."""
    found = Network(tmp_path)
    yield found
    found.close()
