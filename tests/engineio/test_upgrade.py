"""The upgrade from polling to a WebSocket."""

from __future__ import annotations

import gevent
import pytest

from rtcio_sync.engineio.server import Server
from rtcio_sync.engineio.socket import SWITCH_WITHIN
from rtcio_sync.engineio.state import State
from rtcio_sync.options import Limits
from tests.engineio.clients import Polling, WebSocket, timed
from tests.timing import DEADLINE, settle, until


def test_a_polling_client_moves_to_a_websocket_and_loses_nothing() -> None:
    server = Server()
    heard: list[str] = []
    server.on("message", lambda sid, message: heard.append(message))
    polling = Polling(server)
    socket = WebSocket(server, polling)
    open_poll = gevent.spawn(polling.poll)
    settle()
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    assert open_poll.get(timeout=DEADLINE) == (200, ["6"])
    assert socket.link.state is State.UPGRADING
    assert polling.poll() == (200, ["6"]), "and again, until UPGRADE"
    server.send(polling.eio_sid, "before")
    assert polling.poll() == (200, ["4before"])
    server.send(polling.eio_sid, "during")
    socket.say("5")
    assert socket.frame() == (1, b"4during")
    server.send(polling.eio_sid, "after")
    assert socket.frame() == (1, b"4after")
    assert polling.poll()[0] == 400
    socket.send("hello")
    until(lambda: heard == ["hello"])


@pytest.mark.parametrize("polls", [True, False], ids=["a poll is open", "none is open"])
def test_a_client_that_has_moved_keeps_nothing_of_its_polling(polls: bool) -> None:
    server = Server()
    polling = Polling(server)
    polling.send("hello")
    socket = WebSocket(server, polling)
    if not polls:
        server.send(polling.eio_sid, "before")
        assert polling.poll() == (200, ["4before"])
    open_poll = gevent.spawn(polling.poll) if polls else None
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    if open_poll is None:
        assert polling.poll() == (200, ["6"])
    socket.say("5")
    until(lambda: socket.link.state is State.WEBSOCKET)
    until(lambda: open_poll is None or open_poll.ready())
    assert socket.link.alarm is None
    assert socket.link.outbox is None
    assert vars(socket.link) == {}, "every attribute that a usual client needs is a slot"


@pytest.mark.parametrize("words", [["4nonsense"], ["2probe", "4nonsense"], ["5"], ["2prob"]])
def test_a_probe_that_fails_leaves_the_client_on_polling(words: list[str]) -> None:
    server = Server()
    polling = Polling(server)
    socket = WebSocket(server, polling)
    for word in words:
        socket.say(word)
    until(lambda: polling.link.websocket is None)
    assert polling.link.state is State.POLLING
    server.send(polling.eio_sid, "news")
    assert polling.poll() == (200, ["4news"])
    frames = [socket.frame() for _ in words]
    assert frames[-1][0] == 8, "a close frame"


def test_a_probe_that_closes_leaves_the_client_on_polling() -> None:
    server = Server()
    polling = Polling(server)
    socket = WebSocket(server, polling)
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    socket.close()
    until(lambda: polling.link.websocket is None)
    server.send(polling.eio_sid, "news")
    assert polling.poll() == (200, ["4news"])


def test_a_poll_that_waits_when_a_probe_fails_waits_on() -> None:
    server = Server()
    polling = Polling(server)
    socket = WebSocket(server, polling)
    open_poll = gevent.spawn(polling.poll)
    settle()
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    assert open_poll.get(timeout=DEADLINE) == (200, ["6"])
    open_poll = gevent.spawn(polling.poll)
    settle()
    socket.close()
    until(lambda: polling.link.websocket is None)
    gevent.sleep(0.15)
    server.send(polling.eio_sid, "news")
    assert open_poll.get(timeout=DEADLINE) == (200, ["4news"])


def test_a_client_that_switches_while_the_server_closes_hears_of_the_end() -> None:
    server = Server()
    polling, socket = about_to_switch(server)
    server.send(polling.eio_sid, "news")
    server.disconnect(polling.eio_sid)
    socket.say("5")
    assert socket.frame() == (1, b"4news")
    assert socket.frame() == (1, b"1")
    assert socket.frame()[0] == 8, "a close frame"
    assert not server.sockets


def test_a_client_that_polls_again_while_the_server_closes_hears_of_the_end() -> None:
    server = Server()
    polling, _ = about_to_switch(server)
    server.disconnect(polling.eio_sid)
    assert polling.poll() == (200, ["1"])
    assert not server.sockets


def test_a_client_that_does_not_switch_keeps_no_closed_connection() -> None:
    server = Server()
    forward = timed(server)
    polling, socket = about_to_switch(server)
    server.disconnect(polling.eio_sid)
    forward(SWITCH_WITHIN)
    assert socket.frame()[0] == 8, "a close frame"


def about_to_switch(server: Server) -> tuple[Polling, WebSocket]:
    """A client that has read the answer to its probe, and the end of its last poll."""
    polling = Polling(server)
    socket = WebSocket(server, polling)
    socket.say("2probe")
    assert socket.frame() == (1, b"3probe")
    assert polling.poll() == (200, ["6"])
    return polling, socket


def test_a_probe_that_says_nothing_is_given_up() -> None:
    server = Server(limits=Limits(handshake_timeout=4, connect_timeout=None))
    forward = timed(server)
    polling = Polling(server)
    socket = WebSocket(server, polling)
    forward(4)
    assert polling.link.websocket is None
    assert socket.frame()[0] == 8
    assert polling.link.state is State.POLLING
