"""A client that the app has disconnected: nothing that it has sent is handled any more."""

from __future__ import annotations

import json
from typing import Any

import gevent
import pytest
from gevent.event import Event

from rtcio_sync import Server, Socket
from rtcio_sync.socketio import disconnect
from tests.clients import TRANSPORTS
from tests.timing import DEADLINE, settle, until

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with recovery": {"connection_state_recovery": True},
    "json": {"json": json},
}


class House:
    """A server whose handlers wait where the test says, and a peer."""

    def __init__(self, kind: str, waits: str, **options: Any) -> None:
        self.server = Server(**options)
        self.kind, self.waits = kind, waits
        self.entered, self.release = Event(), Event()
        self.log: list[Any] = []
        self.server.on("connection", self.connection)
        self.waits = ""
        self.peer = TRANSPORTS[kind](self.server).join()
        self.waits = waits
        self.client = TRANSPORTS[kind](self.server).join()

    def connection(self, socket: Socket) -> None:
        socket.on("block", lambda: self.at("block"))
        socket.on("chat", lambda text: self.log.append(text))
        socket.on("disconnect", lambda reason: self.at("disconnect"))
        self.at("connection")

    def at(self, where: str) -> None:
        if self.waits == where:
            self.entered.set()
            assert self.release.wait(DEADLINE)
            self.log.append(where)

    def kick(self) -> Any:
        return gevent.spawn(self.server.disconnect, self.client.sid)

    def dropped(self) -> int:
        found: int = self.server.stats()["dropped"].get("not-connected", 0)
        return found


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_no_event_is_handled_after_its_disconnect_handlers_have_begun(
    kind: str, options: str
) -> None:
    """One that joins it to something would leave a ghost there."""
    house = House(kind, "disconnect", **OPTIONS[options])
    until(lambda: house.server.manager.member(house.client.sid, "/").ready)
    kick = house.kick()
    assert house.entered.wait(DEADLINE)
    house.client.emit("chat", "too late")
    until(house.dropped)
    house.release.set()
    kick.get(timeout=DEADLINE)
    settle()
    assert house.log == ["disconnect"]


@pytest.mark.parametrize("options", ["plain", "json"])
@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize("waits", ["connection", "block"])
def test_what_waited_for_its_handler_is_neither_handled_nor_relayed(
    waits: str, kind: str, options: str
) -> None:
    house = House(kind, waits, **OPTIONS[options])
    client, peer = house.client, house.peer
    if waits == "block":
        client.emit("block")
    assert house.entered.wait(DEADLINE)
    client.emit("chat", "waits")
    if waits == "connection" or options == "json":  # else no relay waits
        client.relay(peer.sid, {"candidate": 1})
    settle()
    house.kick().get(timeout=DEADLINE)
    house.release.set()
    until(lambda: house.log == [waits])
    until(lambda: house.dropped() >= 1)
    settle()
    assert peer.heard("#rtcio:message") == []
    assert house.log == [waits]


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_who_is_refused_after_its_answer_has_relayed_nothing(kind: str) -> None:
    """With ``always_connect`` a client knows its sid before its ``connect`` handler says no."""
    server = Server(always_connect=True)
    entered, release = Event(), Event()
    peer = TRANSPORTS[kind](server).join()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> bool:
        entered.set()
        assert release.wait(DEADLINE)
        return False

    client = TRANSPORTS[kind](server).join()
    assert entered.wait(DEADLINE)
    client.relay(peer.sid, {"candidate": 1})
    settle()
    release.set()
    until(lambda: server.stats()["dropped"].get("not-connected"))
    assert peer.heard("#rtcio:message") == []


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_what_came_before_a_loss_is_still_handled(kind: str) -> None:
    """Only who is put out is not heard any more."""
    house = House(kind, "connection")
    assert house.entered.wait(DEADLINE)
    house.client.emit("chat", "in time")
    house.client.relay(house.peer.sid, {"candidate": 1})
    settle()
    house.client.close()  # type: ignore[attr-defined]
    until(lambda: house.peer.heard("#rtcio:peer-left") or not house.server.stats()["dropped"])
    house.release.set()
    until(lambda: "in time" in house.log)
    until(lambda: house.server.stats()["relayed"])
    assert house.dropped() == 0


# -- a client that comes back at once --------------------------------------------------------------


class Slow:
    """A server with a client whose ``disconnect`` handler waits, and that was disconnected."""

    def __init__(self, kind: str, namespace: str, **options: Any) -> None:
        self.server, self.namespace = Server(**options), namespace
        self.log: list[str] = []
        self.begun, self.release = Event(), Event()
        self.server.of(namespace).on("connection", self.connection)
        self.client = TRANSPORTS[kind](self.server).join(namespace)
        sid = self.client.sids[namespace]
        until(lambda: self.server.manager.member(sid, namespace).ready)
        self.kick = gevent.spawn(self.server.disconnect, sid, namespace)
        assert self.begun.wait(DEADLINE)
        assert self.client.next().startswith("1")  # as a page that connects again when it hears it
        self.client.ask_to_join(namespace)

    def connection(self, socket: Socket) -> None:
        self.log.append("connection")
        socket.on("disconnect", self.disconnect)

    def disconnect(self, reason: str) -> None:
        self.begun.set()
        assert self.release.wait(DEADLINE)
        self.log.append("disconnect")


@pytest.mark.parametrize("options", [*OPTIONS, "in parallel"])
@pytest.mark.parametrize("namespace", ["/", "/calls"])
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_client_may_come_back_while_its_disconnect_handlers_run(
    kind: str, namespace: str, options: str
) -> None:
    house = Slow(kind, namespace, **OPTIONS.get(options, {"async_handlers": True}))
    settle()
    assert house.log == ["connection"]
    house.release.set()
    assert house.client.next().startswith("0")
    until(lambda: house.log == ["connection", "disconnect", "connection"])
    house.kick.get(timeout=DEADLINE)
    (member,) = house.server.manager.members[namespace].values()
    assert house.server.sockets.keys() >= ({member.sid} if namespace == "/" else set())
    house.client.close()  # type: ignore[attr-defined]
    until(lambda: not house.server.manager.members or options == "with recovery")


def test_it_is_refused_if_they_never_return(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disconnect, "PATIENCE", 0.01)
    house = Slow("websocket", "/")
    assert house.client.next() == '4{"message":"Unable to connect"}'
    house.release.set()
    house.kick.get(timeout=DEADLINE)
    house.client.ask_to_join("/")
    assert house.client.next().startswith("0")
    assert house.server.disconnecting._awaited == {}


# -- in a middleware -------------------------------------------------------------------------------


def in_use(how: str, kick: str) -> tuple[Server, list[str]]:
    """A server with a middleware (``use``) or a catch-all handler that disconnects its client."""
    server = Server()
    log: list[str] = []

    @server.on("connection")
    def connection(socket: Socket) -> None:
        def check(event: str, *args: Any) -> None:
            if "kick" in str(args) and socket.connected:
                log.append("kick")
                socket.disconnect() if kick == "socket" else server.disconnect(socket.id)

        socket.use(check) if how == "use" else socket.on_any(check)
        socket.on("chat", lambda *_: log.append("handler"))
        socket.on("#rtcio:message", lambda *_: log.append("relay"))

    return server, log


@pytest.mark.parametrize("kick", ["socket", "server"])
@pytest.mark.parametrize("how", ["use", "on_any"])
def test_who_is_disconnected_by_a_middleware_reaches_no_handler(how: str, kick: str) -> None:
    server, log = in_use(how, kick)
    client = server.test_client()
    client.emit("chat", "hello")
    client.emit("chat", "kick")
    assert not client.connected
    assert log == ["handler", "kick"]


@pytest.mark.parametrize("kick", ["socket", "server"])
def test_who_is_disconnected_by_a_middleware_relays_nothing(kick: str) -> None:
    server, log = in_use("use", kick)
    peer, client = server.test_client(), server.test_client()
    client.emit("#rtcio:message", {"source": client.sid, "target": peer.sid, "data": "kick"})
    assert not client.connected
    assert peer.received("#rtcio:message") == []
    assert log == ["kick"]
    assert server.stats()["relayed"] == 0
    assert server.stats()["dropped"] == {"not-connected": 1}
