"""A peer that keeps to no protocol: bytes on a TCP connection, after a WebSocket's handshake."""

from __future__ import annotations

import json
import select
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType

from tests.frames import header, masked, upgrade_request
from tests.timing import DEADLINE

KEPT = 1 << 16  # bytes of what comes back while `push` sends

PATH = "/socket.io/?EIO=4&transport=websocket"


@dataclass(frozen=True)
class Fate:
    """What became of an attacker: ``closed``, ``refused``, or it ``stays``.

    ``code``: WebSocket's close code, or the HTTP status that refused it; `None`: TCP just ended.
    """

    end: str
    code: int | None = None

    def __str__(self) -> str:
        return self.end if self.code is None else f"{self.end}, {self.code}"


STAYS = Fate("stays")


class Hostile:
    """One connection. ``window``: bytes of its receive buffer, for one that does not read.

    ``path``: that of the endpoint, and ``more``: further header lines, of its handshake.
    """

    def __init__(
        self,
        port: int,
        *,
        sid: str | None = None,
        window: int | None = None,
        path: str = PATH,
        more: str = "",
    ) -> None:
        self.sock = socket.socket()
        if window is not None:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.sock.settimeout(DEADLINE)
        self.sock.connect(("127.0.0.1", port))
        self.sock.sendall(upgrade_request(path + (f"&sid={sid}" if sid else ""), more))
        self._read = b""
        while b"\r\n\r\n" not in self._read:
            more = self.sock.recv(4096)
            assert more, f"refused: {self._read!r}"
            self._read += more
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101"), head
        self.sid = ""

    def __enter__(self) -> Hostile:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.sock.close()

    def fileno(self) -> int:
        return self.sock.fileno()

    # -- as a client would ---------------------------------------------------------------------

    def say(self, *packets: str) -> None:
        """Sends Engine.IO packets."""
        self.sock.sendall(b"".join(masked(1, each.encode()) for each in packets))

    def join(self, namespace: str = "/") -> str:
        """Joins a namespace; the sid."""
        where = "" if namespace == "/" else f"{namespace},"
        self.say(f"40{where}")
        answer = self.until(f"40{where}{{")
        self.sid = json.loads(answer[2 + len(where) :])["sid"]
        return self.sid

    def until(self, start: str) -> str:
        """The next message that starts so; pings are answered, all else is thrown away.

        It must come within the socket's time-out, whatever else comes.
        """
        end = time.monotonic() + (self.sock.gettimeout() or DEADLINE)
        while True:
            if time.monotonic() > end:
                raise TimeoutError(f"no {start}")
            opcode, payload = self.frame()
            assert opcode in (1, 2), f"closed instead: {opcode} {payload!r}"
            if payload.startswith(start.encode()):
                return payload.decode()
            if payload == b"2":
                self.say("3")

    def frame(self) -> tuple[int, bytes]:
        """The next frame's opcode and payload; opcode -1 at the end of TCP."""
        try:
            first, size = self._exactly(2)
            if size >= 126:
                size = int.from_bytes(self._exactly(2 if size == 126 else 8), "big")
            return first & 0x0F, self._exactly(size)
        except (EOFError, ConnectionError):
            return -1, b""

    def _exactly(self, size: int) -> bytes:
        while len(self._read) < size:
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            self._read += more
        data, self._read = self._read[:size], self._read[size:]
        return data

    # -- as nobody should ----------------------------------------------------------------------

    def push(
        self, pieces: Iterable[bytes], seconds: float = DEADLINE, *, reads: bool = True
    ) -> tuple[int, bool]:
        """Sends as fast as TCP takes it, reading what comes back or not.

        Returns the bytes sent, and whether the server hung up before the pieces or the seconds were
        over.
        """
        end = time.monotonic() + seconds
        self.sock.setblocking(False)
        sent, source, piece = 0, iter(pieces), memoryview(b"")
        try:
            while (left := end - time.monotonic()) > 0:
                if not piece:
                    following = next(source, None)
                    if following is None:
                        return sent, False
                    piece = memoryview(following)
                ears = [self.sock] if reads else []
                readable, writable, _ = select.select(ears, [self.sock], [], left)
                if readable:
                    came = self.sock.recv(65536)
                    if not came:
                        return sent, True
                    self._read = (self._read + came)[-KEPT:]
                if writable:
                    done = self.sock.send(piece)
                    sent += done
                    piece = piece[done:]
        except ConnectionError:
            return sent, True
        finally:
            self.sock.settimeout(DEADLINE)
        return sent, False

    def fate(self, seconds: float) -> Fate:
        """What becomes of it within so many seconds; what else comes is thrown away."""
        end = time.monotonic() + seconds
        try:
            while (left := end - time.monotonic()) > 0:
                self.sock.settimeout(left)
                opcode, payload = self.frame()
                if opcode == 8:
                    return Fate("closed", int.from_bytes(payload[:2], "big") or None)
                if opcode == -1:
                    return Fate("closed")
        except TimeoutError:
            pass
        finally:
            self.sock.settimeout(DEADLINE)
        return STAYS

    def closed_with(self) -> int | None:
        """The code that the server closes with; `None` when TCP just ends."""
        fate = self.fate(DEADLINE)
        assert fate is not STAYS, "still open"
        return fate.code


def announced(length: int, *, opcode: int = 1) -> bytes:
    """A frame's header that declares so many bytes, with a mask that changes nothing."""
    return header(0x80 | opcode, length) + bytes(4)
