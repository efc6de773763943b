"""What a `Socket` tells of its handlers, and what they see: ``listeners``, ``on_any_outgoing``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event
from gevent.monkey import get_original

from rtcio_sync import LimitExceeded, OptionError, RtcioError, Server, Socket, TestClient, throttle
from tests.bus import Bus
from tests.clients import Polling, WebSocket
from tests.foreign_threads import in_real_thread
from tests.reconnecting import Phone
from tests.timing import until
from tests.unrun import UNRUN

get_ident = get_original("_thread", "get_ident")


def one(**options: Any) -> tuple[Server, TestClient, Socket]:
    server = Server(**options)
    client = server.test_client()
    (socket,) = server.sockets.values()
    return server, client, socket


def nothing(*args: Any) -> None:
    """A handler."""


def other(*args: Any) -> None:
    """Another one."""


def test_the_handlers_of_an_event_are_listed_in_their_order() -> None:
    _, client, socket = one()
    socket.on("chat", nothing)
    socket.once("chat", other)
    socket.on("bye", other)
    assert socket.listeners("chat") == [nothing, other]
    assert socket.listeners("never") == []
    assert socket.event_names() == ["chat", "bye"]
    client.emit("chat")
    assert socket.listeners("chat") == [nothing]
    socket.off("bye")
    assert socket.event_names() == ["chat"]


def test_all_handlers_of_one_event_or_of_all_are_removed() -> None:
    _, client, socket = one()
    heard: list[str] = []
    for event in ("chat", "bye"):
        socket.on(event, lambda event=event: heard.append(event))
    socket.use(nothing)
    socket.remove_all_listeners("chat")
    client.emit("chat")
    client.emit("bye")
    assert heard == ["bye"]
    socket.remove_all_listeners()
    client.emit("bye")
    assert heard == ["bye"]
    assert socket.event_names() == []


@pytest.mark.parametrize("name", ["off", "listeners", "remove_all_listeners"])
@pytest.mark.parametrize("event", [5, ["news"], nothing], ids=["a number", "a list", "a handler"])
def test_what_is_no_name_of_an_event_is_refused(name: str, event: Any) -> None:
    server, _, socket = one()
    socket.on("news", nothing)
    with pytest.raises(OptionError, match="name"):
        getattr(socket, name)(event)
    if name != "remove_all_listeners":
        with pytest.raises(OptionError, match="name"):
            getattr(server.of("/"), name)(event)
    assert socket.listeners("news") == [nothing]


def test_handlers_of_every_event_are_put_in_front_and_removed() -> None:
    _, client, socket = one()
    order: list[int] = []

    def third(event: str) -> None:
        order.append(3)

    socket.on_any(lambda event: order.append(2))
    socket.on_any(third)
    socket.prepend_any(lambda event: order.append(1))
    client.emit("chat")
    assert order == [1, 2, 3]
    assert len(socket.listeners_any()) == 3
    socket.off_any(third)
    client.emit("chat")
    assert order == [1, 2, 3, 1, 2]
    socket.off_any()
    client.emit("chat")
    assert order == [1, 2, 3, 1, 2]
    assert socket.listeners_any() == []


SENT: dict[str, Callable[[Server, Socket], Any]] = {
    "socket.emit": lambda server, socket: socket.emit("news", 1),
    "with a callback": lambda server, socket: socket.emit("news", 1, callback=nothing),
    "server.emit": lambda server, socket: server.emit("news", 1),
    "a broadcast": lambda server, socket: server.to(socket.id).emit("news", 1),
    "volatile": lambda server, socket: socket.volatile.emit("news", 1),
    "with a time-out": lambda server, socket: socket.timeout(9).emit("news", 1, callback=nothing),
}


@pytest.mark.parametrize("way", SENT)
@pytest.mark.parametrize("recovery", [False, True])
def test_what_is_sent_is_shown_before_it_goes(way: str, recovery: bool) -> None:
    server, client, socket = one(connection_state_recovery=recovery)
    server.test_client()
    shown: list[Any] = []
    socket.on_any_outgoing(lambda *args: shown.append((args, client.received())))
    SENT[way](server, socket)
    assert shown == [(("news", 1), [])]
    assert client.received() == [("news", [1])]


@pytest.mark.parametrize("way", [each for each in SENT if each != "volatile"])
def test_what_a_middleware_sends_is_shown(way: str) -> None:
    server = Server()
    shown: list[Any] = []

    @server.use
    def use(socket: Socket) -> None:
        socket.on_any_outgoing(lambda *args: shown.append(args))
        SENT[way](server, socket)

    client = server.test_client()
    assert shown == [("news", 1)]
    assert client.received("news") == [1]


def test_handlers_of_what_is_sent_are_put_in_front_and_removed() -> None:
    _, _, socket = one()
    order: list[int] = []

    def third(event: str) -> None:
        order.append(3)

    socket.on_any_outgoing(lambda event: order.append(2))
    socket.on_any_outgoing(third)
    socket.prepend_any_outgoing(lambda event: order.append(1))
    socket.emit("news")
    assert order == [1, 2, 3]
    assert len(socket.listeners_any_outgoing()) == 3
    socket.off_any_outgoing(third)
    socket.emit("news")
    assert order == [1, 2, 3, 1, 2]
    socket.off_any_outgoing()
    socket.emit("news")
    assert order == [1, 2, 3, 1, 2]
    assert socket.listeners_any_outgoing() == []


def test_a_handler_of_what_is_sent_that_raises_stops_nothing() -> None:
    server = Server()
    client = server.test_client(raise_exceptions=False)
    server.sockets[client.sid or ""].on_any_outgoing(lambda *args: 1 / 0)
    server.emit("news", 1)
    assert client.received("news") == [1]
    assert server.stats()["handler_errors"] == 1


def test_what_the_library_sends_in_the_hub_is_shown_by_a_greenlet() -> None:
    server = Server()
    stays, leaves = WebSocket(server).join(), WebSocket(server).join()
    shown: list[Any] = []
    for client in (stays, leaves):
        server.sockets[client.sid].join("tea")
    in_hub = gevent.get_hub()
    server.sockets[stays.sid].on_any_outgoing(
        lambda *args: shown.append((args, gevent.getcurrent() is in_hub))
    )
    sid = leaves.sid
    leaves.close()
    until(lambda: shown)
    assert shown == [(("#rtcio:peer-left", {"id": sid}), False)]


def test_a_socket_that_has_left_is_watched_no_more() -> None:
    server, client, socket = one()
    socket.on_any_outgoing(nothing)
    assert server.manager.watched
    client.disconnect()
    assert not server.manager.watched


def test_a_socket_that_has_left_is_not_watched() -> None:
    server, client, socket = one()
    client.disconnect()
    socket.on_any_outgoing(nothing)
    assert not server.manager.watched


def test_the_socket_of_before_does_not_watch_for_the_one_of_now() -> None:
    server = Server(connection_state_recovery=True)
    sockets: list[Socket] = []
    shown: list[str] = []

    @server.on("connection")
    def connection(socket: Socket) -> None:
        sockets.append(socket)
        if len(sockets) != 2:
            socket.on_any_outgoing(lambda *args: shown.append(f"socket {len(sockets)}"))

    phone = Phone(server)
    for _ in range(2):
        phone.say("x")
        server.emit("news")
        phone.lose()
        phone.come_back()
        if len(sockets) == 2:
            assert not server.manager.watched, "the new one has no such handlers"
    assert phone.recovered
    sockets[0].off_any_outgoing()
    server.emit("news")
    assert shown == ["socket 1", "socket 3"]


@pytest.mark.parametrize("name", ["on_any_outgoing", "prepend_any_outgoing", "on_any", "use"])
def test_a_thread_that_registers_handlers_changes_the_server_in_its_thread(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, _, socket = one()
    server._hub_thread.bind()
    changed_in: list[int] = []
    monkeypatch.setattr(server.handling, "watch", lambda member: changed_in.append(get_ident()))
    monkeypatch.setattr(server.handling, "observe", lambda member: changed_in.append(get_ident()))
    in_real_thread(getattr(socket, name), nothing)
    assert changed_in == [get_ident()]
    server.shutdown()


def test_a_handler_of_what_is_sent_that_waits_stops_no_heartbeat() -> None:
    server = Server(ping_interval=1, ping_timeout=0.1)
    never, shown = Event(), []
    clients = [WebSocket(server).join() for _ in range(3)]
    for client in clients:
        socket = server.sockets[client.sid]
        socket.join("tea")
        socket.on_any_outgoing(lambda *args: shown.append(args) or never.wait())
    until(lambda: not server.manager.members)  # none of them answers a ping
    assert shown[0][0] == "#rtcio:peer-left"
    assert server.stats()["closed"]["ping-timeout"] == 3
    never.set()


def test_a_handler_of_what_another_process_sends_stops_no_other_message() -> None:
    bus = Bus()
    here, there = (Server(client_manager=bus.manager()) for _ in range(2))
    client = here.test_client()
    there.test_client()
    never, shown = Event(), []
    here.sockets[client.sid or ""].on_any_outgoing(lambda *args: shown.append(args) or never.wait())
    for number in range(2):
        there.emit("news", number)
    until(lambda: len(shown) == 2)
    assert shown == [("news", 0), ("news", 1)]
    assert client.received("news") == [0, 1]
    never.set()
    bus.close()


# -- what a middleware refuses ---------------------------------------------------------------------


def test_what_a_middleware_refuses_goes_to_the_handlers_of_error() -> None:
    server, client, socket = one()
    refused: list[Any] = []

    @socket.use
    def check(event: str, args: list[Any]) -> None:
        if event == "secret":
            raise PermissionError("not for you")

    socket.once("error", lambda error: refused.append("once"))
    socket.on("error", lambda error: refused.append(str(error)))
    client.emit("secret")
    client.emit("chat")
    client.emit("secret")
    assert refused == ["once", "not for you", "not for you"]
    assert server.stats()["dropped"] == {"middleware": 2}
    assert server.stats()["handler_errors"] == 0


def test_a_middleware_that_returns_false_drops_the_event() -> None:
    """As one of `Server.use` and a ``connect`` handler refuse a client."""
    server, client, socket = one()
    peer = server.test_client()
    heard: list[Any] = []

    @socket.use
    def check(event: str, args: list[Any]) -> bool:
        return event == "chat"

    socket.on("error", lambda error: heard.append(type(error)))
    socket.on("secret", heard.append)
    socket.on("chat", heard.append)
    client.emit("secret", 1)
    client.emit("#rtcio:message", {"source": client.sid, "target": peer.sid, "data": 1})
    client.emit("chat", 2)
    assert heard == [RtcioError, RtcioError, 2]
    assert peer.received("#rtcio:message") == []
    assert server.stats()["dropped"] == {"middleware": 2}
    assert server.stats()["handler_errors"] == 0


def test_a_throttle_that_was_not_made_is_refused() -> None:
    server, _, socket = one()
    for use in (socket.use, server.use):
        with pytest.raises(TypeError, match=r"write socket\.use\(throttle\(10\)\)"):
            use(throttle)


@pytest.mark.parametrize("unrun", UNRUN.values(), ids=UNRUN)
def test_a_middleware_that_has_yet_to_run_is_an_error_of_the_app(
    unrun: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    client = server.test_client(raise_exceptions=False)
    (socket,) = server.sockets.values()
    heard: list[Any] = []
    socket.use(unrun)
    socket.on("error", heard.append)
    socket.on("chat", heard.append)
    for number in (1, 2):
        client.emit("chat", number)
        assert server.stats()["handler_errors"] == number
        assert caplog.text.count("the handler of 'chat' raised") == number
    assert heard == []
    assert server.stats()["dropped"] == {"middleware": 2}


def test_a_throttle_drops_what_is_over_its_rate() -> None:
    _, client, socket = one()
    now = 0.0
    errors: list[Any] = []
    heard: list[int] = []
    socket.use(throttle(2, 3, clock=lambda: now))
    socket.on("error", errors.append)
    socket.on("chat", heard.append)
    for number in range(5):
        client.emit("chat", number)
    assert heard == [0, 1, 2]
    assert [type(each) for each in errors] == [LimitExceeded] * 2
    now = 1.0
    for number in range(5, 9):
        client.emit("chat", number)
    assert heard == [0, 1, 2, 5, 6]
    now = 60.0
    for number in range(10, 20):
        client.emit("chat", number)
    assert heard == [0, 1, 2, 5, 6, 10, 11, 12]


def test_a_throttle_may_count_some_events_alone() -> None:
    _, client, socket = one()
    heard: list[str] = []
    socket.use(throttle(0.001, events=iter(["paint"])))
    for event in ("paint", "chat"):
        socket.on(event, lambda event=event: heard.append(event))
        client.emit(event)
        client.emit(event)
    assert heard == ["paint", "chat", "chat"]


@pytest.mark.parametrize(
    "given",
    [(0,), (-1,), (float("nan"),), (1, 0.5), (float("inf"),), ("5",), (None,), (True,), (5, "9")],
)
def test_a_throttle_refuses_what_is_no_rate(given: tuple[Any, ...]) -> None:
    with pytest.raises(OptionError):
        throttle(*given)


@pytest.mark.parametrize("events", [5, b"paint", ["paint", 5], [None]])
def test_a_throttle_refuses_what_is_no_name_of_an_event(events: Any) -> None:
    """The middleware would raise for each event, and so drop them all."""
    with pytest.raises(OptionError):
        throttle(5, events=events)


# -- the end of a session --------------------------------------------------------------------------


def test_the_end_of_a_session_comes_once_after_disconnect() -> None:
    _, client, socket = one()
    told: list[str] = []
    socket.on("disconnect", lambda reason: told.append(reason))
    socket.session_end(lambda: told.append("end"))
    client.disconnect()
    assert told == ["transport close", "end"]


def test_the_end_of_a_session_that_may_go_on_comes_when_it_does_not() -> None:
    server = Server(connection_state_recovery=True)
    client = Polling(server).join()
    socket = server.sockets[client.sid]
    told: list[str] = []
    socket.on("disconnect", lambda reason: told.append("disconnect"))
    socket.session_end(lambda: told.append("end"))
    assert client.link is not None
    client.link.close(abort=True, reason="transport close")
    until(lambda: told)
    assert told == ["disconnect"]
    server.disconnect(client.sid)
    until(lambda: len(told) > 1)
    assert told == ["disconnect", "end"]
