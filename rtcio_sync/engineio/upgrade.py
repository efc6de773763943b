"""The WebSocket of a connection: opened as the transport, or as a probe that becomes it.

`Upgrade` is the part of an Engine.IO socket (`socket`) for its WebSocket, a mixin as `polling`.
Engine.IO v4, "Upgrade": the client probes the WebSocket while it polls, and switches to it.
"""

from __future__ import annotations

import time

from ..protocol.websocket_frames import GOING_AWAY, frame_text
from ..transport.ports import Transport
from .packet import frame_of
from .polling import Polling
from .ports import Engine, Listener
from .state import State

__all__ = ["PROBED", "Upgrade"]

#: The states in which its WebSocket is only a probe.
PROBED = (State.POLLING, State.UPGRADING)


class Upgrade(Polling):
    """The WebSocket of one connection, and its upgrade."""

    __slots__ = ("transport", "websocket", "websocket_held")

    # Attributes of the socket that this part uses.
    server: Engine
    listeners: Listener | None
    #: Its WebSocket: the transport, or a probe that wants to be.
    websocket: Transport | None
    #: The same while it is the transport: since UPGRADE, or since it was opened as one.
    transport: Transport | None
    #: Whether one of the descriptors that it holds is its WebSocket's.
    websocket_held: bool

    def open_websocket(self, websocket: Transport) -> None:
        """Takes a WebSocket: as the transport, or as a probe of a polling client. # greenlet"""
        self.websocket = websocket
        if self.state is not State.OPENING or not self.held:  # else the request has counted it
            self.server.holds(self)
        self.websocket_held = True
        opens, seconds = self.state is State.OPENING, self.server.limits.handshake_timeout
        if opens:
            opens = self._switch_to(websocket, State.OPENING)
        elif seconds is not None:
            self.server.heartbeat.later(seconds, self._give_up, websocket)
        websocket.start()
        if not opens and self.state is State.CLOSED:  # another thread has closed it meanwhile
            websocket.close(GOING_AWAY)

    def _switch_to(self, websocket: Transport, before: State) -> bool:
        """Makes it the transport; `False`: the connection is not in the state ``before`` any more.

        What waited in the outbox is sent first; afterwards `send` writes to the WebSocket.
        """
        with self.server.gate:  # another thread may close the connection, or send to it
            if self.state is not before:
                return False
            self.state = State.WEBSOCKET
            self.transport = websocket
            if self.outbox:
                self._empty_outbox(websocket)  # it may be too much for it, and end the connection
            if not self.polling:
                self.alarm = None  # no poll will wait any more
        return True

    def enters(self, state: State, before: State) -> bool:
        """Changes the state; `False`: it is not ``before``: another thread has closed it."""
        with self.server.gate:
            if self.state is not before:
                return False
            self.state = state
        return True

    def _empty_outbox(self, websocket: Transport) -> None:
        while self.outbox and (waiting := self.take()):
            for pkt in waiting:
                websocket.send(frame_of(pkt))

    def _probe(self, payload: bytes) -> None:
        """Engine.IO v4, "Upgrade": PING probe, PONG probe, UPGRADE. # hub"""
        websocket = self.websocket
        if websocket is None:  # the clock has given it up meanwhile
            return
        if payload == b"2probe" and self.enters(State.UPGRADING, State.POLLING):
            self.noop_at = time.monotonic()
            websocket.send(frame_text(b"3probe"))
            self._wake()
        elif payload == b"5" and self._switch_to(websocket, State.UPGRADING):
            self._wake()
            if self.listeners is not None:
                self.listeners.upgraded()
        elif self.state is State.CLOSED and payload == b"5":
            self._end_on(websocket)
        else:
            self._give_up(websocket)

    def _end_on(self, websocket: Transport) -> None:
        """Tells a client that has switched to ``websocket`` that the server has closed. # hub"""
        self._empty_outbox(websocket)
        websocket.close()
        self.server.forget(self)

    def _give_up(self, websocket: Transport) -> None:
        # The clock's thread comes here, while another one may read the UPGRADE, or its end.
        with self.server.gate:
            if self.websocket is not websocket or not self._probe_ended():
                return
            websocket.disown()  # or its end would be taken for that of the next probe
        self._websocket_ended()
        websocket.close(1002)

    def _websocket_ended(self) -> None:
        with self.server.gate:
            held, self.websocket_held = self.websocket_held, False
        if held:
            self.server.rests(self)

    def _probe_ended(self) -> bool:
        """Goes on with polling; `False`: there is no probe any more."""
        with self.server.gate:
            if self.state not in PROBED or self.websocket is None:
                return False
            self.websocket = None
            if self.state is State.UPGRADING:
                self.state = State.POLLING
                self._wake()  # an open poll goes on waiting, without NOOPs
        return True
