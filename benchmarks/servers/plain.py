"""Plain python-socketio on gevent's pywsgi, with the relay written as a user would write it.

``plain.py PORT gevent-websocket`` or ``plain.py PORT simple-websocket``. Variables of the
environment: ``ATTACKED``, ``MSGPACK`` and ``REDIS`` as in `rtcio_app`.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402 - nothing is imported before the patch
import sys  # noqa: E402

PORT, WEBSOCKETS = int(sys.argv[1]), sys.argv[2]
if WEBSOCKETS == "simple-websocket":
    # python-engineio takes simple-websocket only where gevent-websocket cannot be imported.
    sys.modules["geventwebsocket"] = None  # type: ignore[assignment]

    import simple_websocket.ws
    from wsproto.extensions import PerMessageDeflate

    class Refused(PerMessageDeflate):
        """Browsers offer compression, and the figures would be the cost of zlib."""

        def accept(self, offer: str) -> None:
            return None

    simple_websocket.ws.PerMessageDeflate = Refused  # type: ignore[misc]

import socketio  # noqa: E402
from gevent import pywsgi  # noqa: E402

from benchmarks.servers.room_app import add_handlers  # noqa: E402

redis = os.environ.get("REDIS")
server = socketio.Server(
    async_mode="gevent", client_manager=socketio.RedisManager(redis) if redis else None
)
add_handlers(server)
beside = []
if os.environ.get("MSGPACK"):
    beside.append(socketio.Server(async_mode="gevent", serializer="msgpack"))
if os.environ.get("ATTACKED"):
    from benchmarks.servers.misbehaving import add_misbehaving

    add_misbehaving(server, *beside)


@server.on("#rtcio:message")
def relay(sid: str, payload: dict[str, str]) -> None:
    server.emit("#rtcio:message", payload, to=payload["target"])


@server.event
def disconnect(sid: str, reason: str) -> None:
    for room in server.rooms(sid):
        if room != sid:
            server.emit("#rtcio:peer-left", {"id": sid}, to=room, skip_sid=sid)


def serve() -> None:
    application = socketio.WSGIApp(server)
    for packed in beside:
        add_handlers(packed)
        application = socketio.WSGIApp(packed, application, socketio_path="packed")
    if WEBSOCKETS == "simple-websocket":
        pywsgi.WSGIServer(("127.0.0.1", PORT), application, log=None).serve_forever()
    else:
        from geventwebsocket.handler import WebSocketHandler

        pywsgi.WSGIServer(
            ("127.0.0.1", PORT), application, log=None, handler_class=WebSocketHandler
        ).serve_forever()


if __name__ == "__main__":
    serve()
