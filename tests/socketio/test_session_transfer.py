"""Sessions that go on in another process: here, in another server of the same one."""

from __future__ import annotations

import json
import os
from typing import Any

import gevent
import pytest
from gevent.event import Event

from rtcio_sync import Limits, ProtocolError, Server
from rtcio_sync.errors import CannotMove
from rtcio_sync.protocol.websocket_frames import GOING_AWAY, frame_close
from rtcio_sync.transport.websocket import WebSocket as WebSocketHere
from tests.clients import TRANSPORTS, Polling, WebSocket, still_held
from tests.engineio.clients import timed
from tests.moving import move, pack, servers
from tests.timing import DEADLINE, in_time, settle, until

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


def test_who_takes_no_binary_frames_gets_none_from_the_new_process(transport: str) -> None:
    old, new = servers()
    client = TRANSPORTS[transport](old).join()
    old.environ[client.eio_sid]["QUERY_STRING"] += "&b64=1"
    move(client, new)
    new.emit("picture", b"\xff", to=client.sid)
    if isinstance(client, WebSocket):
        assert [client.frame() for _ in range(2)] == [
            (1, b'451-["picture",{"_placeholder":true,"num":0}]'),
            (1, b"b/w=="),
        ]
    else:
        assert client.packets()[1:] == ["b/w=="]


def test_sockets_in_several_namespaces_go_together(transport: str) -> None:
    old, new = servers()
    logs: dict[str, list[Any]] = {"/": [], "/calls": []}
    for server in (old, new):
        for namespace, log in logs.items():
            told(server, log, namespace)
    client = TRANSPORTS[transport](old).join().join("/calls")
    old.enter_room(client.sids["/calls"], 7, namespace="/calls")
    move(client, new)
    assert new.rooms(client.sids["/calls"], namespace="/calls")[1:] == [7]
    client.emit("echo", 1, namespace="/calls", number=3)
    assert client.next() == "3/calls,3[[1]]"
    for log in logs.values():
        assert [each[:3] for each in log] == [
            ("connection", False, False),
            ("connection", True, True),
        ]
    client.send("1/calls,")
    until(lambda: logs["/calls"][-1][0] == "disconnect")
    client.join("/calls")
    until(lambda: logs["/calls"][-1][0] == "connection")
    assert logs["/calls"][-1][1:3] == (False, False)


def test_middlewares_do_not_run_again_and_connect_handlers_do(transport: str) -> None:
    old, new = servers()
    log: list[Any] = []
    for server in (old, new):
        server.use(lambda socket: log.append("middleware"))
        server.on("connect")(lambda sid, environ, auth: log.append(("connect", auth)))
    client = TRANSPORTS[transport](old).join(auth={"token": "t", "at": [1]})
    move(client, new)
    until(lambda: len(log) == 3)
    assert log == ["middleware", *[("connect", {"token": "t", "at": [1]})] * 2]


def test_a_connect_handler_that_refuses_disconnects_the_socket(transport: str) -> None:
    old, new = servers()
    new.on("connect")(lambda sid, environ: False)
    client = TRANSPORTS[transport](old).join()
    move(client, new)
    assert client.next() == "1"
    until(lambda: not new.manager.members)


def test_an_app_that_keeps_a_type_of_its_own_keeps_its_session_and_hears_why(
    transport: str,
) -> None:
    old, _ = servers()
    told(old, [])
    client = TRANSPORTS[transport](old).join()
    old.of("/").sockets[client.sid].data["key"] = Server
    why = r"socket\.data has a value of type type; keep only values of JSON"
    with pytest.raises(CannotMove, match=why):
        pack(old, client.eio_sid)
    client.emit("echo", 1, number=1)
    assert client.next() == "31[[1]]"


@pytest.mark.parametrize("value", [(1, (2,)), {1, 2}, 2**70, b"\0", {(1, "a"): None}, "\ud800"])
def test_what_the_app_keeps_comes_back_as_it_was(transport: str, value: Any) -> None:
    old, new = servers()
    client = TRANSPORTS[transport](old).join()
    old.of("/").sockets[client.sid].data["it"] = value
    old.save_session(client.sid, {"it": value})
    move(client, new)
    for found in (new.of("/").sockets[client.sid].data, new.get_session(client.sid)):
        assert found == {"it": value} and type(found["it"]) is type(value)


def test_a_session_whose_handler_runs_is_busy(transport: str) -> None:
    old, new = servers()
    release = Event()
    old.on("wait")(lambda sid: release.wait())
    client = TRANSPORTS[transport](old).join()
    client.emit("wait", number=1)
    until(lambda: old.departing.busy(client.eio_sid))
    old.departing.freeze(client.eio_sid)
    with pytest.raises(CannotMove) as refused:
        old.departing.pack(client.eio_sid)
    assert refused.value.later
    old.departing.thaw(client.eio_sid)
    release.set()
    move(client, new)
    assert client.next() == "31[true]"


def test_a_handler_beside_the_others_makes_a_session_busy(transport: str) -> None:
    old, new = servers(async_handlers=True)
    release = Event()
    old.on("wait")(lambda sid: release.wait())
    client = TRANSPORTS[transport](old).join()
    client.emit("wait", number=1)
    until(lambda: client.link.tasks)
    assert old.departing.busy(client.eio_sid)
    release.set()
    move(client, new)
    assert client.next() == "31[true]"


def test_a_connection_in_no_namespace_moves_and_its_time_to_join_goes_on(transport: str) -> None:
    limits = Limits(connect_timeout=10)
    old, new = servers(limits=limits)
    forward_old, forward = timed(old.eio), timed(new.eio)
    late, joins = TRANSPORTS[transport](old), TRANSPORTS[transport](old)
    for client in (late, joins):
        client.link.begun_at = old.eio.heartbeat.now()
    forward_old(6)
    for client in (late, joins):
        move(client, new)
    joins.join()
    forward(3)
    assert late.link is not None and not late.link.closed
    forward(2)
    assert new.stats()["closed"] == {"connect-timeout": 1}
    assert joins.link is not None and not joins.link.closed


def test_a_call_that_waits_makes_a_session_busy(transport: str) -> None:
    old, new = servers()
    client = TRANSPORTS[transport](old).join()
    asked = gevent.spawn(old.call, "ask", to=client.sid)
    assert client.next() == '21["ask"]'
    assert old.departing.busy(client.eio_sid)
    client.send("31[5]")
    assert asked.get(timeout=DEADLINE) == 5
    move(client, new)
    asked = gevent.spawn(new.call, "ask", to=client.sid)
    assert client.next() == '22["ask"]'  # numbers go on: the client may answer an old one
    client.send("32[6]")
    assert asked.get(timeout=DEADLINE) == 6


def test_an_acknowledgement_that_a_handler_has_put_off_is_given_through_the_new_process(
    transport: str,
) -> None:
    old, new = servers()
    acks: list[Any] = []
    old.on("later")(lambda sid: acks.append(old.defer_ack()))
    old.departing.tell = lambda sid, what, about: new.departing.acknowledged("", 0, about)
    client = TRANSPORTS[transport](old).join()
    client.emit("later", number=4)
    until(lambda: acks)
    move(client, new)
    acks[0]({"a": 1}, b"x")
    placeholder = '{"_placeholder":true,"num":0}'
    assert [client.next(), client.next()] == [f'61-4[{{"a":1}},{placeholder}]', "beA=="]


@pytest.mark.parametrize("options", [{}, {"json": json}], ids=["usual", "a json module"])
@pytest.mark.parametrize("kind", [5, 6])
def test_a_packet_whose_attachments_are_to_come_is_completed_in_the_new_process(
    transport: str, kind: int, options: dict[str, Any]
) -> None:
    old, new = servers(**options)
    new.on("echo", lambda sid, *args: args)
    client = TRANSPORTS[transport](old).join()
    client.send(f'{kind}1-7["echo",{{"_placeholder":true,"num":0}}]')
    until(lambda: client.link.partial is not None or client.link.ack is not None)
    move(client, new)
    client.send(b"x")
    if kind == 5:
        assert client.next().startswith("61-7[")
        client.next()
    client.emit("echo", 1, number=8)
    assert client.next() == "38[1]"
    assert not new.counters.closed


def test_callbacks_of_the_old_process_are_counted_as_unanswered(transport: str) -> None:
    old, new = servers()
    client = TRANSPORTS[transport](old).join()
    old.emit("ask", to=client.sid, callback=lambda *answer: None)
    assert client.next() == '21["ask"]'
    move(client, new)
    client.send("31[5]")
    assert old.stats()["dropped"] == {"unanswered": 1}


def test_a_session_that_is_not_attached_in_time_is_lost(transport: str) -> None:
    old, new = servers()
    forward = timed(new.eio)
    log: list[Any] = []
    told(new, log)
    client = TRANSPORTS[transport](old).join()
    packed = pack(old, client.eio_sid)
    new.departing.adopt(packed.state)
    assert new.departing.busy(client.eio_sid)
    forward(11)
    settle()
    assert still_held(new) == {}
    fd = os.dup(packed.fd) if packed.fd >= 0 else -1
    assert not new.departing.attach(client.eio_sid, packed.fd)
    if fd >= 0:
        with pytest.raises(OSError, match="Bad file"):
            os.fstat(packed.fd)
        os.close(fd)


def test_an_unreadable_state_changes_nothing(transport: str) -> None:
    old, new = servers()
    packed = pack(old, TRANSPORTS[transport](old).join().eio_sid)
    for cut in range(0, len(packed.state), 7):
        with pytest.raises(ProtocolError):
            new.departing.adopt(packed.state[:cut])
    assert still_held(new) == {}
    new.departing.adopt(packed.state)
    with pytest.raises(ProtocolError):
        new.departing.adopt(packed.state)


def test_a_session_that_cannot_go_on_is_closed_at_once_so_that_its_client_comes_back(
    transport: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = servers()
    client = TRANSPORTS[transport](old).join()
    packed = pack(old, client.eio_sid)
    new.departing.adopt(packed.state)

    def fails(*args: Any) -> None:
        raise ZeroDivisionError

    for name in ("restore", "rests"):  # of a WebSocket, and of a connection on polling
        monkeypatch.setattr(WebSocketHere if name == "restore" else new.eio, name, fails)
    assert not new.departing.attach(client.eio_sid, packed.fd)
    until(lambda: "a connection of another worker cannot go on" in caplog.text)
    caplog.clear()
    if isinstance(client, WebSocket):
        with in_time():
            assert client.sock.recv(100) == frame_close(GOING_AWAY)
        client.close()
    until(lambda: still_held(new) == {})


def test_what_is_no_socket_costs_a_session_and_nobody_else(
    transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    old, new = servers()
    client = TRANSPORTS[transport](old).join()
    packed = pack(old, client.eio_sid)
    new.departing.adopt(packed.state)
    fd = os.dup(1) if packed.fd < 0 else os.open(os.devnull, os.O_RDONLY)
    assert not new.departing.attach(client.eio_sid, fd)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    settle()
    caplog.clear()
    assert still_held(new) == {}
    if packed.fd >= 0:
        os.close(packed.fd)


def test_a_closed_session_cannot_move(transport: str) -> None:
    old, _ = servers()
    client = TRANSPORTS[transport](old).join()
    client.close()
    until(lambda: not old.manager.members)
    with pytest.raises(CannotMove) as refused:
        old.departing.pack(client.eio_sid)
    assert refused.value.later  # then it is not there any more, and nothing is wrong


def test_pings_and_time_outs_go_on_from_where_they_were(transport: str) -> None:
    old, new = servers(ping_interval=10, ping_timeout=5)
    forward_old, forward = timed(old.eio), timed(new.eio)
    client = TRANSPORTS[transport](old).join()
    forward_old(7)
    move(client, new)
    forward(2.4)
    new.emit("fence", to=client.sid)
    assert client.more() == ['42["fence"]']
    forward(0.7)
    assert client.more() == ["2"]
    forward(3)
    third = servers(1, ping_interval=10, ping_timeout=5)[0]
    forward_third = timed(third.eio)
    move(client, third)
    forward_third(1.5)
    assert client.link is not None
    forward_third(1.5)
    assert client.link is None or client.link.closed
    assert third.stats()["closed"] == {"ping-timeout": 1}


def test_a_client_that_was_too_fast_is_slowed_down_as_before(transport: str) -> None:
    limits = Limits(events_per_second=10, events_burst=20)
    old, new = servers(limits=limits)
    client = TRANSPORTS[transport](old).join()
    for _ in range(12):
        client.emit("x")
    until(lambda: client.link.allowance <= limits.burst - 13)
    left = client.link.allowance
    move(client, new)
    assert client.link.allowance == left


def test_connections_of_an_address_are_counted_where_they_are(transport: str) -> None:
    old, new = servers(limits=Limits(sockets_per_ip=2))
    clients = [Polling(old).join(), Polling(old).join()]
    with pytest.raises(AssertionError, match="Too many connections from this address"):
        Polling(old)
    move(clients[0], new)
    Polling(old).join()
    Polling(new).join()
    with pytest.raises(AssertionError, match="Too many connections from this address"):
        Polling(new)
