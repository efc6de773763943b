"""The first server pages of rtc.io's documentation: each snippet in its ported form.

docs/coming-from-node.md has a table with a row for each snippet, and names the test.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, TypedDict

import pytest

from rtcio_sync import (
    BroadcastOperator,
    ConnectionRefusedError,
    DisconnectReason,
    Event,
    MessagePayload,
    Namespace,
    RemoteSocket,
    RtcioError,
    RtcioEvents,
    Server,
    ServerOptions,
    Socket,
    add_default_listeners,
    ice_servers,
    throttle,
)
from tests.docs.rtcio_servers import (
    ROOM,
    complete,
    envelope,
    join,
    quickstart,
    status,
    two_in_a_room,
)
from tests.timing import Clock

# -- Overview --------------------------------------------------------------------------------------


def test_three_lines_are_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    listened: list[int] = []
    monkeypatch.setattr(Server, "listen", lambda self, port: listened.append(port))
    server = Server(cors_allowed_origins="*")
    server.listen(3001)
    assert listened == [3001]
    a, b = server.test_client(), server.test_client()
    a.emit(RtcioEvents.MESSAGE, envelope(a, b, {"mid": "1"}))
    assert b.received(RtcioEvents.MESSAGE) == [envelope(a, b, {"mid": "1"})]


def test_a_server_class_of_ones_own_has_the_relay_too() -> None:
    class Own(Server):
        pass

    server = Own()
    a, b, c = (server.test_client() for _ in range(3))
    a.emit("#rtcio:message", envelope(a, b, {"mid": "1"}))
    assert b.received() == [("#rtcio:message", [envelope(a, b, {"mid": "1"})])]
    assert a.received() == c.received() == []


def test_the_complete_example() -> None:
    server = Server(cors_allowed_origins="*")
    complete(server)
    a, b = two_in_a_room(server)
    assert a.received() == [
        ("user-connected", [{"id": b.sid, "name": "bob"}]),
        ("#rtcio:init-offer", [{"source": b.sid}]),
    ]
    gone = b.sid
    b.disconnect()
    assert a.received("user-disconnected") == [{"id": gone}]


def test_every_name_of_the_api_surface_is_there() -> None:
    classes = (Server, Socket, Namespace, BroadcastOperator, RemoteSocket, RtcioEvents)
    assert all(isinstance(each, type) for each in classes)
    assert callable(add_default_listeners)
    assert ServerOptions.__annotations__ and Event is not None and DisconnectReason is not None


# -- Installation ----------------------------------------------------------------------------------


class JoinRoom(TypedDict):
    roomId: str
    name: str


class UserConnected(TypedDict):
    id: str
    name: str


def test_handlers_and_payloads_have_types() -> None:
    """What mypy and pyright find in handlers and options: tests/typed."""
    server = Server(cors_allowed_origins="*")

    @server.on("connection")
    def on_connection(socket: Socket) -> None:
        @socket.on("join-room")
        def join_room(data: JoinRoom) -> None:
            socket.data["name"] = data["name"]
            socket.join(data["roomId"])
            card: UserConnected = {"id": socket.id, "name": data["name"]}
            socket.to(data["roomId"]).emit("user-connected", card)

    a, b = two_in_a_room(server)
    assert a.received("user-connected") == [{"id": b.sid, "name": "bob"}]


def test_a_project_of_several_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    def authenticate(socket: Socket) -> None:  # auth.py
        if socket.handshake.auth != {"token": "open"}:
            raise ConnectionRefusedError("missing token")

    def wire_rooms(socket: Socket) -> None:  # rooms.py
        socket.on("join-room", lambda data: socket.join(data["roomId"]))

    def wire_ice(socket: Socket) -> None:  # ice.py
        socket.on("ask-ice", lambda: {"iceServers": ice_servers(stun="stun.example.com")})

    def create() -> Server:  # server.py
        origins = os.environ.get("ALLOWED_ORIGINS", "*").split(",")
        server = Server(cors_allowed_origins=origins)
        server.use(authenticate)

        @server.on("connection")
        def on_connection(socket: Socket) -> None:
            wire_rooms(socket)
            wire_ice(socket)

        return server

    server = create()
    assert server.test_client().error == {"message": "missing token"}
    client = server.test_client(auth={"token": "open"})
    join(client, "alice")
    assert server.rooms(client.sid) == [client.sid, ROOM]
    assert client.call("ask-ice") == {"iceServers": [{"urls": ["stun:stun.example.com"]}]}
    assert status(server, "https://any.example") == 200
    monkeypatch.setenv("ALLOWED_ORIGINS", "https://a.example,https://b.example")
    server = create()
    assert status(server, "https://b.example") == 200
    assert status(server, "https://any.example") == 403


# -- Quickstart; the tutorial's server -------------------------------------------------------------


def test_the_quickstart() -> None:
    """With real clients: examples/test_examples.py runs port_of_the_node_example.py."""
    server = Server(cors_allowed_origins="*")
    states = quickstart(server)
    a = server.test_client()
    join(a, "alice")
    a.emit("media-state", {"roomId": ROOM, "mic": True, "cam": False, "id": a.sid})
    b = server.test_client()
    join(b, "bob")
    assert b.received() == [
        ("user-connected", [{"id": a.sid, "name": "alice"}]),
        ("media-state", [{"id": a.sid, "roomId": ROOM, "mic": True, "cam": False}]),
    ]
    assert a.received() == [
        ("user-connected", [{"id": b.sid, "name": "bob"}]),
        ("#rtcio:init-offer", [{"source": b.sid}]),
    ]
    b.emit("stopScreenShare", {"roomId": ROOM, "id": b.sid})
    assert a.received() == [("stopScreenShare", [{"roomId": ROOM, "id": b.sid}])]
    a.disconnect()
    assert states == {}
    assert {name for name, _ in b.received()} == {"user-disconnected", "#rtcio:peer-left"}


def test_the_client_that_goes_with_it() -> None:
    """What `socket.server` of the pages' client sends, and what it hears."""
    server = Server(cors_allowed_origins="*")
    quickstart(server)
    roster: dict[str, str] = {}
    a = server.test_client()
    join(a, "alice")
    b = server.test_client()
    join(b, "bob")
    roster.update((each["id"], each["name"]) for each in a.received("user-connected"))
    assert roster == {b.sid: "bob"}
    b.disconnect()
    for each in a.received("user-disconnected"):
        del roster[each["id"]]
    assert roster == {}


# -- Signaling protocol ----------------------------------------------------------------------------


def test_the_names_of_the_events() -> None:
    assert RtcioEvents.MESSAGE == "#rtcio:message"
    assert RtcioEvents.INIT_OFFER == "#rtcio:init-offer"
    assert RtcioEvents.PEER_LEFT == "#rtcio:peer-left"
    reserved = (RtcioEvents.OFFER, RtcioEvents.ANSWER, RtcioEvents.CANDIDATE)
    assert reserved == ("#rtcio:offer", "#rtcio:answer", "#rtcio:candidate")
    assert RtcioEvents.STREAM_META == "#rtcio:stream-meta"


VARIANTS = {
    "description": {"description": {"type": "offer", "sdp": "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\n"}},
    "candidate": {
        "candidate": {
            "candidate": "candidate:1 1 udp 1 192.0.2.1 9 typ host",
            "sdpMid": "0",
            "sdpMLineIndex": 0,
            "usernameFragment": "u",
        }
    },
    "end of candidates": {"candidate": {"candidate": ""}},
    "metadata": {"mid": "s", "events": {"camera": [{"id": "a", "camera": "[RTCIOStream] s"}]}},
    "question for metadata": {"mid": "s"},
}


@pytest.mark.parametrize("data", VARIANTS.values(), ids=VARIANTS)
def test_the_envelope_arrives_with_each_kind_of_data(data: dict[str, Any]) -> None:
    server = Server()
    a, b = server.test_client(), server.test_client()
    payload: MessagePayload = {"source": str(a.sid), "target": str(b.sid), "data": data}
    a.emit("#rtcio:message", payload)
    assert b.received() == [("#rtcio:message", [payload])]


def test_peer_left_comes_without_a_handler() -> None:
    server = Server()
    server.on("join-room", lambda sid, data: server.enter_room(sid, data["roomId"]))
    a, b = two_in_a_room(server)
    gone = b.sid
    b.disconnect()
    assert a.received() == [("#rtcio:peer-left", [{"id": gone}])]


def test_the_sequence_of_a_and_b() -> None:
    server = Server()
    complete(server)
    a, b = two_in_a_room(server)
    (asked,) = a.received(RtcioEvents.INIT_OFFER)
    assert asked == {"source": b.sid}
    for sender, receiver, kind in ((a, b, "offer"), (b, a, "answer"), (a, b, ""), (b, a, "")):
        data = {"description": {"type": kind}} if kind else VARIANTS["candidate"]
        sender.emit(RtcioEvents.MESSAGE, envelope(sender, receiver, data))
        assert receiver.received(RtcioEvents.MESSAGE) == [envelope(sender, receiver, data)]


# -- Rooms & presence ------------------------------------------------------------------------------


def test_leaving_a_room_is_told_to_the_others() -> None:
    server = Server()
    complete(server)

    @server.on("connection")
    def on_connection(socket: Socket) -> None:
        @socket.on("leave-room")
        def leave_room(data: Any) -> None:
            socket.leave(data["roomId"])
            socket.to(data["roomId"]).emit("user-disconnected", {"id": socket.id})

    a, b = two_in_a_room(server)
    b.emit("leave-room", {"roomId": ROOM, "id": b.sid})
    assert a.received("user-disconnected") == [{"id": b.sid}]
    assert server.sockets.rooms[ROOM] == {a.sid}


def test_a_newcomer_to_three_gets_the_roster_and_three_offers() -> None:
    server = Server()
    quickstart(server)
    there = [server.test_client() for _ in range(3)]
    for client, name in zip(there, "abc", strict=True):
        join(client, name)
        client.received()
    late = server.test_client()
    join(late, "d")
    assert [each["name"] for each in late.received("user-connected")] == list("abc")
    for client in there:
        assert client.received(RtcioEvents.INIT_OFFER)[-1] == {"source": late.sid}


def test_a_flood_is_throttled_for_each_socket_and_for_one_event() -> None:
    server, clock = Server(), Clock()

    @server.on("connection")
    def on_connection(socket: Socket) -> None:
        socket.use(throttle(50, clock=clock.now))
        socket.use(throttle(10, events=["chat-message"], clock=clock.now))
        socket.on("media-state", lambda: "heard")
        socket.on("chat-message", lambda: "heard")

    client, other = server.test_client(), server.test_client()
    for _ in range(60):
        client.emit("chat-message")
    assert server.stats()["dropped"]["middleware"] == 50
    clock.advance(1)
    answers: list[str] = []
    for _ in range(60):
        with suppress(RtcioError):  # nobody acknowledged: it was dropped
            answers.append(client.call("media-state"))
    assert len(answers) == 50
    assert other.call("media-state") == "heard"
