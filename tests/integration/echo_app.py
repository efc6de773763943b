"""A WSGI app that takes its WebSockets over and echoes: the servers' part of `test_takeover.py`.

`python -m tests.integration.echo_app PORT [--geventwebsocket] [--certificate PEM]` serves it by
gevent's pywsgi; gunicorn takes it as `tests.integration.echo_app:app`. `MIDDLEWARE` in the
environment names one of `MIDDLEWARES` to stand in front; `HANG` makes the end of it take a minute.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

if __name__ == "__main__":
    from gevent import monkey

    monkey.patch_all()

import gevent
from gevent.pywsgi import WSGIServer

from rtcio_sync.errors import HandshakeError
from rtcio_sync.protocol.websocket_frames import GOING_AWAY, frame_binary, frame_text
from rtcio_sync.protocol.websocket_handshake import handshake
from rtcio_sync.transport import server_stop, takeover
from rtcio_sync.transport.websocket import WebSocket

#: Seconds a server that stops gives its connections: more than one takes that does not answer.
DRAIN = 8.0

Start = Callable[..., Any]
App = Callable[[dict[str, Any], Start], Iterable[bytes]]

state: dict[str, Any] = {"opened": 0, "lost": [], "watching": False}
connections: set[WebSocket] = set()


class Echo:
    """Sends back what it receives. `raise` makes it raise, `flood N` sends N bytes."""

    connection: WebSocket

    def message_received(self, payload: bytes, binary: bool) -> None:
        if payload == b"raise":
            raise RuntimeError("asked to")
        if payload.startswith(b"flood "):
            payload = b"x" * int(payload[6:])
        self.connection.send(frame_binary(payload) if binary else frame_text(payload))

    def connection_lost(self, code: int | None, error: bool) -> None:
        connections.discard(self.connection)
        state["lost"].append([code, error])


def app(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    if "HTTP_UPGRADE" in environ or "wsgi.websocket" in environ:
        return websocket(environ, start_response)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({**state, **census()}).encode()]


def census() -> dict[str, int]:
    greenlets = [thing for thing in gc.get_objects() if isinstance(thing, gevent.Greenlet)]
    return {
        "open": len(connections),
        "prompt": sum(is_prompt(connection) for connection in connections),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "greenlets": sum(not greenlet.dead for greenlet in greenlets),
        "pid": os.getpid(),
    }


def is_prompt(connection: WebSocket) -> bool:
    """Whether TCP sends each frame at once, and does not wait for an acknowledgement."""
    with suppress(OSError):  # closed, which the owner is told in the next turn
        return bool(connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    return False


def websocket(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    request = takeover.find(environ)
    if request is None:
        start_response("501 Not Implemented", [])
        return [b"unknown server"]
    if not state["watching"]:
        state["watching"] = server_stop.watch_stop(environ, drain, patience=DRAIN)
    try:
        headers = handshake(environ)
    except HandshakeError as error:
        start_response(error.status, error.headers)
        return [error.reason.encode()]
    options = {key: int(value[0]) for key, value in parse_qs(environ["QUERY_STRING"]).items()}
    gevent.sleep(options.pop("sleep", 0))
    owner = Echo()
    owner.connection = request.open(
        start_response,
        headers,
        owner,
        max_size=options.get("max_size", 1 << 24),
        max_buffered=options.get("max_buffered"),
    )
    state["opened"] += 1
    connections.add(owner.connection)
    owner.connection.start()
    return request.leave()


def drain() -> None:
    if "HANG" in os.environ:
        gevent.sleep(60)
    told = len(connections)
    for connection in list(connections):
        connection.close(GOING_AWAY)
    while connections:
        gevent.sleep(0.01)
    print(f"drained {told}", file=sys.stderr, flush=True)


def adding(inner: App) -> App:
    """Adds a header, as most middlewares that wrap `start_response` do; copies the environ."""

    def outer(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            return start_response(status, [*headers, ("X-Added", "yes")], exc_info)

        return inner(dict(environ), start)

    return outer


def holding_back(inner: App) -> App:
    """Does not start the response before it has seen the body, as compressing middlewares do."""

    def outer(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
        started: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            started[:] = [status, headers]
            return lambda data: None

        body = b"".join(inner(environ, start))
        start_response(*started)
        return [body] if body else []

    return outer


MIDDLEWARES = {"": lambda inner: inner, "adding": adding, "holding-back": holding_back}

app = MIDDLEWARES[os.environ.get("MIDDLEWARE", "")](app)


def main(arguments: list[str]) -> None:
    options: dict[str, Any] = {}
    if "--geventwebsocket" in arguments:
        from geventwebsocket.handler import WebSocketHandler

        options["handler_class"] = WebSocketHandler
    if "--certificate" in arguments:
        options["certfile"] = options["keyfile"] = arguments[arguments.index("--certificate") + 1]
    server = WSGIServer(("127.0.0.1", int(arguments[0])), app, **options)
    gevent.signal_handler(signal.SIGTERM, server.stop)
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
