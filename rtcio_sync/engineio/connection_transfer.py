"""A connection goes on in another process: taken out there, made and attached here.

Used of python-engineio's private names, asserted in ``tests/test_upstream.py``:
``Server._trigger_event``.

What is taken out is a `LinkState`. Between `Transfer.make` and `Transfer.attach` the connection is
here, and has no transport: what is sent to it waits in its outbox. # hub or greenlet: everything
"""

from __future__ import annotations

import _socket
import itertools
import logging
import os
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from engineio import packet

from ..client_limits import Addresses, Rate, client_address
from ..errors import CannotMove
from ..options import Limits
from ..protocol.packing import Struct
from ..protocol.websocket_frames import GOING_AWAY
from ..transport.ports import Carried, Environ, RawSocket
from ..transport.slow_readers import Backlog
from ..transport.text_only import TextWebSocket
from ..transport.websocket import WebSocket
from .descriptors import Seated, weight
from .heartbeat import Beat, Heartbeat
from .http_requests import takes_text_alone
from .packet import AnyPacket, Packet
from .socket import Socket
from .state import State

__all__ = ["LinkState", "Transfer", "busy", "take_out"]

log = logging.getLogger(__name__)

ATTACH_WITHIN = 10.0  # seconds after which a connection without a transport is lost


class LinkState(Struct):
    """An Engine.IO connection, for another process."""

    sid: str
    #: What its WebSocket takes along; `None`: it is on polling.
    carried: Carried | None
    #: Packets that wait, each as text with its type, or as a binary message.
    outbox: list[tuple[bytes, bool]]
    #: Packets of a POST that nobody has handled.
    parked: list[tuple[bytes, bool]]
    beat: Beat
    allowance: float
    #: `Rate.ages`, if it was over its rate.
    rate: tuple[float, float, float] | None
    #: Whether it counts for its address.
    counted: bool


class Engine(Protocol):
    """What a transfer uses of the engine."""

    addresses: Addresses
    backlog: Backlog
    heartbeat: Heartbeat
    limits: Limits
    max_http_buffer_size: int
    sockets: dict[str, Socket]

    def holds(self, socket: Seated) -> None: ...

    def rests(self, socket: Seated) -> None: ...

    def spawn(self, target: Callable[..., Any], *args: Any) -> None: ...


def busy(link: Socket) -> bool:
    """Whether something is under way that has to end in this process."""
    if link.inbox is not None or link.tasks or link.state is State.OPENING:
        return True
    if link.state is State.WEBSOCKET:
        return False
    # An upgrade is under way, or a POST is read or handled.
    return link.websocket is not None or (link.posting and link.parked is None)


def take_out(link: Socket) -> tuple[LinkState, RawSocket | None]:
    """Takes a frozen connection out of this process, without telling anybody.

    Gives the socket of its WebSocket, which the caller closes. Raises `CannotMove`, and leaves the
    connection as it was.
    """
    if link.closed:
        raise CannotMove("it has ended", later=True)
    if busy(link):
        raise CannotMove("it is busy", later=True)
    beat = link.server.heartbeat.state(link)
    carried = sock = None
    if link.transport is not None:
        if not isinstance(link.transport, WebSocket):
            raise CannotMove("its TCP connection is the WSGI server's")
        parted = link.transport.part()
        if parted is None:
            raise CannotMove("it speaks TLS", later=link.transport.closed)
        sock, carried = parted
    rate = None if link.rate is None else link.rate.ages(link.server.heartbeat.now())
    counted, parked, allowance = link.address is not None, link.parked or [], link.allowance
    outbox = [_carried(pkt) for pkt in link.leave()]
    return LinkState(link.sid, carried, outbox, parked, beat, allowance, rate, counted), sock


class Transfer:
    """Makes connections that come from other processes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._awaited: dict[str, tuple[int, LinkState]] = {}
        self._numbers = itertools.count()

    def awaits(self, sid: str) -> bool:
        """Whether a connection is here, and not attached yet."""
        return sid in self._awaited

    def make(self, state: LinkState, environ: Environ) -> Socket:
        """Makes a connection without a transport."""
        engine: Any = self._engine
        link = Socket(engine, state.sid)
        link.frozen = True
        link.outbox = deque(_packet(*each) for each in state.outbox) or None
        link.outbox_bytes = sum(len(payload) for payload, _ in state.outbox)
        link.weight = weight(environ)
        if takes_text_alone(environ):
            link.as_text = True
        if state.counted:
            link.address = client_address(environ, 0)
            self._engine.addresses.moved_here(link.address)
        if state.carried is None:
            link.state = State.POLLING
        self._engine.sockets[state.sid] = link
        number = next(self._numbers)  # the timer holds no state, which may be large
        self._awaited[state.sid] = number, state
        self._engine.heartbeat.later(ATTACH_WITHIN, self._give_up, state.sid, number)
        return link

    def welcome(self, sid: str, environ: Environ, sock: RawSocket, carried: Carried) -> Socket:
        """Goes on with a WebSocket that was open in another process. # greenlet

        ``environ``: what that one has kept of its first request.
        """
        engine: Any = self._engine
        engine.first_request(environ)
        link = Socket(engine, sid)
        address = client_address(environ, 0)
        if engine.addresses.counting and engine.addresses.admits(address, engine.heartbeat.now()):
            link.address = address
        engine.sockets[sid] = link
        engine.holds(link)
        try:
            engine._trigger_event("connect", sid, environ, run_async=False)
            kind = TextWebSocket if takes_text_alone(environ) else WebSocket
            websocket = kind(
                sock,
                link,
                max_size=engine.max_http_buffer_size,
                max_buffered=link.limits.max_buffered_bytes,
                backlog=engine.backlog,
            )
            websocket.restore(carried)
            engine.heartbeat.begin(link)
            link.open_websocket(websocket)
        except BaseException:
            engine.forget(link)
            link.close(abort=True, reason="transport error")
            raise
        return link

    def stand_in(self, sid: str, environ: Environ) -> Socket:
        """Makes one for a session whose client has to connect anew. It is never attached."""
        beat = Beat(0.0, 0.0, None)
        link = self.make(LinkState(sid, None, [], [], beat, 0.0, None, False), environ)
        link.stands_in = True
        return link

    def _give_up(self, sid: str, number: int) -> None:
        if sid in self._awaited and self._awaited[sid][0] == number:
            del self._awaited[sid]
            link = self._engine.sockets.get(sid)
            if link is not None:
                link.close(abort=True, reason="transport close")

    def attach(self, link: Socket, fd: int) -> bool:
        """Goes on with it: sends what waits, and reads; `False`: it is over."""
        _, state = self._awaited.pop(link.sid, (0, None))
        if state is None or link.closed or (state.carried is None) != (fd < 0):
            if fd >= 0:
                os.close(fd)
            link.close(abort=True, reason="transport close")
            return False
        try:
            self._go_on(link, state, fd)
        except Exception as error:  # noqa: BLE001 - it may cost no other connection
            said = "a connection of another worker cannot go on, and is closed"
            self._engine.spawn(partial(log.error, said, exc_info=error))
            link.close(abort=True, reason="transport error", code=GOING_AWAY)
            return False
        return True

    def _go_on(self, link: Socket, state: LinkState, fd: int) -> None:
        sock = None if state.carried is None else _socket_of(fd)  # from now on, it is closed
        heartbeat = self._engine.heartbeat
        now = heartbeat.now()
        heartbeat.go_on(link, state.beat)
        link.allowance = state.allowance
        if state.rate is not None and link.limits.events_per_second is not None:
            link.rate = Rate(link.limits.events_per_second, link.limits.burst, now)
            link.rate.restore(state.rate, now)
        link.frozen = False
        if sock is not None and state.carried is not None:
            kind = TextWebSocket if link.as_text else WebSocket
            link.websocket = websocket = kind(
                sock,
                link,
                max_size=self._engine.max_http_buffer_size,
                max_buffered=link.limits.max_buffered_bytes,
                backlog=self._engine.backlog,
            )
            websocket.restore(state.carried)
            link.open_websocket(websocket)
        else:
            self._engine.holds(link)
            self._engine.rests(link)
            for payload, binary in state.parked:
                link.allowance -= 1
                link.receive(payload, binary)


def _socket_of(fd: int) -> RawSocket:
    try:
        return _socket.socket(fileno=fd)
    except BaseException:
        os.close(fd)
        raise


def _carried(pkt: AnyPacket) -> tuple[bytes, bool]:
    encoded = pkt.encode()
    if isinstance(encoded, str):
        return encoded.encode("utf-8", "surrogatepass"), False
    return bytes(encoded), True


def _packet(payload: bytes, binary: bool) -> Packet:
    if binary:
        return Packet(packet.MESSAGE, payload)
    text = payload.decode("utf-8", "surrogatepass")
    return Packet(int(text[0]), text[1:])
