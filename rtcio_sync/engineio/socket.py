"""One Engine.IO connection: its transport, and what waits for the client.

A `Socket` is driven from two sides: ``# hub`` (a WebSocket's watcher, see `connection`) and
``# greenlet`` (a polling request, an app's handler). Nothing here blocks except where a method says
so, so the hub may call all the rest. Under ``async_mode="threading"`` the greenlets are threads.

::

    OPENING ──► POLLING ──► UPGRADING ──► WEBSOCKET        a probe moves POLLING to UPGRADING and,
       │           │ ▲──────────┘             │            should it fail, back; from every state a
       └───────────┴──────────► CLOSED ◄──────┘            socket goes to CLOSED, once.
"""

from __future__ import annotations

import enum
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from engineio import exceptions, packet, socket

from ..errors import ProtocolError
from ..events import CLIENT_CLOSE, PAGE_LEFT
from ..logs import tell
from ..protocol.websocket import GOING_AWAY, frame_text
from ..transport.backlog import COUNTED, ITEM
from ..transport.base import Event, Transport
from ..transport.delivery import Delivery
from ..transport.driver import frames_of
from ..transport.hangup import HangUp
from .inbox import INBOX_BYTES, Inbox
from .packet import AnyPacket, Packet, frame_of, packet_cost, packet_of, packet_size
from .ports import Engine
from .requests import from_base64

__all__ = ["Socket", "State"]

log = logging.getLogger(__name__)

_FAILED = "connection %(rtcio_connection)s is closed by the server: %(rtcio_reason)s"

WATCH_AFTER = 0.1  # seconds of a poll after which its connection is watched: most end before

NOOP_EVERY = 0.1  # seconds between two NOOPs that end polls during an upgrade, as in Node


#: Bytes of packets in one answer to a poll; what is over it waits for the next one. An answer is
#: there several times for a moment: as packets, as text, as bytes, and compressed.
LONGEST_ANSWER = 8_000_000

# Seconds between two messages that a client must be able to tell apart: whoever waits for one
# message after the other, as the protocols' own suites do, in a promise each, misses the second of
# two that it reads at once. Node's server happens to send them in two turns of its loop.
APART = 0.005


class State(enum.Enum):
    """Where an Engine.IO connection stands."""

    OPENING = enum.auto()
    POLLING = enum.auto()
    UPGRADING = enum.auto()
    WEBSOCKET = enum.auto()
    CLOSED = enum.auto()


class Socket(Inbox, socket.Socket):
    """An Engine.IO socket on python-engineio's interface, without its greenlets and its queue."""

    server: Engine

    #: Descriptors that it holds, and the bytes that it counts for while it holds none (`seats`).
    held = 0
    weight = 0
    #: Whether one of the descriptors is the wire's.
    wired = False
    #: Whether the backlog knows of what waits in the outbox.
    counted = False
    #: When the upgrade began: `time.monotonic`.
    probed_at = 0.0
    #: The answer to a poll that is on its way, and the bytes of those before it.
    answer: Delivery | None = None
    polled = 0

    # Not python-engineio's: it makes a queue and a session for each connection, and this class
    # needs neither while a WebSocket is idle.
    def __init__(self, server: Engine, sid: str) -> None:
        Inbox.__init__(self, server.limits)
        self.server = server
        self.sid = sid
        self.state = State.OPENING
        self.wire: Transport | None = None
        #: The wire while it is the transport: from UPGRADE, or its opening, until the end.
        self.riding: Transport | None = None
        self.outbox: deque[AnyPacket] | None = None
        self.outbox_bytes = 0
        self.alarm: Event | None = None
        self.polling = False
        self.posting = False
        self.pinged_at: float | None = None
        #: The client's address, while connections are counted by it.
        self.address: str | None = None
        # What the Socket.IO layer keeps here, for the way of a message: the socket in "/", those
        # in other namespaces, and a packet that waits for its attachments.
        self.root: Any = None
        self.members: dict[str, Any] | None = None
        self.partial: Any = None
        self._session: dict[str, Any] | None = None

    # -- python-engineio's view ------------------------------------------------------------------

    @property
    def session(self) -> dict[str, Any]:
        if self._session is None:
            self._session = {}
        return self._session

    @session.setter
    def session(self, value: dict[str, Any]) -> None:
        self._session = value

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
    def closed(self) -> bool:
        return self.state is State.CLOSED

    closing = closed

    # -- towards the client: hub or greenlet -----------------------------------------------------

    def send(self, pkt: AnyPacket) -> None:
        """Hands one packet to the transport; for a closed socket, to nobody."""
        if self.riding is not None:
            self.riding.send(frame_of(pkt))
        else:
            self.send_together([pkt])

    def send_together(self, pkts: list[AnyPacket]) -> None:
        """Hands over packets that nothing may come between: an event and its attachments."""
        with self.server.gate:
            if self.riding is not None:
                self.riding.send(b"".join([frame_of(pkt) for pkt in pkts]))
            elif self.state is not State.CLOSED:
                for pkt in pkts:
                    self._queue(pkt)

    def send_frames(self, frames: list[bytes]) -> None:
        """Hands over what was framed before: whole events, each with its attachments."""
        with self.server.gate:
            if self.riding is not None:
                self.riding.send(b"".join(frames))
            else:
                for frame in frames:
                    self.send_together([packet_of(*each) for each in frames_of(frame)])

    def apart(self) -> None:
        """Has the client read what was sent before anything that follows. # hub or greenlet"""
        if self.riding is not None:
            self.riding.hold(APART)

    def _queue(self, pkt: AnyPacket) -> None:
        if self.outbox is None:
            self.outbox = deque()
        self.outbox.append(pkt)
        self.outbox_bytes += packet_size(pkt)
        if self.counted:
            self._count((pkt,))
        elif self.outbox_bytes > COUNTED:
            self.counted = True
            self._count(self.outbox)
        bound = self.limits.max_buffered_bytes
        if bound is not None and self.waits() > bound:
            self.server.backlog.on_ceiling(pkt.data, bound)
            self.give_up()
        else:
            self._wake()
            if self.counted:
                self.server.backlog.check()

    def _count(self, pkts: Iterable[AnyPacket]) -> None:
        """Tells the backlog of what waits, for there is more than a poll takes as a rule."""
        self.server.backlog.join(self)
        for pkt in pkts:
            self.server.backlog.hold(pkt, packet_size(pkt), packet_cost(pkt))

    # What waits for a polling client, as the backlog sees it: in the outbox, and in an answer.

    def waits(self) -> int:
        """Bytes of memory that wait for it."""
        left = self.answer.left if self.answer is not None else 0
        return self.outbox_bytes + left + ITEM * len(self.outbox or ())

    def taken(self) -> int | None:
        """Bytes that its polls have taken."""
        return self.polled + (self.answer.taken() if self.answer is not None else 0)

    def give_up(self) -> None:
        """Closes the connection of a client that does not come for what waits."""
        self.fail("slow-reader", "transport error")

    def answering(self, answer: Delivery) -> None:
        """This answer to a poll is on its way."""
        self.answer = answer
        if answer.size > COUNTED:
            self.server.backlog.join(self)

    def answered(self, answer: Delivery) -> None:
        """It has arrived, or never will."""
        with self.server.gate:
            self.polled += answer.size
            if self.answer is answer:
                self.answer = None
            self._put_down(())

    def held_back(self, since: float) -> bool:
        # A PING waits behind the rest, and who takes that is alive.
        wire = self.riding
        queue = self if wire is None else wire
        return super().held_back(since) or self.server.backlog.moves(queue)

    def _put_down(self, pkts: Iterable[AnyPacket]) -> None:
        if self.counted:
            for pkt in pkts:
                self.server.backlog.release(pkt, packet_size(pkt), packet_cost(pkt))
        if not self.outbox and self.answer is None:
            self.counted = False
            self.server.backlog.leave(self)

    def _wake(self) -> None:
        if self.alarm is not None:
            self.alarm.set()

    def _wait(self, state: State, seconds: float) -> None:
        """Blocks until there is something to say, or ``state`` or ``seconds`` are over. # greenlet

        Not at all for a closed socket.
        """
        if self.alarm is None:
            self.alarm = self.server.create_event()
        until = time.monotonic() + seconds
        while not self.outbox and self.state is state is not State.CLOSED:
            left = until - time.monotonic()
            if left <= 0 or not self.alarm.wait(left):
                return
            # Set by what an earlier poll took, perhaps: look again.
            self.alarm.clear()

    def _take(self) -> list[AnyPacket]:
        """What one answer to a poll carries: all, unless that is very much."""
        taken: list[AnyPacket] = []
        size = 0
        with self.server.gate:
            outbox, self.outbox = self.outbox or deque(), None
            while outbox and (size + packet_size(outbox[0]) <= LONGEST_ANSWER or not taken):
                size += packet_size(outbox[0])
                taken.append(outbox.popleft())
            self.outbox = outbox or None
            self.outbox_bytes -= size
            self._put_down(taken)
        return taken

    def poll(self, line: Callable[[], Any] | None = None) -> list[AnyPacket]:
        """Blocks until there are packets for a polling client. # greenlet

        ``line``: gives the connection of the request, if it is known; when its client hangs up
        while the poll waits, that is the end of the session.

        Raises python-engineio's `EngineIOError` for a second poll at the same time, which ends
        the session: the answer to the first is a CLOSE packet (Engine.IO v4, "HTTP
        long-polling": never two requests of a kind in flight).
        """
        if self.polling:
            self.close(reason="transport error")
            raise exceptions.EngineIOError
        self.polling = True
        if self.state is not State.CLOSED:
            self.server.holds(self)
        try:
            packets = self._answer_of_poll(line)
            if not packets:
                self.close(reason="transport error", abort=True)
                raise exceptions.QueueEmpty
            return packets
        finally:
            self.polling = False
            if self.state is State.CLOSED:
                self.server.forget(self)
            else:
                self.server.rests(self)

    def _answer_of_poll(self, line: Callable[[], Any] | None) -> list[AnyPacket]:
        until = time.monotonic() + self.server.patience
        watch: HangUp | None = None
        try:
            while True:
                state = self.state
                if state is State.WEBSOCKET:
                    return [Packet(packet.NOOP)]  # what waits has gone there
                left = until - time.monotonic()
                if self.outbox or state is State.CLOSED or left <= 0:
                    return self._take()
                if state is not State.UPGRADING:
                    if watch is None and line is not None and left > WATCH_AFTER:
                        self._wait(state, WATCH_AFTER)
                        if self.outbox or self.state is not state:
                            continue
                        found, line = line(), None
                        watch = None if found is None else HangUp(found, self._hung_up)
                    self._wait(state, left)
                else:
                    self._wait(state, NOOP_EVERY - (time.monotonic() - self.probed_at) % NOOP_EVERY)
                    if not self.outbox and self.state is State.UPGRADING:
                        return [Packet(packet.NOOP)]
        finally:
            if watch is not None:
                watch.stop()

    def _hung_up(self) -> None:
        self.close(abort=True, reason="transport close")

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
        """A binary message as text, as a client with ``forceBase64`` sends it on a WebSocket."""
        try:
            payload = from_base64(text)
        except ProtocolError:
            self.fail("packet", "parse error", 1002)
        else:
            self.server.arrive(self, payload, True)

    def message_received(self, payload: bytes, binary: bool) -> None:
        """One WebSocket message. # hub"""
        self.allowance -= 1
        if self.riding is not None:
            if binary or payload.startswith(b"4"):
                self.server.arrive(self, payload, binary)
            else:
                self.receive(payload, binary)
        elif self.wire is not None and self.state is not State.CLOSED:
            self._probe(b"" if binary else payload)
        if self.allowance < 0 or self.inbox_bytes > INBOX_BYTES:
            self._slow_down()

    def _left(self) -> None:
        # A poll that is open is answered with NOOP, and a WebSocket closed as its client asked.
        self.close(reason=CLIENT_CLOSE, farewell=packet.NOOP)

    # -- the WebSocket ---------------------------------------------------------------------------

    def open_wire(self, wire: Transport) -> None:
        """A WebSocket: the transport from now on, or a probe that wants to be. # greenlet"""
        self.wire = wire
        if self.state is not State.OPENING or not self.held:  # else it counts since the request
            self.server.holds(self)
        self.wired = True
        if self.state is State.OPENING:
            self._ride(wire)
        elif self.server.limits.handshake_timeout is not None:
            self.server.heartbeat.later(self.server.limits.handshake_timeout, self._give_up, wire)
        wire.start()

    def _ride(self, wire: Transport) -> None:
        # What waited in the queue goes first; from here on `send` writes to the wire itself.
        with self.server.gate:
            while waiting := self._take():
                for pkt in waiting:
                    wire.send(frame_of(pkt))
            self.state = State.WEBSOCKET
            self.riding = wire

    def _probe(self, payload: bytes) -> None:
        """Engine.IO v4, "Upgrade": PING probe, PONG probe, UPGRADE. # hub"""
        wire = self.wire
        assert wire is not None
        if self.state is State.POLLING and payload == b"2probe":
            self.state = State.UPGRADING
            self.probed_at = time.monotonic()
            wire.send(frame_text(b"3probe"))
            self._wake()
        elif self.state is State.UPGRADING and payload == b"5":
            self._ride(wire)
            self._wake()
        else:
            self._give_up(wire)

    def _give_up(self, wire: Transport) -> None:
        if self.wire is wire and self.state in (State.POLLING, State.UPGRADING):
            self._probe_ended()
            self._wire_ended()
            wire.close(1002)
            wire.disown()  # its end must not be taken for that of the next probe

    def _wire_ended(self) -> None:
        if self.wired:
            self.wired = False
            self.server.rests(self)

    def _probe_ended(self) -> None:
        self.wire = None
        if self.state is State.UPGRADING:
            self.state = State.POLLING
            self._wake()  # a poll that is open waits on, without NOOPs

    def connection_lost(self, code: int | None, error: bool) -> None:
        """The WebSocket is gone. # hub, once"""
        if self.state in (State.POLLING, State.UPGRADING):
            self._probe_ended()
            self._wire_ended()
        elif self.state is State.CLOSED:
            self._wire_ended()
        elif self.wire is not None and self.wire.overflowed:
            self.fail("slow-reader", "transport error")
        elif code == GOING_AWAY:
            self.close(abort=True, reason=PAGE_LEFT)
        else:
            self.close(abort=True, reason="transport error" if error else "transport close")

    # -- the end: hub or greenlet ----------------------------------------------------------------

    def leave_to_parent(self) -> None:
        """Is closed here, without a word: in a forked child, the client is the parent's."""
        self.state = State.CLOSED
        self.riding = self.outbox = None
        if self.wire is not None:
            self.wire.disown()

    def send_on(self) -> None:
        """Closes the connection, for the server stops, so that every client comes back.

        Without Engine.IO's CLOSE, which python-engineio's clients take for a farewell: a WebSocket
        by 1001 alone, a poll by 400, once what waited is delivered.
        """
        self.close(reason="server shutting down", code=GOING_AWAY, farewell=None)

    def fail(self, label: str, reason: str, code: int = 1000) -> None:
        """Closes for what the client did, and counts it under ``label``."""
        if self.state is not State.CLOSED:
            self.server.counters.closed[label] += 1
            tell(log, _FAILED, spawn=self.server.spawn, connection=self.sid, reason=label)
            self.close(abort=True, reason=reason, code=code)

    def close(
        self,
        wait: bool = True,
        abort: bool = False,
        reason: str | None = None,
        *,
        code: int = 1000,
        farewell: int | None = packet.CLOSE,
    ) -> None:
        """Closes the connection, once, without waiting for anything.

        ``abort``: the client is gone or at fault; what waits for it is dropped, and a poll that is
        open is answered 400. ``farewell``: the Engine.IO packet that comes last, `None` for none.
        ``code``: the WebSocket's close code (RFC 6455 7.4.1). ``wait`` is python-engineio's and
        means nothing here.
        """
        was, self.state = self.state, State.CLOSED
        if was is State.CLOSED:
            return
        self.riding = None
        if self.address is not None:
            self.server.addresses.gone(self.address)
        if abort and self.outbox:
            # Nobody may ever come for it: kept, it would keep the session.
            self._drop_outbox()
        wire = self.wire
        if wire is not None:
            if was is State.WEBSOCKET and not abort and farewell == packet.CLOSE:
                wire.send(frame_text(b"1"))
            wire.close(code)
        if was is not State.WEBSOCKET:
            self._last_word(None if abort else farewell)
        if not self.outbox or self.polling:
            self.server.forget(self)
        self.server.lost(self, reason or "server namespace disconnect")

    def _last_word(self, farewell: int | None) -> None:
        """What the open poll, or the next one, still says."""
        if farewell is not None:
            self.outbox = self.outbox or deque()
            pkt = Packet(farewell)
            self.outbox.append(pkt)
            if self.counted:
                self._count((pkt,))
        if self.outbox:
            # Nobody may come for it: the session then goes when a client would be given up.
            self.server.heartbeat.later(self.server.ping_timeout, self._forget)
        self._wake()

    def _forget(self) -> None:
        self._drop_outbox()
        self.server.forget(self)

    def _drop_outbox(self) -> None:
        with self.server.gate:
            outbox, self.outbox, self.outbox_bytes = self.outbox, None, 0
            self._put_down(outbox or ())
