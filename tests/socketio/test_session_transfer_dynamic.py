"""Sessions in dynamic namespaces that go on in another process."""

from __future__ import annotations

import re
from typing import Any

from rtcio_sync import Limits, Server, Socket, add_default_listeners
from tests.clients import WebSocket
from tests.moving import move
from tests.moving_sessions import move_waiting
from tests.reconnecting import ENOUGH
from tests.timing import until


def accepting(log: list[Any], **options: Any) -> Server:
    """A server with a dynamic namespace for names that are in ``log``: each is good for one use."""
    server = Server(**options)

    def accepts(name: str, auth: Any) -> bool:
        if name not in log:
            return False
        log.remove(name)
        return True

    server.of(re.compile("^/unused"))
    parent = server.of(accepts, limits=Limits(events_per_second=7))
    add_default_listeners(parent)

    @parent.on("connection")
    def connection(socket: Socket) -> None:
        log.append((socket.nsp.name, socket.moved))
        socket.on("echo")(lambda value: value)
        socket.session_end(lambda: log.append("end"))

    return server


def test_who_was_let_in_once_is_not_asked_for_again_in_another_process() -> None:
    before, after = ["/once"], []
    old, new = accepting(before), accepting(after)
    client = WebSocket(old).join("/once")
    move(client, new)
    client.emit("echo", 1, namespace="/once", number=3)
    assert client.next() == "3/once,3[1]"
    assert (before, after) == ([("/once", False)], [("/once", True)])
    assert new.eio.sockets[client.eio_sid].limits.events_per_second == 7
    peer = WebSocket(new).join("/once")
    client.relay(peer.sids["/once"], {"mid": "0"}, "/once")
    assert "#rtcio:message" in peer.next()
    for each in (client, peer):
        each.close()
    until(lambda: not new.manager.members)
    assert list(new.registry.spaces) == []
    assert new.relay.namespaces == {"/", "/_1"}


def test_the_parent_of_who_has_left_at_once_is_not_kept() -> None:
    old, new = accepting(["/once"]), accepting([])
    client = WebSocket(old).join("/once")
    move(client, new)
    new.manager.take_out(new.manager.member(client.sids["/once"], "/once"))
    until(lambda: not new.manager.members)
    new.eio.start_background_task(lambda: None).join()
    refused = new.test_client(namespace="/once")
    assert refused.error == {"message": "Invalid namespace"}
    assert list(new.registry.spaces) == []


def test_a_session_that_waits_ends_with_the_handlers_of_its_parent() -> None:
    recovery = {"max_disconnection_duration": ENOUGH}
    before, after = ["/once"], []
    old, new = (accepting(log, connection_state_recovery=recovery) for log in (before, after))
    client = WebSocket(old).join("/once")
    client.close()
    until(lambda: old.stats()["away"] == 1)
    until(old.departing.waiting)
    move_waiting(old, new)
    until(lambda: "end" in after)
    until(lambda: not new.manager.members)
    assert list(new.registry.spaces) == []
    assert "end" not in before


def test_a_socket_keeps_its_parent_in_another_version_of_the_app() -> None:
    ran: list[str] = []

    def app(*patterns: str) -> Server:
        server = Server()
        for pattern in patterns:
            parent = server.of(re.compile(pattern))
            parent.on("connection", lambda socket, said=pattern: ran.append(said))
        return server

    old, new = app("^/room"), app("^/admin", "^/room")
    client = WebSocket(old).join("/room-1")
    move(client, new)
    until(lambda: len(ran) == 2)
    assert ran == ["^/room", "^/room"]
    admin, room = new.parents.all.values()
    assert (list(admin.children), list(room.children)) == ([], ["/room-1"])
