"""The peers of a room hear its events in the order in which they happened."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import socketio
from gevent.event import Event

from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.server import Server
from tests.lobby.clients import Gate, announced, client, join, joined
from tests.reconnecting import Phone, end_all
from tests.timing import DEADLINE, until


class SlowManager(socketio.Manager):  # type: ignore[misc]
    """A client manager that blocks, as one with a network behind it may, where the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks_at: Callable[[str, Any], bool] = lambda step, data: False
        self.reached = threading.Event()
        self.open = threading.Event()

    def emit(self, event: str, data: Any, *args: Any, **options: Any) -> None:
        self._pass(event, data)
        super().emit(event, data, *args, **options)

    def basic_enter_room(self, sid: str, namespace: str, room: Any, eio_sid: Any = None) -> None:
        self._pass("enter", room)
        super().basic_enter_room(sid, namespace, room, eio_sid)

    def _pass(self, step: str, data: Any) -> None:
        if self.blocks_at(step, data) and not self.reached.is_set():
            self.reached.set()
            assert self.open.wait(DEADLINE)


@pytest.fixture
def slow() -> SlowManager:
    return SlowManager()


def test_a_room_hears_all_in_the_order_it_happened_and_nobody_waits_for_a_slow_emit(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server = Server(client_manager=slow)
    lobby = Lobby(server)
    first, newcomer = joined(server), client(server)
    slow.blocks_at = lambda event, data: event == "join-ok"
    joining = elsewhere(join, newcomer)
    assert slow.reached.wait(DEADLINE)
    first.emit("chat-message", {"roomId": "r", "text": "one"})
    first.emit("media-state", {"roomId": "r", "mic": True})
    first.emit("leave-room", {"roomId": "r"})
    join(first)
    assert lobby.peers("r") == [newcomer.sid, first.sid]
    assert first.received() == [], "it was told before the newcomer was in"
    slow.open.set()
    joining.result()
    assert newcomer.received() == [
        ("user-connected", [{"id": first.sid}]),
        ("join-ok", [{"roomId": "r"}]),
        ("chat-message", [{"roomId": "r", "text": "one", "id": first.sid}]),
        ("media-state", [{"id": first.sid, "roomId": "r", "mic": True}]),
        ("user-disconnected", [{"id": first.sid}]),
        *announced(first),
    ]
    assert first.received() == [
        *announced(newcomer),
        ("user-connected", [{"id": newcomer.sid}]),
        ("join-ok", [{"roomId": "r"}]),
    ]


def test_who_goes_before_the_others_heard_of_it_is_never_heard_of(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server = Server(client_manager=slow)
    lobby = Lobby(server)
    speaker, present, brief = joined(server), joined(server), client(server)
    speaker.received()
    slow.blocks_at = lambda event, data: event == "chat-message"
    speaking = elsewhere(speaker.emit, "chat-message", {"roomId": "r"})
    assert slow.reached.wait(DEADLINE)
    join(brief)
    assert lobby.peers("r")[2:] == [brief.sid]
    brief.disconnect()
    assert lobby.peers("r") == [speaker.sid, present.sid]
    slow.open.set()
    speaking.result()
    assert present.received() == [("chat-message", [{"roomId": "r", "id": speaker.sid}])]
    assert speaker.received() == []


def test_who_goes_while_it_enters_the_room_is_never_heard_of_and_keeps_no_seat(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server = Server(client_manager=slow)
    lobby = Lobby(server)
    present, brief = joined(server), client(server)
    slow.blocks_at = lambda step, data: step == "enter"
    joining = elsewhere(join, brief)
    assert slow.reached.wait(DEADLINE)
    brief.disconnect()
    slow.open.set()
    joining.result()
    assert present.received() == []
    assert lobby.peers("r") == [present.sid]


class Farewell:
    """A ``connection`` handler of the app's: its ``disconnecting`` waits for the test."""

    def __init__(self) -> None:
        self.going = threading.Event()
        self.gone = threading.Event()

    def __call__(self, socket: Any) -> None:
        if socket.handshake.auth.get("brief"):
            socket.on("disconnecting", self.wait)

    def wait(self) -> None:
        self.going.set()
        assert self.gone.wait(DEADLINE)


def test_who_is_going_when_its_turn_to_enter_comes_does_not_enter(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server, farewell = Server(client_manager=slow), Farewell()
    server.on("connection", farewell)
    Lobby(server)
    speaker, present, brief = joined(server), joined(server), client(server, auth={"brief": True})
    slow.blocks_at = lambda event, data: event == "chat-message"
    speaking = elsewhere(speaker.emit, "chat-message", {"roomId": "r"})
    assert slow.reached.wait(DEADLINE)
    join(brief)
    leaving = elsewhere(brief.disconnect)
    assert farewell.going.wait(DEADLINE)
    slow.open.set()
    speaking.result()
    farewell.gone.set()
    leaving.result()
    assert present.received() == [("chat-message", [{"roomId": "r", "id": speaker.sid}])]


def test_who_went_while_authorize_thought_takes_no_seat_for_a_moment_either(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server, gate, farewell = Server(client_manager=slow), Gate("slow"), Farewell()
    server.on("connection", farewell)
    lobby = Lobby(server, authorize=gate)
    speaker, brief = joined(server), client(server, auth={"brief": True})
    joining = elsewhere(join, brief, name="slow")
    assert gate.reached.wait(DEADLINE)
    brief.disconnect()
    gate.open.set()
    assert farewell.going.wait(DEADLINE)
    assert lobby.peers("r") == [speaker.sid]
    farewell.gone.set()
    joining.result()


def test_an_emit_that_fails_keeps_nothing_else_from_the_room(
    slow: SlowManager, elsewhere: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def trouble(event: str, data: Any) -> bool:
        if event == "stopScreenShare":
            raise ConnectionError("the back end is away")
        return event == "chat-message"

    server = Server(client_manager=slow)
    Lobby(server)
    speaker, other, present = joined(server), joined(server), joined(server)
    slow.blocks_at = trouble
    speaking = elsewhere(speaker.emit, "chat-message", {"roomId": "r", "text": "one"})
    assert slow.reached.wait(DEADLINE)
    other.emit("stopScreenShare", {"roomId": "r"})
    other.emit("chat-message", {"roomId": "r", "text": "two"})
    slow.open.set()
    speaking.result()
    assert [said["text"] for said in present.received("chat-message")] == ["one", "two"]
    assert "the back end is away" in caplog.text


def test_who_is_lost_and_comes_back_before_its_turn_to_enter_has_its_seat_and_is_in(
    slow: SlowManager, elsewhere: Callable[..., Any]
) -> None:
    server = Server(client_manager=slow, connection_state_recovery=True)
    lobby, speaker, phone = Lobby(server), joined(server), Phone(server)
    slow.blocks_at = lambda event, data: event == "chat-message"
    speaking = elsewhere(speaker.emit, "chat-message", {"roomId": "r", "text": "one"})
    assert slow.reached.wait(DEADLINE)
    join(phone)
    phone.lose()
    phone.come_back()
    assert phone.received() == []
    slow.open.set()
    speaking.result()
    assert lobby.peers("r") == [speaker.sid, phone.sid]
    assert server.of("/").rooms["r"] == {speaker.sid, phone.sid}
    assert phone.received()[-1] == ("join-ok", [{"roomId": "r"}])
    end_all(server, phone)
    assert not lobby._rooms


def test_who_cannot_be_told_that_it_has_no_seat_is_not_in_the_room(
    slow: SlowManager, caplog: pytest.LogCaptureFixture
) -> None:
    def trouble(event: str, data: Any) -> bool:
        if event in ("join-ok", "join-error"):
            raise ConnectionError("the back end is away")
        return False

    server = Server(client_manager=slow)
    lobby, peer = Lobby(server), client(server)
    slow.blocks_at = trouble
    join(peer)
    assert lobby.peers("r") == []
    assert server.rooms(peer.sid or "") == [peer.sid]
    assert "the back end is away" in caplog.text


@pytest.mark.parametrize(
    "hangs_at",
    ["room-check-ok", "join-error", "join-ok", "user-connected", "media-state",
     "#rtcio:init-offer", "chat-message", "user-disconnected"],
)  # fmt: skip
def test_a_handler_that_sees_an_event_and_does_not_return_holds_up_nobody(
    server: Server, hangs_at: str
) -> None:
    Lobby(server)
    seen: list[str] = []
    release = Event()
    ann = client(server)

    @server.of("/").sockets[ann.sid or ""].on_any_outgoing
    def watch(event: str, *args: Any) -> None:
        seen.append(event)
        if event == hangs_at:
            assert release.wait(DEADLINE)

    ann.emit("check-room", {"roomId": "r"})
    join(ann, None)
    join(ann)
    bob, cid = joined(server), joined(server)
    bob.emit("media-state", {"roomId": "r", "mic": True})
    bob.emit("chat-message", {"roomId": "r"})
    bob.emit("leave-room", {"roomId": "r"})
    heard = ["media-state", "chat-message", "user-disconnected"]
    came = ["user-connected", "#rtcio:init-offer"]
    assert [name for name, _ in cid.received()] == heard
    assert [name for name, _ in ann.received()] == [
        "room-check-ok", "join-error", "join-ok", *came, *came, *heard,
    ]  # fmt: skip
    until(lambda: len(seen) == 10)
    release.set()


def test_an_empty_room_leaves_nothing_behind(server: Server) -> None:
    lobby = Lobby(server)
    leaver, goer = joined(server), joined(server)
    leaver.emit("leave-room", {"roomId": "r"})
    goer.disconnect()
    assert not lobby._rooms


def test_an_emit_that_is_killed_keeps_nothing_else_from_the_room(
    slow: SlowManager,
) -> None:
    killed: list[str] = []

    def kill(event: str, data: Any) -> bool:
        if event == "chat-message" and not killed:
            killed.append(event)
            other.emit("chat-message", {"roomId": "r", "text": "behind it"})
            raise gevent.GreenletExit
        return False

    server = Server(client_manager=slow)
    Lobby(server)
    speaker, other, present = joined(server), joined(server), joined(server)
    slow.blocks_at = kill
    speaker.emit("chat-message", {"roomId": "r", "text": "lost"})
    assert [each["text"] for each in present.received("chat-message")] == ["behind it"]
