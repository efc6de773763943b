"""`add_default_listeners` on servers that are not ours, and on what of ours it takes."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import flask
import flask_socketio
import pytest
import socketio
from engineio import packet as eio_packet

from rtcio_sync import Namespace, Server, add_default_listeners


class Peer:
    """A client of a plain `socketio.Server`: what the engine would hand on goes in by hand.

    What the server sends comes back through the engine's own `send_packet`.
    """

    made = 0

    def __init__(self, server: Any, namespace: str = "/") -> None:
        Peer.made += 1
        self.server = server
        self.namespace = namespace
        self.eio_sid = f"eio{Peer.made}"
        self.got: list[Any] = []
        self.where = "" if namespace == "/" else f"{namespace},"
        wires(server)[self.eio_sid] = self.got
        server._handle_eio_connect(self.eio_sid, {})
        self.send(f"0{self.where}")
        self.sid = server.manager.sid_from_eio_sid(self.eio_sid, namespace)
        self.got.clear()

    def send(self, *packets: str | bytes) -> None:
        for packet in packets:
            self.server.eio.handlers["message"](self.eio_sid, packet)

    def emit(self, *arguments: Any) -> None:
        self.send(f"2{self.where}{json.dumps(arguments)}")

    def relay(self, target: str, data: Any) -> None:
        self.emit("#rtcio:message", {"source": self.sid, "target": target, "data": data})

    def close(self, reason: str = "transport close") -> None:
        self.server.eio.handlers["disconnect"](self.eio_sid, reason)

    def events(self) -> list[Any]:
        head = f"2{self.where}["
        return [
            json.loads(each[len(head) - 1 :]) for each in self.got if str(each).startswith(head)
        ]


def wires(server: Any) -> dict[str, list[Any]]:
    known: dict[str, list[Any]] | None = server.__dict__.get("_wires")
    if known is None:
        known = server._wires = {}

        def send_packet(eio_sid: str, packet: eio_packet.Packet) -> None:
            known[eio_sid].append(packet.data)

        server.eio.send_packet = send_packet
        server.eio.send = lambda eio_sid, data: known[eio_sid].append(data)
    return known


def plain(**options: Any) -> Any:
    return socketio.Server(async_mode="threading", async_handlers=False, **options)


def served(namespace: str | None = None, **options: Any) -> Any:
    server = plain(**options)
    add_default_listeners(server, namespace)
    return server


# -- relay -----------------------------------------------------------------------------------------


def test_a_plain_server_relays_nothing_by_itself() -> None:
    server = plain()
    a, b = Peer(server), Peer(server)
    a.relay(b.sid, 1)
    assert b.got == []


FORMS = {
    "plain": '2["#rtcio:message",{raw}]',
    "with an id": '27["#rtcio:message",{raw}]',
    "with surplus": '2["#rtcio:message",{raw},1]',
    "with white space": '2 [ "#rtcio:message" , {raw} ]',
    "with an escaped name": '2["\\u0023rtcio:message",{raw}]',
}


@pytest.mark.parametrize("form", FORMS)
def test_the_envelope_arrives_byte_for_byte_and_alone(form: str) -> None:
    server = served()
    a, b, c = Peer(server), Peer(server), Peer(server)
    raw = f'{{ "target":"{b.sid}",\t"data" : [1.0,"\\u00e9"],"source":"{a.sid}"}}'
    a.send(FORMS[form].format(raw=raw))
    assert b.got == [f'2["#rtcio:message",{raw}]']
    assert a.got == c.got == []


def test_attachments_arrive_behind_their_event() -> None:
    server = served()
    a, b = Peer(server), Peer(server)
    raw = f'{{"source":"{a.sid}","target":"{b.sid}","data":{{"_placeholder":true,"num":0}}}}'
    a.send(f'51-7["#rtcio:message",{raw}]')
    assert b.got == []
    a.send(b"\x00\xff")
    assert b.got == [f'51-["#rtcio:message",{raw}]', b"\x00\xff"]


@pytest.mark.parametrize(
    "payload",
    [
        None,
        7,
        [],
        {},
        {"source": "A", "target": "B"},
        {"target": "B", "data": 1},
        {"source": "B", "target": "B", "data": 1},
        {"source": "A", "target": "A", "data": 1},
        {"source": "A", "target": "tea", "data": 1},
        {"source": "A", "target": "", "data": 1},
        {"source": "A", "target": ["B"], "data": 1},
        {"source": "A", "target": "nobody", "data": 1},
    ],
)
def test_nobody_hears_of_a_message_that_may_not_be(
    payload: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = served()
    a, b = Peer(server), Peer(server)
    for peer in (a, b):
        server.enter_room(peer.sid, "tea")
    if isinstance(payload, dict):
        names = {"A": a.sid, "B": b.sid}
        payload = {
            key: names.get(each, each) if isinstance(each, str) else each
            for key, each in payload.items()
        }
    caplog.set_level(logging.INFO)
    a.emit("#rtcio:message", payload)
    a.emit("#rtcio:message")
    assert a.got == b.got == []
    assert caplog.records == []
    assert server.manager.is_connected(a.sid, "/")


@pytest.mark.parametrize(
    "packets",
    [
        ['2["#rtcio:message",{"source":"a"}]x'],
        ['511-["#rtcio:message",{}]'],
        ['52-["#rtcio:message",{}]', '2["chat"]'],
        ['51-["#rtcio:message",{"_placeholder":true,"num":7}]', b"x"],
    ],
    ids=["tail", "too many", "text where bytes are due", "no such attachment"],
)
def test_what_cannot_be_read_reaches_nobody_and_the_next_message_does(
    packets: list[str | bytes],
) -> None:
    server = served()
    a, b = Peer(server), Peer(server)
    a.send(*packets)
    a.relay(b.sid, "next")
    assert [event[1]["data"] for event in b.events()] == ["next"]


def test_a_client_that_leaves_in_the_middle_of_a_message_leaves_nothing() -> None:
    server = served()
    a = Peer(server)
    stranger = Peer(server, "/calls")
    for peer in (a, stranger):
        peer.send('51-["#rtcio:message",{"_placeholder":true,"num":0}]')
        peer.close()
    assert server.rtcio_listeners._partial == {}


def test_other_events_go_their_usual_way() -> None:
    server = served()
    heard: list[Any] = []
    server.on("chat", lambda sid, *args: heard.append(args) or "answer")
    a = Peer(server)
    a.send('27["chat",1]', '51-["chat",{"_placeholder":true,"num":0}]', b"x")
    assert heard == [(1,), (b"x",)]
    assert a.got == ['37["answer"]']


def test_messages_stay_in_order_beside_parallel_handlers() -> None:
    server = socketio.Server(async_mode="threading")
    add_default_listeners(server)
    server.on("chat", lambda sid: None)
    a, b = Peer(server), Peer(server)
    for number in range(50):
        a.emit("chat")
        a.relay(b.sid, number)
    assert [event[1]["data"] for event in b.events()] == list(range(50))


# -- peer-left -------------------------------------------------------------------------------------


@pytest.mark.parametrize("hook", ["first", "last"])
def test_a_peer_hears_once_and_before_the_apps_own_handler(hook: str) -> None:
    server = plain()
    order: list[Any] = []
    if hook == "first":
        add_default_listeners(server)

    @server.on("disconnect")
    def disconnect(sid: str, reason: str) -> None:
        order.append((reason, list(b.got)))

    if hook == "last":
        add_default_listeners(server)
    a, b = Peer(server), Peer(server)
    for room in ("tea", "coffee"):
        for peer in (a, b):
            server.enter_room(peer.sid, room)
    a.close()
    left = f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]'
    assert order == [("transport close", [left])]
    assert b.got == [left]


@pytest.mark.parametrize("way", ["close", "DISCONNECT", "server.disconnect"])
def test_every_way_out_is_told_once(way: str) -> None:
    server = served()
    a, b, c = Peer(server), Peer(server), Peer(server)
    for peer in (a, b):
        server.enter_room(peer.sid, "tea")
    if way == "DISCONNECT":
        a.send("1")
    elif way == "server.disconnect":
        server.disconnect(a.sid)
    a.close()
    assert b.events() == [["#rtcio:peer-left", {"id": a.sid}]]
    assert c.got == []


def test_a_handler_that_raises_keeps_no_namespace_from_hearing() -> None:
    server = plain(namespaces=["/", "/calls"])
    for namespace in ("/", "/calls"):
        add_default_listeners(server, namespace)
        server.on("disconnect", lambda sid: 1 / 0, namespace=namespace)
    a, b = Peer(server), Peer(server)
    for peer in (a, b):
        peer.send("0/calls,")
        peer.got.clear()
        for namespace in ("/", "/calls"):
            sid = server.manager.sid_from_eio_sid(peer.eio_sid, namespace)
            server.enter_room(sid, "tea", namespace=namespace)
    in_calls = server.manager.sid_from_eio_sid(a.eio_sid, "/calls")
    with pytest.raises(ZeroDivisionError):
        a.close()
    assert sorted(b.got) == [
        f'2/calls,["#rtcio:peer-left",{{"id":"{in_calls}"}}]',
        f'2["#rtcio:peer-left",{{"id":"{a.sid}"}}]',
    ]


def test_leaving_a_room_tells_nobody() -> None:
    server = served()
    a, b = Peer(server), Peer(server)
    for peer in (a, b):
        server.enter_room(peer.sid, "tea")
    server.leave_room(a.sid, "tea")
    a.close()
    assert b.got == []


# -- namespaces ------------------------------------------------------------------------------------


def test_only_the_namespaces_that_were_asked_for_are_served() -> None:
    server = plain(namespaces=["/", "/calls"])
    add_default_listeners(server, "/calls")
    a, b = Peer(server, "/calls"), Peer(server, "/calls")
    c, d = Peer(server), Peer(server)
    a.relay(b.sid, 1)
    c.relay(d.sid, 1)
    assert b.got == [
        f'2/calls,["#rtcio:message",{json.dumps({"source": a.sid, "target": b.sid, "data": 1})}]'
    ]
    assert d.got == []


def test_twice_is_once() -> None:
    server = served()
    add_default_listeners(server)
    a, b = Peer(server), Peer(server)
    a.relay(b.sid, 1)
    assert len(b.got) == 1


def test_the_apps_own_handler_of_a_message_is_not_asked_any_more() -> None:
    # It would answer for the library. On a `rtcio_sync.Server` it runs beside the relay.
    server = served()
    ran: list[Any] = []
    server.on("#rtcio:message", lambda *args: ran.append(args))
    a, b = Peer(server), Peer(server)
    a.relay(b.sid, 1)
    assert len(b.got) == 1
    assert ran == []


# -- bounds ----------------------------------------------------------------------------------------

TOO_MUCH = {
    "levels": "[" * 64 + "]" * 64,
    "more levels than any parser follows": "[" * 5000 + "]" * 5000,
    "values": "[" + "0," * 100_000 + "0]",
}


@pytest.mark.parametrize("what", TOO_MUCH)
@pytest.mark.parametrize("attached", [False, True])
def test_a_relay_that_holds_too_much_reaches_nobody(what: str, attached: bool) -> None:
    server = served()
    a, b = Peer(server), Peer(server)
    data = TOO_MUCH[what] + (',"blob":{"_placeholder":true,"num":0}' if attached else "")
    raw = f'{{"source":"{a.sid}","target":"{b.sid}","data":{data}}}'
    a.send(f'{"51-" if attached else "2"}["#rtcio:message",{raw}]', *[b"x"] * attached)
    a.relay(b.sid, "next")
    assert [each[1]["data"] for each in b.events()] == ["next"]
    assert len(b.got) == 1


@pytest.mark.parametrize("data", ["[{0},{0}]", "[]", '{{"a":{0},"b":[{0}]}}'])
def test_a_relay_whose_attachments_do_not_match_reaches_nobody(data: str) -> None:
    server = served()
    a, b = Peer(server), Peer(server)
    data = data.format('{"_placeholder":true,"num":0}')
    raw = f'{{"source":"{a.sid}","target":"{b.sid}","data":{data}}}'
    a.send(f'51-["#rtcio:message",{raw}]', b"x")
    assert b.got == []


def test_the_attachments_of_a_relay_are_bounded_together() -> None:
    server = served(max_http_buffer_size=1000)
    a, b = Peer(server), Peer(server)
    holes = ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in range(3))
    raw = f'{{"source":"{a.sid}","target":"{b.sid}","data":[{holes}]}}'
    a.send(f'53-["#rtcio:message",{raw}]', b"x" * 400, b"x" * 400, b"x" * 400)
    a.relay(b.sid, "next")
    assert [each[1]["data"] for each in b.events()] == ["next"]
    assert len(b.got) == 1


# -- msgpack ---------------------------------------------------------------------------------------


def test_a_msgpack_server_relays_the_values() -> None:
    import msgpack

    server = served(serializer="msgpack")
    peers = []
    for number in (1, 2):
        got = wires(server).setdefault(f"packed{number}", [])
        server._handle_eio_connect(f"packed{number}", {})
        connect = msgpack.dumps({"type": 0, "nsp": "/", "data": None})
        server.eio.handlers["message"](f"packed{number}", connect)
        peers.append((server.manager.sid_from_eio_sid(f"packed{number}", "/"), got))
    (a, _), (b, got) = peers
    got.clear()
    envelope = {"source": a, "target": b, "data": b"\x00"}
    packet = {"type": 2, "nsp": "/", "data": ["#rtcio:message", envelope]}
    server.eio.handlers["message"]("packed1", msgpack.dumps(packet))
    assert [msgpack.loads(each)["data"] for each in got] == [["#rtcio:message", envelope]]
    got.clear()
    deep: Any = 0
    for _ in range(65):
        deep = [deep]
    packet["data"] = ["#rtcio:message", {**envelope, "data": deep}]
    server.eio.handlers["message"]("packed1", msgpack.dumps(packet))
    assert got == [], "over the levels that a message may have"


# -- Flask-SocketIO --------------------------------------------------------------------------------


def flask_app(register: Callable[[Any], Any] = lambda sio: None) -> tuple[Any, Any]:
    app = flask.Flask(__name__)
    sio = flask_socketio.SocketIO(app, async_mode="threading")
    register(sio)
    add_default_listeners(sio)
    return app, sio


def test_flask_socketio_relays_and_tells_of_leaving() -> None:
    left: list[Any] = []

    def register(sio: Any) -> None:
        @sio.on("join-room")
        def join_room(room: str) -> str:
            flask_socketio.join_room(room)
            return str(flask.request.sid)  # type: ignore[attr-defined]

        @sio.on("disconnect")
        def disconnect(reason: str) -> None:
            left.append(flask.request.sid)  # type: ignore[attr-defined]

    app, sio = flask_app(register)
    a, b = sio.test_client(app), sio.test_client(app)
    a_sid, b_sid = (each.emit("join-room", "tea", callback=True) for each in (a, b))
    envelope = {"source": a_sid, "target": b_sid, "data": {"mid": "0"}}
    a.emit("#rtcio:message", envelope)
    a.emit("#rtcio:message", {**envelope, "source": b_sid})
    assert b.get_received() == [{"name": "#rtcio:message", "args": [envelope], "namespace": "/"}]
    a.disconnect()
    assert b.get_received() == [
        {"name": "#rtcio:peer-left", "args": [{"id": a_sid}], "namespace": "/"}
    ]
    assert left == [a_sid]


def test_packets_fed_by_hand_to_flask_socketios_server_are_relayed() -> None:
    app, sio = flask_app(lambda sio: sio.on_event("connect", lambda: None))
    a, b = sio.test_client(app), sio.test_client(app)
    sids = [sio.server.manager.sid_from_eio_sid(each.eio_sid, "/") for each in (a, b)]
    raw = json.dumps({"source": sids[0], "target": sids[1], "data": 1.50})
    sio.server._handle_eio_message(a.eio_sid, f'2["#rtcio:message",{raw}]')
    (received,) = b.get_received()
    assert received["args"] == [json.loads(raw)]


# -- what of ours it takes -------------------------------------------------------------------------


def test_a_server_of_ours_takes_a_namespace_by_name_or_as_an_object() -> None:
    server = Server()
    add_default_listeners(server, "/calls")
    add_default_listeners(server.of("/other"))
    assert server.relay.namespaces == {"/", "/calls", "/other"}


@pytest.mark.parametrize("target", [None, 7, object(), Namespace("/lonely"), socketio.Client])
def test_anything_else_is_refused(target: Any) -> None:
    with pytest.raises(TypeError, match="takes a Socket, a Namespace or a"):
        add_default_listeners(target)


def test_nothing_is_kept_of_a_client_that_sends_on_after_its_end() -> None:
    server = served()
    one = Peer(server)
    one.close()
    one.send('51-["#rtcio:message",{"_placeholder":true,"num":0}]')
    assert server.rtcio_listeners._partial == {}
