"""The Engine.IO server with python-engineio's interface: what each request asks for.

Replaced of python-engineio's private names, asserted in ``tests/test_upstream.py``:
``Server._get_socket``: to look up a closed session does not delete it, as packets may still wait in
it for the last poll.

Used as they are: ``Server._ok`` (which the Admin UI's instrumentation replaces),
``_trigger_event`` and ``_async``.

``handle_request`` is our own: python-engineio's constructs its own ``Socket`` class, answers 200 to
requests that failed, and fails parts of the Engine.IO v4 conformance suite.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from json.encoder import encode_basestring_ascii
from typing import Any

from engineio import exceptions, packet

from ..client_limits import client_address
from ..errors import Refused
from ..events import upstream_reason
from ..hub.forked import serves
from ..hub.thread import any_thread
from ..logs import Seldom, tell
from ..metrics import Counters
from ..options import Limits
from ..protocol.websocket_frames import frame_typed
from ..transport import takeover
from ..transport.delivery import Deliveries
from ..transport.driver import DriverWebSocket
from ..transport.ports import CONNECTION, Environ, StartResponse
from ..transport.slow_readers import Backlog
from ..transport.text_only import TextDriver, TextWebSocket
from ..transport.websocket import WebSocket
from .connection_transfer import Transfer
from .descriptors import weight
from .heartbeat import Heartbeat
from .http_requests import SENT_ON, bad, most_packets, query_of, takes_text_alone
from .http_responses import NOT_STORED, Answer, Answers
from .packet import AnyPacket, Packet
from .payload import jsonp_index
from .ports import Beside
from .socket import Socket
from .state import State
from .tasks import Tasks

__all__ = ["Server"]

log = logging.getLogger(__name__)

_OPENED = "connection %(rtcio_connection)s of %(rtcio_address)s is open: %(rtcio_transport)s"

_OLD_CLIENT = (
    "a client was refused because it is too old (it speaks Engine.IO %s): it needs rtc.io 1.1, "
    "socket.io-client 3 or 4, or python-socketio 5%s"
)

MOST_PORTS = 100  # that are remembered as those of this process

#: The limits of a server that has no Socket.IO layer above it: there is no namespace to join.
BARE = Limits(connect_timeout=None)


class Server(Tasks, Answers):
    """`engineio.Server` with one clock, an inbox for each connection, and WebSockets on the hub.

    It can be used alone, as python-engineio's can. ``limits`` bounds what one client may cost.
    ``counters`` counts; `None`: nobody reads the counts. All other options are python-engineio's.
    """

    def __init__(
        self,
        *,
        limits: Limits = BARE,
        counters: Counters | None = None,
        max_buffered_total: int | None = None,
        **options: Any,
    ) -> None:
        self.gives_up = options.pop("monitor_clients", None) is not False
        upstreams = logging.getLogger("rtcio_sync.upstream.engineio")
        options["logger"] = options.get("logger") or upstreams
        options["monitor_clients"] = False
        super().__init__(limits=limits, counters=counters or Counters(), **options)
        self.ping_every = self.ping_interval + self.ping_interval_grace_period
        #: Seconds that an idle poll waits: longer than a client that sends no PONG is kept.
        self.patience = self.ping_every + self.ping_timeout
        self.heartbeat = Heartbeat(self, Packet(packet.PING))
        now, later = self.heartbeat.now, self.heartbeat.later
        self.backlog = Backlog(max_buffered_total, now=now, later=later)
        self.backlog.closing.bound = self.closing_bound
        self.deliveries = Deliveries(self.backlog, self.counters, now=now, later=later)
        #: Connections that come from other processes.
        self.transfer = Transfer(self)
        self.stopping = False
        self._ports: set[str | None] = set()
        self._old_clients = Seldom()
        #: How many connections have something in their inbox.
        self.working = 0
        # Callbacks that the Socket.IO layer sets: `arrive(socket, message, binary)` sees each
        # message first (# hub or greenlet), `work(socket, item)` does what was put into the inbox
        # (# greenlet) and gives what runs on beside the inbox, or whether its greenlet was killed,
        # `lost(socket, reason)` hears of the end (# hub or greenlet).
        self.arrive: Callable[[Socket, bytes, bool], None] = self._arrive
        self.work: Callable[[Any, Any], Beside | bool] = self._work
        self.lost: Callable[[Socket, str], None] = self._lost
        #: Answers a request for a session that is not here: ``(sid, environ, start_response)``.
        #: `None`: the client is refused.
        self.on_unknown: Callable[[str, Environ, StartResponse], Iterable[bytes] | None] | None = (
            None
        )
        #: Called in a forked child that has forgotten all clients.
        self.on_fork: Callable[[], None] | None = None
        #: Called once, with the environ of the first request.
        self.on_first_request: Callable[[Environ], None] | None = None
        self._use_mode(str(self.async_mode))

    def async_modes(self) -> list[str]:
        return ["gevent", "gevent_uwsgi", "threading"]

    # -- the callbacks of a server that has no Socket.IO layer -----------------------------------

    def _arrive(self, socket: Socket, message: bytes, binary: bool) -> None:
        socket.enqueue(("message", message if binary else message[1:].decode()), len(message))

    def _work(self, socket: Socket, item: Any) -> bool:
        self._trigger_event(item[0], socket.sid, item[1], run_async=False)
        return False

    def _lost(self, socket: Socket, reason: str) -> None:
        socket.enqueue(("disconnect", upstream_reason(reason)))

    # -- python-engineio's interface -------------------------------------------------------------

    def _get_socket(self, sid: str) -> Socket:
        socket: Socket | None = self.sockets.get(sid)
        if socket is None:
            raise KeyError("Session not found")
        if socket.closed:
            raise KeyError("Session is disconnected")
        return socket

    @any_thread
    def send_packet(self, sid: str, pkt: AnyPacket) -> None:
        """Sends a packet to a connection, if it is still there. # hub or greenlet"""
        socket = self.sockets.get(sid)
        if socket is not None:
            socket.send(pkt)

    @property
    def waiting_bytes(self) -> int:
        """Bytes that wait for clients."""
        small: int = sum(
            each.outbox_bytes for each in list(self.sockets.values()) if not each.counted
        )
        return int(self.backlog.holdings.size + small)

    def send(self, sid: str, data: Any) -> None:
        self.send_packet(sid, Packet(packet.MESSAGE, data=data))

    @any_thread
    def disconnect(self, sid: str | None = None) -> None:
        """Closes one connection, or all. # hub or greenlet"""
        # python-engineio deletes the session at once: a client on polling would not be told.
        for socket in list(self.sockets.values()) if sid is None else [self.sockets.get(sid)]:
            if socket is not None:
                socket.close(reason="server namespace disconnect")

    def abandon(self) -> list[int]:
        """Forgets all clients in a forked child: they are the parent's. # after a fork

        Sends nothing and runs no handlers. Gives the descriptors of the clients' WebSockets.
        """
        if self.on_fork is not None:
            self.on_fork()
        self.leave_tasks()
        self.heartbeat.abandon()
        descriptors = []
        for socket in list(self.sockets.values()):
            if socket.websocket is not None:
                descriptors.append(socket.websocket.fileno())
            socket.leave_to_parent()
            self.forget(socket)
        return [each for each in descriptors if each >= 0]

    def shutdown(self) -> None:
        """Stops the clock. The connections stay open."""
        self.heartbeat.stop()

    @any_thread
    def close_all(self) -> None:
        """Closes every connection so that its client reconnects. # hub or greenlet"""
        self.stopping = True
        self.send_all_on()

    def send_all_on(self) -> None:
        """The same, while new clients may connect. # hub or greenlet"""
        for socket in list(self.sockets.values()):
            socket.send_on()

    # -- requests: greenlet ----------------------------------------------------------------------

    def _warn_of_old_client(self, versions: list[str]) -> None:
        """Logs, once a minute at most, that a client speaks a version before Engine.IO 4."""
        if versions not in (["2"], ["3"]):
            return
        more = self._old_clients.more(self.heartbeat.now())
        if more is not None:
            log.warning(_OLD_CLIENT, versions[0], more)

    def handle_request(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """The WSGI application of the Engine.IO endpoint."""
        try:
            if CONNECTION not in environ:  # else it is the hub's
                self._suit_the_server(environ)
            if self.on_first_request is not None:
                self.first_request(environ)
            self.hub_thread.bind()
            port = environ.get("SERVER_PORT")  # behind a proxy it may come from the client
            if port not in self._ports and len(self._ports) < MOST_PORTS:
                self._ports.add(port)
                serves(self, takeover.line(environ))
            answer = self._answer(environ, start_response)
        except Refused as refused:
            address = client_address(environ, self.trusted_proxies)
            origin, why = environ.get("HTTP_ORIGIN"), str(refused)
            said = "a request was refused: %(rtcio_reason)s"
            tell(log, said, reason=why, address=address, origin=origin)
            if self.watcher is not None:
                self.watcher.refused(environ, refused)
            answer = self._refusal(refused, environ, start_response)
        if isinstance(answer, Answer):
            return self._write(answer, environ, start_response)
        return answer

    def first_request(self, environ: Environ) -> None:
        """Has what is to be done before anything is served done, once. # greenlet"""
        if self.on_first_request is not None:
            first, self.on_first_request = self.on_first_request, None
            first(environ)

    def _answer(self, environ: Environ, start_response: StartResponse) -> Answer | Iterable[bytes]:
        self._check_origin(environ)
        method = environ["REQUEST_METHOD"]
        if method == "OPTIONS":
            return Answer.of(self._ok())
        query = query_of(environ.get("QUERY_STRING", ""))
        transport = query.get("transport", [""])[0]
        if transport not in self.transports:
            raise bad(0)
        if transport == "websocket" and not self.takes_websockets:
            raise bad(0)
        sid = query["sid"][0] if "sid" in query else None
        if sid is None:
            if method != "GET":
                raise bad(2)
            if query.get("EIO") != ["4"]:
                self._warn_of_old_client(query.get("EIO", []))
                raise bad(5)
            jsonp = jsonp_index(query) if transport == "polling" else None
            return self._open(environ, start_response, transport, jsonp)
        socket = self.sockets.get(sid)
        if socket is None and self.on_unknown is not None:
            elsewhere = self.on_unknown(sid, environ, start_response)
            if elsewhere is not None:
                return elsewhere
            socket = self.sockets.get(sid)  # it may have come here meanwhile
        if socket is None:
            raise bad(1)
        if self.heartbeat.overdue(socket):
            socket.fail("ping-timeout", "ping timeout")
            raise bad(1)
        if method == "GET" and transport == "websocket":
            return self._upgrade(socket, environ, start_response)
        if transport != "polling" or socket.state in (State.OPENING, State.WEBSOCKET):
            raise bad(3)
        if method == "GET":
            return self._poll(socket, environ, query)
        if method == "POST":
            socket.post(environ)
            return Answer("200 OK", [("Content-Type", "text/html"), NOT_STORED], b"ok")
        raise bad(3)

    def _open(
        self, environ: Environ, start_response: StartResponse, transport: str, jsonp: int | None
    ) -> Answer | Iterable[bytes]:
        """Engine.IO v4, "Handshake"."""
        if self.stopping or self.seats.taken >= self.max_connections:
            raise self._full()
        request = None
        headers: list[tuple[str, str]] = []
        if transport == "websocket":
            headers = self.handshake(environ, opens=True)
            request = takeover.find(environ)
        kept = self._kept(environ)
        sid = self.generate_id()
        socket = Socket(self, sid)
        if self.addresses.counting:
            self._count_address(socket, kept)
        if log.isEnabledFor(logging.DEBUG):
            address = client_address(kept, 0)
            tell(log, _OPENED, connection=sid, address=address, transport=transport)
        with self.gate:
            self.sockets[sid] = socket
            self.seats.take(socket)
        try:
            opening = self._opening(sid, transport)
            if request is None:
                socket.send(Packet(packet.OPEN, opening))
            verdict = self._trigger_event("connect", sid, kept, run_async=False)
            if verdict is not None and verdict is not True:
                raise Refused("401 UNAUTHORIZED", 4, str(verdict or "Unauthorized"))
            if transport == "websocket":
                return self._take_over(socket, request, headers, environ, start_response, opening)
            socket.weight = weight(kept)
            if not socket.enters(State.POLLING, State.OPENING):
                raise bad(1)  # the server stops, in another thread
            self.heartbeat.begin(socket)
            packets = socket.take()
            self.rests(socket)
            ok = self._ok(packets, headers=self._sid_cookie(sid))
            return Answer.of(ok, socket, jsonp=jsonp, opens=True)
        except BaseException:
            # If the client resets TCP between the handshake and the take-over, no session stays.
            self.forget(socket)
            socket.close(abort=True, reason="transport error")
            raise

    def _opening(self, sid: str, transport: str) -> str:
        """The JSON of the OPEN packet (Engine.IO v4, "Handshake")."""
        upgrades = '["websocket"]' if transport == "polling" and self._may_upgrade() else "[]"
        return (
            f'{{"sid":{encode_basestring_ascii(sid)},"upgrades":{upgrades}'
            f',"pingInterval":{round(self.ping_every * 1000)}'
            f',"pingTimeout":{round(self.ping_timeout * 1000)}'
            f',"maxPayload":{self.max_http_buffer_size}}}'
        )

    def _may_upgrade(self) -> bool:
        return (
            self.allow_upgrades
            and "websocket" in self.transports
            and self.takes_websockets
            and (self.async_mode == "gevent" or self._async["websocket"] is not None)
        )

    def _take_over(
        self,
        socket: Socket,
        request: takeover.WebSocketRequest | None,
        headers: list[tuple[str, str]],
        environ: Environ,
        start_response: StartResponse,
        opening: str | None = None,
    ) -> Iterable[bytes]:
        """Takes a WebSocket over as ``socket``'s transport or probe.

        ``opening``: the data of a new connection's OPEN packet.
        """
        if request is None:
            if socket.state is State.OPENING:
                self.heartbeat.begin(socket)
            driven = TextDriver if takes_text_alone(environ) else DriverWebSocket
            serve = partial(self._take_driver, socket, kind=driven)
            return self._driver(serve, headers)(environ, start_response)
        websocket = request.open(
            start_response,
            headers,
            socket,
            max_size=self.max_http_buffer_size,
            max_buffered=socket.limits.max_buffered_bytes,
            backlog=self.backlog,
            kind=TextWebSocket if takes_text_alone(environ) else WebSocket,
        )
        if socket.state is State.OPENING:
            self.heartbeat.begin(socket)
            if opening is not None:  # it follows the 101 in a write of its own, as in Node
                websocket.send_now(frame_typed(b"0", opening.encode()))
        socket.open_websocket(websocket)
        return request.leave()

    def _take_driver(
        self, socket: Socket, ws: Any, kind: type[DriverWebSocket] = DriverWebSocket
    ) -> list[bytes]:
        """The same for python-engineio's driver ``ws``; blocks until it is over."""
        websocket = self._driven(ws, socket, socket.limits.max_buffered_bytes, kind)
        socket.open_websocket(websocket)
        websocket.read()
        return []

    def _upgrade(
        self, socket: Socket, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        if socket.closed or not self.allow_upgrades:
            raise bad(3)
        headers = self.handshake(environ, opens=False)
        if socket.state is not State.POLLING or socket.websocket is not None:
            # It has a WebSocket already (Engine.IO v4, "Upgrade"): the second is closed.
            self.counters.closed["second-websocket"] += 1
            return self._turn_away(environ, start_response, headers)
        self._may_hold_more()
        request = takeover.find(environ)
        return self._take_over(socket, request, headers, environ, start_response)

    def _poll(self, socket: Socket, environ: Environ, query: dict[str, list[str]]) -> Answer:
        jsonp = jsonp_index(query)
        self._may_hold_more()
        sent_on, most = SENT_ON in environ, most_packets(query)
        try:
            packets = socket.poll(lambda: takeover.line(environ), sent_on=sent_on, most=most)
        except exceptions.EngineIOError:
            raise bad(3) from None
        return Answer.of(self._ok(packets), socket, jsonp=jsonp)
