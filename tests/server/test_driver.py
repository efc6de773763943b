"""A WebSocket of python-engineio's own driver, on a socket pair: Werkzeug's threads and uWSGI."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from rtcio_sync import Limits, Server
from rtcio_sync.engineio.socket import Socket as Link
from rtcio_sync.engineio.state import State
from rtcio_sync.transport import driver as upstream_wire
from tests.frames import masked, upgrade_request
from tests.timing import DEADLINE, wait_until


class End:
    """The client's end of a WebSocket that a threaded server drives with simple-websocket."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(DEADLINE)
        eio = server.eio
        self.link = Link(eio, eio.generate_id())
        eio.sockets[self.link.sid] = self.link
        server._handle_eio_connect(self.link.sid, {})
        lines = upgrade_request().decode().split("\r\n")[1:]
        headers = dict(line.split(": ", 1) for line in lines if line)
        environ = {f"HTTP_{key.upper().replace('-', '_')}": each for key, each in headers.items()}
        environ |= {"werkzeug.socket": theirs}  # type: ignore[dict-item]
        self.thread = threading.Thread(target=self._serve, args=(environ,), daemon=True)
        self.thread.start()
        response = b""
        while not response.endswith(b"\r\n\r\n"):
            response += self.sock.recv(1)
        assert response.startswith(b"HTTP/1.1 101 ")

    def _serve(self, environ: dict[str, Any]) -> None:
        with suppress(ConnectionError):  # how the driver tells Werkzeug that it is over
            eio = self.server.eio
            eio._driver(partial(eio._ride_driver, self.link))(environ, lambda *response: None)

    def say(self, text: str) -> None:
        self.sock.sendall(masked(1, text.encode()))

    def frame(self) -> tuple[int, bytes]:
        first, size = self._exactly(2)
        if size >= 126:
            size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
        return first & 0x0F, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            assert more, "TCP ended"
            data += more
        return data


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(async_mode="threading", limits=Limits(max_buffered_bytes=200_000))
    yield made
    made.eio.close_all()
    made.eio.shutdown()


def test_messages_travel_both_ways(server: Server) -> None:
    server.on("echo", lambda sid, *args: args)
    end = End(server)
    end.say("40")
    assert end.frame()[1].startswith(b'40{"sid":')
    end.say('427["echo","é"]')
    assert end.frame() == (1, '437["é"]'.encode())
    end.say('451-8["echo",{"_placeholder":true,"num":0}]')
    end.sock.sendall(masked(2, b"\x00\xff"))
    assert end.frame() == (1, b'461-8[{"_placeholder":true,"num":0}]')
    assert end.frame() == (2, b"\x00\xff")


def test_relays_pass_between_threads(server: Server) -> None:
    ends = [End(server), End(server)]
    sids = []
    for end in ends:
        end.say("40")
        sids.append(end.frame()[1][10:30].decode())
    envelope = f'{{"source":"{sids[0]}","target":"{sids[1]}","data":1.0}}'
    for _ in range(50):
        ends[0].say(f'42["#rtcio:message",{envelope}]')
    for _ in range(50):
        assert ends[1].frame() == (1, f'42["#rtcio:message",{envelope}]'.encode())


def test_the_end_of_tcp_is_the_end_of_the_socket(server: Server) -> None:
    reasons: list[str] = []
    server.on("disconnect", lambda sid, reason: reasons.append(reason))
    end = End(server)
    end.say("40")
    end.frame()
    end.sock.close()
    wait_until(lambda: reasons)
    assert reasons == ["transport close"]
    end.thread.join(DEADLINE)
    assert not end.thread.is_alive()


def test_a_message_that_is_too_long_ends_it(server: Server) -> None:
    end = End(server)
    end.say("4" + "x" * 1_000_001)
    wait_until(lambda: end.link.state is State.CLOSED)


def test_a_client_that_does_not_read_is_sent_away_and_its_threads_end(server: Server) -> None:
    slow, peer = End(server), End(server)
    for end in (slow, peer):
        end.say("40")
        end.frame()
    left = f'{{"id":"{slow.link.root.sid}"}}'
    for end in (slow, peer):
        server.enter_room(end.link.root.sid, "tea")
    sid = slow.link.root.sid
    for _ in range(200):
        server.emit("news", "x" * 50_000, to=sid)
        time.sleep(0.001)
        if slow.link.closed:
            break
    assert peer.frame() == (1, f'42["#rtcio:peer-left",{left}]'.encode())
    assert dict(server.counters.closed) == {"slow-reader": 1}
    slow.thread.join(DEADLINE)
    assert not slow.thread.is_alive()


def test_a_client_that_never_says_goodbye_back_is_hung_up_on(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_wire, "CLOSE_TIMEOUT", 0.05)
    end = End(server)
    end.say("40")
    end.frame()
    end.link.close()
    assert end.frame() == (1, b"1")
    end.thread.join(DEADLINE)
    assert not end.thread.is_alive()


@pytest.mark.parametrize("reads", [True, False])
def test_nothing_of_a_connection_that_was_closed_is_accounted_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, reads: bool
) -> None:
    monkeypatch.setattr(upstream_wire, "CLOSE_TIMEOUT", 0.3)
    end = End(server)
    end.say("40")
    sid = end.frame()[1][10:30].decode()
    if reads:
        server.emit("news", 1, to=sid)
    else:
        for _ in range(3):
            server.emit("news", "x" * 50_000, to=sid)
    end.link.close()  # the close frame is behind what waits
    server.emit("news", 2, to=sid)
    end.thread.join(DEADLINE)
    assert not end.thread.is_alive()
    backlog = server.eio.backlog
    wait_until(lambda: not backlog._paces)
    assert (backlog.holdings.size, backlog.holdings.cost) == (0, 0)


def test_a_frame_that_is_sent_while_the_connection_closes_is_not_kept(server: Server) -> None:
    end = End(server)
    end.say("40")
    end.frame()
    wire = end.link.wire
    assert isinstance(wire, upstream_wire.UpstreamWire)

    class Frame(bytes):
        """Whoever asks for its length has the connection closed first."""

        def __len__(self) -> int:
            if not wire.closed:
                wire.close()
                end.thread.join(DEADLINE)
            return super().__len__()

    wire.send(Frame(b"\x81\x012"))
    assert not server.eio.backlog._paces
    assert server.eio.backlog.holdings.cost == 0


def test_what_is_sent_while_the_writer_counts_is_counted_too(server: Server) -> None:
    end = End(server)
    end.say("40")
    end.frame()
    wire: Any = end.link.wire
    sender = threading.current_thread()

    class Frame(bytes):
        """Whenever the writer asks for its length, another thread sends."""

        more = 10

        def __len__(self) -> int:
            if threading.current_thread() is not sender and self.more:
                self.more -= 1
                other = threading.Thread(target=wire.send, args=(b"\x81\x012",))
                other.start()
                other.join(DEADLINE)
            return super().__len__()

    wire.send(Frame(b"\x81\x012"))
    wait_until(lambda: not server.eio.backlog._paces)
    assert wire.buffered == 0
    assert server.eio.backlog.holdings.cost == 0
