"""A client that connects to a namespace: accepted or refused, and welcomed."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from typing import Any

import gevent
import pytest
import socketio
from gevent.event import Event
from werkzeug.local import LocalProxy

from rtcio_sync import ConnectionRefusedError, Namespace, OptionError, Server
from tests.clients import TRANSPORTS, Polling, WebSocket, still_held
from tests.timing import DEADLINE, settle, until
from tests.unrun import UNRUN

# -- coming in -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_what_is_emitted_to_a_connecting_socket_follows_its_connect(kind: str) -> None:
    server = Server()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        server.emit("one", to=sid)
        server.enter_room(sid, "tea")
        server.emit("two", b"\x01", to="tea")
        gevent.sleep(0.01)
        server.emit("three")

    client = TRANSPORTS[kind](server)
    client.ask_to_join()
    packets = [client.next() for _ in range(5)]
    assert packets[0].startswith('0{"sid":')
    assert packets[1:] == [
        '2["one"]', '51-["two",{"_placeholder":true,"num":0}]', "bAQ==", '2["three"]'
    ]  # fmt: skip


def test_what_others_emit_to_a_connecting_socket_follows_its_connect_too() -> None:
    server = Server()
    entered, release = Event(), Event()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        entered.set()
        release.wait(DEADLINE)

    client = Polling(server)
    client.ask_to_join()
    entered.wait(DEADLINE)
    server.emit("news")
    release.set()
    client.joined()
    assert client.events() == [["news"]]


def test_a_server_without_any_handler_lets_everybody_in() -> None:
    server = Server()
    client = Polling(server).join()
    assert server.manager.is_connected(client.sid, "/")
    assert server.stats()["connects"] == 1


def test_a_connection_handler_runs_after_connect_and_may_emit() -> None:
    server = Server()
    order: list[str] = []
    server.on("connect", lambda sid, environ: order.append("connect"))
    server.use(lambda socket: order.append("use"))

    @server.on("connection")
    def connection(socket: Any) -> None:
        order.append("connection")
        assert socket.connected
        socket.emit("hello")

    client = Polling(server).join()
    assert client.events() == [["hello"]]
    assert order == ["use", "connect", "connection"]


def test_several_connection_handlers_run_in_order_and_one_that_raises_stops_none() -> None:
    server = Server()
    order: list[int] = []
    server.on("connection", lambda socket: order.append(1))
    server.on("connection", lambda socket: 1 / 0)
    server.on("connection", lambda socket: order.append(3))
    client = Polling(server).join()
    until(lambda: client.member.ready)
    assert order == [1, 3]
    assert server.stats()["handler_errors"] == 1
    assert server.manager.is_connected(client.sid, "/")


def test_a_second_connect_is_refused_and_the_first_stays() -> None:
    server = Server()
    client = Polling(server).join()
    client.ask_to_join()
    answer = client.next()
    assert answer[0] == "4"
    assert json.loads(answer[1:])["message"] == "Unable to connect"
    assert server.manager.is_connected(client.sid, "/")


@pytest.mark.parametrize("namespace", ["/nowhere", "nowhere", "/ "])
def test_an_unknown_namespace_is_refused(namespace: str) -> None:
    server = Server()
    client = Polling(server)
    client.send(f"0/{namespace[1:]},")
    assert client.next().endswith('{"message":"Invalid namespace"}')


@pytest.mark.parametrize(
    "known",
    [
        lambda: Server(namespaces=["/calls"]),
        lambda: Server(namespaces="*"),
        lambda: with_(lambda server: server.of("/calls")),
        lambda: with_(lambda server: server.of("calls")),
        lambda: with_(lambda server: server.on("chat", lambda sid: None, namespace="/calls")),
        lambda: with_(lambda server: server.register_namespace(socketio.Namespace("/calls"))),
    ],
    ids=["option", "any", "of", "of, short", "on", "class-based"],
)
def test_a_known_namespace_is_joined(known: Callable[[], Server]) -> None:
    assert Polling(known()).join("/calls").sids["/calls"]


def with_(known: Callable[[Server], Any]) -> Server:
    server = Server()
    known(server)
    return server


# -- refused ---------------------------------------------------------------------------------------

REJECTED = {"message": "Connection rejected by server"}
REFUSALS: dict[str, tuple[Callable[[], Any], Any]] = {
    "False": (lambda: False, REJECTED),
    "ours": (lambda: raises(ConnectionRefusedError("full", {"seats": 4})),
             {"message": "full", "data": {"seats": 4}}),
    "python-socketio's": (lambda: raises(socketio.exceptions.ConnectionRefusedError("full")),
                          {"message": "full"}),
    "the built-in": (lambda: raises(builtins.ConnectionRefusedError()),
                     {"message": "Connection refused by server"}),
    "an error": (lambda: raises(KeyError("a secret")), REJECTED),
}  # fmt: skip


def raises(error: BaseException) -> Any:
    raise error


def refusing(place: str, refuse: Callable[[], Any]) -> Server:
    server = Server()
    if place == "connect":

        @server.on("connect")
        def connect(sid: str, environ: Any) -> Any:
            server.enter_room(sid, "tea")
            server.emit("never", to=sid)
            return refuse()

    else:
        server.use(lambda socket: refuse())
    return server


@pytest.mark.parametrize(
    ("place", "refusal"),
    [(place, each) for place in ("connect", "use") for each in REFUSALS],
)
def test_a_refused_client_is_told_why_and_leaves_nothing(place: str, refusal: str) -> None:
    refuse, payload = REFUSALS[refusal]
    server = refusing(place, refuse)
    ran: list[str] = []
    server.on("disconnect", lambda sid: ran.append("disconnect"))
    server.on("connection", lambda socket: ran.append("connection"))
    client = Polling(server)
    client.ask_to_join()
    answer = client.next()
    assert answer[0] == "4"
    assert json.loads(answer[1:]) == payload
    assert server.stats()["connects"] == server.stats()["disconnects"] == 0
    client.close()
    settle()
    assert ran == []
    assert still_held(server) == {}


@pytest.mark.parametrize("way", ["use", "connect", "trigger_event", "server"])
@pytest.mark.parametrize("unrun", UNRUN.values(), ids=UNRUN)
def test_an_answer_that_has_yet_to_come_lets_nobody_in(way: str, unrun: Any) -> None:
    own = type("Own", (Server,), {"_trigger_event": unrun} if way == "server" else {})
    server = own()
    if way == "use":
        server.use(unrun)
    elif way == "connect":
        server.on("connect", unrun)
    elif way == "trigger_event":
        server.register_namespace(type("Own", (Namespace,), {"trigger_event": unrun})("/"))
    client = Polling(server)
    client.ask_to_join()
    assert client.next().startswith("4{")
    assert server.stats()["handler_errors"] == 1


class Mute:
    """Has no text, as an object of a database whose connection is closed."""

    def __str__(self) -> str:
        raise LookupError("the text is gone")


class Killing(Mute):
    def __str__(self) -> str:
        raise gevent.GreenletExit


@pytest.mark.parametrize("mute", [Mute(), Killing()])
@pytest.mark.parametrize(
    "kind",
    [
        builtins.ConnectionRefusedError,
        socketio.exceptions.ConnectionRefusedError,
        ConnectionRefusedError,
    ],
)
@pytest.mark.parametrize("place", ["connect", "use"])
def test_a_refusal_that_cannot_be_told_is_an_error_and_refuses(
    place: str, kind: Any, mute: Any
) -> None:
    server = refusing(place, lambda: raises(kind(mute)))
    client = Polling(server)
    for tries in (1, 2):  # its connection lives
        client.ask_to_join()
        answer = client.next()
        assert (answer[0], json.loads(answer[1:])) == ("4", REJECTED)
        assert server.stats()["handler_errors"] == tries


def test_only_an_error_is_logged() -> None:
    for name, errors in (("ours", 0), ("an error", 1)):
        server = refusing("connect", REFUSALS[name][0])
        Polling(server).ask_to_join()
        settle()
        assert server.stats()["handler_errors"] == errors


def test_a_middleware_that_refuses_keeps_connect_from_running() -> None:
    server = Server()
    ran: list[str] = []
    server.on("connect", lambda sid, environ: ran.append("connect"))

    @server.use
    def use(socket: Any) -> None:
        raise ConnectionRefusedError("no")

    Polling(server).ask_to_join()
    settle()
    assert ran == []


def test_a_refused_client_may_try_again_on_the_same_connection() -> None:
    server = Server()
    attempts: list[Any] = []

    @server.on("connect")
    def connect(sid: str, environ: Any, auth: Any) -> Any:
        attempts.append(auth)
        return len(attempts) > 1

    client = Polling(server)
    client.ask_to_join()
    assert client.next()[0] == "4"
    client.join(auth={"token": "right"})
    assert attempts == [None, {"token": "right"}]


def test_peers_hear_nothing_of_a_refused_client() -> None:
    server = Server()
    peer = Polling(server).join()
    server.enter_room(peer.sid, "tea")

    @server.on("connect")
    def connect(sid: str, environ: Any) -> bool:
        server.enter_room(sid, "tea")
        return False

    Polling(server).ask_to_join()
    settle()
    assert peer.events() == []


# -- always_connect --------------------------------------------------------------------------------


def test_a_socket_may_be_let_in_before_it_is_asked() -> None:
    server = Server(always_connect=True)
    release = Event()
    peer = Polling(server).join()
    server.enter_room(peer.sid, "tea")

    @server.on("connect")
    def connect(sid: str, environ: Any) -> Any:
        server.enter_room(sid, "tea")
        release.wait(DEADLINE)
        raise ConnectionRefusedError("no")

    client = Polling(server).join()
    release.set()
    assert client.next()[0] == "1"
    assert peer.next() == f'2["#rtcio:peer-left",{{"id":"{client.sid}"}}]'
    assert server.stats()["connected"] == 1
    assert server.stats()["disconnects"] == 1


def test_a_client_manager_of_the_app_may_have_its_own_first_step() -> None:
    class Mine(socketio.Manager):  # type: ignore[misc]
        def pre_connect(self, eio_sid: str, namespace: str) -> Any:
            return super().pre_connect(eio_sid, namespace)

    server = Server(client_manager=Mine())
    assert server.test_client().connected


def test_who_is_disconnected_while_its_answer_is_encoded_is_refused() -> None:
    sids: list[str] = []

    class Slow:
        """JSON that lets others run first, as one that asks a database may."""

        loads = staticmethod(json.loads)

        @staticmethod
        def dumps(value: Any, **options: Any) -> str:
            if isinstance(value, dict) and "sid" in value and not sids:
                sids.append(value["sid"])
                server.disconnect(value["sid"])
            return json.dumps(value, **options)

    server = Server(json=Slow)
    client = WebSocket(server)
    client.ask_to_join()
    assert client.next().startswith("4{")
    until(lambda: not server.manager.members)
    assert client.queue == []


@pytest.mark.parametrize("place", ["use", "connect", "socket.use"])
def test_a_false_that_is_no_bool_refuses_too(place: str) -> None:
    """As that of numpy's comparisons, and that of a proxy."""
    server = Server()
    no = LocalProxy(lambda: False)
    heard: list[Any] = []
    if place == "use":
        server.use(lambda socket: no)
    elif place == "connect":
        server.on("connect", lambda sid, environ: no)
    else:
        server.on("connection", lambda socket: socket.use(lambda event, args: no))
    server.on("chat", lambda sid, text: heard.append(text))
    client = server.test_client()
    assert client.connected == (place == "socket.use")
    if client.connected:
        client.emit("chat", "hello")
    assert heard == []


# -- what is asked of a client that is not connected yet -------------------------------------------


@pytest.mark.parametrize("place", ["use", "connect"])
@pytest.mark.parametrize(
    "call",
    [
        lambda server, sid: server.call("question", to=sid, timeout=DEADLINE),
        lambda server, sid: server.call("question", to=[sid], timeout=DEADLINE),
        lambda server, sid: server.of("/").call("question", to=sid, timeout=DEADLINE),
    ],
    ids=["server", "a list", "namespace"],
)
def test_nobody_waits_for_an_answer_that_cannot_come(place: str, call: Any) -> None:
    """The client gets nothing before the handler has returned."""
    server = Server()
    raised: list[str] = []

    def ask(sid: str) -> None:
        with pytest.raises(OptionError, match="Call it in a handler of 'connection'") as caught:
            call(server, sid)
        raised.append(str(caught.value))

    if place == "use":
        server.use(lambda socket: ask(socket.id))
    else:
        server.on("connect", lambda sid, environ: ask(sid))
    client = WebSocket(server).join()
    assert len(raised) == 1
    assert client.packets() == []  # nothing was sent to it


@pytest.mark.parametrize("half_open", [True, False])
@pytest.mark.parametrize("place", ["use", "connect"])
def test_nobody_waits_for_it_at_a_return_either(place: str, half_open: bool) -> None:
    server = Server(connection_state_recovery={"skip_middlewares": False})
    raised: list[str] = []
    returns: list[bool] = []

    def ask(sid: str) -> None:
        if returns:
            with pytest.raises(OptionError, match="Call it in a handler of 'connection'") as caught:
                server.call("question", to=sid, timeout=DEADLINE)
            raised.append(str(caught.value))

    if place == "use":
        server.use(lambda socket: ask(socket.id))
    else:
        server.on("connect", lambda sid, environ: ask(sid))
    client = WebSocket(server)
    client.ask_to_join()
    answer = json.loads(client.next()[1:])
    if not half_open:
        client.sock.close()
        until(lambda: server.stats()["away"] == 1)
    returns.append(True)
    again = WebSocket(server).join(auth={"pid": answer["pid"]})
    assert again.sid == answer["sid"]
    assert len(raised) == 1
    server.emit("next", to=again.sid)
    assert again.next().startswith('2["next"')  # and not the question


def test_a_task_of_a_connect_handler_may_wait_for_the_answer() -> None:
    server = Server()
    tasks: list[Any] = []

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        ask = gevent.spawn(server.call, "question", to=sid, timeout=DEADLINE)
        tasks.append(ask)
        gevent.sleep(0)  # it has asked before the client is connected

    client = WebSocket(server).join()
    client.send(f"3{client.next()[1]}[42]")
    assert tasks[0].get(timeout=DEADLINE) == 42


def test_who_is_connected_before_its_handler_may_be_asked_in_it() -> None:
    server = Server(always_connect=True)
    answers: list[Any] = []
    server.on("connect", lambda sid, environ: answers.append(server.call("q", to=sid)))
    client = WebSocket(server).join()
    client.send(f"3{client.next()[1]}[42]")
    until(lambda: answers == [42])
