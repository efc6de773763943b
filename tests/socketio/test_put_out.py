"""A client that is put out while it is being let in is refused, whatever puts it out."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import socketio
from gevent.event import Event

from rtcio_sync import ConnectionRefusedError, Server
from rtcio_sync.socketio.socket import socket_of as socket_of_member
from tests.bus import Bus
from tests.clients import TRANSPORTS, Client, Polling, WebSocket, still_held
from tests.timing import DEADLINE, settle, until

REFUSED = {"message": "Connection rejected by server"}

Kick = Callable[[Server, str, str], Any]

WAYS: dict[str, Kick] = {
    "server.disconnect": lambda server, sid, where: server.disconnect(sid, namespace=where),
    "of one process": lambda server, sid, where: server.disconnect(
        sid, namespace=where, ignore_queue=True
    ),
    "socket.disconnect": lambda server, sid, where: socket_of(server, sid, where).disconnect(),
    "disconnect_sockets": lambda server, sid, where: server.of(where).disconnect_sockets(),
    "in_(sid)": lambda server, sid, where: server.of(where).in_(sid).disconnect_sockets(),
    "in_(room)": lambda server, sid, where: server.of(where).in_("tea").disconnect_sockets(),
    "of a namespace": lambda server, sid, where: server.of(where).disconnect(sid),
}


def socket_of(server: Server, sid: str, namespace: str) -> Any:
    return socket_of_member(server, server.manager.member(sid, namespace))


PLACES = ["connect", "use", "elsewhere, in connect", "elsewhere, in use"]
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with recovery": {"connection_state_recovery": True},
    "shared": {"shared": True},
    "msgpack": {"serializer": "msgpack"},
}


class House:
    """A server that puts out whoever comes, while it comes."""

    def __init__(self, place: str, way: str, namespace: str = "/", **options: Any) -> None:
        if options.pop("shared", False):
            options["client_manager"] = Bus().manager()
        self.server = server = Server(**options)
        self.namespace = namespace
        self.place, self.kick = place, WAYS[way]
        self.log: list[str] = []
        self.asked, self.release = Event(), Event()
        self.sid = ""
        space = server.of(namespace)
        space.use(self.use)
        space.use(lambda socket: self.log.append("the next use"))
        server.on("connect", self.connect, namespace=namespace)
        space.on("connection", lambda socket: self.log.append("connection"))
        for event in ("disconnect", "chat"):
            server.on(event, self.note(event), namespace=namespace)

    def note(self, event: str) -> Callable[..., None]:
        return lambda sid, *_: self.log.append(event)

    def use(self, socket: Any) -> None:
        self.sid = socket.id
        socket.join("tea")
        self.at("use")

    def connect(self, sid: str, environ: Any) -> None:
        self.at("connect")

    def at(self, where: str) -> None:
        if self.place == where:
            self.kick(self.server, self.sid, self.namespace)
        elif self.place == f"elsewhere, in {where}":
            self.asked.set()
            assert self.release.wait(DEADLINE)

    def come(self, client: Client, auth: Any = None) -> Any:
        """The answer to CONNECT."""
        client.ask_to_join(self.namespace, auth=auth)
        if self.place.startswith("elsewhere"):
            assert self.asked.wait(DEADLINE)
            gevent.spawn(self.kick, self.server, self.sid, self.namespace).join(DEADLINE)
            answer = client.next()  # at once, not when the app has answered
            assert not self.server.of(self.namespace).rooms
            self.release.set()
            return answer
        return client.next()


@pytest.mark.parametrize("namespace", ["/", "/calls"])
@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_a_kick_while_one_is_let_in_is_a_refusal(
    way: str, place: str, kind: str, namespace: str
) -> None:
    house = House(place, way, namespace)
    client = TRANSPORTS[kind](house.server)
    answer = house.come(client)
    where = "" if namespace == "/" else f"{namespace},"
    assert answer == f"4{where}{json.dumps(REFUSED, separators=(',', ':'))}"
    client.emit("chat", namespace=namespace)
    until(lambda: not house.server.manager.members)
    settle()
    assert house.log == ([] if place.endswith("use") else ["the next use"])
    assert house.server.stats()["connects"] == 0
    house.place = ""
    client.join(namespace)  # the same connection may try again
    until(lambda: "connection" in house.log)
    client.close()  # type: ignore[attr-defined]
    until(lambda: not still_held(house.server))


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("place", PLACES)
def test_it_is_so_on_every_kind_of_server(place: str, options: str) -> None:
    house = House(place, "server.disconnect", **OPTIONS[options])
    if options == "msgpack":
        client = house.server.test_client if not place.startswith("elsewhere") else None
        if client is not None:
            assert client().error == REFUSED
        return
    polling = Polling(house.server)
    assert house.come(polling) == f"4{json.dumps(REFUSED, separators=(',', ':'))}"
    until(lambda: not house.server.manager.members)
    assert "connection" not in house.log


@pytest.mark.parametrize("end", ["returns", "refuses", "raises"])
def test_the_first_answer_counts_whatever_the_handler_does_after_the_kick(end: str) -> None:
    server = Server()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> Any:
        server.disconnect(sid)
        server.save_session(sid, {"late": True})
        server.enter_room(sid, "tea")
        server.emit("never", to=sid)
        if end == "refuses":
            raise ConnectionRefusedError("why")
        if end == "raises":
            raise KeyError("a bug")

    client = WebSocket(server)
    client.ask_to_join()
    assert json.loads(client.next()[1:]) == REFUSED
    until(lambda: not server.manager.members)
    assert server.stats()["handler_errors"] == (end == "raises")
    assert client.queue == []


@pytest.mark.parametrize("place", PLACES)
def test_a_kick_with_the_connection_closes_it_after_the_refusal(place: str) -> None:
    house = House(place, "socket.disconnect")
    house.kick = lambda server, sid, where: socket_of(server, sid, where).disconnect(close=True)
    client = WebSocket(house.server)
    assert house.come(client) == f"4{json.dumps(REFUSED, separators=(',', ':'))}"
    assert client.frame()[1] == b"1"
    assert client.frame()[0] == 8
    until(lambda: not still_held(house.server))
    assert "connection" not in house.log


def known_to(house: House, place: str, *, half_open: bool) -> tuple[WebSocket, Any]:
    """A client that was connected, and what it sends when it comes back."""
    house.place = ""
    client = WebSocket(house.server)
    client.ask_to_join()
    answer = json.loads(client.next()[1:])
    kick = house.kick
    # Nobody is put out who would come in as a new client instead.
    house.kick = lambda server, sid, where: sid == answer["sid"] and kick(server, sid, where)
    until(lambda: "connection" in house.log)
    if not half_open:
        client.sock.close()
        until(lambda: house.server.stats()["away"] == 1)
    house.log.clear()
    house.place = place
    return client, {"pid": answer["pid"]}


ASKS = {"connection_state_recovery": {"skip_middlewares": False}}


@pytest.mark.parametrize("half_open", [True, False])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_a_kick_while_one_comes_back_is_a_refusal_too(
    way: str, place: str, half_open: bool
) -> None:
    house = House(place, way, **ASKS)
    before, key = known_to(house, place, half_open=half_open)
    again = WebSocket(house.server)
    assert house.come(again, key) == f"4{json.dumps(REFUSED, separators=(',', ':'))}"
    again.emit("chat")
    until(lambda: not house.server.manager.members)
    settle()
    asked = [] if place.endswith("use") else ["the next use"]
    assert sorted(house.log) == sorted([*["disconnect"] * half_open, *asked])
    if half_open:
        assert before.next() == "1"
    house.place = ""
    again.join(auth=key)  # as a new one
    until(lambda: "connection" in house.log)
    again.close()
    before.close()
    until(lambda: house.server.stats()["away"] == 1)
    house.server.manager.recovery.end_waiting()
    until(lambda: not still_held(house.server))


@pytest.mark.parametrize("half_open", [True, False])
@pytest.mark.parametrize("place", PLACES)
def test_a_kick_with_the_connection_closes_the_one_on_which_it_comes_back(
    place: str, half_open: bool
) -> None:
    house = House(place, "socket.disconnect", **ASKS)
    house.kick = lambda server, sid, where: socket_of(server, sid, where).disconnect(close=True)
    before, key = known_to(house, place, half_open=half_open)
    again = WebSocket(house.server)
    assert house.come(again, key) == f"4{json.dumps(REFUSED, separators=(',', ':'))}"
    assert again.frame()[1] == b"1"
    assert again.frame()[0] == 8
    if half_open:
        assert before.next() == "1"
        assert before.frame()[1] == b"1"
        assert before.frame()[0] == 8
    until(lambda: not still_held(house.server))
    assert "connection" not in house.log


@pytest.mark.parametrize("end", ["returns", "refuses", "raises"])
def test_the_answer_to_a_return_is_the_kick_whatever_the_handler_does_after_it(end: str) -> None:
    house = House("connect", "server.disconnect", **ASKS)
    kick = house.kick

    def kicks(server: Server, sid: str, where: str) -> None:
        kick(server, sid, where)
        if end == "refuses":
            raise ConnectionRefusedError("why")
        if end == "raises":
            raise KeyError("a bug")

    house.kick = kicks
    _, key = known_to(house, "connect", half_open=False)
    again = WebSocket(house.server)
    assert json.loads(house.come(again, key)[1:]) == REFUSED
    until(lambda: not house.server.manager.members)
    settle()
    assert again.queue == [] and "connection" not in house.log


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("way", WAYS)
def test_one_that_was_let_in_before_it_was_asked_is_disconnected(way: str, place: str) -> None:
    house = House(place, way, always_connect=True)
    client = WebSocket(house.server)
    client.ask_to_join()
    assert client.next().startswith('0{"sid":')
    if place.startswith("elsewhere"):
        assert house.asked.wait(DEADLINE)
        gevent.spawn(house.kick, house.server, house.sid, "/").join(DEADLINE)
    assert client.next() == "1"
    house.release.set()
    until(lambda: not house.server.manager.members)
    settle()
    assert "connection" not in house.log
    assert house.log.count("disconnect") == 1
    assert house.server.stats()["connected"] == 0


def test_its_disconnect_handler_still_has_its_rooms_when_it_takes_long() -> None:
    server = Server(always_connect=True)
    asked, entered, release = Event(), Event(), Event()
    found: list[Any] = []

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        server.enter_room(sid, "tea")
        server.save_session(sid, {"name": "ann"})
        gevent.spawn(server.disconnect, sid)
        assert asked.wait(DEADLINE)

    @server.on("disconnect")
    def disconnect(sid: str) -> None:
        entered.set()
        assert release.wait(DEADLINE)
        found.append((set(server.rooms(sid)) - {sid}, server.get_session(sid)))

    client = WebSocket(server)
    client.ask_to_join()
    assert entered.wait(DEADLINE)
    asked.set()
    settle()
    release.set()
    until(lambda: found)
    assert found == [({"tea"}, {"name": "ann"})]
    until(lambda: not server.manager.members)


@pytest.mark.parametrize("refuse", ["return False", "raise", "use"])
def test_a_refusal_after_the_welcome_is_a_disconnect_that_carries_nothing(refuse: str) -> None:
    server = Server(always_connect=True)

    def no(*_: Any) -> bool:
        if refuse == "return False":
            return False
        raise ConnectionRefusedError("no", {"why": 1})

    if refuse == "use":
        server.use(no)
    else:
        server.on("connect", no)
    client = WebSocket(server)
    client.ask_to_join()
    assert client.next().startswith('0{"sid":')
    assert client.next() == "1"
    until(lambda: not server.manager.members)
    assert server.stats()["connected"] == 0


@pytest.mark.parametrize("recovery", [None, True])
@pytest.mark.parametrize("way", WAYS)
def test_one_that_a_connection_handler_puts_out_is_no_business_of_the_next_ones(
    way: str, recovery: Any
) -> None:
    server = Server(connection_state_recovery=recovery)
    log: list[str] = []

    @server.on("connection")
    def first(socket: Any) -> None:
        socket.join("tea")
        socket.on("disconnect", lambda reason: log.append(reason))
        WAYS[way](server, socket.id, "/")
        assert not socket.connected

    server.on("connection", lambda socket: log.append("the next"))
    client = WebSocket(server)
    client.ask_to_join()
    assert client.next().startswith('0{"sid":')
    assert client.next() == "1"
    until(lambda: not server.manager.members)
    settle()
    assert log == ["server namespace disconnect"]
    assert server.stats()["handler_errors"] == 0


def test_a_class_puts_out_its_own() -> None:
    server = Server()

    class Calls(socketio.Namespace):
        def on_connect(self, sid: str, environ: Any) -> None:
            self.disconnect(sid)

    server.register_namespace(Calls("/calls"))
    client = Polling(server)
    client.ask_to_join("/calls")
    assert client.next() == '4/calls,{"message":"Connection rejected by server"}'


def test_another_process_puts_one_out_that_is_being_let_in() -> None:
    bus = Bus()
    here, there = Server(client_manager=bus.manager()), Server(client_manager=bus.manager())
    Polling(here).join()  # whoever listens has had a client
    Polling(there).join()
    asked, release, sids = Event(), Event(), []

    @there.on("connect")
    def connect(sid: str, environ: Any) -> None:
        sids.append(sid)
        asked.set()
        assert release.wait(DEADLINE)

    client = Polling(there)
    client.ask_to_join()
    assert asked.wait(DEADLINE)
    here.disconnect(sids[0])
    assert client.next() == '4{"message":"Connection rejected by server"}'
    release.set()
    until(lambda: there.manager.member(sids[0], "/") is None)


@pytest.mark.parametrize("options", [{}, {"json": json}, {"connection_state_recovery": True}])
def test_who_leaves_while_its_connect_handler_hangs_is_in_no_room_any_more(
    options: dict[str, Any],
) -> None:
    server = Server(**options)
    asked, release = Event(), Event()
    ended: list[Any] = []

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        if not environ.get("HTTP_PEER"):
            server.enter_room(sid, "tea")
            asked.set()
            release.wait()

    server.on("disconnect", lambda sid: ended.append(set(server.rooms(sid))))
    client = WebSocket(server)
    client.ask_to_join()
    assert asked.wait(DEADLINE)
    (sid,) = server.manager.members["/"]
    client.close()
    until(lambda: "tea" not in server.of("/").rooms)
    assert list(server.of("/").rooms) == []
    release.set()
    until(lambda: ended == [{sid, "tea"}])
    until(lambda: not still_held(server))
