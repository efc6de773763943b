"""Rooms of a whole server: what they cost, and what is emitted to whom."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import engineio
import gevent
import pytest
import socketio
from socketio.packet import Packet

import rtcio_sync
from rtcio_sync import Server
from rtcio_sync.adapter import callbacks
from rtcio_sync.relay.peer_left import send_peer_left
from rtcio_sync.socketio.remote_requests import do_here
from tests.clients import Polling
from tests.steps import lines
from tests.timing import DEADLINE, settle, until

# -- what it costs ---------------------------------------------------------------------------------


class Walked(dict[Any, Any]):
    """A dict that counts how often somebody walks over all of it."""

    walks = 0

    def _walked(self) -> None:
        self.walks += 1

    def __iter__(self) -> Iterator[Any]:
        self._walked()
        return super().__iter__()

    def keys(self) -> Any:
        self._walked()
        return super().keys()

    def values(self) -> Any:
        self._walked()
        return super().values()

    def items(self) -> Any:
        self._walked()
        return super().items()

    def copy(self) -> Any:
        self._walked()
        return super().copy()


def populated(others: int) -> tuple[Server, str]:
    """A server with one socket in two rooms, each with one peer, and ``others`` in theirs."""
    server = Server()
    manager = server.manager
    sids = [manager.connect(f"eio{number}", "/") for number in range(others + 2)]
    for number, sid in enumerate(sids[2:]):
        server.enter_room(sid, f"room{number}")
        server.enter_room(sid, f"other{number}")
    for sid in sids[:2]:
        server.enter_room(sid, "tea")
        server.enter_room(sid, "coffee")
    for name, inside in (("rooms", manager.rooms), ("members", manager.members)):
        setattr(manager, name, {"/": Walked(inside["/"])})
    manager.rooms["/"][None] = Walked(manager.rooms["/"][None])
    for member in manager.members["/"].values():
        member.peers = manager.members["/"]
    for each in walked(server):
        each.walks = 0
    return server, sids[0]


def walked(server: Server) -> list[Walked]:
    manager = server.manager
    return [manager.rooms["/"], manager.rooms["/"][None], manager.members["/"]]


#: Folders of the library and of python-socketio.
COUNTED = tuple(str(Path(each.__file__).parent) for each in (rtcio_sync, socketio, engineio))


ACTIONS: dict[str, Callable[[Server, str], Any]] = {
    "rooms": lambda server, sid: server.rooms(sid),
    "enter": lambda server, sid: server.enter_room(sid, "cake"),
    "leave": lambda server, sid: server.leave_room(sid, "tea"),
    "leave another's": lambda server, sid: server.leave_room(sid, "room1"),
    "close": lambda server, sid: server.close_room("tea"),
    "emit to a room": lambda server, sid: server.emit("x", to="tea"),
    "peer-left": lambda server, sid: send_peer_left(server.relay, server.manager.member(sid, "/")),
    "disconnect": lambda server, sid: server.manager.disconnect(sid, "/"),
    "disconnect, all of it": lambda server, sid: server.disconnect(sid),
}


@pytest.mark.parametrize("action", ACTIONS)
def test_the_cost_does_not_grow_with_the_other_sockets(action: str) -> None:
    costs = []
    for others in (5, 80):
        server, sid = populated(others)
        costs.append(lines(lambda server=server, sid=sid: ACTIONS[action](server, sid), COUNTED))  # type: ignore[misc]
        assert [each.walks for each in walked(server)] == [0, 0, 0]
    assert costs[0] == costs[1] > 0


# -- emitting --------------------------------------------------------------------------------------


class Counted(Packet):
    """A packet class of an app's own that counts what it encodes."""

    encoded: ClassVar[list[Any]] = []

    def encode(self) -> Any:
        self.encoded.append(self.data)
        return super().encode()


def test_one_event_is_encoded_once_for_all_its_recipients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Counted, "encoded", [])
    server = Server(serializer=Counted)
    clients = [server.test_client() for _ in range(5)]
    Counted.encoded.clear()
    server.emit("news", {"a": 1})
    assert Counted.encoded == [["news", {"a": 1}]]
    assert [client.received("news") for client in clients] == [[{"a": 1}]] * 5


@pytest.mark.parametrize(
    ("data", "arguments"),
    [(None, []), (1, [1]), ([1, 2], [[1, 2]]), ((1, 2), [1, 2]), ((), []), ((None,), [None])],
)
def test_a_tuple_is_several_arguments(data: Any, arguments: list[Any]) -> None:
    server = Server()
    client = server.test_client()
    server.emit("news", data)
    assert client.received() == [("news", arguments)]


def test_whom_to_skip_may_be_a_sid_a_room_or_several() -> None:
    server = Server()
    a, b, c = (server.test_client() for _ in range(3))
    server.enter_room(b.sid, "tea")

    def heard(skip: Any) -> list[bool]:
        server.emit("news", skip_sid=skip)
        return [bool(client.received("news")) for client in (a, b, c)]

    assert heard(None) == [True, True, True]
    assert heard(a.sid) == [False, True, True]
    assert heard("tea") == [True, False, True]
    assert heard([a.sid, "tea"]) == [False, False, True]
    assert heard(["nobody"]) == [True, True, True]


def test_nobody_is_nobody() -> None:
    server = Server()
    server.emit("news")
    client = server.test_client()
    server.emit("news", to="empty room")
    server.emit("news", namespace="/empty")
    assert client.received() == []


def test_an_acknowledgement_is_taken_once() -> None:
    server = Server()
    server.test_client()
    (sid,) = server.manager.members["/"]
    answers: list[Any] = []
    server.emit("question", to=sid, callback=lambda *answer: answers.append(answer))
    server.manager.trigger_callback(sid, 1, ["yes"])
    server.manager.trigger_callback(sid, 1, ["again"])
    server.manager.trigger_callback(sid, 0, ["the counter"])
    server.manager.trigger_callback(sid, "1", ["text"])
    server.manager.trigger_callback("nobody", 1, ["nobody"])
    assert answers == [("yes",)]


def test_callbacks_go_with_their_socket() -> None:
    server = Server()
    client = server.test_client()
    server.emit("question", to=client.sid, callback=lambda: None)
    client.disconnect()
    assert not server.manager.callbacks


def test_a_client_that_never_acknowledges_is_asked_without_end_and_keeps_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callbacks, "MAX_CALLBACKS", 20)
    server = Server()
    client, other = Polling(server).join(), Polling(server).join()
    caller = gevent.spawn(server.call, "question", to=client.sid)
    settle()
    answers: list[Any] = []
    for number in range(100):
        server.emit("question", to=client.sid, callback=lambda *args, n=number: answers.append(n))
    server.emit("question", to=other.sid, callback=lambda *args: answers.append("other"))
    waiting = server.manager.callbacks[client.sid]
    assert len(waiting) <= 21
    assert server.stats()["dropped"] == {"unanswered": 81}
    for number in (1, 2, 101):  # who waits in `call` is not given up, nor what was asked last
        client.send(f'3{number}["yes"]')
    assert caller.get(timeout=DEADLINE) == "yes"
    until(lambda: answers)
    assert answers == [99]
    other.send("31[]")
    until(lambda: len(answers) == 2)


def test_what_another_worker_asks_of_sockets_here_logs_nothing_in_the_hub() -> None:
    # A logger may write to a stream, for whose lock the hub must not wait.
    wrote_in: list[object] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            wrote_in.append(gevent.getcurrent())

    logger = logging.getLogger("test.rooms.in.the.hub")
    logger.setLevel(logging.INFO)
    logger.addHandler(Noting())
    server = Server(logger=logger)
    client = server.test_client()
    wrote_in.clear()
    for what, inside in (("join", {"tea", "cake"}), ("leave", set())):
        gevent.get_hub().loop.run_callback(do_here, server, what, "/", None, [], ["tea", "cake"])
        until(lambda inside=inside: set(server.rooms(client.sid)) == {client.sid, *inside})
    assert gevent.get_hub() not in wrote_in
