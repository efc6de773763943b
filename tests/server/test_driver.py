"""WebSockets of a server on threads, on python-engineio's own driver."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from rtcio_sync import Limits, Server
from rtcio_sync.engineio.socket import Socket as Link
from tests.frames import masked
from tests.timing import DEADLINE
from tests.transport.peers import Driven


class End(Driven):
    """The client's end of a connection in ``/``."""

    def __init__(self, server: Server) -> None:
        self.eio = server.eio
        self.link = Link(self.eio, self.eio.generate_id())
        self.eio.sockets[self.link.sid] = self.link
        server._handle_eio_connect(self.link.sid, {})
        super().__init__(self._ride)
        self.say("40")
        self.sid = self.frame()[1][10:30].decode()

    def _ride(self, ws: Any) -> list[bytes]:
        self.ready.set()
        return self.eio._take_driver(self.link, ws)


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server(async_mode="threading", limits=Limits(max_buffered_bytes=200_000))
    yield made
    made.eio.close_all()
    made.eio.shutdown()


def test_events_and_their_attachments_travel_both_ways(server: Server) -> None:
    server.on("echo", lambda sid, *args: args)
    end = End(server)
    end.say('427["echo","é"]')
    assert end.frame() == (1, '437["é"]'.encode())
    end.say('451-8["echo",{"_placeholder":true,"num":0}]')
    end.send(masked(2, b"\x00\xff"))
    assert end.frame() == (1, b'461-8[{"_placeholder":true,"num":0}]')
    assert end.frame() == (2, b"\x00\xff")


def test_relays_pass_between_threads(server: Server) -> None:
    ends = [End(server), End(server)]
    envelope = f'{{"source":"{ends[0].sid}","target":"{ends[1].sid}","data":1.0}}'
    for _ in range(50):
        ends[0].say(f'42["#rtcio:message",{envelope}]')
    for _ in range(50):
        assert ends[1].frame() == (1, f'42["#rtcio:message",{envelope}]'.encode())


def test_a_client_that_does_not_read_is_sent_away_and_its_peers_hear_of_it(server: Server) -> None:
    slow, peer = End(server), End(server)
    for end in (slow, peer):
        server.enter_room(end.sid, "tea")
    for _ in range(200):
        server.emit("news", "x" * 50_000, to=slow.sid)
        time.sleep(0.001)
        if slow.link.closed:
            break
    assert peer.frame() == (1, f'42["#rtcio:peer-left",{{"id":"{slow.sid}"}}]'.encode())
    assert dict(server.counters.closed) == {"slow-reader": 1}
    slow.thread.join(DEADLINE)
    assert not slow.thread.is_alive()
