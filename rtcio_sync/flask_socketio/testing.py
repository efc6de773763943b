"""Flask-SocketIO's test client: a client without sockets, in any number of namespaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flask
from flask.testing import EnvironBuilder
from socketio import PubSubManager, packet

from ..errors import OptionError
from ..flask.context import APP
from ..protocol.names import namespace_name
from ..socketio.handler_call import TESTED
from ..testing import MemoryLink, add_cookies, open_link, send_packet
from .current import check_app

__all__ = ["SocketIOTestClient"]


class SocketIOTestClient:
    """A connected client; made by `SocketIO.test_client`.

    ``query_string`` and ``headers``: of its handshake. ``auth``: what socket.io-client's ``auth``
    option would send. ``flask_test_client``: an ``app.test_client()`` whose cookies, and so whose
    session, the handshake carries. What a handler raises for this client is raised by the method
    that made the handler run, after it was logged and counted as always.
    """

    def __init__(
        self,
        app: flask.Flask,
        socketio: Any,
        namespace: str | None = None,
        query_string: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
        flask_test_client: Any = None,
    ) -> None:
        check_app(app)
        if query_string is not None and not isinstance(query_string, str):
            raise OptionError(f"query_string={query_string!r:.100}: give text, like 'token=a'")
        self.app = app
        #: The `SocketIO`; Any, for its class is in a higher module.
        self.socketio = socketio
        self.flask_test_client = flask_test_client
        #: Whether it is connected, by namespace.
        self.connected: dict[str, bool] = {}
        #: The events that came and that nobody has asked for yet.
        self.queue: list[dict[str, Any]] = []
        self._server: Any = socketio.server
        self._link: MemoryLink | None = None
        self._partial: Any = None
        self._answers: dict[int, list[Any]] = {}
        self._asked = 0
        self._raised: list[BaseException] = []
        if isinstance(self._server.manager, PubSubManager):
            raise RuntimeError(
                "a test client cannot wait for a message queue: test without message_queue"
            )
        self._server.async_handlers = False  # an event's handlers have ended when `emit` returns
        self.connect(namespace, query_string, headers, auth)

    @property
    def eio_sid(self) -> str:
        """The id of its Engine.IO connection."""
        return "" if self._link is None else str(self._link.sid)

    def is_connected(self, namespace: str | None = None) -> bool:
        """Whether it is connected to a namespace, by default ``"/"``."""
        return self.connected.get(namespace_name(namespace), False)

    def connect(
        self,
        namespace: str | None = None,
        query_string: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
    ) -> None:
        """Connects to a namespace, to a further one over the same connection.

        The handshake of the connection is that of the first call.
        """
        if self._link is None or self._link.closed:
            environ = self._environ(query_string, headers)
            self._link = open_link(self._server.eio, environ, self._hear, self._ended)
        self._send(packet.CONNECT, namespace_name(namespace), auth)

    def disconnect(self, namespace: str | None = None) -> None:
        """Disconnects from a namespace. Raises `RuntimeError` if it is not connected to it."""
        name = self._connected_to(namespace)
        self.connected.pop(name)
        self._send(packet.DISCONNECT, name)

    def emit(
        self,
        event: str,
        *args: Any,
        callback: bool = False,
        namespace: str | None = None,
        **ignored: Any,
    ) -> Any:
        """Sends an event; with ``callback=True``, returns the acknowledgement.

        Its only argument, or a list of none or several; `None`: nobody acknowledged the event.
        Further keywords are ignored, as in Flask-SocketIO. Raises `RuntimeError` if it is not
        connected to the namespace.
        """
        name = self._connected_to(namespace)
        if not callback:
            self._send(packet.EVENT, name, [event, *args])
            return None
        self._asked += 1
        self._send(packet.EVENT, name, [event, *args], self._asked)
        answer = self._answers.pop(self._asked, None)
        return answer[0] if answer is not None and len(answer) == 1 else answer

    def send(
        self, data: Any, json: bool = False, callback: bool = False, namespace: str | None = None
    ) -> Any:
        """`emit` of the event ``"message"``, or ``"json"`` with ``json=True``."""
        event = "json" if json else "message"
        return self.emit(event, data, callback=callback, namespace=namespace)

    def get_received(self, namespace: str | None = None) -> list[dict[str, Any]]:
        """The events of a namespace since the last call, as dicts.

        ``name``, ``args`` and ``namespace``. ``args`` is a list, for the events ``"message"`` and
        ``"json"`` the first argument. Raises `RuntimeError` if it is not connected to the
        namespace.
        """
        name = self._connected_to(namespace)
        found = [each for each in self.queue if each["namespace"] == name]
        self.queue = [each for each in self.queue if each["namespace"] != name]
        return found

    # -- packets -----------------------------------------------------------------------------------

    def _connected_to(self, namespace: str | None) -> str:
        if not self.is_connected(namespace):
            raise RuntimeError("not connected")
        return namespace_name(namespace)

    def _environ(
        self, query_string: str | None, headers: Mapping[str, str] | None
    ) -> dict[str, Any]:
        known = self.flask_test_client
        if known is not None and not hasattr(known, "environ_base"):
            raise OptionError(f"flask_test_client={known!r:.100}: give app.test_client()")
        base = None if known is None else known.environ_base
        query = (query_string or "").removeprefix("?")
        environ = EnvironBuilder(
            self.app,
            path=f"{self._server.path}/",
            query_string=query,
            headers=headers,
            environ_base=base,
        ).get_environ()
        if known is not None:
            add_cookies(environ, known)
        return {**environ, APP: self.app, TESTED: self._raised}

    def _send(self, kind: int, namespace: str, data: Any = None, number: int | None = None) -> None:
        made = self._server.packet_class(kind, data=data, namespace=namespace, id=number)
        if self._link is not None:
            send_packet(self._link, made)
        if self._raised:
            first = self._raised[0]
            self._raised.clear()
            raise first

    def _hear(self, data: Any) -> None:
        if self._partial is None:
            pkt = self._server.packet_class(encoded_packet=data)
            if pkt.attachment_count:
                self._partial = pkt
                return
        elif self._partial.add_attachment(data):
            pkt, self._partial = self._partial, None
        else:
            return
        self._take(pkt, pkt.namespace or "/")

    def _take(self, pkt: Any, namespace: str) -> None:
        kind = pkt.packet_type
        if kind in (packet.EVENT, packet.BINARY_EVENT):
            name, *args = pkt.data
            known = args[0] if name in ("message", "json") and args else args
            self.queue.append({"name": name, "args": known, "namespace": namespace})
        elif kind in (packet.ACK, packet.BINARY_ACK):
            self._answers[pkt.id] = pkt.data
        elif kind == packet.CONNECT:
            self.connected[namespace] = True
        elif kind in (packet.DISCONNECT, packet.CONNECT_ERROR):
            self.connected[namespace] = False

    def _ended(self) -> None:
        self.connected.clear()
