"""Sessions that go on in another process: here, in another server of the same one."""

from __future__ import annotations

from typing import Any

import pytest

from rtcio_sync import Server
from tests.clients import TRANSPORTS, Polling, WebSocket, still_held
from tests.moving import move, pack, servers
from tests.timing import settle, until

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)


def told(server: Server, log: list[Any], namespace: str = "/") -> None:
    """Adds to ``log`` what the app of a server hears of its sockets."""

    @server.of(namespace).on("connection")
    def connection(socket: Any) -> None:
        log.append(("connection", socket.moved, socket.recovered, dict(socket.data)))
        socket.on("set")(lambda key, value: socket.data.__setitem__(key, value))
        socket.on("join")(lambda room: socket.join(room))
        socket.on("echo")(lambda *args: list(args))
        socket.on("disconnect")(lambda reason: log.append(("disconnect", reason)))


def test_a_client_goes_on_with_its_socket_its_rooms_and_its_data(transport: str) -> None:
    old, new = servers()
    before: list[Any] = []
    after: list[Any] = []
    told(old, before)
    told(new, after)
    client = TRANSPORTS[transport](old).join()
    sid = client.sid
    client.emit("set", "name", "Ada")
    client.emit("join", "tea")
    client.emit("echo", 1, number=7)
    assert client.next() == "37[[1]]"
    old.save_session(sid, {"user": (1, 2)})
    move(client, new)
    client.emit("echo", {"a": 1}, number=8)
    assert client.next() == '38[[{"a":1}]]'
    assert before == [("connection", False, False, {})]
    assert after == [("connection", True, True, {"name": "Ada"})]
    new.emit("news", 1, to="tea")
    assert client.events() == [["news", 1]]
    assert new.get_session(sid) == {"user": (1, 2)}
    assert new.rooms(sid) == [sid, "tea"]
    assert still_held(old) == {}
    client.close()
    until(lambda: len(after) == 2)
    assert still_held(new) == {}


def test_the_old_process_hears_of_the_move_and_of_nothing_else(transport: str) -> None:
    old, new = servers()
    log: list[Any] = []
    told(old, log)

    @old.on_moved
    def moved(socket: Any) -> None:
        log.append(("moved", socket.id, socket.data, socket.connected))

    client, peer = TRANSPORTS[transport](old).join(), WebSocket(old).join()
    old.enter_room(client.sid, "tea")
    old.enter_room(peer.sid, "tea")
    old.of("/").sockets[client.sid].data["a"] = 1
    move(client, new)
    settle()
    assert log[2:] == [("moved", client.sid, {"a": 1}, False)]
    assert peer.events() == []
    counted = old.stats()
    assert counted["disconnects_by_reason"] == {} and counted["connected"] == 1


def test_what_is_sent_between_adopting_and_attaching_waits(transport: str) -> None:
    old, new = servers()
    client = TRANSPORTS[transport](old).join()
    old.emit("before", 1, to=client.sid)
    packed = pack(old, client.eio_sid)
    new.departing.adopt(packed.state)
    new.emit("between", b"\x00\x01", to=client.sid)
    new.departing.attach(client.eio_sid, packed.fd)
    client.server, client.engine = new, new.eio
    if isinstance(client, Polling):
        client.app = new.handle_request
    new.emit("after", 3, to=client.sid)
    found = [client.next() for _ in range(4)]
    assert found == [
        '2["before",1]',
        '51-["between",{"_placeholder":true,"num":0}]',
        "bAAE=",
        '2["after",3]',
    ]
