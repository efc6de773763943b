"""A peer that is late: the kernel has no room for more, so what is sent to it waits.

A watcher waits for room. What waits is counted in the server's `slow_readers.Backlog` and written
in pieces. `LatePeer` has the state of one peer's bytes; `outgoing.Outgoing` adds how they are
collected while it is in time.
"""

from __future__ import annotations

from typing import Protocol, cast

from ..hub.ports import IoWatcher, Loop
from ..protocol.websocket_frames import frame_pong
from .ports import RawSocket, TlsSocket
from .slow_readers import ITEM, LARGE, Backlog
from .tcp import WRITE, acknowledged, reset_at_close, tls_wants

__all__ = ["LatePeer"]

PIECE = 1 << 18  # bytes that are joined for one write to a peer that is late
SHARE = 1 << 20  # bytes that are written to one peer before others have their turn


class OfLoop(Protocol):
    """What belongs to a loop: `outgoing.Turn`."""

    @property
    def loop(self) -> Loop: ...


class LatePeer:
    """What waits for one peer. # hub or greenlet

    `buffered`: bytes that wait. `max_buffered`: bytes of memory that they may take, None for no
    limit; over it the connection is aborted, and `overflowed` is True. `backlog`: counts what waits
    for all connections, and closes those that make no progress; None for none. `closed`: nothing
    more will be sent.
    """

    __slots__ = (
        "_backlog", "_bound", "_error", "_out", "_passed", "_pong", "_rest", "_sock", "_tls",
        "_turn", "_writer", "buffered", "closed", "max_buffered", "overflowed",
    )  # fmt: skip

    def __init__(
        self,
        sock: RawSocket,
        turn: OfLoop,
        max_buffered: int | None,
        backlog: Backlog | None = None,
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
        self._bound = LARGE if max_buffered is None else min(LARGE, max_buffered)
        self._passed = 0  # bytes that the kernel has taken while the peer was late
        self._pong: bytes | None = None
        self._error = False
        self.buffered = 0
        self.max_buffered = max_buffered
        self.closed = False
        self.overflowed = False

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
