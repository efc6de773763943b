"""A known environment, fixed seeds, and the Node process with real socket.io-client sockets."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import environment

# Before anything is imported that looks at them, and before a process inherits them.
environment.prepare()

from rtcio_sync.engineio.heartbeat import Heartbeat  # noqa: E402
from tests.foreign_threads import KINDS  # noqa: E402
from tests.integration.clients import Driver  # noqa: E402

INTEGRATION = {"browser", "conformance", "examples", "fuzz", "integration"}


def pytest_configure(config: pytest.Config) -> None:
    environment.fix_seeds(config.getoption("--hypothesis-seed", None))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.scheduling import scheduling  # not above: some run the tests without xdist

    return scheduling(config, log)


def pytest_collection_finish() -> None:
    """What the tests are made of stays: no look of the garbage collector at thousands of them."""
    gc.collect()
    gc.freeze()


def pytest_report_header() -> str:
    return environment.seeds()


@pytest.fixture(autouse=True)
def _clocks_stop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stops the clocks of the servers that a test has made.

    Otherwise a client that it has left behind is lost to a time-out in a later test, and what its
    handlers raise then is in that test's log.
    """
    made: list[weakref.ref[Heartbeat]] = []
    begin = Heartbeat.__init__

    def begin_and_remember(self: Heartbeat, *args: Any) -> None:
        begin(self, *args)
        made.append(weakref.ref(self))

    monkeypatch.setattr(Heartbeat, "__init__", begin_and_remember)
    yield
    for each in made:
        clock = each()
        if clock is not None:
            clock.stop()


@pytest.fixture(scope="session")
def seed() -> int:
    """Where whatever a test does by chance begins: 0, or what ``--hypothesis-seed`` says."""
    return environment.seed


@pytest.fixture(params=list(KINDS))
def elsewhere(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Carries out a call in a thread that is not the hub's, one of each kind."""
    return KINDS[request.param]


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
        if " at 0x" in item.nodeid:  # two processes of `pytest -n` have to give it the same name
            raise pytest.UsageError(f"an address in memory is in the name of {item.nodeid}")
        if INTEGRATION.intersection(item.path.parts):
            item.add_marker(pytest.mark.integration)
        if "browser" in item.path.parts:
            item.add_marker(pytest.mark.timeout(900))  # s; several waits of `browser.tabs.DEADLINE`
