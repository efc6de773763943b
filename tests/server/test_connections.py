"""Connections of a whole server: what the engine alone does not do with them."""

from __future__ import annotations

import logging
from typing import Any

import gevent
import pytest

from rtcio_sync import Limits, Server
from tests.clients import Polling, WebSocket
from tests.engineio.clients import ask, timed
from tests.timing import until


def test_a_packet_that_is_half_json_is_taken_and_ends_the_connection() -> None:
    server = Server()
    heard: list[Any] = []
    server.on("a", lambda sid: heard.append(1))
    client = Polling(server).join()
    assert client.post('42["a"') == 200
    until(lambda: client.eio_sid not in server.eio.sockets)
    assert heard == []
    assert dict(server.counters.closed) == {"packet": 1}
    assert client.poll()[0] == 400


@pytest.mark.parametrize("made", [Polling, WebSocket])
def test_who_joins_no_namespace_in_time_is_sent_away(made: Any) -> None:
    server = Server(ping_interval=10, ping_timeout=5)
    forward = timed(server.eio)
    idle, joined = made(server), made(server).join()
    for _ in range(5):
        forward(9)
        for client in (idle, joined):
            if client.link is not None and client.link.pinged_at is not None:
                client.link.receive(b"3", False)
    assert idle.eio_sid not in server.eio.sockets
    assert joined.eio_sid in server.eio.sockets
    assert dict(server.counters.closed) == {"connect-timeout": 1}


@pytest.mark.parametrize("made", [Polling, WebSocket])
def test_a_client_that_does_not_read_is_sent_away_and_its_peers_hear_of_it(made: Any) -> None:
    server = Server(limits=Limits(max_buffered_bytes=100_000))
    slow, peer = made(server).join(), Polling(server).join()
    for client in (slow, peer):
        server.enter_room(client.sid, "tea")
    for _ in range(200):
        server.emit("news", "x" * 10_000, to=slow.sid)
        gevent.sleep(0)
        if slow.link is None or slow.link.closed:
            break
    until(lambda: slow.eio_sid not in server.eio.sockets)
    assert peer.next() == f'2["#rtcio:peer-left",{{"id":"{slow.sid}"}}]'
    assert dict(server.counters.closed) == {"slow-reader": 1}
    until(lambda: server.stats()["connected"] == 1)


def test_a_process_that_is_not_patched_is_told_once_when_it_serves_and_never_before(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Server()
    server.test_client()
    assert caplog.records == []
    for _ in range(2):
        ask(server)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "monkey.patch_all()" in record.getMessage()
    assert "gunicorn -k gevent" in record.getMessage()
