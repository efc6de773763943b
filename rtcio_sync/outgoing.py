"""What waits for a peer: collected while a turn of the loop lasts, then written without blocking.

All that is sent to one socket within a turn goes out in one `send`; one callback at the turn's end
does that for all sockets. A watcher waits for room only while the kernel's buffer is full.

`Outgoing` is the half of a `connection.Connection` that writes; when it ends the other half knows.
"""

from __future__ import annotations

from typing import Any

from .websocket import frame_pong

READ, WRITE = 1, 2
"""The event masks of gevent's `loop.io`."""


class Turn:
    """The connections of one hub that have something to send at the end of the loop's turn."""

    __slots__ = ("loop", "waiting")

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.waiting: list[Outgoing] = []

    def end(self) -> None:  # hub
        waiting, self.waiting = self.waiting, []
        for connection in waiting:
            try:
                if connection._held is None:
                    connection.flush()
            except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
                connection._broke(error, writing=True)


class Outgoing:
    """Frames on their way to one peer.

    `buffered`: bytes that wait. `max_buffered`: how many may, None for no limit; over it the
    connection is aborted, and `overflowed` is True. `closed`: nothing more will be sent.
    """

    __slots__ = (
        "_error",
        "_held",
        "_out",
        "_pong",
        "_rest",
        "_sock",
        "_tls",
        "_turn",
        "_writer",
        "buffered",
        "closed",
        "max_buffered",
        "overflowed",
    )

    def __init__(self, sock: Any, turn: Turn, max_buffered: int | None) -> None:
        self._sock = sock
        self._tls = hasattr(sock, "pending")
        self._turn = turn
        self._writer: Any = None
        self._out: list[bytes] | None = None  # None: nothing waits, not even for the turn's end
        self._rest: memoryview | None = None  # what the kernel had no room for
        self._pong: bytes | None = None
        self._error = False
        self._held: Any = None  # the timer that ends a `hold`
        self.buffered = 0
        self.max_buffered = max_buffered
        self.closed = False
        self.overflowed = False

    # What the other half adds.

    def _readable(self) -> None:
        raise NotImplementedError

    def _written(self) -> None:
        """Everything is with the kernel, and there will be no more."""
        raise NotImplementedError

    def _broke(self, error: BaseException, *, writing: bool = False) -> None:
        raise NotImplementedError

    def _disconnect(self) -> None:
        """Close TCP. Afterwards `_out` and `_rest` are None."""
        raise NotImplementedError

    def send(self, frame: bytes) -> None:
        """Send an encoded frame. Never blocks, never raises for a dead peer; ignored if `closed`.

        What is sent within one turn of the loop goes out together, at its end.
        """
        if self.closed:
            return
        self.buffered += len(frame)
        if self._out is None:
            self._out = [frame]
            turn = self._turn
            if not turn.waiting:
                turn.loop.run_callback(turn.end)
            turn.waiting.append(self)
        else:
            self._out.append(frame)
            if self.max_buffered is not None and self.buffered > self.max_buffered:
                self._relieve()

    def flush(self) -> None:
        """Write what is collected: what the end of a turn does. Never blocks."""
        out = self._out
        if out is None or self._rest is not None:
            return
        data = out[0] if len(out) == 1 else b"".join(out)
        try:
            sent = self._sock.send(data)
        except OSError as error:
            sent = self._write_failed(error)
        if sent == len(data):
            self.buffered = 0
            self._out = None
            if self.closed:
                self._written()
        elif self._out is not None:  # it did not end meanwhile
            self.buffered -= sent
            self._out = []
            self._rest = memoryview(data)[sent:]
            self._await_room()

    def hold(self, seconds: float) -> None:
        """Write what is collected; what is sent from now on waits for `seconds`.

        So the peer reads the two apart: in two goes, with time between them. Does nothing for a
        peer that does not read.
        """
        self.flush()
        if self._out is None and self._held is None and not self.closed:
            self._out = []
            self._held = self._turn.loop.timer(seconds)
            self._held.start(self._let_go)

    def _let_go(self) -> None:  # hub
        try:
            held, self._held = self._held, None
            held.close()
            if self._out or self.closed:
                self.flush()
            else:
                self._out = None
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self._broke(error, writing=True)

    def _await_room(self) -> None:
        if self._writer is None:
            self._writer = self._turn.loop.io(self._sock.fileno(), WRITE)
            self._writer.start(self._writable)

    def _writable(self) -> None:
        try:
            rest = self._rest
            if rest is None:  # it was a TLS read that had to wait for room
                self._drop_writer()
                self._readable()
                return
            try:
                sent = self._sock.send(rest)
            except OSError as error:
                sent = self._write_failed(error)
            if self._rest is None:  # it ended meanwhile
                return
            self.buffered -= sent
            if sent < len(rest):
                self._rest = rest[sent:]
                return
            self._rest = None
            self._drop_writer()
            self._refill()
        except BaseException as error:  # noqa: BLE001 - nothing may be raised into the loop
            self._broke(error, writing=True)

    def _refill(self) -> None:
        if self._pong is not None:
            pong, self._pong = frame_pong(self._pong), None
            self._out = [pong, *(self._out or ())]
            self.buffered += len(pong)
        if self._out:
            self.flush()
        else:
            self._out = None
            if self.closed:
                self._written()

    def _write_failed(self, error: OSError) -> int:
        if isinstance(error, BlockingIOError) or (self._tls and tls_wants(error)):
            return 0
        self._disconnect()
        return 0

    def _relieve(self) -> None:
        """Too much waits: perhaps only because the turn is long, so try before giving up."""
        self.flush()
        if self.max_buffered is not None and self.buffered > self.max_buffered:
            self.overflowed = self._error = True
            self._disconnect()

    def _drop_writer(self) -> None:
        if self._writer is not None:
            self._writer.stop()
            self._writer.close()
            self._writer = None


def tls_wants(error: OSError) -> int:
    """What a TLS socket has to wait for, 0 if `error` says nothing of the kind."""
    import ssl  # only where it is loaded anyway: gevent has to patch it before others import it

    if isinstance(error, ssl.SSLWantReadError):
        return READ
    return WRITE if isinstance(error, ssl.SSLWantWriteError) else 0
