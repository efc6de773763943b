"""Real clients, and the server under attack in each way of running it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.clients import Driver
from tests.integration.hostile import Hostile
from tests.integration.target import WAYS, Target, target_of


@pytest.fixture
def driver(node: Driver) -> Driver:
    """The Node process, where `node` would be taken for one of the cluster's."""
    return node


@pytest.fixture(scope="module", params=WAYS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target_of(request.param) as target:
        with Hostile(target.port) as warming_up:  # what a process loads with its first messages
            warming_up.join()
            for number in range(3):
                warming_up.say(f'42["count","warm",{number},"{"x" * 900_000}"]')
            target.server.eventually("/counted/warm", lambda counted: len(counted) == 3)
        yield target
