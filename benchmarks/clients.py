"""The load's clients: bare sockets after their handshakes, in one epoll.

Sockets are opened in batches of blocking steps, which is enough to keep a server busy. Afterwards
they are non-blocking and belong to the loops in ``scenarios.py``.
"""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Iterable
from itertools import islice

from benchmarks import wire

BATCH = 50
PATIENCE = 30.0  # seconds for any one answer while connecting
PORTS_PER_ADDRESS = 8000
IP_BIND_ADDRESS_NO_PORT = 24  # socket has the name from Python 3.12 on


class Void(Exception):
    """A message did not arrive or was not the expected one: the figure means nothing."""


class Client:
    """One connection. ``fd`` is its key everywhere."""

    __slots__ = ("buffer", "early", "fd", "interval", "offset", "pid", "sid", "socket")

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.fd = connection.fileno()
        self.buffer = bytearray()
        #: Events from before the answer to CONNECT: Node sends a session's missed events there, and
        #: socket.io-client keeps them until then.
        self.early: list[bytes] = []
        self.sid = ""
        self.pid = ""  # of connection state recovery, as is the offset
        self.offset = ""
        self.interval = 0.0  # seconds between the server's pings

    def more(self) -> None:
        data = self.socket.recv(65536)
        if not data:
            raise Void("the server closed a connection")
        self.buffer += data

    def text(self) -> bytes:
        """The next text message; blocks."""
        while True:
            while (frame := wire.take_frame(self.buffer)) is None:
                self.more()
            if reply := wire.reply(*frame):
                self.socket.sendall(reply)
            elif frame[0] != wire.FIN | wire.TEXT:
                raise Void(f"a frame that begins with {frame[0]:#x}: {frame[1]!r}")
            elif frame[1] != wire.NOOP:
                return frame[1]

    def expect(self, beginning: bytes) -> bytes:
        message = self.text()
        if not message.startswith(beginning):
            raise Void(f"{message[:80]!r} instead of {beginning!r}")
        return message

    def leave(self) -> None:
        """Closes as a browser's tab does, and waits until the server has closed, too; blocks."""
        self.socket.sendall(wire.LEAVE)
        while not self.closed():
            data = self.socket.recv(65536)
            if not data:
                break
            self.buffer += data
        self.socket.close()

    def closed(self) -> bool:
        """Whether a close frame has come; nothing but pings may have come before it."""
        while frame := wire.take_frame(self.buffer):
            if frame[0] == wire.FIN | wire.CLOSE:
                return True
            if not wire.reply(*frame) and frame[1] != wire.NOOP:
                raise Void(f"an unexpected {frame[1][:80]!r}")
        return False

    def response(self) -> tuple[bytes, bytes]:
        """The head and the body of an HTTP response; blocks. 101 has no body."""
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            self.more()
        head = bytes(self.buffer[:end])
        del self.buffer[: end + 4]
        if head.startswith(b"HTTP/1.1 101"):
            if b"sec-websocket-extensions" in head.lower():
                raise Void("the server compresses, which these clients don't")
            return head, b""
        if not head.startswith(b"HTTP/1.1 200"):
            raise Void(f"{head[:80]!r}")
        if b"transfer-encoding: chunked" in head.lower():
            return head, self._chunks()
        return head, self._exactly(int(_field(head, b"content-length")))

    def _exactly(self, length: int) -> bytes:
        while len(self.buffer) < length:
            self.more()
        body = bytes(self.buffer[:length])
        del self.buffer[:length]
        return body

    def _chunks(self) -> bytes:
        body = b""
        while True:
            while (end := self.buffer.find(b"\r\n")) < 0:
                self.more()
            length = int(self._exactly(end + 2), 16)
            chunk = self._exactly(length + 2)
            if not length:
                return body
            body += chunk[:-2]


def _field(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        key, _, value = line.partition(b":")
        if key.lower() == name:
            return value.strip()
    raise Void(f"a response without {name.decode()}: {head!r}")


class Pool:
    """Opens clients of one server and keeps them alive. ``bare``: the floor, without a protocol."""

    def __init__(self, port: int, *, bare: bool) -> None:
        self.port = port
        self.bare = bare
        self.epoll = select.epoll()
        self.clients: dict[int, Client] = {}
        self.pongs = 0
        self.groups = 0  # opened so far: the number in the next room's name
        self._opened = 0

    def open(self, count: int) -> list[Client]:
        """Opens ``count`` clients on WebSocket, each with its Socket.IO session."""
        return [client for group in self.open_groups(count, 1) for client in group]

    def open_groups(
        self, groups: int, size: int, *, join: bool = False, message_bytes: int = 1
    ) -> list[list[Client]]:
        """Opens groups of clients. ``join``: each group enters its own room, ``room-<number>``.

        ``message_bytes``: the size of one message on the wire, which the floor has to know.
        """
        opened: list[Client] = []
        names: list[bytes] = []
        for number in range(groups):
            names += [b"room-%d" % (self.groups + number)] * size
        self.groups += groups
        waiting = iter(names)
        while batch := list(islice(waiting, BATCH)):
            if self.bare:
                clients = self._open_bare([b"%d %s" % (message_bytes, name) for name in batch])
            else:
                clients = self.open_websockets([wire.CONNECT] * len(batch))
                if any(client.early for client in clients):
                    raise Void("an event came before the answer to CONNECT")
                if join:
                    self.join(clients, batch)
            self.adopt(clients)
            opened += clients
            self.serve(0)
        return [opened[start : start + size] for start in range(0, len(opened), size)]

    def _open_bare(self, names: list[bytes]) -> list[Client]:
        clients = [self.dial() for _ in names]
        for client, name in zip(clients, names, strict=True):
            client.socket.sendall(name)
            client.more()
            client.buffer.clear()
        return clients

    def open_websockets(self, connects: list[bytes]) -> list[Client]:
        """A client for each CONNECT, not in the pool yet: it may have received more already."""
        clients = [self.dial() for _ in connects]
        request = wire.websocket_request(self.port)
        for client in clients:
            client.socket.sendall(request)
        for client, connect in zip(clients, connects, strict=True):
            client.response()
            client.interval = _interval(client.expect(b"0{"))
            client.socket.sendall(connect)
        for client in clients:
            while not (answer := client.text()).startswith(b"40{"):
                client.early.append(answer)
            client.sid, client.pid = _sid(answer), _text(answer, b"pid")
        return clients

    def open_upgrading(self, count: int) -> list[Client]:
        """Opens clients that begin on polling and upgrade, as in a browser."""
        opened: list[Client] = []
        while len(opened) < count:
            clients = self.open_upgraded(min(BATCH, count - len(opened)))
            self.adopt(clients)
            opened += clients
            self.serve(0)
        return opened

    def open_upgraded(self, count: int) -> list[Client]:
        """Clients that have upgraded at the same time, not in the pool yet.

        Each posts its CONNECT and opens a poll while the WebSocket opens and probes. The answer to
        the CONNECT comes on one of the two; the server chooses.
        """
        readers = [self.dial() for _ in range(count)]
        for reader in readers:
            reader.socket.sendall(wire.polling_request(self.port))
        for reader in readers:
            reader.sid = _sid(reader.response()[1])
        writers, sockets = [[self.dial() for _ in readers] for _ in range(2)]
        polls = [wire.polling_request(self.port, reader.sid) for reader in readers]
        for reader, writer, upgrading, poll in zip(readers, writers, sockets, polls, strict=True):
            reader.socket.sendall(poll)
            writer.socket.sendall(wire.polling_request(self.port, reader.sid, b"40"))
            upgrading.socket.sendall(wire.websocket_request(self.port, reader.sid))
        for reader, writer, upgrading, poll in zip(readers, writers, sockets, polls, strict=True):
            writer.response()
            upgrading.response()
            upgrading.socket.sendall(wire.PROBE)
            upgrading.sid = _sid(reader.response()[1])
            reader.socket.sendall(poll)
        for reader, upgrading in zip(readers, sockets, strict=True):
            upgrading.expect(b"3probe")
            upgrading.sid = _sid(reader.response()[1]) or upgrading.sid
            upgrading.socket.sendall(wire.UPGRADE)
        for upgrading in sockets:
            upgrading.sid = upgrading.sid or _sid(upgrading.expect(b"40{"))
        for client in readers + writers:
            client.socket.close()
        return sockets

    def join(self, clients: Iterable[Client], rooms: Iterable[bytes]) -> None:
        clients = list(clients)
        for client, room in zip(clients, rooms, strict=True):
            packet = wire.event("join", room.decode(), acknowledgement=0)
            client.socket.sendall(wire.client_frame(packet))
        for client in clients:
            client.expect(b"430[")

    def where(self, clients: Iterable[Client]) -> list[int]:
        """The process that serves each of them."""
        clients = list(clients)
        for client in clients:
            client.socket.sendall(wire.client_frame(wire.event("where", acknowledgement=0)))
        return [int(client.expect(b"430[")[4:-1]) for client in clients]

    def dial(self) -> Client:
        """A TCP connection; the source address changes before its ports are used up."""
        connection = socket.socket()
        connection.settimeout(PATIENCE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        self._opened += 1
        connection.bind((f"127.0.0.{1 + self._opened // PORTS_PER_ADDRESS}", 0))
        connection.connect(("127.0.0.1", self.port))
        return Client(connection)

    def adopt(self, clients: Iterable[Client]) -> None:
        for client in clients:
            client.socket.setblocking(False)
            self.clients[client.fd] = client
            self.epoll.register(client.fd, select.EPOLLIN)

    def serve(self, seconds: float) -> None:
        """Answers pings: those received already, or within one wait of ``seconds``."""
        for fd, _ in self.epoll.poll(seconds):
            for message in self.messages(fd):
                raise Void(f"more came than was sent: {message[:80]!r}")

    def serve_until_told(self) -> None:
        """Answers pings until a line comes on stdin."""
        told = sys.stdin.fileno()
        self.epoll.register(told)
        while True:
            for fd, _ in self.epoll.poll():
                if fd == told:
                    self.epoll.unregister(fd)
                    sys.stdin.readline()
                    return
                for message in self.messages(fd):
                    raise Void(f"an unexpected {message[:80]!r}")

    def messages(self, fd: int, data: bytes | None = None) -> list[bytes]:
        """The text messages received so far; answers pings."""
        client = self.clients[fd]
        if data is None:
            data = client.socket.recv(65536)
        if not data:
            raise Void("the server closed a connection")
        client.buffer += data
        found = []
        while frame := wire.take_frame(client.buffer):
            if reply := wire.reply(*frame):
                client.socket.send(reply)
                self.pongs += reply == wire.PONG
            elif frame[0] != wire.FIN | wire.TEXT:
                raise Void(f"a frame that begins with {frame[0]:#x}: {frame[1]!r}")
            elif frame[1] != wire.NOOP:
                found.append(frame[1])
        return found

    def ended(self, fd: int) -> bool:
        """Whether the server has answered a close frame, or has closed the connection."""
        client = self.clients[fd]
        data = client.socket.recv(65536)
        client.buffer += data
        return client.closed() or not data

    def close(self, clients: Iterable[Client]) -> None:
        """Closes TCP with a reset and without a close frame, as after a pulled cable."""
        clients = list(clients)
        self.release(clients)
        for client in clients:
            client.socket.close()

    def release(self, clients: Iterable[Client]) -> None:
        """The opposite of `adopt`."""
        for client in clients:
            self.epoll.unregister(client.fd)
            del self.clients[client.fd]


def _sid(message: bytes) -> str:
    """The sid in it; empty without one, as in a poll's answer that only ends the poll."""
    return _text(message, b"sid")


def _text(message: bytes, key: bytes) -> str:
    return message.partition(b'"%s":"' % key)[2].partition(b'"')[0].decode()


def _interval(message: bytes) -> float:
    return int(message.split(b'"pingInterval":')[1].split(b",")[0].rstrip(b"}")) / 1000
