"""A TCP line between a client and its server that fails as lines do.

``cut`` ends all connections and refuses new ones, as for a phone without a network; ``cut_after``
does so in the middle of what the server sends; ``strand`` is noticed by the client alone: the
server goes on with connections at whose other end there is nobody.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class Line:
    """Carries connections from a port of its own to another."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._lock = threading.Lock()
        self._calls: set[_Call] = set()
        self._up = True
        self._budget: int | None = None
        #: Connections refused so far.
        self.refused = 0
        #: Connections ended so far by `cut_after`.
        self.torn = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for call in self._calls:
            call.end_both()

    def cut(self) -> None:
        """Nothing passes from now on; both ends notice."""
        with self._lock:
            self._up = False
            for call in self._calls:
                call.end_both()

    def strand(self) -> None:
        """As `cut`, but the server notices nothing."""
        with self._lock:
            self._up = False
            for call in self._calls:
                call.strand()

    def cut_after(self, size: int) -> None:
        """Both ends notice once so many bytes more have come from the server; new calls pass."""
        with self._lock:
            self._budget = size

    def lead_to(self, port: int) -> None:
        """New connections go to another server."""
        with self._lock:
            self._target = port

    def mend(self) -> None:
        """New connections pass."""
        with self._lock:
            self._up = True
            self._budget = None

    def spend(self, size: int) -> int:
        """How many of so many bytes of the server's may still pass."""
        with self._lock:
            if self._budget is None:
                return size
            allowed = min(size, self._budget)
            self._budget -= allowed
            if allowed < size:
                self._budget = None
                self.torn += 1
            return allowed

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if not self._up:
                    near.close()
                    self.refused += 1
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                for end in (near, far):
                    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                call = _Call(self, near, far)
                self._calls.add(call)
            for carry in (call.up, call.down):
                threading.Thread(target=carry, daemon=True).start()


class _Call:
    """One connection: ``near`` is the client's, ``far`` the server's."""

    def __init__(self, line: Line, near: socket.socket, far: socket.socket) -> None:
        self._line = line
        self._near = near
        self._far = far
        self._stranded = False

    def end_both(self) -> None:
        for end in (self._near, self._far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def strand(self) -> None:
        self._stranded = True
        with suppress(OSError):
            self._near.shutdown(socket.SHUT_RDWR)

    def up(self) -> None:
        with suppress(OSError):
            while data := self._near.recv(65536):
                self._far.sendall(data)
        if not self._stranded:
            with suppress(OSError):
                self._far.shutdown(socket.SHUT_WR)

    def down(self) -> None:
        with suppress(OSError):
            while data := self._far.recv(65536):
                allowed = self._line.spend(len(data))
                if not self._stranded:
                    self._near.sendall(data[:allowed])
                if allowed < len(data):
                    self.end_both()
                    return
        with suppress(OSError):
            self._near.shutdown(socket.SHUT_WR)
