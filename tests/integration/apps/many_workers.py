"""An app for several workers: every public call, from a handler or a view of whichever worker."""

from __future__ import annotations

import os
import re
import sys
from typing import Any
from uuid import UUID

from gevent import monkey

if os.environ.get("RTCIO_TEST_PATCH"):  # with --preload nobody else does it before
    monkey.patch_all()

import json
import logging

import flask
import gevent
import socketio
from pages import add_pages

from rtcio_sync import Limits, Server, UnansweredError
from rtcio_sync.cluster import stream

logging.basicConfig(
    level=logging.DEBUG, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

if "RTCIO_TEST_WAITING" in os.environ:
    stream.MOST_WAITING = stream.MOST_NEEDED = int(os.environ["RTCIO_TEST_WAITING"])

app = flask.Flask(__name__)
options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
limits = Limits(events_per_second=None)
server = Server(app=app, cors_allowed_origins="*", limits=limits, **options)
if os.environ.get("RTCIO_TEST_ADMIN"):
    server.instrument(auth=False, mode="development")
add_pages(app, server)
asked: list[Any] = []
seen: list[Any] = []
dynamic = server.of(re.compile("^/dynamic-"), lambda socket: socket.emit("welcome"))


@server.on("connection")
def on_connection(socket: Any) -> None:
    socket.data["pid"] = os.getpid()

    @socket.on("transport")
    def transport() -> str:
        return socket.conn.transport.name

    @socket.on("pid")
    def pid() -> int:
        return os.getpid()

    @socket.on("join")
    def join(*rooms: Any) -> str:
        socket.join(*rooms)
        return "ok"

    @socket.on("leave")
    def leave(*rooms: Any) -> str:
        socket.leave(*rooms)
        return "ok"

    @socket.on("to")
    def to(room: Any, event: str, *args: Any) -> str:
        socket.to(room).emit(event, *args)
        return "ok"

    @socket.on("do")
    def do(name: str, *args: Any, **options: Any) -> Any:
        return ACTIONS[name](*args)

    @socket.on("watch")
    def watch() -> None:
        socket.on_any_outgoing(lambda event, *args: seen.append([socket.id, event, list(args)]))

    @socket.on("address")
    def address() -> str:
        return socket.handshake.address


@server.engine.on("initial_headers")
def initial_headers(headers: dict[str, str]) -> None:
    headers["X-Worker"] = str(os.getpid())


@server.engine.on("headers")
def headers(headers: dict[str, str]) -> None:
    headers["X-Each"] = "1"


def fetch(*rooms: Any) -> list[dict[str, Any]]:
    space = server.of("/")
    found = space.to(*rooms).fetch_sockets() if rooms else space.fetch_sockets()
    return [
        {
            "id": each.id,
            "pid": each.data.get("pid"),
            "rooms": list(each.rooms),
            "agent": each.handshake.headers.get("user-agent"),
            "auth": each.handshake.auth,
            "kind": type(each).__name__,
        }
        for each in found
    ]


def emit_with_callback(to: Any, event: str, *args: Any) -> str:
    asked.clear()
    server.emit(event, args, to=to, callback=lambda *answer: asked.append(list(answer)))
    return "ok"


def gather(to: Any, seconds: float, event: str, *args: Any) -> Any:
    try:
        answers = server.to(to).timeout(seconds).call(event, *args)
    except UnansweredError as error:
        return [sorted(error.silent), error.answers.by_sid]
    return [[], answers.by_sid]


def gather_later(to: Any, seconds: float, event: str) -> None:
    asked.clear()
    server.to(to).timeout(seconds).emit(
        event, callback=lambda error, answers: asked.append([error is None, sorted(answers)])
    )


def call_remote(sid: str, seconds: float, event: str) -> Any:
    (remote,) = server.to(sid).fetch_sockets()
    return [type(remote).__name__, remote.timeout(seconds).call(event)]


def outcome(call: Any) -> Any:
    try:
        return ["answer", call()]
    except Exception as error:  # noqa: BLE001  (the test wants its name)
        return [type(error).__name__, str(error)]


ACTIONS: dict[str, Any] = {
    "emit": lambda to, event, *args: server.emit(event, args, to=to),
    "emit-skip": lambda to, skip, event, *args: server.emit(event, args, to=to, skip_sid=skip),
    "except": lambda out, event, *args: server.except_(out).emit(event, *args),
    "callback": emit_with_callback,
    "asked": lambda: list(asked),
    "call": lambda to, event, *args: outcome(lambda: server.call(event, args, to=to, timeout=60)),
    "enter": lambda sid, room: server.enter_room(sid, room),
    "exit": lambda sid, room: server.leave_room(sid, room),
    "close": lambda room: server.close_room(room),
    "rooms": lambda sid: server.rooms(sid),
    "disconnect": lambda sid: server.disconnect(sid),
    "sockets-join": lambda room, other: server.in_(room).sockets_join(other),
    "sockets-leave": lambda room, other: server.in_(room).sockets_leave(other),
    "disconnect-sockets": lambda room: server.in_(room).disconnect_sockets(),
    "fetch": fetch,
    "stats": lambda: server.stats(),
    "side-emit": lambda event, *args: server.server_side_emit(event, *args),
    "side-call": lambda event, *args: outcome(lambda: server.server_side_call(event, *args)),
}
heard: list[Any] = []


def fork() -> int:
    """A child that lives for a while and does nothing."""
    child = os.fork()
    if child == 0:
        monkey.get_original("time", "sleep")(60)
        os._exit(0)
    return child


ACTIONS["fork"] = fork
ACTIONS["in-thread"] = lambda name, *args: gevent.get_hub().threadpool.apply(
    outcome, (lambda: ACTIONS[name](*args),)
)


class Classic(socketio.Namespace):
    """A namespace as python-socketio's apps write it."""

    def on_join(self, sid: str, room: str) -> Any:
        self.enter_room(sid, room)
        return self.rooms(sid)

    def on_do(self, sid: str, name: str, *args: Any) -> Any:
        return outcome(lambda: getattr(self, name)(*args))

    def on_ask(self, sid: str, other: str) -> Any:
        return outcome(lambda: self.call("question", {"n": 1}, to=other, timeout=60))

    def on_disconnect(self, sid: str, reason: str) -> None:
        self.emit("gone", sid, room="tea")


server.register_namespace(Classic("/classic"))
ACTIONS["gather"] = gather
ACTIONS["gather-later"] = gather_later
ACTIONS["call-remote"] = call_remote
ACTIONS["volatile"] = lambda to, event, *args: server.to(to).volatile.emit(event, *args)
ACTIONS["local"] = lambda to, event, *args: server.to(to).local.emit(event, *args)
ACTIONS["dynamic"] = lambda event, *args: dynamic.emit(event, *args)
ACTIONS["seen"] = lambda: list(seen)
ACTIONS["flood"] = lambda to, size, count: [
    server.emit("f", "x" * size, to=to) for _ in range(count)
]
ACTIONS["churn"] = lambda sid, count: [
    (server.enter_room(sid, "r" * 200 + str(n)), server.leave_room(sid, "r" * 200 + str(n)))
    for n in range(count)
]


@server.on_server_side("unsendable")
def unsendable() -> Any:
    return object()


ACTIONS["stain"] = lambda: [
    each.data.update(odd=object()) for each in server.sockets.values()
]
ACTIONS["session"] = lambda sid: [
    outcome(lambda call=call: call(sid))
    for call in (server.get_session, server.transport, server.get_environ)
]
ACTIONS["enter-uuid"] = lambda sid: outcome(lambda: server.enter_room(sid, UUID(int=1)))
ACTIONS["join-uuid"] = lambda room: outcome(lambda: server.in_(room).sockets_join(UUID(int=1)))


@server.on_server_side("note")
def note(*args: Any) -> Any:
    heard.append(list(args))
    return [os.getpid(), *args]


@app.get("/heard")
def show_heard() -> Any:
    return flask.jsonify(pid=os.getpid(), heard=heard)


@app.get("/all-stats")
def all_stats() -> Any:
    return flask.jsonify(server.stats(cluster=True))


@app.get("/pid")
def show_pid() -> Any:
    return flask.jsonify(os.getpid())


@app.post("/do/<name>")
def do(name: str) -> Any:
    return flask.jsonify(ACTIONS[name](*(flask.request.get_json() or [])))
