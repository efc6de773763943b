"""Writing to a peer without blocking: frames are collected during a turn of the loop, then sent.

All that is sent to one socket within a turn is written in one `send`. One callback at the end of
the turn does that for all sockets. A peer for which the kernel has no room is *late*
(`late_peers`).

`Outgoing` is the base class of `websocket.WebSocket`, which adds reading and the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import cast

from gevent.hub import Hub, get_hub

from ..hub.ports import Loop, TimerWatcher
from ..protocol.websocket_frames import frame_pong
from .late_peers import LatePeer
from .ports import RawSocket
from .slow_readers import LARGE, Backlog

TIMER = 0x100
"""libev's event of a timer."""
AFTER_SOCKETS = -1
"""The priority of what the loop does after it has called the sockets' watchers, which have 0."""
AFTER_WRITING = -2
"""The same after the end of the turn, which writes."""


class Turn:
    """The connections of one hub that send something at the end of the loop's turn.

    That is when all sockets of the turn were read, and before the callbacks that were queued
    meanwhile: in a storm of new clients these are thousands, and take half a second.
    """

    __slots__ = ("at_end", "loop", "waiting")

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.waiting: list[Outgoing] = []
        #: Has the loop call a function at the end of the turn.
        self.at_end: Callable[[Callable[[], None]], object] = _at_end(loop, AFTER_SOCKETS)

    def after(self) -> Callable[[Callable[[], None]], object]:
        """Something that has the loop call a function after the end of the turn: one at a time."""
        return _at_end(self.loop, AFTER_WRITING)

    def end(self) -> None:  # hub
        # The list grows by what is sent meanwhile: an event that a watcher is fed in its own
        # callback is lost.
        try:
            for connection in self.waiting:
                try:
                    if connection.holding is None:
                        connection.flush()
                except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
                    connection.broke(error, writing=True)
        finally:
            self.waiting = []


def _at_end(loop: Loop, priority: int) -> Callable[[Callable[[], None]], object]:
    if not type(loop).__module__.startswith("gevent.libev."):
        return loop.run_callback
    # A watcher that is never started. The loop handles the event that it is fed after all others
    # that it has gathered, by its priority. Only handlers that wait for their turn come later.
    return partial(loop.timer(0.0, ref=False, priority=priority).feed, TIMER)


def turn_of(hub: Hub) -> Turn:
    # Kept as an attribute of the hub, so that it is freed with the hub: each thread has its own.
    turn: Turn | None = getattr(hub, "rtcio_sync_turn", None)
    if turn is None:
        turn = Turn(cast("Loop", hub.loop))
        hub.rtcio_sync_turn = turn  # type: ignore[attr-defined]
    return turn


def turn_here() -> Turn:
    """The turn of the hub of this thread."""
    return turn_of(get_hub())


class Outgoing(LatePeer):
    """Frames on their way to one peer.

    `holding`: the timer for what was sent during a `hold`; None: nothing was.
    """

    __slots__ = ("_apart", "holding")

    _turn: Turn

    def __init__(
        self, sock: RawSocket, turn: Turn, max_buffered: int | None, backlog: Backlog | None = None
    ) -> None:
        super().__init__(sock, turn, max_buffered, backlog)
        self._apart = 0.0  # until when what is sent is held back (`time.monotonic`); 0.0: it is not
        self.holding: TimerWatcher | None = None

    def send(self, frame: bytes) -> None:
        """Send an encoded frame. Never blocks, never raises for a dead peer; ignored if `closed`.

        What is sent within one turn of the loop is written together, at its end.
        """
        if self.closed:
            return
        self.buffered += len(frame)
        if self._out is None:
            self._out = [frame]
            if self._apart and self._hold_back():
                return
            turn = self._turn
            if not turn.waiting:
                turn.at_end(turn.end)
            turn.waiting.append(self)
        else:
            self._out.append(frame)
            if self.buffered > self._bound:
                if self._rest is None:  # the peer may not be late, but the turn long
                    self.flush()
                else:
                    self._hold(frame)
                    self._judge([frame])

    def send_now(self, frame: bytes) -> None:
        """`send`, but at once if nothing waits: for a frame to many peers, such as a PING.

        The end of the turn would have to find each peer once more.
        """
        if self._out is None and not (self._apart or self.closed):
            try:
                sent = self._sock.send(frame)
            except OSError as error:
                sent = self._write_failed(error)
            if sent == len(frame):
                return
            frame = frame[sent:]
        self.send(frame)

    def flush(self) -> None:
        """Write what is collected, as the end of the turn does. Never blocks."""
        out = self._out
        if out is None or self._rest is not None:
            return
        if len(out) == 1:
            data = out[0]
        elif self.buffered <= LARGE:
            data = b"".join(out)
        else:  # joined, it would be a copy of all that waits
            self._fall_behind(out)
            self._rest = memoryview(self._next_piece(out))
            self._push()
            self._judge(out)
            return
        try:
            sent = self._sock.send(data)
        except OSError as error:
            sent = self._write_failed(error)
        if sent == len(data):
            self.buffered = 0
            self._out = None
            if self.closed:
                self._written()
        elif self._out is not None:  # the connection did not end meanwhile
            self.buffered -= sent
            self._passed += sent
            self._out = []
            self._rest = memoryview(data)[sent:]
            self._fall_behind([data])
            self._judge([data])

    def hold(self, seconds: float) -> None:
        """Write what is collected; what is sent from now on waits for `seconds`.

        So the peer reads the two apart, with time between them. The hold ends early if the peer
        sends something: it has probably read what came before. Does nothing for a peer that is
        late.
        """
        if self.holding is not None:
            return
        self.flush()
        if self._out is None and not self.closed and self.held is None:
            self._apart = time.monotonic() + seconds

    @property
    def late(self) -> bool:
        """Whether the peer is late: the kernel has no room for what was sent."""
        return self._rest is not None

    @property
    def held(self) -> float | None:
        """Until when what is sent is held back (`time.monotonic`); None: it is not."""
        return self._apart if self.holding is not None or self._apart > time.monotonic() else None

    def _hold_back(self) -> bool:
        """Whether the first frame after a `hold` has to wait; most are sent long after its end."""
        left = self._apart - time.monotonic()
        if left <= 0:
            self._apart = 0.0
            return False
        if self.holding is not None:  # what was held before was written early, as it was much
            return True
        self.holding = self._turn.loop.timer(left)
        self.holding.start(self._let_go, update=True)  # the loop's time may be old
        return True

    def _let_go(self) -> None:  # hub
        try:
            held, self.holding, self._apart = self.holding, None, 0.0
            if held is not None:
                held.close()
                self.flush()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self.broke(error, writing=True)

    def unsent(self) -> list[bytes]:
        """What waits, in order; the first may be the rest of a frame."""
        waiting = list(self._out or ())
        if self._rest is not None:
            if self._pong is not None:
                waiting.insert(0, frame_pong(self._pong))
            waiting.insert(0, bytes(self._rest))
        return waiting
