"""Who may connect to the engine: numbers, addresses."""

from __future__ import annotations

import gevent
import pytest

from rtcio_sync.engineio import descriptors
from rtcio_sync.engineio.server import Server
from rtcio_sync.engineio.state import State
from rtcio_sync.options import Limits
from tests.engineio.clients import Polling, WebSocket, ask
from tests.frames import masked
from tests.timing import DEADLINE, settle, until


def test_there_are_no_more_connections_than_allowed() -> None:
    server = Server(max_connections=2)
    first = WebSocket(server)
    second = Polling(server)
    open_poll = gevent.spawn(second.poll)
    settle()
    assert ask(server)[0] == 503
    assert dict(server.counters.closed) == {"over-capacity": 1}
    server.send(second.eio_sid, "news")
    open_poll.get(timeout=DEADLINE)
    assert ask(server)[0] == 200, "between two polls there is no connection"
    open_poll = gevent.spawn(second.poll)
    settle()
    assert ask(server)[0] == 503
    first.close()
    until(lambda: first.link is None)
    assert ask(server)[0] == 200
    server.send(second.eio_sid, "news")
    open_poll.get(timeout=DEADLINE)


def test_sessions_that_hold_no_connection_take_no_websockets_place() -> None:
    server = Server(max_connections=2)
    for _ in range(20):
        Polling(server)
    sockets = [WebSocket(server) for _ in range(2)]
    assert ask(server)[0] == 503
    assert all(each.link is not None for each in sockets)


def joined_of(server: Server) -> Polling:
    """A client that is in a namespace, as the Socket.IO layer notes it."""
    client = Polling(server)
    client.link.root = object()
    return client


def test_of_too_many_sessions_without_a_connection_the_oldest_in_no_namespace_goes_first() -> None:
    server = Server(max_polling_sessions=3)
    joined = joined_of(server)
    strangers = [Polling(server) for _ in range(4)]
    assert [each.link is not None for each in strangers] == [False, False, True, True]
    assert joined.link is not None
    assert server.counters.closed["idle-session"] == 2
    newcomer = joined_of(server)
    assert [each.link is not None for each in strangers[2:]] == [False, True]
    others = [joined_of(server) for _ in range(2)]
    assert [joined.link, strangers[3].link] == [None, None], "then the oldest of all"
    assert all(each.link is not None for each in (newcomer, *others))


def test_websockets_that_are_closing_take_the_places_of_those_that_are_idle() -> None:
    server = Server(max_connections=100)
    sockets = [WebSocket(server) for _ in range(3)]
    assert (server.closing_bound(), server.idle_bound()) == (129, 97)
    sockets[0].sock.sendall(masked(3))
    sockets[1].link.close()
    until(lambda: len(server.backlog.closing) == 2)
    assert (server.closing_bound(), server.idle_bound()) == (131, 97)
    for each in sockets:
        each.close()
    until(lambda: len(server.backlog.closing) == 0)
    assert (server.closing_bound(), server.idle_bound()) == (132, 100)


def test_a_full_server_that_stops_cuts_none_of_its_websockets_off() -> None:
    server = Server(max_connections=150)
    sockets = [WebSocket(server) for _ in range(150)]
    server.close_all()
    for each in sockets:
        assert each.frame() == (8, b"\x03\xe9")  # 1001
        each.close()


def test_a_session_that_polls_is_not_among_those_without_a_connection() -> None:
    server = Server(max_polling_sessions=1)
    polling = Polling(server)
    open_poll = gevent.spawn(polling.poll)
    settle()
    for _ in range(5):
        Polling(server)
    server.send(polling.eio_sid, "news")
    assert open_poll.get(timeout=DEADLINE) == (200, ["4news"])


def test_many_header_fields_count_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descriptors, "RESTING_BYTES", 120_000)
    server = Server()
    for _ in range(10):
        ask(server, headers={"x-ballast": "x" * 30_000})
    assert len(server.sockets) == 3


def test_whatever_ends_a_session_gives_back_what_it_held() -> None:
    server = Server()
    polling, socket, moved = Polling(server), WebSocket(server), Polling(server)
    probe = WebSocket(server, moved)
    open_poll = gevent.spawn(polling.poll)
    settle()
    assert server.seats.taken == 3
    probe.say("4nonsense")
    until(lambda: server.seats.taken == 2)
    probe = WebSocket(server, moved)
    probe.say("2probe")
    probe.say("5")
    until(lambda: moved.link.state is State.WEBSOCKET)
    assert (server.seats.taken, server.seats.resting) == (3, 0)
    socket.close()
    probe.close()
    polling.close()
    open_poll.get(timeout=DEADLINE)
    until(lambda: not server.sockets)
    assert (server.seats.taken, server.seats.resting) == (0, 0)


def test_without_a_number_the_descriptors_of_the_process_bound_them() -> None:
    server = Server()
    Polling(server)
    assert server.max_connections > 100


def test_an_address_may_have_so_many_connections() -> None:
    server = Server(limits=Limits(sockets_per_ip=2))
    clients = [Polling(server) for _ in range(2)]
    assert ask(server)[0] == 429
    clients[0].close()
    assert ask(server)[0] == 200
    assert dict(server.counters.closed) == {"address": 1}
