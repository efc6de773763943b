"""The Node process with real socket.io-client sockets, and the mark of what needs real programs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.clients import Driver

INTEGRATION = {"browser", "examples", "integration"}


@pytest.fixture(scope="session")
def _driver() -> Iterator[Driver]:
    with Driver() as driver:
        yield driver


@pytest.fixture
def node(_driver: Driver) -> Iterator[Driver]:
    """The Node process with no socket open; those a test opens are closed after it."""
    yield _driver
    _driver.forget_all()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if INTEGRATION.intersection(item.path.parts):
            item.add_marker(pytest.mark.integration)
