"""The Node process with real socket.io-client sockets, as for the integration tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.clients import Driver


@pytest.fixture(scope="session")
def driver() -> Iterator[Driver]:
    with Driver() as driver:
        yield driver


@pytest.fixture
def node(driver: Driver) -> Iterator[Driver]:
    """The Node process with no socket open; those a test opens are closed after it."""
    yield driver
    driver.forget_all()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "examples" in item.path.parts:
            item.add_marker(pytest.mark.integration)
