"""A signal handler of the app comes in the middle of a change, and calls the lobby."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rtcio_sync.lobby.admission import Seating
from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.server import Server
from tests.lobby.clients import client, join, joined
from tests.timing import DEADLINE, until


def too_late(*_: Any) -> None:
    raise AssertionError(f"the signal handler did not return within {DEADLINE} s")


@contextmanager
def interrupted(
    monkeypatch: pytest.MonkeyPatch, change: str, by: Callable[[], Any]
) -> Iterator[None]:
    """``by()`` runs in a signal handler, once, as soon as a ``change`` of seats begins."""
    original = getattr(Seating, change)

    def begun(self: Any, *args: Any) -> Any:
        monkeypatch.undo()
        signal.raise_signal(signal.SIGUSR1)
        return original(self, *args)

    handlers = {signal.SIGUSR1: lambda *_: by(), signal.SIGALRM: too_late}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    monkeypatch.setattr(Seating, change, begun)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_signal_handler_may_ask(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    lobby = Lobby(server)
    first, told = joined(server), []
    for change in ("sit", "vacate", "obstacle", "counts"):
        ask = lambda: told.append((lobby.stats(), lobby.peers("r")))  # noqa: E731
        with interrupted(monkeypatch, change, ask):
            second = joined(server)
            lobby.remove(second.sid or "", "r")
            assert lobby.stats() == {"rooms": 1, "peers": 1}
    assert told[0] == ({"rooms": 1, "peers": 1}, [first.sid])
    assert len(told) == 4


ENDS: dict[str, Callable[[Server, Lobby, str], Any]] = {
    "remove": lambda server, lobby, sid: lobby.remove(sid, "r"),
    "leave_room": lambda server, lobby, sid: server.leave_room(sid, "r"),
    "disconnect": lambda server, lobby, sid: server.disconnect(sid),
}


@pytest.mark.parametrize("recovery", [False, True])
@pytest.mark.parametrize("way", ENDS)
def test_what_it_changes_is_changed_after_the_change_in_which_it_came(
    monkeypatch: pytest.MonkeyPatch, way: str, recovery: bool
) -> None:
    server = Server(connection_state_recovery=recovery)
    lobby = Lobby(server)
    first, second = joined(server), client(server)
    said: list[Any] = []
    sid = first.sid or ""
    with interrupted(monkeypatch, "sit", lambda: said.append(ENDS[way](server, lobby, sid))):
        join(second)
        until(lambda: lobby.peers("r") == [second.sid])
    assert said == [True if way == "remove" else None]
    heard = [name for name, args in second.received() if args == [{"id": sid}]]
    assert heard == ["user-connected", "user-disconnected"]
    assert server.of("/").rooms["r"] == {second.sid}
    assert server.stats()["handler_errors"] == 0
