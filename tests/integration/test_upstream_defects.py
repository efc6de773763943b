"""The known defects of what the library stands on: met on plain python-socketio, not on ours.

Each test shows first that plain python-socketio still behaves so, then that ours does not. One that
fails in its first half says that upstream has mended it.
"""

from __future__ import annotations

import gc
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import geventwebsocket.websocket
import pytest
import socketio
from websockets.frames import CloseCode
from websockets.protocol import State

from rtcio_sync import Limits, Server
from rtcio_sync.protocol.websocket_frames import Parser
from tests.frames import MASK, header, masked
from tests.integration.clients import Client, Driver
from tests.integration.raw import RawPolling, RawWebSocket
from tests.integration.servers import Running, running
from tests.timing import DEADLINE

pytestmark = pytest.mark.integration

PLAIN = {"RTCIO_TEST_LIBRARY": "plain"}
#: The way of running under which plain python-socketio serves WebSockets on gevent at all.
PLAIN_WAY = "pywsgi-geventwebsocket"


@pytest.fixture(scope="module")
def plain() -> Iterator[Running]:
    with running(PLAIN_WAY, environ=PLAIN, clean_log=False) as server:
        yield server


@pytest.fixture(scope="module")
def ours() -> Iterator[Running]:
    with running() as server:
        yield server


def test_events_of_one_socket_overtake_each_other(
    plain: Running, ours: Running, node: Driver
) -> None:
    def order(server: Running) -> list[str]:
        server.get("/hold").read()
        a = node.connect(server.url, transports=["websocket"])
        first = a.ask("block")
        second = a.ask("echo", "second")
        if server is plain:
            # The first handler is held until below.
            assert a.answer(second) == ["second"]
        server.release()
        reports = {"first": a.answer(first), "second": a.answer(second)}
        assert reports == {"first": ["unblocked"], "second": ["second"]}
        at = {"first": a.answer_report(first)["n"], "second": a.answer_report(second)["n"]}
        return sorted(at, key=lambda name: at[name])

    assert order(plain) == ["second", "first"]
    assert order(ours) == ["first", "second"]


def test_a_poll_of_more_than_sixteen_packets_is_lost(plain: Running, ours: Running) -> None:
    def heard_of_seventeen(server: Running) -> int:
        with RawPolling(server) as a:
            a.join()
            packets = [a.event(f'["note","seventeen",{number}]') for number in range(17)]
            assert a.post(*packets) == 200
            assert a.post(a.event('["echo"]', ack_id=1)) == 200
            assert a.receive() == "431[]"
        return [entry[:2] for entry in server.get_json("/heard")].count(["note", "seventeen"])

    assert heard_of_seventeen(plain) == 0
    assert heard_of_seventeen(ours) == 17


def test_a_poll_of_too_many_packets_is_refused_and_ends_the_session(ours: Running) -> None:
    limit = Limits().max_packets_per_poll
    assert limit is not None
    with RawPolling(ours) as a:
        a.join()
        assert a.post(*[a.event('["note","at the limit"]')] * limit) == 200
        assert a.post(a.event('["echo"]', ack_id=1)) == 200
        assert a.receive() == "431[]"
        assert ours.get_json("/heard").count(["note", "at the limit"]) == limit
        assert a.post(*[a.event('["note","over the limit"]')] * (limit + 1)) == 400
        assert a.post(a.event('["echo"]', ack_id=1)) == 400
        assert ours.get_json("/heard").count(["note", "over the limit"]) == 0
        ours.eventually("/rooms", lambda rooms: a.sid not in str(rooms))


@pytest.mark.parametrize("way", ["pywsgi", "gunicorn-gevent"])
def test_installing_gevent_websocket_breaks_websockets(node: Driver, way: str) -> None:
    with running(way, environ=PLAIN, clean_log=False) as server:
        a = node.open(server.url, transports=["websocket"])
        assert "500" in a.wait("connect_error")["detail"]
    with running(way) as server:
        a = node.connect(server.url, transports=["websocket"])
        assert a.call("echo", "hello") == "hello"


@pytest.mark.parametrize("packet", ["x", "", "4x", "42[", '42{"no":"array"}', "9", "4", "45x-[]"])
def test_an_undecodable_packet_leaves_its_sender_in_the_rooms(
    plain: Running, ours: Running, node: Driver, packet: str
) -> None:
    room = f"of {packet!r}"

    def leave(server: Running) -> tuple[RawWebSocket, Any]:
        b = node.connect(server.url, transports=["websocket"], auth={"rooms": [room]})
        a = RawWebSocket(server)
        a.join(auth={"rooms": [room]})
        a.send(packet)
        return a, b

    a, b = leave(plain)
    with a:
        if packet in ("x", ""):
            a.receive_close()
        # Nothing tells b; python-socketio waits for the ping time-out (45 s by default).
        assert b.call("echo", "later") == "later"
        assert {a.sid, b.id} <= set(plain.get_json("/rooms")[f"/ {room}"])
        assert not any(a.sid in entry for entry in plain.get_json("/heard"))

    a, b = leave(ours)
    with a:
        a.receive_close()
        assert b.wait_for("#rtcio:peer-left") == [{"id": a.sid}]
        ours.eventually("/rooms", lambda rooms: rooms[f"/ {room}"] == [b.id])


@pytest.mark.parametrize("transport", [RawPolling, RawWebSocket])
def test_a_client_that_closes_during_its_connect_handler_leaves_a_ghost(
    plain: Running, ours: Running, transport: type[RawPolling] | type[RawWebSocket]
) -> None:
    def rooms_after(server: Running, peer: RawPolling | RawWebSocket) -> Any:
        server.get("/hold").read()
        name = transport.__name__
        wishes = json.dumps({"slow": name, "rooms": [f"haunted by {name}"]})
        # A request of its own: python-socketio answers it when the handler is done.
        connecting = threading.Thread(target=peer.send, args=[f"40{wishes}"])
        connecting.start()
        server.eventually("/heard", lambda heard: ["connecting", name] in heard)
        with peer:
            pass
        if server is plain:
            server.eventually("/connections", lambda known: peer.handshake["sid"] not in known)
        server.release()
        connecting.join()
        server.eventually("/heard", lambda heard: ["connected", name] in heard)
        if server is plain:
            return server.get_json("/rooms")
        return server.eventually("/rooms", lambda rooms: f"/ haunted by {name}" not in rooms)

    if transport is RawPolling:
        # On a WebSocket, python-socketio does not read the close until the handler is done.
        assert len(rooms_after(plain, transport(plain))["/ haunted by RawPolling"]) == 1
    rooms_after(ours, transport(ours))


def test_a_disconnect_handler_that_raises_leaves_a_ghost(node: Driver) -> None:
    def rooms_after(way: str, environ: dict[str, str]) -> Any:
        environ = {**environ, "RTCIO_TEST_DISCONNECT_RAISES": "RuntimeError"}
        with running(way, environ=environ, clean_log=False) as server:
            a = node.connect(server.url, transports=["websocket"], auth={"rooms": ["haunted"]})
            a.disconnect()
            server.eventually("/heard", lambda heard: any(a.id in entry for entry in heard))
            if environ["RTCIO_TEST_LIBRARY"] == "plain":
                return server.get_json("/rooms")
            return server.eventually("/rooms", lambda rooms: rooms == {})

    assert "/ haunted" in rooms_after(PLAIN_WAY, PLAIN)
    assert "/ haunted" not in rooms_after("listen", {"RTCIO_TEST_LIBRARY": "ours"})


def test_any_number_of_attachments_may_be_announced(plain: Running, ours: Running) -> None:
    announced = '459999999999-["note",{"_placeholder":true,"num":0}]'

    with RawWebSocket(plain) as a:
        a.join()
        a.send(announced)
        a.send(a.event('["note","swallowed as an attachment"]'))
        # The answer to a ping of WebSocket's own: the connection lives, and what it says is lost.
        assert a.connection.ping().wait(DEADLINE)
    with RawWebSocket(plain) as b:
        b.join()
        b.send(b.event('["echo"]', ack_id=1))
        assert b.receive() == "431[]"
    assert not any("swallowed as an attachment" in entry for entry in plain.get_json("/heard"))

    with RawWebSocket(ours) as a:
        a.join()
        a.send(announced)
        a.receive_close()


def test_the_cost_of_leaving_grows_with_the_rooms_of_the_server() -> None:
    def cost(server: Any, rooms: int) -> int:
        """The lines of Python run to list a socket's two rooms and to take it out of them."""
        manager = server.manager
        sids = [manager.connect(f"engine{number}", "/") for number in range(rooms)]
        for number, sid in enumerate(sids):
            manager.enter_room(sid, "/", f"room{number}")
        return _lines_run(
            lambda: (manager.get_rooms(sids[0], "/"), manager.disconnect(sids[0], "/"))
        )

    plain = [cost(socketio.Server(async_mode="threading"), rooms) for rooms in (10, 1000)]
    ours = [cost(Server(async_mode="threading"), rooms) for rooms in (10, 1000)]
    assert plain[1] > 50 * plain[0]
    assert ours[1] == ours[0]


def _lines_run(work: Callable[[], Any]) -> int:
    lines = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal lines
        lines += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()  # or a collection may run lines of its own in between
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
        gc.enable()
    return lines


SIDE_EFFECTS = """
import json, logging, types
import engineio, socketio
from rtcio_sync import Server

own = types.SimpleNamespace(dumps=json.dumps, loads=json.loads)
loggers = [logging.getLogger(name) for name in ("socketio", "engineio", "socketio.server",
                                                "engineio.server", "rtcio_sync")]
{kind}(async_mode="threading", json=own)
other = socketio.Server.__new__(socketio.Server)
print(engineio.packet.Packet.json is own, socketio.packet.Packet.json is own,
      sum(len(logger.handlers) for logger in loggers), [logger.level for logger in loggers])
"""


def test_one_server_changes_json_and_logging_for_all() -> None:
    def effects(kind: str) -> str:
        script = SIDE_EFFECTS.format(kind=kind)
        return subprocess.check_output([sys.executable, "-c", script], text=True).strip()

    assert effects("socketio.Server") == "True True 2 [0, 0, 40, 40, 0]"
    assert effects("Server") == "False False 0 [0, 0, 0, 0, 0]"


def test_a_handler_that_raises_a_type_error_is_called_twice(node: Driver) -> None:
    def calls(way: str, environ: dict[str, str]) -> tuple[int, int]:
        environ = {**environ, "RTCIO_TEST_DISCONNECT_RAISES": "TypeError"}
        with running(way, environ=environ, clean_log=False) as server:
            refused = node.open(server.url, transports=["websocket"], query={"wish": "type-error"})
            server.eventually("/heard", lambda heard: ["connect"] in heard)
            refused.disconnect()
            a = node.connect(server.url, transports=["websocket"])
            a.disconnect()
            heard = server.eventually("/heard", lambda heard: any(a.id in each for each in heard))
            return heard.count(["connect"]), sum(a.id in entry for entry in heard)

    assert calls(PLAIN_WAY, PLAIN) == (2, 2)
    assert calls("listen", {}) == (1, 1)


def test_a_websocket_that_never_connects_stays() -> None:
    pings = {"ping_interval": 1, "ping_timeout": 10}
    with (
        running(PLAIN_WAY, environ=PLAIN, clean_log=False, **pings) as server,
        RawWebSocket(server) as a,
    ):
        for _ in range(3):
            assert a.connection.recv(20) == "2"
            a.send("3")
    with (
        running(limits={"connect_timeout": 1}, **pings) as server,
        RawWebSocket(server) as a,
        RawWebSocket(server) as b,
    ):
        b.join()
        a.receive_close()
        b.send(b.event('["echo"]', ack_id=1))
        assert b.receive() == "431[]"
    assert Limits().connect_timeout == 45


def test_a_client_calls_the_disconnect_handler_by_an_event_of_that_name(
    plain: Running, ours: Running, node: Driver
) -> None:
    def disconnects(server: Running) -> int:
        a = node.connect(server.url, transports=["websocket"])
        a.packet(type=2, data=["disconnect"])
        assert a.call("echo", "still here") == "still here"
        return sum(a.id in entry for entry in server.get_json("/heard"))

    assert disconnects(plain) == 1
    assert disconnects(ours) == 0


def test_a_frame_that_is_too_large_is_read_to_its_end(plain: Running, ours: Running) -> None:
    with RawWebSocket(plain) as a, RawWebSocket(plain) as b:
        tcp = a.connection.socket
        tcp.sendall(header(0x81, 200_000_000) + MASK + b"x" * 2_000_000)
        b.join()
        for number in range(3):
            b.send(b.event('["echo"]', ack_id=number))
            assert b.receive() == f"43{number}[]"
        # The limit is 1 MB, and nobody minds.
        assert a.connection.state is State.OPEN
        tcp.shutdown(socket.SHUT_RDWR)

    with RawWebSocket(ours) as a:
        # Not one byte of the payload is sent: it is the announcement that is refused.
        a.connection.socket.sendall(header(0x81, 200_000_000) + MASK)
        assert a.receive_close() == ([], CloseCode.MESSAGE_TOO_BIG)


def test_a_frame_is_unmasked_byte_by_byte_in_python() -> None:
    masked_frame = masked(1, b"x" * 50_000)

    def read_plain() -> None:
        length, offset = 50_000, len(masked_frame) - 50_000
        frame = geventwebsocket.websocket.Header(fin=1, opcode=1, length=length)
        frame.mask = masked_frame[offset - 4 : offset]
        assert bytes(frame.unmask_payload(bytearray(masked_frame[offset:]))) == b"x" * length

    def read_ours() -> None:
        parser = Parser(max_size=100_000)
        parser.feed(masked_frame)
        assert parser.next() == (1, b"x" * 50_000)

    assert _lines_run(read_plain) > 50_000
    assert _lines_run(read_ours) < 500


def test_a_slow_reader_loses_bytes(node: Driver) -> None:
    count, size = 200, 50_000

    def flood(server: Running) -> Client:
        a = node.connect(server.url, transports=["websocket"])
        a.emit("flood", count, size)
        a.pause()
        server.eventually("/heard", lambda heard: ["flooded", a.id] in heard)
        # By then the server has written as much as the kernel takes.
        b = node.connect(server.url, transports=["websocket"])
        assert b.call("echo", "a turn of the loop") == "a turn of the loop"
        a.unpause()
        return a

    environ = {**PLAIN, "RTCIO_TEST_WITHOUT_GEVENT_WEBSOCKET": "1"}
    with running("pywsgi", environ=environ, clean_log=False) as server:
        a = flood(server)
        # The end of a frame is missing, and what comes next is taken for it.
        a.emit("flood", count, size)
        a.wait("disconnect")
        assert len(a.received("drop")) < count
    with running(limits={"max_buffered_bytes": 2 * count * size}) as server:
        a = flood(server)
        a.wait_for("drop", count=count)
        assert [args[0][0] for args in a.received("drop")] == list(range(count))
        assert all(len(args[0][1]) == size for args in a.received("drop"))


def test_a_client_that_stops_reading_fills_the_memory(
    plain: Running, ours: Running, node: Driver
) -> None:
    def flood(server: Running) -> tuple[Client, Client]:
        a, b = (
            node.connect(server.url, transports=["websocket"], auth={"rooms": ["flooded"]})
            for _ in range(2)
        )
        a.emit("flood", 400, 100_000)
        a.pause()
        server.eventually("/heard", lambda heard: ["flooded", a.id] in heard)
        return a, b

    a, b = flood(plain)
    # 40 MB, of which the kernel takes a few, and the client is still there.
    assert sorted([a.id, b.id]) == plain.get_json("/rooms")["/ flooded"]

    before = ours.get_json("/stats")["closed"].get("slow-reader", 0)
    a, b = flood(ours)
    assert b.wait_for("#rtcio:peer-left") == [{"id": a.id}]
    ours.eventually("/rooms", lambda rooms: rooms["/ flooded"] == [b.id])
    assert ours.get_json("/stats")["closed"]["slow-reader"] == before + 1
