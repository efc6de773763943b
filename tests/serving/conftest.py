"""Servers that listen until their test ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving.running import Run, running_until_the_end


@pytest.fixture
def run() -> Iterator[Run]:
    """Has a server listen: ``run(server, **options)``; it is stopped after the test."""
    yield from running_until_the_end()
