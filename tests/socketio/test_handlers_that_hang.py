"""A handler that never returns: its client leaves, and for all others it is gone at once."""

from __future__ import annotations

import json
import re
from typing import Any

import gevent
import pytest
import socketio
from gevent.event import Event

from rtcio_sync import DisconnectedError, Server
from rtcio_sync.adapter.member import Stage
from rtcio_sync.adapter.server_call import Waiter
from rtcio_sync.socketio import recovery as returning
from rtcio_sync.socketio import socket as sockets
from rtcio_sync.socketio.handler_call import raising
from tests.bus import Bus
from tests.clients import TRANSPORTS, Polling, WebSocket, still_held
from tests.timing import DEADLINE, settle, until


def shared(bus: Bus) -> Server:
    return Server(client_manager=bus.manager())


class Hanging:
    """A server with one client whose handler hangs, and a peer in the same room."""

    def __init__(
        self, kind: str = "websocket", namespace: str = "/", hangs: str = "hang", **options: Any
    ) -> None:
        self.server = Server(**options)
        self.namespace = namespace
        self.release, self.entered = Event(), Event()
        self.ended: list[Any] = []
        self.server.of(namespace).on("connection", self.connection)
        self.server.on(hangs, self.hang, namespace=namespace)
        self.client = TRANSPORTS[kind](self.server)
        self.client.ask_to_join(namespace)
        answer = self.client.next()
        self.key = json.loads(answer[answer.index("{") :])
        self.sid = self.client.sids[namespace] = self.key["sid"]
        self.peer = Polling(self.server).join(namespace)
        for sid in (self.sid, self.peer.sids[namespace]):
            self.server.enter_room(sid, "tea", namespace=namespace)
        self.member = self.server.manager.member(self.sid, namespace)
        until(lambda: self.member.ready)
        if hangs == "hang":
            self.client.emit("hang", namespace=namespace)
            assert self.entered.wait(DEADLINE)

    def connection(self, socket: Any) -> None:
        for event in ("disconnecting", "disconnect"):
            socket.on(event, lambda reason, event=event: self.note(f"socket {event}", socket))

    def note(self, who: str, socket: Any) -> None:
        held = self.server.rooms(self.sid, namespace=self.namespace)
        self.ended.append((who, list(socket.rooms), held))

    def hang(self, sid: str, *_: Any) -> None:
        if sid == self.sid:
            self.entered.set()
            self.release.wait()

    def lose(self) -> None:
        self.client.close()  # type: ignore[attr-defined]
        until(lambda: self.member.stage is not Stage.CONNECTED)

    def assert_gone(self) -> None:
        """As all others see it."""
        server, sid, namespace = self.server, self.sid, self.namespace
        space = server.of(namespace)
        peer = self.peer.sids[namespace]
        assert set(space.rooms) == {peer, "tea"}
        assert set(space.rooms["tea"]) == {peer}
        assert sid not in space.rooms
        assert server.rooms(sid, namespace=namespace) == []
        assert set(space.sockets) == {peer}
        assert [each.id for each in space.to("tea").fetch_sockets()] == [peer]
        assert space.to(sid).fetch_sockets() == []
        assert dict(server.manager.get_participants(namespace, None)).keys() == {peer}
        assert dict(server.manager.get_participants(namespace, sid)) == {}
        assert server.stats()["connected"] == 1
        assert server.stats()["disconnects"] == 1
        with pytest.raises(DisconnectedError):
            server.call("question", to=sid, namespace=namespace, timeout=DEADLINE)


@pytest.mark.parametrize("namespace", ["/", "/calls"])
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_who_leaves_while_its_handler_hangs_is_gone_for_all_others(
    kind: str, namespace: str
) -> None:
    house = Hanging(kind, namespace)
    house.lose()
    house.assert_gone()
    if namespace == "/":
        assert house.peer.heard("#rtcio:peer-left") == [{"id": house.sid}]
    assert house.ended == []
    house.release.set()
    until(lambda: len(house.ended) == 2)
    rooms = [house.sid, "tea"]
    assert house.ended == [("socket disconnecting", rooms, rooms), ("socket disconnect", [], rooms)]
    until(lambda: house.server.manager.member(house.sid, namespace) is None)
    if namespace == "/":
        assert house.peer.heard("#rtcio:peer-left") == []  # once
    house.peer.close()
    until(lambda: not still_held(house.server))


@pytest.mark.parametrize("hangs", ["disconnecting", "disconnect"])
def test_a_disconnect_handler_that_hangs_makes_no_ghost_either(hangs: str) -> None:
    house = Hanging(hangs=hangs)
    house.lose()
    assert house.entered.wait(DEADLINE)
    house.assert_gone()
    house.release.set()
    until(lambda: house.server.manager.member(house.sid, "/") is None)


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("hangs", ["disconnecting", "disconnect"])
def test_a_disconnect_handler_that_hangs_keeps_no_other_socket_connected(
    hangs: str, close: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a logout, which ends all sockets of a user."""
    monkeypatch.setattr(sockets, "PATIENCE", 0.01)
    house = Hanging(hangs=hangs)
    others = [Polling(house.server).join() for _ in range(3)]
    for each in others:
        house.server.enter_room(each.sid, "tea")
    ends = gevent.spawn(house.server.in_("tea").disconnect_sockets, close)
    until(lambda: house.server.stats()["connected"] == 0)
    until(lambda: len(house.server.manager.members["/"]) == 1)  # the handlers of the others ran
    assert not ends.dead  # it waits for all handlers
    house.release.set()
    ends.get(timeout=DEADLINE)
    assert not house.server.manager.members


def test_it_keeps_no_socket_of_another_child_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "PATIENCE", 0.01)
    server = Server()
    rooms = server.of(re.compile("^/room-"))
    release = Event()

    @rooms.on("connection")
    def connection(socket: Any) -> None:
        if socket.namespace == "/room-0":
            socket.on("disconnect", lambda reason: release.wait())

    for number in range(3):
        Polling(server).join(f"/room-{number}")
    until(lambda: len(rooms.children) == 3)
    ends = gevent.spawn(rooms.disconnect_sockets)
    until(lambda: server.stats()["connected"] == 0 and list(rooms.children) == ["/room-0"])
    release.set()
    ends.get(timeout=DEADLINE)


def test_an_exception_of_one_is_raised_when_all_are_disconnected() -> None:
    server = Server()
    ended: list[str] = []

    @server.on("disconnect")
    def disconnect(sid: str) -> None:
        ended.append(sid)
        raise LookupError(sid)

    clients = [Polling(server).join() for _ in range(3)]
    with raising(), pytest.raises(LookupError, match=clients[0].sid):
        server.disconnect_sockets()
    assert sorted(ended) == sorted(each.sid for each in clients)


def test_who_leaves_its_namespace_while_its_handler_hangs_is_gone_there() -> None:
    house = Hanging(namespace="/calls")
    house.client.send("1/calls,")
    until(lambda: house.member.stage is not Stage.CONNECTED)
    house.assert_gone()
    house.release.set()


def test_a_message_for_it_has_an_unknown_target() -> None:
    house = Hanging()
    house.lose()
    house.peer.relay(house.sid, {"candidate": 1})
    until(lambda: house.server.stats()["dropped"].get("unknown-target") == 1)
    house.release.set()


def test_the_handler_that_hung_may_go_on_with_what_it_had_begun() -> None:
    house = Hanging()
    server = house.server
    house.lose()
    server.enter_room(house.sid, "late")
    server.leave_room(house.sid, "tea")
    server.save_session(house.sid, {"name": "ann"})
    server.emit("news", to=house.sid)
    assert server.get_session(house.sid) == {"name": "ann"}
    assert "late" not in server.of("/").rooms
    house.release.set()
    until(lambda: house.ended)
    assert house.ended[0] == ("socket disconnecting", [house.sid, "late"], [house.sid, "late"])


def test_a_hung_handler_with_an_own_json_is_no_different() -> None:
    house = Hanging(json=json)
    house.lose()
    house.assert_gone()
    assert house.peer.heard("#rtcio:peer-left") == [{"id": house.sid}]
    house.release.set()


# -- with recovery ---------------------------------------------------------------------------------


def test_with_recovery_it_is_away_and_in_its_rooms() -> None:
    house = Hanging(connection_state_recovery=True)
    server = house.server
    house.lose()
    assert house.peer.next().startswith(f'2["#rtcio:peer-left",{{"id":"{house.sid}"}}')
    assert server.stats()["away"] == 1
    assert server.stats()["connected"] == 1
    assert server.rooms(house.sid) == [house.sid, "tea"]
    assert house.sid not in server.sockets
    house.release.set()
    until(lambda: len(house.ended) == 2)
    rooms = [house.sid, "tea"]
    assert house.ended == [("socket disconnecting", rooms, rooms), ("socket disconnect", [], rooms)]
    assert server.stats()["away"] == 1


def test_its_return_gets_a_fresh_session_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(returning, "PATIENCE", 0.1)
    monkeypatch.setattr(returning, "LOOK_AGAIN", 0.05)
    house = Hanging(connection_state_recovery=True)
    house.lose()
    again = WebSocket(house.server)
    again.ask_to_join(auth={"pid": house.key["pid"]})
    answer = json.loads(again.next()[1:])
    assert answer["sid"] != house.sid
    assert house.server.of("/").rooms["tea"] == {house.peer.sid}
    assert house.server.stats()["away"] == 0
    assert house.server.stats()["connected"] == 2
    house.release.set()
    until(lambda: house.server.manager.member(house.sid, "/") is None)


def test_a_return_from_a_half_open_connection_with_a_hung_handler_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(returning, "PATIENCE", 0.1)
    monkeypatch.setattr(returning, "LOOK_AGAIN", 0.05)
    house = Hanging(connection_state_recovery=True)
    again = WebSocket(house.server)
    again.ask_to_join(auth={"pid": house.key["pid"]})
    assert json.loads(again.next()[1:])["sid"] != house.sid
    assert house.peer.next().startswith(f'2["#rtcio:peer-left",{{"id":"{house.sid}"}}')
    house.release.set()


def test_a_session_whose_handler_hangs_ends_in_time() -> None:
    house = Hanging(connection_state_recovery={"max_disconnection_duration": 0.1})
    house.lose()
    until(lambda: house.server.stats()["away"] == 0)
    assert house.server.of("/").rooms["tea"] == {house.peer.sid}
    assert house.server.rooms(house.sid) == []
    house.release.set()
    until(lambda: house.server.manager.member(house.sid, "/") is None)
    house.peer.close()
    until(lambda: house.server.stats()["away"] == 0)


def test_who_is_put_out_while_its_handler_hangs_and_it_is_away_is_gone() -> None:
    house = Hanging(connection_state_recovery=True)
    house.lose()
    house.server.disconnect(house.sid)
    assert house.server.of("/").rooms["tea"] == {house.peer.sid}
    assert house.server.stats()["away"] == 0
    house.release.set()
    until(lambda: house.server.manager.member(house.sid, "/") is None)


# -- calls -----------------------------------------------------------------------------------------


def ended(asking: Any) -> Any:
    with pytest.raises(DisconnectedError) as caught:
        asking.get(timeout=DEADLINE)
    return caught


@pytest.mark.parametrize("options", [{}, {"connection_state_recovery": True}, {"manager": True}])
@pytest.mark.parametrize("way", ["lost", "left", "put out"])
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_call_to_one_that_leaves_fails_at_once(
    kind: str, way: str, options: dict[str, Any]
) -> None:
    server = shared(Bus()) if "manager" in options else Server(**options)
    client = TRANSPORTS[kind](server).join()
    asking = gevent.spawn(server.call, "question", to=client.sid, timeout=600)
    assert client.next(lambda packet: packet.endswith('["question"]'))
    if way == "lost":
        client.close()  # type: ignore[attr-defined]
    elif way == "left":
        client.send("1")
    else:
        server.disconnect(client.sid)
    ended(asking)
    kept = server.manager.callbacks.values()
    until(lambda: not any(isinstance(each, Waiter) for held in kept for each in held.values()))


@pytest.mark.parametrize("idiom", ["server", "socket"])
@pytest.mark.parametrize("recovery", [None, True])
def test_a_call_to_one_that_has_left_fails_at_once(recovery: Any, idiom: str) -> None:
    server = Server(connection_state_recovery=recovery)
    client = WebSocket(server).join()
    socket = server.sockets[client.sid]
    client.close()
    until(lambda: client.sid not in server.sockets)
    ask = {
        "server": lambda: server.call("question", to=client.sid, timeout=600),
        "socket": lambda: socket.call("question", timeout=600),
    }[idiom]
    with gevent.Timeout(DEADLINE), pytest.raises(DisconnectedError):
        ask()


def test_a_call_to_nobody_fails_at_once() -> None:
    server = Server()
    with gevent.Timeout(DEADLINE), pytest.raises(DisconnectedError):
        server.call("question", to="nobody", timeout=600)
    client = WebSocket(server).join()
    with gevent.Timeout(DEADLINE), pytest.raises(socketio.exceptions.TimeoutError):
        server.call("question", to="an empty room", timeout=600)
    with gevent.Timeout(DEADLINE), pytest.raises(DisconnectedError):
        server.call("question", to=client.sid, namespace="/elsewhere", timeout=600)


def test_a_call_to_a_room_waits_for_the_last_of_it() -> None:
    server = Server()
    one, two = WebSocket(server).join(), WebSocket(server).join()
    for client in (one, two):
        server.enter_room(client.sid, "tea")
    asking = gevent.spawn(server.call, "question", to="tea", timeout=600)
    assert one.next() == two.next()
    one.close()
    until(lambda: one.sid not in server.sockets)
    settle()
    assert not asking.ready()
    two.close()
    ended(asking)


def test_a_call_to_a_client_of_another_process_still_works() -> None:
    bus = Bus()
    here, there = shared(bus), shared(bus)
    WebSocket(here).join()  # whoever listens has had a client
    client = WebSocket(there).join()
    asking = gevent.spawn(here.call, "question", to=client.sid, timeout=DEADLINE)
    asked = client.next()
    client.send(f"3{asked[1 : asked.index('[')]}[42]")
    assert asking.get(timeout=DEADLINE) == 42


def test_a_call_that_took_too_long_leaves_nothing() -> None:
    server = Server()
    client = WebSocket(server).join()
    with pytest.raises(socketio.exceptions.TimeoutError):
        server.call("question", to=client.sid, timeout=0.01)
    kept = server.manager.callbacks[client.sid]
    assert set(kept) == {0}  # python-socketio's counter
    client.close()
    until(lambda: not server.manager.callbacks)


def test_callbacks_of_one_that_left_are_released_though_its_handler_hangs() -> None:
    house = Hanging()
    house.server.emit("question", to=house.sid, callback=lambda: None)
    assert house.server.manager.callbacks
    house.lose()
    assert not house.server.manager.callbacks
    house.server.emit("question", to=house.sid, callback=lambda: None)
    assert not house.server.manager.callbacks
    house.release.set()
