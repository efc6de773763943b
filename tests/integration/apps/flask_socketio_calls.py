"""An app of Flask-SocketIO that uses each of its calls; `RTCIO_TEST_IMPORT` is the package.

``flask_socketio``, or ``rtcio_sync.flask_socketio``. Nothing else differs. What its handlers see is
at ``/log``.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from typing import Any

import flask
from flask.sessions import SessionInterface, SessionMixin

logging.basicConfig(
    level=logging.DEBUG, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

package: Any = importlib.import_module(os.environ["RTCIO_TEST_IMPORT"])
SocketIO, Namespace = package.SocketIO, package.Namespace
emit, send, call, disconnect = package.emit, package.send, package.call, package.disconnect
join_room, leave_room, close_room = package.join_room, package.leave_room, package.close_room
rooms, ConnectionRefusedError = package.rooms, package.ConnectionRefusedError

app = flask.Flask(__name__)
app.secret_key = "of the tests"


class Kept(dict[str, Any], SessionMixin):
    """A session whose values the server's side keeps."""

    modified = False
    key = ""

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self.modified = True


kept: dict[str, dict[str, Any]] = {}


class KeptHere(SessionInterface):
    """As Flask-Session does: the cookie has a key, and the values are here."""

    def open_session(self, app: Any, request: Any) -> Kept:
        key = request.cookies.get("key") or request.headers.get("X-Key") or "nobody"
        session = Kept(kept.get(key, {}))
        session.key = key
        return session

    def save_session(self, app: Any, session: Any, response: Any) -> None:
        if session.modified:
            kept[session.key] = dict(session)


app.session_interface = KeptHere()
socketio = SocketIO(cors_allowed_origins="*")
log: list[Any] = []
request: Any = flask.request
session: Any = flask.session


def note(what: str, *more: Any) -> None:
    event = dict(request.event)
    if event["message"] == "connect":
        event["args"] = event["args"][1:]  # without the environ
    log.append([what, *more, request.sid, request.namespace, event["message"], [*event["args"]]])


# -- HTTP ------------------------------------------------------------------------------------------


@app.get("/health")
def health() -> str:
    return "ok"


@app.get("/reset")
def reset() -> str:
    log.clear()
    kept.clear()
    return manage(1)


@app.get("/log")
def take_log() -> Any:
    taken = [*log]
    log.clear()
    return flask.Response(json.dumps(taken, default=repr), mimetype="application/json")


@app.get("/session")
def show_session() -> Any:
    return flask.jsonify(dict(session))


@app.get("/session/<name>/<value>")
def change_session(name: str, value: str) -> Any:
    session[name] = value
    return "ok"


@app.get("/manage/<int:on>")
def manage(on: int) -> str:
    socketio.manage_session = bool(on)
    return "ok"


@app.get("/emit")
def emit_from_http() -> str:
    socketio.emit("news", {"from": "http"})
    socketio.emit("news", ("of", "two"), to="tea")
    socketio.emit("news", {"from": "http"}, to=["tea", "cake"])
    socketio.emit("news", {"chat": True}, namespace="/chat")
    socketio.emit("nothing")
    socketio.emit("news", "an empty room is everybody", to="")
    emit("news", "by the function", namespace="/", broadcast=True)
    socketio.send("a text")
    socketio.send({"a": "json"}, json=True)
    socketio.send("to tea", to="tea", namespace="/")
    socketio.send("to chat", namespace="/chat")
    return "ok"


@app.get("/call/<sid>")
def call_from_http(sid: str) -> Any:
    answer = socketio.call("question", {"from": "http"}, to=sid)
    heard: list[Any] = []
    socketio.emit("question", "with a callback", to=sid, callback=lambda *a: heard.append(a))
    while not heard:
        socketio.sleep(0.01)
    return flask.jsonify([answer, heard])


@app.get("/close/<room>")
def close_from_http(room: str) -> str:
    socketio.close_room(room)
    return "ok"


@app.get("/emit-later")
def emit_later() -> str:
    def later(*args: Any, **named: Any) -> None:
        socketio.sleep(0.01)
        socketio.emit("later", [*args, named])

    task = socketio.start_background_task(later, 1, two=2)
    task.join()
    return "ok"


@app.get("/skip/<sid>")
def skip_from_http(sid: str) -> str:
    socketio.emit("news", "not to one", skip_sid=sid)
    socketio.send("not to one", skip_sid=[sid])
    return "ok"


@app.get("/stop")
def stop() -> str:
    socketio.stop()
    return "ok"


# -- handlers --------------------------------------------------------------------------------------


@socketio.on("connect")
def on_connect(auth: Any) -> Any:
    note("connect", session.get("user"))
    auth = auth or {}
    if auth.get("as") == "nobody":
        return False
    if auth.get("as") == "refused":
        raise ConnectionRefusedError("not you")
    if auth.get("as") == "refused with data":
        raise ConnectionRefusedError("not you", {"because": "of this"})
    if auth.get("as") == "refused with more":
        raise ConnectionRefusedError("not you", 1, "two")
    if auth.get("as"):
        join_room("tea")
        emit("welcome", {"you": request.sid})
        send("welcome")
    return None


@socketio.on("disconnect")
def on_disconnect(reason: str) -> None:
    known = [each for each in dir(socketio.reason) if each.isupper()]
    assert reason in [getattr(socketio.reason, each) for each in known]
    note("disconnect", sorted(rooms()) == sorted({request.sid, "tea"}))


@socketio.event
def echo(*args: Any) -> Any:
    note("echo")
    return args


@socketio.event(namespace="/chat")
def chat_echo(data: Any) -> Any:
    note("chat echo")
    emit("echoed", data)
    return data


@socketio.on("answer")
def answer(kind: str) -> Any:
    answers = {
        "nothing": None, "text": "text", "tuple": (1, "two"), "list": [1, 2], "dict": {"a": 1},
        "false": False, "empty": (), "bytes": b"\x00\x01", "nested": ({"a": b"\x02"}, [None]),
    }  # fmt: skip
    return answers[kind]


@socketio.on("message")
def on_message(data: Any) -> str:
    note("message")
    send(data)
    send({"got": data}, json=True)
    send(data, broadcast=True, include_self=False)
    send(data, to="tea", namespace="/")
    return "heard"


@socketio.on("json")
def on_json(data: Any) -> str:
    note("json")
    send(data, json=True, broadcast=True)
    return "heard"


@socketio.on("emit")
def on_emit(other: str) -> str:
    emit("one", {"to": "the sender"})
    emit("two", ("several", "arguments", {"and": b"\x00bytes"}))
    emit("three")
    emit("four", "everybody", broadcast=True)
    emit("five", "everybody but me", broadcast=True, include_self=False)
    emit("six", "the room", to="tea")
    emit("seven", "the room but me", to="tea", include_self=False)
    emit("eight", "two rooms", to=["tea", "cake"])
    emit("nine", "another client", to=other)
    emit("ten", "everybody but another", broadcast=True, skip_sid=other)
    emit("eleven", "everybody but two", broadcast=True, skip_sid=[other, request.sid])
    emit("twelve", "another namespace", namespace="/chat", broadcast=True)
    emit("thirteen", "by another name", room="tea")
    for empty in (None, "", [], ()):
        emit("fourteen", "an empty recipient is the sender", to=empty)
    emit("fifteen", [1, [2], {"three": None}])
    emit("sixteen", "text: ü€😀")
    emit("seventeen", "nobody", to="an unknown room")
    emit("eighteen", "all of the default namespace", namespace=None, broadcast=True)
    emit("nineteen", "unheard of", broadcast=True, ignore_queue=True)
    return "done"


@socketio.on("rooms")
def on_rooms(other: str) -> Any:
    before = rooms()
    join_room("cake")
    join_room("cake")
    join_room(7)
    joined = len(rooms())
    leave_room(7)
    leave_room("a room that it is not in")
    join_room("of both")
    join_room("of both", sid=other)
    emit("to both", to="of both")
    close_room("of both")
    emit("to nobody", to="of both")
    join_room("for one", other, "/")
    theirs = rooms(sid=other, namespace="/")
    leave_room("for one", sid=other)
    return before, joined, rooms(), theirs


@socketio.on("my rooms")
def on_my_rooms() -> Any:
    return rooms()


@socketio.on("ask")
def on_ask(other: str) -> Any:
    mine = call("question", "of the handler")
    theirs = call("question", "of the handler", to=other, timeout=20)
    return mine, theirs


@socketio.on("ask with callback")
def on_ask_with_callback(to: str) -> str:
    def answered(*args: Any) -> None:
        note("answered")
        emit("callback", [*args])

    emit("question", "with a callback", to=to, callback=answered)
    return "asked"


@socketio.on("send with callback")
def on_send_with_callback() -> str:
    send("with a callback", callback=lambda *args: emit("callback", [*args]))
    return "asked"


@socketio.on("leave me")
def on_leave_me() -> None:
    note("leave me")
    disconnect()


@socketio.on("kick")
def on_kick(other: str) -> str:
    disconnect(other)
    return "kicked"


@socketio.on("session")
def on_session(value: str) -> Any:
    before = dict(session)
    session["event"] = value
    return before


def on_registered(data: Any) -> str:
    note("registered")
    return "registered"


socketio.on_event("registered", on_registered)
socketio.on_event("registered", on_registered, namespace="/chat")


@socketio.on("first name")
@socketio.on("second name")
def on_two_names(data: Any) -> str:
    note("two names")
    return str(data)


@socketio.on("*")
def on_any(event: str, *args: Any) -> Any:
    note("any event", event, [*args])
    return "caught", event


@socketio.on("fence")
@socketio.on("fence", namespace="*")
def on_fence() -> str:
    return "fence"


@socketio.on("anywhere", namespace="*")
def on_anywhere(data: Any) -> str:
    note("any namespace")
    return "anywhere"


@socketio.on("fail")
def on_fail(how: str) -> None:
    raise RuntimeError(how)


socketio.on_event("fail", on_fail, namespace="/chat")


@socketio.on_error()
def on_error(error: Exception) -> Any:
    note("on_error", str(error))
    return "handled", str(error)


@socketio.on_error_default
def on_error_default(error: Exception) -> str:
    note("on_error_default", str(error))
    return "handled by default"


class Calls(Namespace):  # type: ignore[misc]
    def on_connect(self) -> None:
        note("class connect")
        self.emit("joined", {"who": request.sid}, include_self=False)

    def on_disconnect(self, reason: str) -> None:
        note("class disconnect")

    def on_message(self, data: Any) -> str:
        self.send(data)
        return "sent"

    def on_sends(self, data: Any) -> str:
        self.emit("to all", data)
        self.emit("to all but me", data, include_self=False)
        self.emit("to the room", data, room="of calls")
        self.send("to all but me", include_self=False)
        emit("to the sender", data)
        return "done"

    def on_join(self, room: str) -> Any:
        join_room(room)
        self.enter_room(request.sid, "by the method")
        return rooms()

    def on_close(self, room: str) -> Any:
        self.close_room(room)
        return rooms()

    def on_fail(self, how: str) -> None:
        raise RuntimeError(how)


class Failing(Namespace):  # type: ignore[misc]
    def on_fail(self, how: str) -> None:
        raise RuntimeError(how)

    def error(self, error: Exception) -> str:
        note("error", str(error))
        raise error


@socketio.on_error("/failing")
def on_error_failing(error: Exception) -> str:
    if str(error) == "again":
        raise error
    return "handled for the namespace"


socketio.on_namespace(Calls("/calls"))
socketio.init_app(app, **json.loads(os.environ.get("RTCIO_TEST_SOCKETIO", "{}")))
socketio.on_namespace(Failing("/failing"))


@socketio.on("after init_app")
def after_init_app(data: Any) -> str:
    return "heard"
