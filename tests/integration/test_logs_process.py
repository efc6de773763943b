"""A server that logs everything, and clients that send it what must not be in a log.

Each way of running has one process with every logger at DEBUG, upstream's included. Clients call,
misbehave and forge; then every record of the process is read, with all that it holds.
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.raw import RawPolling, RawWebSocket
from tests.integration.servers import Running, running
from tests.timing import DEADLINE

#: Ways of running, and what else the process may write at its start and end.
WAYS: dict[str, tuple[str, dict[str, Any], str]] = {
    "listen": ("listen", {}, ""),
    "listen on threads": ("listen", {"async_mode": "threading"}, ""),
    "gunicorn": ("gunicorn-gevent", {}, r"\[\d{4}-.*\] \[\d+\] \[INFO\] .*"),
}

DESCRIPTION = "v=0\r\no=- 4611731400430051336 2 IN IP4 203.0.113.9\r\na=ice-pwd:MARK-of-the-sdp"
CANDIDATE = "candidate:842163049 1 udp 1677729535 203.0.113.9 46154 typ srflx MARK-candidate"
FORGED = "\nFORGED \x1b[31m\x85\u2028\u202e line"

#: What no record may hold, in whatever part of it.
SECRETS = ("MARK", "203.0.113.9", "ice-pwd", "4611731400430051336", "1677729535")


@dataclass
class Scene:
    """What a process wrote while its clients did all of `play`."""

    written: list[str]
    records: list[dict[str, Any]]
    #: The ids that were whole on the wire: of connections, sockets and sessions, and the offsets.
    ids: set[str]

    def of(self, module: str, **fields: str) -> list[dict[str, Any]]:
        """The records of a module of ours that have these fields."""
        wanted = {f"rtcio_{name}": value for name, value in fields.items()}
        return [
            each
            for each in self.records
            if each["name"] == f"rtcio_sync.{module}" and wanted.items() <= each.items()
        ]


@pytest.fixture(scope="module", params=list(WAYS))
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    way, options, others = WAYS[request.param]
    with running(way, "logged", clean_log=False, **options) as server:
        ids = play(server)
        if not others:  # what gunicorn cannot read, it tells in its own log
            ids |= ask_what_nobody_understands(server)
        assert server.terminate() == 0
        written = server.log().splitlines()
    records = []
    for line in written:
        if line.startswith("RECORD "):
            records.append(json.loads(line.removeprefix("RECORD ")))
        else:
            assert others and re.fullmatch(others, line), line
    yield Scene(written, records, ids)


def play(server: Running) -> set[str]:
    ids = call(server)
    ids |= misbehave(server)
    ids |= come_back(server)
    ids |= ask_for_the_impossible(server)
    return ids


def ask(peer: RawWebSocket, *arguments: Any) -> None:
    """Emits an event and waits for its acknowledgement."""
    peer.send(peer.event(json.dumps(arguments), 1))
    peer.receive_until('431["done"]')


def envelope(**fields: Any) -> str:
    return json.dumps(["#rtcio:message", fields])


def call(server: Running) -> set[str]:
    """Two peers of a room with a password exchange what peers exchange, and bring rooms along."""
    with RawWebSocket(server) as a, RawWebSocket(server) as b:
        for peer in (a, b):
            peer.join(auth={"token": "MARK-token", "password": "MARK-password"})
            room = {"roomId": f"tea{FORGED}", "name": f"ada{FORGED}", "password": "MARK-password"}
            peer.send(peer.event(json.dumps(["join-room", room])))
            ask(peer, "anything")
        a.send(a.event(json.dumps(["join-room", {"roomId": "tea", "password": "MARK-wrong"}])))
        for data in (
            {"description": {"type": "offer", "sdp": DESCRIPTION}},
            {"candidate": {"candidate": CANDIDATE, "sdpMid": "0"}},
        ):
            packet = a.envelope(b.sid, data).replace('", {', '",{', 1)
            a.send(packet)
            while '"data"' not in str(b.receive()):
                pass
        ask(a, "enter", f"room{FORGED}" + "x" * 5000)
        ask(a, f"said{FORGED}", {"sdp": DESCRIPTION})
        a.send(a.event(json.dumps([f"fail{FORGED}" + "x" * 5000, {"sdp": DESCRIPTION}])))
        ask(a, "anything")
        return {a.sid, b.sid, a.handshake["sid"], b.handshake["sid"]}


def misbehave(server: Running) -> set[str]:
    """Sends what is dropped, and what is closed for."""
    data = {"description": {"sdp": DESCRIPTION}}
    with RawWebSocket(server) as a:
        a.join(auth={"token": "MARK-token"})
        for packet in (
            a.event(envelope(source=f"forged{FORGED}", target=a.sid, data=data)),
            a.event(envelope(source=a.sid, target=f"nobody{FORGED}", data=data)),
            a.event(envelope(source=a.sid, data=data)),
            a.event(json.dumps(["disconnect", data])),
            a.event(json.dumps([{"sdp": DESCRIPTION}, data])),
            a.event(json.dumps([f"unwanted{FORGED}" + "x" * 5000, data])),
            f'42/elsewhere{FORGED},["event",{json.dumps(data)}]',
            f"43999{json.dumps([data])}",
        ):
            a.send(packet)
        for namespace in (f"/nowhere{FORGED}?token=MARK-query", "/refusing"):
            a.send(f"40{namespace},{json.dumps({'token': 'MARK-token'})}")
            answer = a.receive()
            assert isinstance(answer, str) and answer.startswith("44"), answer
        for number in range(3):
            a.send(a.event(json.dumps(["enter", f"room {number}"])))
        ask(a, "anything")
        a.send(f'42["#rtcio:message",{{"source":"{a.sid}","data":{json.dumps(data)}')
        a.receive_close()
        return {a.sid, a.handshake["sid"]}


def come_back(server: Running) -> set[str]:
    """Loses the line and returns to the session; then with a wrong one."""
    first = RawWebSocket(server)
    first.send('40{"token":"MARK-token"}')
    opening = json.loads(str(first.receive())[2:])
    first.send('421["enter","room"]')
    arrived = json.loads(str(first.receive())[2:])
    first.connection.socket.shutdown(socket.SHUT_RDWR)
    auth = {"pid": opening["pid"], "offset": arrived[-1], "token": "MARK-token"}
    with RawWebSocket(server) as again, RawWebSocket(server) as stranger:
        again.join(auth=auth)
        assert again.sid == opening["sid"]
        stranger.join(auth={"pid": "MARK-session", "offset": "MARK-offset"})
        ids = {*opening.values(), arrived[-1], stranger.sid}
        return ids | {each.handshake["sid"] for each in (first, again, stranger)}


def ask_for_the_impossible(server: Running) -> set[str]:
    """Requests that are refused, by our code or by the server in front of it."""
    headers = {
        "Cookie": "session=MARK-cookie",
        "Authorization": "Bearer MARK-bearer",
        "Origin": "https://evil.example/\x85" + "x" * 5000,
        "X-Forwarded-For": "198.51.100.7\x85 line",
    }
    refused = server.get("/socket.io/?EIO=4&transport=polling&token=MARK-query", headers)
    assert refused.status == 403
    with RawPolling(server) as a:
        a.join(auth={"token": "MARK-token"})
        whole = a.handshake["sid"]
        path = f"/socket.io/?EIO=4&transport=polling&sid={whole}"
        assert server.get(f"{path}MARK-unknown").status == 400
        a.post(f"4{DESCRIPTION}")
        return {whole, a.sid}


def ask_what_nobody_understands(server: Running) -> set[str]:
    """Requests that no application gets to see, with an id that opens a session."""
    with RawPolling(server) as a:
        path = f"/socket.io/?EIO=4&sid={a.handshake['sid']}"
        for request in (
            f"GET {path}&token=MARK-query HTTP/9.9\r\n\r\n",
            f"GET {path}&token=MARK-query HTTP/1.1\r\nMARK-header\x1b\r\n\r\n",
            f"MARK-method {path} \x1b[31mHTTP/1.1 x y\r\n\r\n",
            f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: MARK-length\r\n\r\n",
        ):
            with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as sock:
                sock.sendall(request.encode("latin-1"))
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(65536):
                    pass
        return {a.handshake["sid"]}


def test_no_record_holds_what_peers_sent_or_who_they_are(scene: Scene) -> None:
    for line in scene.written:
        for secret in SECRETS:
            assert secret not in line, line[:2000]


def test_no_record_holds_a_whole_id(scene: Scene) -> None:
    assert len(scene.ids) >= 15
    for line in scene.written:
        for id in scene.ids:
            assert id not in line, line[:2000]


def test_each_record_is_one_line_of_bounded_length_whatever_clients_send(scene: Scene) -> None:
    assert "FORGED" in str(scene.records), "what was to be made harmless is there"
    for record in scene.records:
        fields = {name: value for name, value in record.items() if name.startswith("rtcio_")}
        for text in (record["message"], *fields.values()):
            assert text.isascii() and text.isprintable(), record
        assert len(record["message"]) < 450, record
        assert all(len(each) <= 100 for each in fields.values()), record


def test_nothing_is_above_info_but_what_the_app_raised_and_refused(scene: Scene) -> None:
    above = [each for each in scene.records if each["levelname"] not in ("DEBUG", "INFO")]
    refused, raised = sorted(above, key=lambda each: str(each["levelname"]), reverse=True)
    assert (refused["levelname"], refused["name"]) == ("WARNING", "rtcio_sync.engineio.cors")
    assert "cors_allowed_origins" in refused["message"]
    assert r"https://evil.example/\x85xx" in refused["message"]
    assert raised["levelname"] == "ERROR"
    assert raised["name"] == "logged", "the app's own logger"
    assert "the app's own words" in raised["traceback"]
    assert raised["rtcio_event"].startswith(r"fail\nFORGED \x1b[31m\x85\u2028\u202e line")
    assert raised["rtcio_namespace"] == "/"
    assert raised["rtcio_sid"].endswith("...")


def test_what_happened_can_be_found_by_its_fields(scene: Scene) -> None:
    assert scene.of("engineio.server", address="127.0.0.1", transport="websocket")
    (refused,) = scene.of("engineio.server", address=r"198.51.100.7\x85 line", reason="Forbidden")
    assert refused["rtcio_origin"].startswith(r"https://evil.example/\x85xx")
    assert scene.of("engineio.server", reason="Session ID unknown")
    joined = scene.of("socketio.connect", namespace="/")
    left = scene.of("socketio.disconnect", namespace="/")
    assert joined
    for each in [*joined, *left]:
        assert re.fullmatch(r"[\w-]{6}\.\.\.", each["rtcio_sid"])
    assert {"transport close", "parse error"} <= {each["rtcio_reason"] for each in left}
    forged = r"/nowhere\nFORGED \x1b[31m\x85\u2028\u202e line"
    assert scene.of("socketio.connect", namespace=forged)
    assert scene.of("socketio.connect", namespace="/refusing", reason="refused by the app")
    (back,) = scene.of("socketio.recovery")
    assert back["rtcio_sid"] and back["rtcio_connection"]
    for reason in ("forged-source", "bad-target", "unknown-target", "reserved-event"):
        assert all(each["rtcio_sid"] for each in scene.of("adapter.drops", reason=reason)), reason
        assert scene.of("adapter.drops", reason=reason), reason
    assert scene.of("adapter.drops", reason="reserved-event", event="<dict>")
    assert scene.of("adapter.drops", reason="reserved-event", event="disconnect")
    assert scene.of("adapter.drops", reason="not-connected", event="event")
    assert scene.of("dispatch", event="enter", reason="room-name", namespace="/")
    assert scene.of("socketio.receive", reason="undecodable")
    assert scene.of("engineio.socket", reason="packet")
    for each in scene.of("socketio.handler_run"):
        assert each["rtcio_event"].startswith(r"unwanted\nFORGED")
    assert scene.of("socketio.handler_run")
    assert scene.of("upstream.socketio"), "upstream's own"
