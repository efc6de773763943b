"""Writing to a peer without blocking: frames are collected during a turn of the loop, then sent.

All that is sent to one socket within a turn is written in one `send`. One callback at the end of
the turn does that for all sockets. While the kernel's buffer is full, a watcher waits for room.
Then the peer is *late*: what waits for it is counted in the server's `backlog` and written in
pieces.

`Outgoing` is the base class of `websocket.WebSocket`, which adds reading and the end.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import cast

from gevent.hub import Hub, get_hub

from ..hub.ports import IoWatcher, Loop, TimerWatcher
from ..protocol.websocket import frame_pong
from .backlog import ITEM, LARGE, Backlog
from .base import RawSocket, TlsSocket

READ, WRITE = 1, 2
"""The event masks of gevent's `loop.io`."""
TIMER = 0x100
"""libev's event of a timer."""
AFTER_SOCKETS = -1
"""The priority of what the loop does after it has called the sockets' watchers, which have 0."""

PIECE = 1 << 18  # bytes that are joined for one write to a peer that is late
SHARE = 1 << 20  # bytes that are written to one peer before others have their turn


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
        self.at_end: Callable[[Callable[[], None]], object] = _at_end(loop)

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


def _at_end(loop: Loop) -> Callable[[Callable[[], None]], object]:
    if not type(loop).__module__.startswith("gevent.libev."):
        return loop.run_callback
    # A watcher that is never started. The loop handles the event that it is fed after all others
    # that it has gathered, by its priority. Only handlers that wait for their turn come later.
    return partial(loop.timer(0.0, ref=False, priority=AFTER_SOCKETS).feed, TIMER)


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


class Outgoing:
    """Frames on their way to one peer.

    `buffered`: bytes that wait. `max_buffered`: bytes of memory that they may take, None for no
    limit; over it the connection is aborted, and `overflowed` is True. `backlog`: counts what waits
    for all connections, and closes those that make no progress; None for none. `closed`: nothing
    more will be sent. `holding`: the timer for what was sent during a `hold`; None: nothing was.
    """

    __slots__ = (
        "_apart",
        "_backlog",
        "_bound",
        "_error",
        "_out",
        "_passed",
        "_pong",
        "_rest",
        "_sock",
        "_tls",
        "_turn",
        "_writer",
        "buffered",
        "closed",
        "holding",
        "max_buffered",
        "overflowed",
    )

    def __init__(
        self, sock: RawSocket, turn: Turn, max_buffered: int | None, backlog: Backlog | None = None
    ) -> None:
        self._sock = sock
        #: The socket, if it speaks TLS.
        self._tls = cast("TlsSocket", sock) if hasattr(sock, "pending") else None
        self._turn = turn
        self._backlog = backlog
        self._writer: IoWatcher | None = None
        self._out: list[bytes] | None = None  # None: nothing waits
        self._rest: memoryview | None = None  # what the kernel had no room for; the peer is late
        # Bytes up to which a further frame is only collected; -1 while the peer is late.
        self._bound = 0
        self._passed = 0  # bytes that the kernel has taken while the peer was late
        self._pong: bytes | None = None
        self._error = False
        self._apart = 0.0  # until when what is sent is held back (`time.monotonic`); 0.0: it is not
        self.holding: TimerWatcher | None = None
        self.buffered = 0
        self.max_buffered = max_buffered
        self.closed = False
        self.overflowed = False
        self._be_in_time()

    # What `websocket.WebSocket` adds.

    def _readable(self) -> None:
        raise NotImplementedError

    def _written(self) -> None:
        """The kernel has everything, and nothing more will be sent."""
        raise NotImplementedError

    def broke(self, error: BaseException, *, writing: bool = False) -> None:
        raise NotImplementedError

    def _disconnect(self) -> None:
        """Close TCP, and call `_forget`: afterwards `_out` and `_rest` are None."""
        raise NotImplementedError

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

    # --- a peer that is late (hub or greenlet) ----------------------------------------------------

    def waits(self) -> int:
        """Bytes of memory that wait for the peer, with those of frames that other peers share."""
        return self.buffered + ITEM * (1 + len(self._out or ()))

    def taken(self) -> int | None:
        """Bytes that the peer has acknowledged; if unknown, those that the kernel has taken."""
        acked = acknowledged(self._sock)
        return self._passed if acked is None else acked

    def give_up(self) -> None:
        """Close TCP, since the peer does not read."""
        self.overflowed = self._error = True
        reset_at_close(self._sock)
        self._disconnect()

    def _fall_behind(self, frames: list[bytes]) -> None:
        """From now on the peer is late, and these frames wait."""
        self._bound = -1
        if self._backlog is not None:
            self._backlog.join(self)
        for frame in frames:
            self._hold(frame)

    def _be_in_time(self) -> None:
        self._bound = LARGE if self.max_buffered is None else min(LARGE, self.max_buffered)

    def _catch_up(self) -> None:
        """The kernel has everything: the peer is late no longer."""
        self._rest = self._out = None
        self._be_in_time()
        self.buffered = 0
        if self._backlog is not None:
            self._backlog.leave(self)
        self._drop_writer()
        if self.closed:
            self._written()

    def _forget(self) -> None:
        """Drop all that waits."""
        if self._bound < 0:
            for frame in self._out or ():
                self._release(frame)
            if self._rest is not None:
                self._release(self._rest.obj)  # type: ignore[arg-type]
            if self._backlog is not None:
                self._backlog.leave(self)
        self._be_in_time()
        self._out = self._rest = self._pong = None
        self.buffered = 0

    def _hold(self, frame: bytes) -> None:
        if self._backlog is not None:
            self._backlog.hold(frame, len(frame))

    def _release(self, frame: bytes) -> None:
        if self._backlog is not None:
            self._backlog.release(frame, len(frame))

    def _judge(self, latest: list[bytes]) -> None:
        """Close the connection if too much waits for it; `latest` came last."""
        if self._rest is None:
            return
        if self.max_buffered is not None and self.waits() > self.max_buffered:
            if self._backlog is not None:
                self._backlog.on_ceiling(max(latest, key=len, default=b""), self.max_buffered)
            self.give_up()
            return
        self._await_room()
        if self._backlog is not None:
            self._backlog.check()

    def _await_room(self) -> None:
        if self._writer is None:
            self._writer = self._turn.loop.io(self._sock.fileno(), WRITE)
            self._writer.start(self._writable)

    def _writable(self) -> None:
        try:
            if self._rest is None:  # reading TLS had to wait for room to write
                self._drop_writer()
                self._readable()
            else:
                self._push()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self.broke(error, writing=True)

    def _push(self) -> None:
        """Write piece after piece: all, or until the kernel is full, or up to `SHARE`."""
        share = SHARE
        while (rest := self._rest) is not None and share > 0:
            try:
                sent = self._sock.send(rest)
            except OSError as error:
                sent = self._write_failed(error)
            if self._rest is None:  # the connection ended meanwhile
                return
            self.buffered -= sent
            self._passed += sent
            share -= sent
            if sent == len(rest):
                self._go_on(rest)
            else:
                self._rest = rest[sent:]
                if not (self._tls is not None and sent):  # TLS takes one record at a time
                    return

    def _go_on(self, written: memoryview) -> None:
        """The kernel has a piece: take the next one, or note that the peer has caught up."""
        self._release(written.obj)  # type: ignore[arg-type]
        out = self._out
        assert out is not None
        if self._pong is not None:
            pong, self._pong = frame_pong(self._pong), None
            self.buffered += len(pong)
            out.insert(0, pong)
            self._hold(pong)
        if out:
            self._rest = memoryview(self._next_piece(out))
        else:
            self._catch_up()

    def _next_piece(self, out: list[bytes]) -> bytes:
        """Take the frames for one write out of `out`. A large one is not copied: peers share it."""
        count = size = 0
        for frame in out:
            size += len(frame)
            if count and size > PIECE:
                break
            count += 1
        if count == 1:
            return out.pop(0)
        frames = out[:count]
        del out[:count]
        piece = b"".join(frames)
        self._hold(piece)
        for frame in frames:
            self._release(frame)
        return piece

    def _write_failed(self, error: OSError) -> int:
        if isinstance(error, BlockingIOError) or (self._tls is not None and tls_wants(error)):
            return 0
        self._disconnect()
        return 0

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
            self._writer = None


def acknowledged(sock: RawSocket) -> int | None:
    """Bytes that the peer's kernel has acknowledged since the connection began.

    None if unknown: not TCP, not Linux, or the socket is closed.
    """
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_SIZE)
    except (OSError, AttributeError):
        return None
    if len(info) < _INFO_SIZE:
        return None
    return int.from_bytes(info[_BYTES_ACKED:_INFO_SIZE], sys.byteorder)


_BYTES_ACKED, _INFO_SIZE = 120, 128  # of linux/tcp.h's tcp_info, up to tcpi_bytes_acked


def reset_at_close(sock: RawSocket) -> None:
    """Have the kernel drop what it holds for a peer that does not read, once TCP is closed."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def tls_wants(error: OSError) -> int:
    """READ or WRITE if the TLS socket has to wait for that, else 0."""
    import ssl  # here, since gevent has to patch it before it is imported

    if isinstance(error, ssl.SSLWantReadError):
        return READ
    return WRITE if isinstance(error, ssl.SSLWantWriteError) else 0
