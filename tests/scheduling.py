"""Which tests of `pytest -n` one process runs after the other."""

from __future__ import annotations

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

#: All files of it in one process: several browsers that code and decode videos at once would
#: starve each other, and a page gives up a connection that takes too long.
ALONE = "tests/browser/"


class Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types for mypy
    """As ``--dist loadscope``: the tests of a file in one process."""

    def _split_scope(self, nodeid: str) -> str:
        return ALONE if nodeid.startswith(ALONE) else str(super()._split_scope(nodeid))


def scheduling(config: pytest.Config, log: Producer) -> Scheduling | None:
    """What xdist asks a plugin for; `None`: its own."""
    return Scheduling(config, log) if config.getvalue("dist") == "loadscope" else None
