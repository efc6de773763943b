"""What the log says when more waits for clients than may."""

from __future__ import annotations

from typing import Any

import gevent
import pytest

from rtcio_sync import Limits, Server
from rtcio_sync.logs import Seldom
from rtcio_sync.protocol.websocket_frames import frame_binary, frame_text
from rtcio_sync.socketio.overflow_warning import Overflow, event_of
from tests.clients import Polling, WebSocket, still_held
from tests.timing import until


@pytest.mark.parametrize(
    ("packet", "event"),
    [
        ('2["news",1]', "news"),
        ('2/calls,["news",1]', "news"),
        ('2/calls,12["news",1]', "news"),
        ('51-["news",{"_placeholder":true,"num":0}]', "news"),
        ('2["a \\"quoted\\" é"]', 'a "quoted" é'),
        ('0{"sid":"x"}', None),
        ("3[1]", None),
        ("", None),
    ],
)
def test_an_event_is_known_by_its_packet(packet: str, event: str | None) -> None:
    assert event_of(packet) == event
    assert event_of(frame_text(b"4" + packet.encode())) == event


def test_an_event_is_known_in_msgpack() -> None:
    msgpack = pytest.importorskip("msgpack")
    for name in ("news", "n" * 100):
        for length in (1, 20):
            packet = {"type": 2, "data": [name, *[0] * length], "nsp": "/"}
            assert event_of(frame_binary(msgpack.packb(packet))) == name


@pytest.mark.parametrize("strange", [None, {"sid": 1}, b"\x00\xff", 5])
def test_what_is_no_event_has_no_name(strange: Any) -> None:
    assert event_of(strange) is None


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    name = "rtcio_sync.socketio.overflow_warning"
    return [each.getMessage() for each in caplog.records if each.name == name]


def test_one_line_a_minute_counts_the_others(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    overflow = Overflow(now=lambda: now[0], spawn=lambda say, *args: say(*args))
    for _ in range(5):
        overflow.ceiling('2["news"]', 1000)
        overflow.ceiling('2["#rtcio:message",{}]', 1000)
        overflow.ceiling('0{"sid":"x"}', 1000)
    assert len(said(caplog)) == 1
    assert "'news'" in said(caplog)[0] and "max_buffered_bytes" in said(caplog)[0]
    now[0] += Seldom.EVERY
    overflow.ceiling('2["news"]', 1000)
    assert said(caplog)[1].endswith("(and 4 more times since the last such line)")
    overflow.total(1000)
    assert "max_buffered_total" in said(caplog)[2]


@pytest.mark.parametrize("serializer", ["default", "msgpack"])
@pytest.mark.parametrize("kind", [Polling, WebSocket])
@pytest.mark.parametrize("count", [1, 50])
def test_an_app_that_sends_too_much_is_told_which_event_it_was(
    kind: Any, count: int, serializer: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(limits=Limits(max_buffered_bytes=400_000), serializer=serializer)
    client = kind(server) if serializer == "msgpack" else kind(server).join()
    if serializer == "msgpack":
        msgpack = pytest.importorskip("msgpack")
        packed = msgpack.packb({"type": 0, "data": None, "nsp": "/"})
        client.send(packed)
        until(lambda: client.member is not None and client.member.held is None)
    sid = client.member.sid
    link = client.link
    for _ in range(count):
        server.emit("news", "x" * (2_000_000 // count), to=sid)
    until(lambda: link.closed)
    until(lambda: said(caplog))
    assert len(said(caplog)) == 1 and "'news'" in said(caplog)[0]
    assert server.stats()["closed"] == {"slow-reader": 1}
    assert server.stats()["send_buffer_bytes"] == 0
    gevent.sleep(0)


@pytest.mark.parametrize("kind", [Polling, WebSocket])
def test_what_is_emitted_before_a_client_is_let_in_is_bounded_too(
    kind: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(limits=Limits(max_buffered_bytes=400_000))
    most = 0

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        nonlocal most
        member = server.manager.member(sid, "/")
        for _ in range(100):
            server.emit("news", "x" * 100_000, to=sid)
            most = max(most, len(member.held))

    client = kind(server)
    link = client.link
    client.ask_to_join()
    until(lambda: link.closed)
    until(lambda: said(caplog))
    assert most <= 4
    assert "'news'" in said(caplog)[0]
    assert server.stats()["closed"] == {"slow-reader": 1}
    until(lambda: server.stats()["connected"] == 0 and not still_held(server))


@pytest.mark.parametrize("kind", [Polling, WebSocket])
def test_what_is_emitted_before_a_client_is_let_in_may_be_much(kind: Any) -> None:
    server = Server()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        for number in range(10):
            server.emit("news", f"{number}" + "x" * 50_000, to=sid)

    client = kind(server).join()
    assert [int(words[0]) for words in client.heard("news")] == list(range(10))
