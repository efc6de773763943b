"""Descriptors of sessions that come to this node, before the sessions or after them."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from rtcio_sync.cluster import handover_messages
from rtcio_sync.cluster.handover_heir import ATTACH_WITHIN, Arrivals
from rtcio_sync.cluster.id_owners import Heirs
from rtcio_sync.cluster.remote_rooms import Replica
from tests.timing import Clock


class Sessions:
    """Notes what is attached, and closes it."""

    def __init__(self) -> None:
        self.attached: list[str] = []

    def adopt(self, state: bytes) -> tuple[str, list[tuple[str, str]]]:
        return state.decode(), []

    def attach(self, eio_sid: str, fd: int) -> bool:
        os.close(fd)
        self.attached.append(eio_sid)
        return True


class Here:
    """A node to which others leave, one after another."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.sessions = Sessions()
        ignored: Any = lambda *args: None  # noqa: E731
        self.arrivals = Arrivals(Replica(), ignored, ignored, self.clock.later, ignored, ignored)
        bus: Any = SimpleNamespace(node="here", nodes=["aaaa", "bbbb"])
        self.arrivals.bus, self.arrivals.heirs = bus, Heirs("here", bus.nodes)
        self.arrivals.sessions = self.sessions  # type: ignore[assignment]

    def session_comes(self, source: str) -> None:
        self.arrivals.begin(source, [source])
        self.arrivals.coming(source, handover_messages.Coming(b"it", descriptor=True))
        self.arrivals.release(source)

    def descriptor_comes(self) -> int:
        fd = os.open(os.devnull, os.O_RDONLY)
        self.arrivals.descriptor(fd, b"it")
        return fd


@pytest.mark.parametrize("first", ["session_comes", "descriptor_comes"])
def test_a_session_that_comes_twice_waits_as_long_the_second_time(first: str) -> None:
    here = Here()

    def comes(source: str, waits: float) -> None:
        if first == "session_comes":
            here.session_comes(source)
            here.clock.advance(waits)
            here.descriptor_comes()
        else:
            here.descriptor_comes()
            here.clock.advance(waits)
            here.session_comes(source)

    comes("aaaa", 1)
    here.clock.advance(ATTACH_WITHIN - 2)
    comes("bbbb", 5)
    assert here.sessions.attached == ["it", "it"]


def test_a_descriptor_that_nobody_takes_is_closed_also_if_another_one_comes() -> None:
    here = Here()
    before = len(os.listdir("/proc/self/fd"))
    here.descriptor_comes()
    here.descriptor_comes()
    assert len(os.listdir("/proc/self/fd")) == before + 1
    here.clock.advance(ATTACH_WITHIN + 1)
    assert len(os.listdir("/proc/self/fd")) == before
