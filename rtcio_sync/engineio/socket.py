"""One Engine.IO connection: what it sends and takes, and its end.

A `Socket` is called from the hub (a WebSocket's watcher, see `transport.websocket`) and from
greenlets (a polling request, an app's handler). Its docstrings say which methods block; the hub may
call all others. Under ``async_mode="threading"`` the greenlets are threads. Its polling transport
is in `polling`, its WebSocket in `upgrade`, the messages of its client in `inbox`, its states in
`state`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from engineio import packet, socket

from ..errors import ProtocolError
from ..events import CLIENT_CLOSE, PAGE_LEFT
from ..logs import Seldom, tell
from ..protocol.websocket_frames import GOING_AWAY, frame_text
from ..transport.ports import Carried, RawSocket
from ..transport.websocket import WebSocket
from .inbox import INBOX_BYTES
from .packet import AnyPacket, Packet, frame_of, packets_in
from .payload import from_base64
from .ports import Engine, Listener
from .state import State
from .upgrade import PROBED, Upgrade

__all__ = ["APART", "SWITCH_WITHIN", "Socket"]

log = logging.getLogger(__name__)

_FAILED = "connection %(rtcio_connection)s is closed by the server: %(rtcio_reason)s"

_FORKED = (
    "this process is a forked child of the one that serves: it has no clients, and what it sends "
    "reaches nobody. Send it in the parent, or with an Emitter, and end the child with os._exit()%s"
)
_left = Seldom()

# Seconds between two messages that a client has to read apart. A client that waits for each message
# in a promise, as the protocols' own test suites do, misses the second of two that it reads in one
# go. Node's server happens to send them in two turns of its loop.
APART = 0.005

# Seconds in which a client may finish its upgrade that the server closes meanwhile.
SWITCH_WITHIN = 5.0


class Socket(Upgrade, socket.Socket):
    """An Engine.IO socket with python-engineio's interface, without its greenlets and its queue."""

    # Slots, since CPython would give an instance with so many attributes a dict of 800 bytes.
    __slots__ = ("ping_at", "pinged_at", "root", "server", "sid", "state")

    server: Engine

    #: The client's address, if connections are counted by address.
    address: str | None = None
    # Attributes of the Socket.IO layer, kept here so that a message finds them in one step: the
    # members in namespaces other than "/", and a packet that waits for its attachments. They are
    # Any, as `root`, since the types of that layer stand above the engine.
    members: dict[str, Any] | None = None
    partial: Any = None
    #: An acknowledgement that waits for its attachments, and for nothing in the inbox.
    ack: Any = None
    #: How many of its CONNECT packets were handled after it had ended.
    late_joins = 0
    #: What the app keeps by `Server.save_session`, by namespace; `None`: nothing.
    sessions: dict[str, Any] | None = None
    #: Hears of the upgrade and of the end; `None`: the app has no handlers for them.
    listeners: Listener | None = None
    #: Whether it is over: the state is `State.CLOSED`.
    closed = False
    #: Whether its client was told to connect anew (`send_away`).
    sent_away = False
    #: Whether the WebSocket with which it comes from another process has no binary frames.
    as_text = False
    #: Whether it only stands for a connection that the client has to make anew, perhaps here.
    stands_in = False

    # Does not call python-engineio's, which makes a queue and a session for each connection: an
    # idle WebSocket needs neither.
    def __init__(self, server: Engine, sid: str) -> None:
        Upgrade.__init__(self, server.limits)
        self.server = server
        self.sid = sid
        self.state = State.OPENING
        self.websocket = self.transport = None
        self.websocket_held = False
        self.ping_at = 0.0
        self.pinged_at: float | None = None
        #: The member in "/".
        self.root: Any = None

    # -- python-engineio's view ------------------------------------------------------------------

    @property
    def session(self) -> dict[str, Any]:
        if self.sessions is None:
            self.sessions = {}
        return self.sessions

    @session.setter
    def session(self, value: dict[str, Any]) -> None:
        self.sessions = value

    @property
    def joined(self) -> bool:
        """Whether the client is in any namespace."""
        return self.root is not None or bool(self.members)

    @property
    def connected(self) -> bool:
        return self.state is not State.OPENING

    @property
    def upgrading(self) -> bool:
        return self.state is State.UPGRADING

    @property
    def upgraded(self) -> bool:
        return self.state is State.WEBSOCKET

    @property
    def closing(self) -> bool:
        return self.closed

    # -- towards the client: hub or greenlet -----------------------------------------------------

    def send(self, pkt: AnyPacket) -> None:
        """Sends one packet; does nothing if the socket is closed."""
        transport = self.transport  # looked up once: another thread may close the connection
        if transport is not None:
            transport.send(pkt.frame() if isinstance(pkt, Packet) else frame_of(pkt))
        else:
            self.send_together([pkt])

    def send_apart(self, pkt: Packet) -> None:
        """`send`, and has the client read it apart from what follows. # hub or greenlet"""
        transport = self.transport
        if transport is not None:
            transport.send_now(pkt.frame())  # `hold` would write it before the turn ends, too
            transport.hold(APART)
        else:
            self.send_together([pkt])

    def send_together(self, pkts: Sequence[AnyPacket]) -> None:
        """Sends packets with nothing between them: an event and its attachments."""
        with self.server.gate:
            if self.transport is not None:
                self.transport.send(b"".join([frame_of(pkt) for pkt in pkts]))
            elif self.state is not State.CLOSED and not self._is_cut:
                for pkt in pkts:
                    self._queue(pkt)
            elif self.left and (more := _left.more(self.server.heartbeat.now())) is not None:
                log.warning(_FORKED, more)

    def send_frames(self, frames: list[bytes]) -> None:
        """Sends WebSocket frames that were made before: whole events with their attachments."""
        with self.server.gate:
            if self.transport is not None:
                self.transport.send(b"".join(frames))
            else:
                for frame in frames:
                    self.send_together(packets_in(frame))

    def held_back(self, since: float) -> bool:
        # The PING waits behind other packets; a client that takes those is alive.
        transport = self.transport
        queue = self if transport is None else transport
        return super().held_back(since) or self.server.backlog.moves(queue)

    @property
    def writable(self) -> bool:
        """Whether what is sent now goes out at once: nothing waits, and a poll is open."""
        transport = self.transport
        if transport is not None:
            return not transport.late
        return self.polling and not self.outbox and self.state is State.POLLING

    # -- from the client -------------------------------------------------------------------------

    def receive(self, payload: bytes, binary: bool) -> None:
        """Takes one packet, of a polling request or a WebSocket message. # hub or greenlet"""
        if binary or payload[:1] == b"4":
            self.server.arrive(self, payload, binary)
        elif payload[:1] == b"3":
            self.server.heartbeat.answered(self)
        elif payload[:1] == b"b":
            self._base64(payload[1:])
        elif payload[:1] == b"1":
            self._left()
        elif payload[:1] != b"6":
            self.fail("packet", "parse error", 1002)

    def _base64(self, text: bytes) -> None:
        """Takes a binary message as text, which a client with ``forceBase64`` sends."""
        try:
            payload = from_base64(text)
        except ProtocolError:
            self.fail("packet", "parse error", 1002)
        else:
            self.server.arrive(self, payload, True)

    def message_received(self, payload: bytes, binary: bool) -> None:
        """Takes one WebSocket message. # hub"""
        self.allowance -= 1
        if self.transport is not None:
            if binary or payload.startswith(b"4"):
                self.server.arrive(self, payload, binary)
            elif payload == b"3":  # PONG, as `receive` takes it
                self.server.heartbeat.answered(self)
            else:
                self.receive(payload, binary)
        else:
            self._probe(b"" if binary else payload)
        if self.allowance < 0 or self.inbox_bytes > INBOX_BYTES:
            self._slow_down()

    def _left(self) -> None:
        # The client sent CLOSE: an open poll is answered with NOOP, a WebSocket is closed.
        self.close(reason=CLIENT_CLOSE, farewell=packet.NOOP)

    # -- the WebSocket's end, or its move ------------------------------------------------------

    def connection_lost(self, code: int | None, error: bool) -> None:
        """The WebSocket has ended. # hub, once"""
        if self.state in PROBED and self._probe_ended():
            self._websocket_ended()
        elif self.state in PROBED:
            pass  # the clock has given it up just before
        elif self.state is State.CLOSED or self.sent_away:
            self.transport = None
            self._websocket_ended()
        elif self.websocket is not None and self.websocket.overflowed:
            self.fail("slow-reader", "transport error")
        elif code == GOING_AWAY:
            self.close(abort=True, reason=PAGE_LEFT)
        else:
            self.close(abort=True, reason="transport error" if error else "transport close")

    def part(self) -> tuple[RawSocket, Carried] | None:
        """Gives the TCP socket of the WebSocket away, and what was not sent and not handled.

        The connection then goes on in another process: it is forgotten here, and nobody is told.
        `None`: it cannot be given now.
        """
        websocket = self.transport
        if self.state is not State.WEBSOCKET or self.inbox or not isinstance(websocket, WebSocket):
            return None
        parted = websocket.part()
        if parted is not None:
            self.leave()
        return parted

    def leave(self) -> list[AnyPacket]:
        """Ends here what goes on in another process: nobody is told. Gives what waits to be sent.

        Its WebSocket has parted. An open poll is answered with NOOP.
        """
        waiting = list(self.outbox or ())
        self._drop_outbox()
        self.moved = self.closed = True
        self.state = State.CLOSED
        self.transport = self.websocket = None
        if self.address is not None:
            self.server.addresses.gone(self.address)
        self.server.forget(self)
        self._wake()
        return waiting

    # -- the end: hub or greenlet ----------------------------------------------------------------

    def leave_to_parent(self) -> None:
        """Marks it as closed in a forked child, and sends nothing: the client is the parent's."""
        self.left = self.closed = True
        self.state = State.CLOSED
        self.transport = self.outbox = None
        if self.inbox:
            self.inbox.clear()  # whoever works on it, if only the handler that has forked, ends
        if self.websocket is not None:
            self.websocket.disown()

    def send_on(self) -> None:
        """Closes the connection of a server that stops, so that the client reconnects.

        A WebSocket ends with 1001, a poll with 400, once what waited is delivered. No CLOSE packet
        is sent: after one, python-engineio's clients do not reconnect.
        """
        self.close(reason="server shutting down", code=GOING_AWAY, farewell=None)

    def send_away(self) -> None:
        """`send_on` for a session that goes to another host: nobody hears of the loss.

        What the client has sent until it knows is still handled. A client on polling notices when
        its session is not here any more.
        """
        self.sent_away = True
        transport = self.transport
        if transport is not None:
            transport.hang_up()

    @property
    def leaves(self) -> bool:
        """Whether it is sent away, and its WebSocket has not ended."""
        return self.sent_away and self.transport is not None

    @property
    def _is_cut(self) -> bool:
        """Whether it was sent away, and nothing can reach its client any more."""
        return self.sent_away and self.state is State.WEBSOCKET

    def fail(self, label: str, reason: str, code: int = 1000) -> None:
        """Closes the connection because of its client, and counts that under ``label``."""
        self.close(abort=True, reason=reason, code=code, label=label)

    def close(
        self,
        wait: bool = True,
        abort: bool = False,
        reason: str | None = None,
        *,
        code: int = 1000,
        farewell: int | None = packet.CLOSE,
        label: str | None = None,
    ) -> None:
        """Closes the connection; does nothing the second time. Never blocks.

        ``abort``: the client has gone or is at fault; what waits for it is dropped, and an open
        poll is answered 400. ``farewell``: the Engine.IO packet that is sent last; `None`: none.
        ``code``: the WebSocket's close code (RFC 6455 7.4.1). ``label``: under which it is counted,
        if it is closed because of its client. ``wait`` is python-engineio's and means nothing here.
        """
        # Threads may close it, upgrade it, send to it and answer its poll at once: each comes
        # before the end, with its last word, or after it.
        with self.server.gate:
            was, self.state = self.state, State.CLOSED
            if was is State.CLOSED:
                return
            self.closed = True
            self.transport = None
            if self.address is not None:
                self.server.addresses.gone(self.address)
            if abort and self.outbox:
                # The client may never fetch it, and the session would be kept for it.
                self._drop_outbox()
            if was is State.WEBSOCKET and abort and self.websocket is not None:
                self.websocket.close(code)
            else:
                self._say_goodbye(was, abort, code, farewell)
            if not self.outbox or (self.polling and len(self.outbox) == 1):
                self.server.forget(self)  # an open poll takes the last packet
        if label is not None:
            self.server.counters.closed[label] += 1
            tell(log, _FAILED, spawn=self.server.spawn, connection=self.sid, reason=label)
        if self.listeners is not None:
            self.listeners.closed(reason or "server namespace disconnect")
        self.server.lost(self, reason or "server namespace disconnect")

    def _say_goodbye(self, was: State, abort: bool, code: int, farewell: int | None) -> None:
        # gate held
        websocket = self.websocket
        if websocket is not None:
            if was is State.WEBSOCKET and not abort and farewell == packet.CLOSE:
                websocket.send(frame_text(b"1"))
            if was is State.UPGRADING and farewell == packet.CLOSE and not (abort or self.polling):
                # Its last poll is over, and it is about to switch. socket.io-client that loses its
                # WebSocket just then does not poll again: it would not notice the end for long.
                self.server.heartbeat.later(SWITCH_WITHIN, websocket.close, code)
            else:
                websocket.close(code)
        if was is not State.WEBSOCKET:
            self._last_word(None if abort else farewell)
