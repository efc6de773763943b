"""A pub/sub back end and two servers on it; a server on threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtcio_sync import Server
from tests.bus import Bus


@pytest.fixture
def bus() -> Iterator[Bus]:
    made = Bus()
    yield made
    made.close()


@pytest.fixture
def pair(bus: Bus) -> tuple[Server, Server]:
    return Server(client_manager=bus.manager()), Server(client_manager=bus.manager())


@pytest.fixture
def server() -> Iterator[Server]:
    """A server on threads, with recovery."""
    made = Server(async_mode="threading", connection_state_recovery=True)
    yield made
    made.eio.close_all()
    made.eio.shutdown()
