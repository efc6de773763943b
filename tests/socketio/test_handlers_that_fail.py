"""What a handler raises, or a kill of its greenlet, ends that handler and nothing else."""

from __future__ import annotations

import _thread
import logging
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import socketio
from gevent.event import Event

from rtcio_sync import Lobby, Server
from rtcio_sync.functions import UnrunError
from rtcio_sync.socketio.recovery import Reconnect
from tests.clients import TRANSPORTS, Client, Polling, WebSocket, still_held
from tests.timing import DEADLINE, until
from tests.unrun import UNRUN
from tests.wsgi import environ_of, request


class Odd(BaseException):
    """One that nobody has heard of."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "gevent.Timeout": gevent.Timeout,
    "GreenletExit": gevent.GreenletExit,
    "SystemExit": lambda: SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "one of its own": Odd,
    "an Exception": lambda: KeyError("plain"),
}

SERVERS: dict[str, dict[str, Any]] = {
    "in order": {},
    "in parallel": {"async_handlers": True},
    "with recovery": {"connection_state_recovery": True},
    "on threads": {"async_mode": "threading"},
    "an own json": {"json": __import__("json")},
}

Failing = Callable[[], None]


def _on_server(server: Server, fail: Failing, namespace: str) -> None:
    server.on("bad", lambda sid: fail(), namespace=namespace)


def _on_socket(server: Server, fail: Failing, namespace: str) -> None:
    server.of(namespace).on("connection", lambda socket: socket.on("bad", fail))


def _once(server: Server, fail: Failing, namespace: str) -> None:
    server.of(namespace).on("connection", lambda socket: socket.once("bad", fail))


def _any(server: Server, fail: Failing, namespace: str) -> None:
    def seen(event: str) -> None:
        if event == "bad":
            fail()

    server.of(namespace).on("connection", lambda socket: socket.on_any(seen))


def _middleware(server: Server, fail: Failing, namespace: str) -> None:
    def use(event: str, args: list[Any]) -> None:
        if event == "bad":
            fail()

    server.of(namespace).on("connection", lambda socket: socket.use(use))


def _catch_all(server: Server, fail: Failing, namespace: str) -> None:
    server.on("*", lambda event, sid, *args: fail(), namespace=namespace)


def _class(server: Server, fail: Failing, namespace: str) -> None:
    class Calls(socketio.Namespace):
        def on_bad(self, sid: str) -> None:
            fail()

    server.register_namespace(Calls(namespace))


def _routing_class(server: Server, fail: Failing, namespace: str) -> None:
    class Calls(socketio.Namespace):
        def trigger_event(self, event: str, *args: Any) -> Any:
            return fail() if event == "bad" else super().trigger_event(event, *args)

    server.register_namespace(Calls(namespace))


def _acknowledgement(server: Server, fail: Failing, namespace: str) -> None:
    @server.on("bad", namespace=namespace)
    def ask(sid: str) -> None:
        server.emit("asked", to=sid, namespace=namespace, callback=lambda *answer: fail())


def _connection(server: Server, fail: Failing, namespace: str) -> None:
    server.of(namespace).on("connection", lambda socket: fail())


def _answer(server: Server, fail: Failing, namespace: str) -> None:
    class Unsayable(dict[str, Any]):
        def items(self) -> Any:
            fail()

    server.on("bad", lambda sid: Unsayable(a=1), namespace=namespace)


PLACES = {
    "server.on": _on_server,
    "socket.on": _on_socket,
    "socket.once": _once,
    "on_any": _any,
    "socket.use": _middleware,
    "a catch-all": _catch_all,
    "a class": _class,
    "a class that routes": _routing_class,
    "an acknowledgement": _acknowledgement,
    "connection": _connection,
}


def failing(server: Server, place: str, error: str, namespace: str = "/") -> None:
    def fail() -> None:
        raise ERRORS[error]()

    PLACES[place](server, fail, namespace)
    server.on("good", lambda sid: "served", namespace=namespace)


def provoke(client: Client, place: str, namespace: str = "/") -> None:
    if place == "connection":
        return
    client.emit("bad", namespace=namespace)
    if place == "an acknowledgement":
        where = "" if namespace == "/" else f"{namespace},"
        asked = client.next(lambda packet: '["asked"' in packet)
        number = asked[1 + len(where) :].partition("[")[0]
        client.send(f"3{where}{number}[]")


def served(client: Client, namespace: str = "/") -> bool:
    client.emit("good", namespace=namespace, number=7)
    where = "" if namespace == "/" else f"{namespace},"
    return client.next(lambda packet: packet[:1] == "3") == f'3{where}7["served"]'


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("place", PLACES)
def test_the_next_event_is_served_whatever_a_handler_raised(
    place: str, error: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    failing(server, place, error)
    ended: list[str] = []
    server.on("disconnect", lambda sid: ended.append(sid))
    client = WebSocket(server).join()
    provoke(client, place)
    assert served(client)
    dropped = place == "socket.use" and error == "an Exception"  # the way to drop an event
    until(lambda: server.stats()["handler_errors"] == (0 if dropped else 1))
    assert bool([each for each in caplog.records if each.levelname == "ERROR"]) is not dropped
    client.close()
    until(lambda: ended == [client.sid])
    until(lambda: not still_held(server))


@pytest.mark.parametrize(
    "fault", [NameError, UnboundLocalError, AttributeError, TypeError, ImportError]
)
def test_a_fault_of_a_middleware_drops_the_event_and_is_reported(
    fault: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()

    @server.on("connection")
    def connection(socket: Any) -> None:
        @socket.use
        def check(event: str, args: list[Any]) -> None:
            raise fault("a bug")

    client = server.test_client()
    with pytest.raises(fault, match="a bug"):
        client.emit("say")
    stats = server.stats()
    assert (stats["handler_errors"], stats["dropped"]) == (1, {"middleware": 1})
    assert "a bug" in caplog.text


@pytest.mark.parametrize("kind", TRANSPORTS)
@pytest.mark.parametrize("namespace", ["/", "/calls"])
@pytest.mark.parametrize("options", SERVERS)
@pytest.mark.parametrize("place", ["server.on", "socket.on", "an acknowledgement"])
def test_it_is_so_on_every_kind_of_server(
    place: str, options: str, namespace: str, kind: str
) -> None:
    if options == "on threads" and kind == "websocket":
        kind = "polling"  # the hub's WebSockets are gevent's
    server = Server(**SERVERS[options])
    failing(server, place, "gevent.Timeout", namespace)
    ended: list[str] = []
    server.on("disconnect", lambda sid: ended.append(sid), namespace=namespace)
    client = TRANSPORTS[kind](server).join(namespace)
    provoke(client, place, namespace)
    assert served(client, namespace)
    client.close()  # type: ignore[attr-defined]
    until(lambda: ended == [client.sids[namespace]])
    assert server.stats()["handler_errors"] == 1


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", UNRUN)
@pytest.mark.parametrize(
    "place", ["server.on", "socket.on", "a catch-all", "an acknowledgement", "connection"]
)
def test_a_handler_whose_result_has_yet_to_run_is_reported(
    place: str, kind: str, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()
    PLACES[place](server, UNRUN[kind], "/")
    server.on("good", lambda sid: "served")
    client = TRANSPORTS[transport](server).join()
    provoke(client, place)
    assert served(client)
    until(lambda: server.stats()["handler_errors"] == 1)
    (record,) = [each for each in caplog.records if each.exc_info]
    assert isinstance(record.exc_info[1], UnrunError)  # type: ignore[index]


# -- coming in and going ---------------------------------------------------------------------------


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("place", ["use", "connect"])
def test_whatever_is_raised_while_a_client_is_let_in_refuses_it(place: str, error: str) -> None:
    server = Server()
    failed: list[int] = []

    def fail(*_: Any) -> None:
        if not failed:
            failed.append(1)
            raise ERRORS[error]()

    if place == "use":
        server.use(fail)
    else:
        server.on("connect", fail)
    client = Polling(server)
    client.ask_to_join()
    assert client.next() == '4{"message":"Connection rejected by server"}'
    assert not server.manager.members
    client.join()
    assert server.stats()["handler_errors"] == 1


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("way", ["lost", "put out"])
@pytest.mark.parametrize("place", ["disconnecting", "disconnect", "socket disconnect"])
def test_whatever_is_raised_at_the_end_nothing_is_left(place: str, way: str, error: str) -> None:
    server = Server()
    ended: list[str] = []

    def fail(*_: Any) -> None:
        raise ERRORS[error]()

    @server.on("connection")
    def connection(socket: Any) -> None:
        if place == "socket disconnect":
            socket.on("disconnect", fail)
        socket.on("disconnect", lambda reason: ended.append("socket"))

    if place != "socket disconnect":
        server.on(place, fail)
    if place != "disconnect":
        server.on("disconnect", lambda sid: ended.append("server"))
    client, peer = WebSocket(server).join(), Polling(server).join()
    until(lambda: client.member.ready)
    for each in (client, peer):
        server.enter_room(each.sid, "tea")
    if way == "put out":
        server.disconnect(client.sid)
    client.close()
    assert peer.next() == f'2["#rtcio:peer-left",{{"id":"{client.sid}"}}]'
    until(lambda: "socket" in ended)
    until(lambda: set(server.manager.rooms["/"]["tea"]) == {peer.sid})
    assert server.stats()["handler_errors"] == 1
    assert ended == (["socket"] if place == "disconnect" else ["server", "socket"])


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("place", ["chat", "disconnect", "connect", "connection", "session end"])
def test_a_return_is_answered_whatever_a_handler_raised(place: str, error: str) -> None:
    server = Server(
        connection_state_recovery={"skip_middlewares": False, "max_disconnection_duration": 60}
    )
    armed: list[int] = []

    def fail(*_: Any) -> None:
        if armed:
            armed.clear()
            raise ERRORS[error]()

    server.on("chat", lambda sid: fail())
    server.on("disconnect", lambda sid: fail() if place == "disconnect" else None)
    server.on("connect", lambda sid, environ: fail() if place == "connect" else None)

    @server.on("connection")
    def connection(socket: Any) -> None:
        if place == "connection":
            fail()

    first = WebSocket(server)
    first.ask_to_join()
    answer = first.next()
    pid = answer.partition('"pid":"')[2].partition('"')[0]
    armed.append(1)
    if place == "chat":
        first.emit("chat")
    first.close()
    second = WebSocket(server)
    second.ask_to_join(auth={"pid": pid})
    again = second.next()
    if place == "connect":
        assert again == '4{"message":"Connection rejected by server"}'
    else:
        assert again == answer  # the same session


@pytest.mark.parametrize("error", ERRORS)
def test_the_end_of_a_session_is_told_to_every_handler(error: str) -> None:
    server = Server(connection_state_recovery={"max_disconnection_duration": 0.05})
    ended: list[int] = []

    @server.on("connection")
    def connection(socket: Any) -> None:
        @socket.on_session_end
        def fail() -> None:
            raise ERRORS[error]()

        socket.on_session_end(lambda: ended.append(1))

    client = WebSocket(server).join()
    until(lambda: client.member.ready)
    client.close()
    until(lambda: ended == [1])
    assert server.stats()["handler_errors"] == 1
    assert still_held(server) == {}


@pytest.mark.parametrize("error", ERRORS)
def test_a_lobby_refuses_whom_authorize_raises_about(error: str) -> None:
    server = Server()

    def authorize(*_: Any) -> bool:
        raise ERRORS[error]()

    lobby = Lobby(server, authorize=authorize)
    client = WebSocket(server).join()
    client.emit("join-room", {"roomId": "tea"})
    assert client.next() == '2["join-error",{"reason":"forbidden","roomId":"tea"}]'
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    client.emit("check-room", {"roomId": "tea"})
    assert client.next().startswith('2["room-check-ok"')


@pytest.mark.parametrize("error", [each for each in ERRORS if each != "an Exception"])
def test_an_origin_about_which_the_rule_raises_is_refused(error: str) -> None:
    def rule(origin: str) -> bool:
        raise ERRORS[error]()

    server = Server(cors_allowed_origins=rule)
    environ = environ_of("GET", {}, headers={"Origin": "https://a.example"})
    status, _, _ = request(server.handle_request, environ)
    assert status in (400, 403)
    assert server.stats()["handler_errors"] >= 1
    assert server.stats()["connections"] == 0


# -- kills -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [True, False])
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_handler_that_is_killed_ends_and_its_connection_is_served_on(
    kind: str, block: bool
) -> None:
    server = Server()
    running: list[Any] = []
    ended: list[str] = []

    @server.on("block")
    def handler(sid: str) -> None:
        running.append(gevent.getcurrent())
        Event().wait()

    server.on("good", lambda sid: "served")
    server.on("disconnect", lambda sid: ended.append(sid))
    client = TRANSPORTS[kind](server).join()
    client.emit("block")
    client.emit("good", number=7)
    until(lambda: running)
    with gevent.Timeout(DEADLINE):  # whoever kills it waits for its end
        gevent.kill(running[0]) if not block else running[0].kill()
    assert client.next() == '37["served"]'
    assert running[0].dead
    client.close()  # type: ignore[attr-defined]
    until(lambda: ended == [client.sid])
    assert still_held(server) == {}


def test_a_time_out_that_a_handler_left_behind_stops_nothing() -> None:
    server = Server()

    @server.on("leak")
    def leak(sid: str) -> None:
        gevent.Timeout(0.01).start()

    server.on("slow", lambda sid: gevent.sleep(0.1))
    server.on("good", lambda sid: "served")
    client = WebSocket(server).join()
    client.emit("leak")
    client.emit("slow")
    assert served(client)
    assert server.stats()["handler_errors"] == 1


def test_one_that_is_killed_while_its_return_waits_loses_its_connection_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server = Server(connection_state_recovery=True)
    release = Event()
    server.on("block", lambda sid: release.wait(DEADLINE))
    first = WebSocket(server)
    first.ask_to_join()
    answer = first.next()
    pid = answer.partition('"pid":"')[2].partition('"')[0]
    first.emit("block")
    until(lambda: server.stats()["greenlets"])
    first.close()
    greenlets: list[Any] = []
    reconnect = server.reconnect
    assert isinstance(reconnect, Reconnect)
    wait = reconnect._after

    def after(*args: Any) -> None:
        greenlets.append(gevent.getcurrent())
        wait(*args)

    monkeypatch.setattr(reconnect, "_after", after)
    waiting = WebSocket(server)
    waiting.ask_to_join(auth={"pid": pid})
    until(lambda: greenlets)
    gevent.kill(greenlets[0])
    assert waiting.frame()[0] == 8  # closed
    release.set()
    second = WebSocket(server)
    second.ask_to_join(auth={"pid": pid})
    assert second.next() == answer


# -- interrupts ------------------------------------------------------------------------------------


def test_the_test_clients_caller_is_interrupted() -> None:
    server = Server()

    @server.on("interrupt")
    def interrupt(sid: str) -> None:
        _thread.interrupt_main()
        for _ in range(1000):
            pass

    client = server.test_client()
    with pytest.raises(KeyboardInterrupt):
        client.emit("interrupt")


class Broken(logging.Filter):
    """One that counts on a field which not every record has."""

    def filter(self, record: logging.LogRecord) -> bool:
        return bool(record.request_id)  # type: ignore[attr-defined]


@pytest.mark.parametrize("level", [logging.DEBUG, logging.ERROR], ids=["debug", "error"])
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_a_log_filter_that_raises_ends_nothing(
    kind: str, level: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server()
    left: list[str] = []

    @server.on("fail")
    def fail(sid: str) -> None:
        raise KeyError("plain")

    @server.on("disconnect")
    def on_disconnect(sid: str) -> None:
        left.append(sid)
        raise KeyError("plain")

    server.on("ping", lambda sid: "pong")
    caplog.set_level(level)
    broken = Broken()
    for each in ("dispatch", "sessions", "inbound"):
        logging.getLogger(f"rtcio_sync.{each}").addFilter(broken)
    try:
        client = TRANSPORTS[kind](server)
        client.join()
        client.send('2["fail"]')
        client.send('21["ping"]')
        assert client.next() == '31["pong"]'
        client.close()
        until(lambda: left and not still_held(server))
    finally:
        for each in ("dispatch", "sessions", "inbound"):
            logging.getLogger(f"rtcio_sync.{each}").removeFilter(broken)
    assert server.counters.handler_errors == 2
    assert "request_id" in capsys.readouterr().err
