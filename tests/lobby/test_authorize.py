"""`Lobby.authorize`: when it is asked, and what happens while it waits."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import gevent
import pytest

from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.server import Server
from tests.lobby.clients import Gate, Parallel, announced, client, join, joined, refused
from tests.timing import DEADLINE
from tests.unrun import UNRUN


def test_authorize_is_asked_with_socket_room_name_and_password(server: Server) -> None:
    gate = Gate("nobody")
    Lobby(server, authorize=gate)
    first = joined(server, name="Ann", password=" sesame ")
    second = joined(server, password="sesame")
    third = joined(server, "open")
    assert gate.asked == [
        (first.sid, "r", "Ann", "sesame"),
        (second.sid, "r", None, "sesame"),
        (third.sid, "open", None, None),
    ]


@pytest.mark.parametrize("answer", [False, None, 0, ""])
def test_what_authorize_does_not_say_yes_to_is_forbidden(server: Server, answer: Any) -> None:
    lobby = Lobby(server, authorize=lambda socket, room, name, password: answer)
    peer = client(server)
    join(peer, password="sesame")
    assert peer.received() == refused("forbidden")
    assert lobby.stats() == {"rooms": 0, "peers": 0}


def test_authorize_may_be_a_subclasss(server: Server) -> None:
    class Members(Lobby):
        def authorize(self, socket: Any, room: str, name: Any, password: Any) -> bool:
            return bool(socket.handshake.auth.get("member"))

    Members(server)
    stranger, member = client(server), client(server, auth={"member": True})
    join(stranger)
    join(member)
    assert stranger.received() == refused("forbidden")
    assert member.received() == [("join-ok", [{"roomId": "r"}])]


def test_an_authorize_that_raises_lets_nobody_in_and_is_an_error_of_the_app(server: Server) -> None:
    def authorize(*_: Any) -> bool:
        raise RuntimeError("the database is away")

    lobby = Lobby(server, authorize=authorize)
    peer = client(server)
    with pytest.raises(RuntimeError, match="the database is away"):
        join(peer)
    assert peer.received() == refused("forbidden")
    assert peer.connected
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    assert server.stats()["handler_errors"] == 1


class Ambiguous:
    """As an array of NumPy is."""

    def __bool__(self) -> bool:
        raise ValueError("its truth value is ambiguous")


@pytest.mark.parametrize("unrun", [*UNRUN.values(), lambda *_: Ambiguous()], ids=[*UNRUN, "array"])
@pytest.mark.parametrize("by", ["option", "subclass"])
def test_an_answer_that_is_neither_yes_nor_no_lets_nobody_in(
    server: Server, unrun: Callable[..., Any], by: str
) -> None:
    class Mine(Lobby):
        def authorize(self, *asked: Any) -> Any:
            return unrun(*asked)

    lobby = Mine(server) if by == "subclass" else Lobby(server, authorize=unrun)
    peer = client(server, raise_exceptions=False)
    join(peer)
    assert peer.received() == refused("forbidden")
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    assert server.stats()["handler_errors"] == 1


def test_authorize_is_not_asked_about_what_cannot_succeed_or_has(server: Server) -> None:
    gate = Gate("nobody")
    Lobby(server, authorize=gate, max_peers=1)
    inside = joined(server, password="sesame")
    gate.asked.clear()
    join(inside)
    peer = client(server)
    join(peer, password="tahini")
    join(peer, password="sesame")
    join(peer, "")
    assert gate.asked == []


def test_while_authorize_thinks_others_come_go_and_talk(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    gate = Gate("slow")
    lobby = Lobby(server, authorize=gate)
    slow, quick, quicker = client(server), client(server), client(server)
    joining = elsewhere(join, slow, name="slow")
    assert gate.reached.wait(DEADLINE)
    join(quick)
    join(quicker)
    quick.emit("chat-message", {"roomId": "r", "text": "hi"})
    quicker.emit("leave-room", {"roomId": "r"})
    assert quicker.received("chat-message") == [{"roomId": "r", "text": "hi", "id": quick.sid}]
    assert lobby.peers("r") == [quick.sid]
    gate.open.set()
    joining.result()
    assert slow.received() == [
        ("user-connected", [{"id": quick.sid}]),
        ("join-ok", [{"roomId": "r"}]),
    ]


def test_whoever_waits_for_authorize_holds_neither_a_seat_nor_the_password(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    gate = Gate("stranger", answer=False)
    lobby = Lobby(server, authorize=gate, max_peers=1)
    stranger = client(server)
    joining = elsewhere(join, stranger, name="stranger", password="hijack")
    assert gate.reached.wait(DEADLINE)
    owner = joined(server)
    gate.open.set()
    joining.result()
    assert stranger.received() == refused("forbidden")
    assert lobby.peers("r") == [owner.sid]


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [({}, "room-full"), ({"password": "other"}, "password-required")],
)
def test_what_changed_while_authorize_thought_counts(
    server: Server, elsewhere: Callable[..., Any], meanwhile: dict[str, Any], reason: str
) -> None:
    gate = Gate("slow")
    Lobby(server, authorize=gate, max_peers=1)
    slow = client(server)
    joining = elsewhere(join, slow, name="slow")
    assert gate.reached.wait(DEADLINE)
    joined(server, **meanwhile)
    gate.open.set()
    joining.result()
    assert slow.received() == refused(reason)


def test_who_disconnects_while_authorize_thinks_leaves_no_ghost(
    server: Server, elsewhere: Callable[..., Any]
) -> None:
    gate = Gate("slow")
    lobby = Lobby(server, authorize=gate, max_peers=2)
    present, slow = joined(server), client(server)
    joining = elsewhere(join, slow, name="slow")
    assert gate.reached.wait(DEADLINE)
    slow.disconnect()
    gate.open.set()
    joining.result()
    assert lobby.peers("r") == [present.sid]
    assert present.received() == []
    assert set(server.manager.rooms["/"]["r"]) == {present.sid}
    joined(server)


def test_who_leaves_while_authorize_thinks_is_not_let_in() -> None:
    gate, server = Gate("slow"), Parallel()
    lobby = Lobby(server, authorize=gate)
    present, slow = client(server), client(server)
    join(present)
    server.finish()
    present.received()
    before = len(server.tasks)
    join(slow, name="slow")
    assert gate.reached.wait(DEADLINE)
    slow.emit("leave-room", {"roomId": "r"})
    server.finish(before + 1)
    gate.open.set()
    server.finish()
    assert slow.received() == present.received() == []
    assert lobby.peers("r") == [present.sid]


def test_two_joins_of_one_socket_at_once_are_one() -> None:
    gate, server = Gate("slow"), Parallel()
    lobby = Lobby(server, authorize=gate)
    present, twice = client(server), client(server)
    join(present)
    server.finish()
    present.received()
    before = len(server.tasks)
    join(twice, name="slow")
    assert gate.reached.wait(DEADLINE)
    join(twice, name="quick")
    server.finish(before + 1)
    gate.open.set()
    server.finish()
    assert lobby.peers("r") == [present.sid, twice.sid]
    assert present.received() == announced(twice, name="quick")
    assert twice.received("join-ok") == [{"roomId": "r"}]


@pytest.mark.parametrize(
    "error",
    [gevent.Timeout(1), gevent.GreenletExit(), KeyError("x")],
    ids=lambda each: type(each).__name__,
)
def test_whatever_authorize_raises_is_answered_and_leaves_the_next_attempt_free(
    server: Server, error: BaseException
) -> None:
    wrong: list[BaseException] = [error]

    def authorize(*args: Any) -> bool:
        if wrong:
            raise wrong.pop()
        return True

    lobby = Lobby(server, authorize=authorize)
    peer = client(server)
    with contextlib.suppress(BaseException):
        join(peer)
    assert peer.received() == refused("forbidden")
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    join(peer)
    assert peer.received() == [("join-ok", [{"roomId": "r"}])]
