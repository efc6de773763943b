"""A socket that leaves: its peers are told once, its handlers run once, and nothing stays."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import socketio
from gevent.event import Event
from gevent.hub import get_hub

from rtcio_sync import Server
from tests.clients import TRANSPORTS, Polling, WebSocket, event, still_held
from tests.frames import masked
from tests.timing import DEADLINE, settle, until

# -- nothing is left of who has gone ---------------------------------------------------------------


@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize("where", ["use", "connect", "connection", "an event"])
def test_a_client_that_closes_while_a_handler_runs_leaves_nothing(where: str, kind: str) -> None:
    server = Server()
    entered, release = Event(), Event()
    reasons: list[str] = []

    def slow(sid: str) -> None:
        entered.set()
        release.wait(DEADLINE)
        server.enter_room(sid, "tea")

    if where == "use":
        server.use(lambda socket: slow(socket.id))
    elif where == "connect":
        server.on("connect", lambda sid, environ: slow(sid))
    elif where == "connection":
        server.on("connection", lambda socket: slow(socket.id))
    else:
        server.on("slow", slow)
    server.on("disconnect", lambda sid, reason: reasons.append(reason))
    client = TRANSPORTS[kind](server)
    client.ask_to_join()
    client.send(event("slow"))
    assert entered.wait(DEADLINE)
    client.close()  # type: ignore[attr-defined]
    settle()
    assert reasons == []
    release.set()
    until(lambda: reasons)
    settle()
    assert still_held(server) == {}
    assert len(reasons) == 1
    assert server.stats()["connects"] == server.stats()["disconnects"] == 1


@pytest.mark.parametrize("event_name", ["disconnecting", "disconnect"])
@pytest.mark.parametrize("idiom", ["server", "socket", "class"])
def test_a_disconnect_handler_that_raises_leaves_nothing(
    event_name: str, idiom: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()

    def fail(*args: Any) -> None:
        raise TypeError("the app's own")

    if idiom == "server":
        server.on(event_name, fail)
    elif idiom == "socket":
        server.on("connection", lambda socket: socket.on(event_name, fail))
    else:
        server.register_namespace(
            type("Mine", (socketio.Namespace,), {f"on_{event_name}": fail})("/")
        )
    a, b = Polling(server).join(), Polling(server).join()
    until(lambda: b.member.ready)
    for client in (a, b):
        server.enter_room(client.sid, "tea")
    a.close()
    assert b.next() == f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]'
    b.close()
    settle()
    assert still_held(server) == {}
    assert server.stats()["handler_errors"] == 2


def test_every_namespace_of_a_connection_is_left() -> None:
    server = Server()
    server.of("/calls")
    left: list[str] = []

    @server.on("disconnect")
    def fail(sid: str) -> None:
        raise ValueError("the app's own")

    server.on("disconnect", lambda sid: left.append("/calls"), namespace="/calls")
    client = Polling(server).join().join("/calls")
    client.close()
    until(lambda: left)
    settle()
    assert still_held(server) == {}


def test_leaving_one_namespace_keeps_the_connection_and_the_others() -> None:
    server = Server()
    server.of("/calls")
    reasons: list[str] = []
    server.on("disconnect", lambda sid, reason: reasons.append(reason), namespace="/calls")
    client = Polling(server).join().join("/calls")
    client.send("1/calls,")
    until(lambda: reasons)
    assert reasons == ["client disconnect"]
    assert client.events() == []
    client.join("/calls")


@pytest.mark.parametrize("how", ["socket", "sockets"])
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_who_is_disconnected_with_its_connection_is_told_so_in_each_namespace(
    kind: str, how: str
) -> None:
    """socket.io-client comes back to a namespace of which it only loses the connection."""
    server = Server()
    told: list[Any] = []
    for name in ("/", "/a", "/b"):
        server.of(name)
        server.on("disconnect", lambda sid, reason, name=name: told.append((name, reason)), name)
    client = TRANSPORTS[kind](server).join().join("/a").join("/b")
    if how == "socket":
        server.of("/a").sockets[client.sids["/a"]].disconnect(True)
    else:
        server.of("/a").in_(client.sids["/a"]).disconnect_sockets(True)
    heard = [client.next() for _ in range(3)]
    assert heard[0] == "1/a,"
    assert sorted(heard) == ["1", "1/a,", "1/b,"]
    until(lambda: len(told) == 3)
    settle()
    assert sorted(told) == [(name, "server disconnect") for name in ("/", "/a", "/b")]
    assert still_held(server) == {}
    assert server.stats()["disconnects"] == 3


# -- peer-left -------------------------------------------------------------------------------------


WAYS_OUT: dict[str, tuple[Callable[[Any, Server], Any], str, str]] = {
    "the page is closed": (
        lambda client, server: client.close(), "client disconnect", "transport close"
    ),
    "DISCONNECT": (
        lambda client, server: client.send("1"), "client disconnect", "client namespace disconnect"
    ),
    "server.disconnect": (
        lambda client, server: server.disconnect(client.sid),
        "server disconnect",
        "server namespace disconnect",
    ),
    "socket.disconnect(True)": (
        lambda client, server: server.of("/").sockets[client.sid].disconnect(True),
        "server disconnect",
        "server namespace disconnect",
    ),
    "a packet that cannot be read": (
        lambda client, server: client.post("4x"), "transport error", "parse error"
    ),
    "the server stops": (
        lambda client, server: server.eio.close_all(), "server disconnect", "server shutting down"
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS_OUT)
def test_each_way_out_has_its_reason_for_either_idiom(way: str) -> None:
    out, upstream, node = WAYS_OUT[way]
    server = Server()
    told: list[Any] = []
    for name in ("disconnecting", "disconnect"):
        server.on(name, lambda sid, reason, name=name: told.append(("server", name, reason)))

    @server.on("connection")
    def connection(socket: Any) -> None:
        for name in ("disconnecting", "disconnect"):
            socket.on(name, lambda reason, name=name: told.append(("socket", name, reason)))

    client = Polling(server).join()
    until(lambda: client.member.ready)
    out(client, server)
    until(lambda: len(told) == 4)
    settle()
    assert told == [
        ("server", "disconnecting", upstream),
        ("socket", "disconnecting", node),
        ("server", "disconnect", upstream),
        ("socket", "disconnect", node),
    ]


@pytest.mark.parametrize("way", [way for way in WAYS_OUT if way != "the server stops"])
def test_a_peer_hears_once_and_before_any_handler(way: str) -> None:
    out, _, _ = WAYS_OUT[way]
    server = Server()
    order: list[Any] = []
    a, b = Polling(server).join(), Polling(server).join()
    for room in ("tea", "coffee"):
        for client in (a, b):
            server.enter_room(client.sid, room)

    def outbox() -> list[str]:
        return [packet.data for packet in b.link.outbox or ()]

    left = f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]'
    for name in ("disconnecting", "disconnect"):
        server.on(name, lambda sid: order.append(outbox()))
    out(a, server)
    until(lambda: len(order) == 2)
    settle()
    assert order == [[left], [left]]
    assert b.packets() == [left]


def test_a_peer_hears_at_once_though_a_handler_blocks() -> None:
    server = Server()
    release = Event()
    server.on("block", lambda sid: release.wait(DEADLINE))
    a, b = WebSocket(server).join(), Polling(server).join()
    for client in (a, b):
        server.enter_room(client.sid, "tea")
    a.emit("block")
    settle()
    a.close()
    assert b.next() == f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]'
    release.set()


def test_a_room_that_a_running_handler_still_joins_hears_too() -> None:
    server = Server()
    entered, release, gone = Event(), Event(), Event()

    @server.on("join-room")
    def join_room(sid: str) -> None:
        entered.set()
        release.wait(DEADLINE)
        server.enter_room(sid, "late")

    order: list[Any] = []

    @server.on("disconnect")
    def disconnect(sid: str) -> None:
        order.append([packet.data for packet in late.link.outbox or ()])
        gone.set()

    a, early, late = (Polling(server).join() for _ in range(3))
    for client, rooms in ((a, ["tea"]), (early, ["tea", "late"]), (late, ["late"])):
        for room in rooms:
            server.enter_room(client.sid, room)
    a.emit("join-room")
    assert entered.wait(DEADLINE)
    a.close()
    left = [["#rtcio:peer-left", {"id": a.sid}]]
    assert early.events() == left
    assert late.events() == []
    release.set()
    assert gone.wait(DEADLINE)
    assert order == [[f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]']]
    assert late.events() == left
    assert early.events() == []


def test_a_room_that_a_disconnect_handler_joins_hears_too() -> None:
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()
    server.on("disconnect", lambda sid: server.enter_room(sid, "late"))
    server.enter_room(b.sid, "late")
    a.close()
    assert b.next() == f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]'
    assert set(server.manager.rooms["/"]["late"]) == {b.sid}


def test_a_socket_that_has_left_hears_nothing_of_itself() -> None:
    server = Server()
    a = Polling(server).join()
    server.enter_room(a.sid, "tea")
    server.disconnect(a.sid)
    assert a.next() == "1"
    assert a.queue == []


# -- gone once -------------------------------------------------------------------------------------


def test_the_handlers_of_a_disconnect_run_once_though_the_connection_ends_meanwhile() -> None:
    server = Server()
    release = Event()
    reasons: list[str] = []

    @server.on("disconnect")
    def disconnect(sid: str, reason: str) -> None:
        reasons.append(reason)
        release.wait(DEADLINE)

    client = Polling(server).join()
    leaving = gevent.spawn(server.disconnect, client.sid)
    until(lambda: reasons)
    client.close()
    settle()
    release.set()
    leaving.join(DEADLINE)
    settle()
    assert reasons == ["server disconnect"]
    assert server.stats()["disconnects"] == 1
    assert still_held(server) == {}


def test_a_socket_that_disconnects_itself_in_its_handler_is_gone_once() -> None:
    server = Server()
    runs: list[str] = []

    @server.on("disconnect")
    def disconnect(sid: str) -> None:
        runs.append(sid)
        server.disconnect(sid)

    client = Polling(server).join()
    server.disconnect(client.sid)
    assert runs == [client.sid]


def hears_by_handler(where: list[Any]) -> Server:
    server = Server()
    server.on("disconnect", lambda sid, reason: where.append(gevent.getcurrent()))
    return server


def hears_everywhere(where: list[Any]) -> Server:
    server = Server()
    server.on("disconnect", lambda *args: where.append(gevent.getcurrent()), namespace="*")
    return server


def hears_by_class(where: list[Any]) -> Server:
    class Own(socketio.Namespace):
        def on_disconnect(self, sid: str, reason: str) -> None:
            where.append(gevent.getcurrent())

    server = Server()
    server.register_namespace(Own("/"))
    return server


def hears_by_socket(where: list[Any]) -> Server:
    server = Server()

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.on("disconnecting", lambda reason: where.append(gevent.getcurrent()))

    return server


def hears_by_override(where: list[Any]) -> Server:
    class Own(Server):
        def _trigger_event(self, event: str, *args: Any, **kwargs: Any) -> Any:
            if event == "disconnect":
                where.append(gevent.getcurrent())
            return super()._trigger_event(event, *args, **kwargs)

    return Own()


def hears_by_engine(where: list[Any]) -> Server:
    class Own(Server):
        def _handle_eio_disconnect(self, eio_sid: str, reason: str) -> None:
            where.append(gevent.getcurrent())
            super()._handle_eio_disconnect(eio_sid, reason)

    return Own()


def hears_by_manager(where: list[Any]) -> Server:
    class Own(socketio.Manager):
        def disconnect(self, sid: str, namespace: str, **kwargs: Any) -> Any:
            where.append(gevent.getcurrent())
            return super().disconnect(sid, namespace, **kwargs)

    return Server(client_manager=Own())


@pytest.mark.parametrize(
    "hears",
    [
        hears_by_handler, hears_everywhere, hears_by_class, hears_by_socket, hears_by_override,
        hears_by_engine, hears_by_manager,
    ],
)  # fmt: skip
def test_no_code_of_the_app_hears_of_an_end_in_the_hub(
    hears: Callable[[list[Any]], Server],
) -> None:
    where: list[Any] = []
    server = hears(where)
    client = WebSocket(server)
    client.join()
    client.close()
    until(lambda: still_held(server) == {})
    assert len(where) == 1
    assert where[0] is not get_hub()


def test_an_end_that_nobody_hears_of_needs_no_greenlet(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    client = WebSocket(server)
    client.join()
    settle()
    spawned: list[Any] = []
    spawn = server.eio.spawn
    monkeypatch.setattr(server.eio, "spawn", lambda *args: (spawned.append(args), spawn(*args)))
    client.close()
    until(lambda: still_held(server) == {})
    assert spawned == []


def test_disconnecting_nobody_is_nothing() -> None:
    server = Server()
    server.disconnect("nobody")
    client = Polling(server).join()
    server.disconnect(client.sid)
    server.disconnect(client.sid)
    assert server.stats()["disconnects"] == 1


# -- what a disconnect handler still has -----------------------------------------------------------


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_disconnect_handler_has_the_rooms_the_session_and_the_environ(kind: str) -> None:
    server = Server()
    found: list[Any] = []

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        server.save_session(sid, {"name": "ann"})
        with server.session(sid) as session:
            session["age"] = 7

    @server.on("disconnect")
    def disconnect(sid: str) -> None:
        found.append(set(server.rooms(sid)) - {sid})
        found.append(server.get_session(sid))
        found.append(server.get_environ(sid)["PATH_INFO"])

    client = TRANSPORTS[kind](server).join()
    server.enter_room(client.sid, "tea")
    client.close()  # type: ignore[attr-defined]
    until(lambda: len(found) == 3)
    assert found == [{"tea"}, {"name": "ann", "age": 7}, "/socket.io/"]


@pytest.mark.parametrize("always", [False, True], ids=["", "always_connect"])
@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize("way", ["leaves", "put out", "refused", "kicked"])
def test_the_next_socket_of_a_connection_has_no_session_of_the_last(
    way: str, kind: str, always: bool
) -> None:
    server = Server(always_connect=always)
    found: list[Any] = []
    at_the_end: list[Any] = []

    @server.on("connect")
    def connect(sid: str, environ: Any, auth: Any) -> bool:
        user = auth["user"]
        session = server.get_session(sid)
        found.append((user, dict(session)))
        session["user"] = user
        if way == "kicked" and user == "ann":
            server.disconnect(sid)
        return way != "refused" or user != "ann"

    @server.on("disconnect")
    def disconnect(sid: str) -> None:
        at_the_end.append(server.get_session(sid))

    client: Any = TRANSPORTS[kind](server)
    client.ask_to_join(auth={"user": "ann"})
    if way in ("leaves", "put out"):
        client.joined()
    if way == "leaves":
        client.send("1")
    elif way == "put out":
        server.disconnect(client.sid)
    client.ask_to_join(auth={"user": "bob"})
    until(lambda: len(found) == 2)
    assert found == [("ann", {}), ("bob", {})]
    heard = way in ("leaves", "put out") or (way == "kicked" and always)
    assert at_the_end == ([{"user": "ann"}] if heard else [])


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_the_callbacks_of_a_client_that_answers_and_closes_at_once_run_before_its_end(
    kind: str,
) -> None:
    server = Server()
    found: list[Any] = []
    client: Any = TRANSPORTS[kind](server)
    client.join()
    sid = client.sid
    server.save_session(sid, {"user": "ann"})

    def answered(number: int) -> None:
        found.append((number, server.get_session(sid), server.get_environ(sid) is not None))

    packets = []
    for number in range(3):
        server.emit("q", to=sid, callback=answered)
        asked = client.next()
        packets.append(f"43{asked[1 : asked.index('[')]}[{number}]")
    packets.append("1")  # CLOSE
    if kind == "polling":
        client.post(*packets)
    else:
        client.sock.sendall(b"".join(masked(1, packet.encode()) for packet in packets))
    until(lambda: len(found) == 3)
    assert found == [(number, {"user": "ann"}, True) for number in range(3)]
    until(lambda: still_held(server) == {})


def test_who_leaves_a_namespace_keeps_its_sessions_in_the_others() -> None:
    server = Server()
    server.of("/calls")
    client = Polling(server).join().join("/calls")
    for namespace, sid in client.sids.items():
        server.save_session(sid, {"in": namespace}, namespace)
    server.disconnect(client.sid)
    assert server.get_session(client.sids["/calls"], "/calls") == {"in": "/calls"}
    client.join()
    assert server.get_session(client.sid) == {}


def test_the_session_of_a_stranger_is_a_key_error() -> None:
    server = Server()
    with pytest.raises(KeyError):
        server.get_session("nobody")
    with pytest.raises(KeyError):
        server.save_session("nobody", {})


def test_events_sent_before_the_end_are_handled_before_it() -> None:
    server = Server()
    log: list[str] = []
    server.on("chat", lambda sid, text: log.append(text))
    server.on("disconnect", lambda sid: log.append("disconnect"))
    client = WebSocket(server).join()
    client.send(event("chat", "one"), event("chat", "two"))
    client.close()
    until(lambda: "disconnect" in log)
    assert log == ["one", "two", "disconnect"]


def test_nothing_is_logged_of_an_ordinary_life(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()
    caplog.set_level(logging.INFO)
    client = WebSocket(server).join()
    client.emit("chat")
    client.close()
    until(lambda: not server.eio.sockets)
    assert caplog.records == []
