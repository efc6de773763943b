"""Requests and WebSockets with nothing in between: what a protocol's page says, byte for byte.

Nothing is answered by itself, no ping either. For peers that get along see `raw`.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.timing import DEADLINE

SEPARATOR = "\x1e"

#: A handshake as RFC 6455 1.3 has it; the key is the one of its example.
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class Answer(NamedTuple):
    """An HTTP response, whole."""

    status: int
    headers: dict[str, str]
    body: str


class Endpoint(NamedTuple):
    """Where an Engine.IO server answers: ``path`` with its slashes."""

    port: int
    path: str

    def request(
        self, method: str, query: str, body: bytes | str | None = None, **headers: str
    ) -> Answer:
        """One request on a connection of its own; ``headers`` with ``_`` for ``-``."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request(method, f"{self.path}?{query}", body, sent)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read().decode())
        finally:
            connection.close()

    def passed(self) -> None:
        """Returns once the server has read what was sent to it before, on whatever connection.

        One process on gevent accepts connections, and begins with their requests, in their order.
        """
        assert self.request("GET", "EIO=4&transport=none").status == 400

    def websocket(self, query: str = "EIO=4&transport=websocket") -> ClientConnection:
        """A WebSocket, the handshake packet of Engine.IO still to be received."""
        return connect(
            f"ws://127.0.0.1:{self.port}{self.path}?{query}",
            # A socket of our own, so that no proxy of the environment's comes between.
            sock=socket.create_connection(("127.0.0.1", self.port), DEADLINE),
            compression=None,
            max_size=None,
            open_timeout=DEADLINE,
            ping_interval=None,
            close_timeout=5,
        ).__enter__()

    def handshake(
        self, query: str = "EIO=4&transport=websocket", protocol: str = "HTTP/1.1", **headers: str
    ) -> tuple[Answer, socket.socket]:
        """Asks for a WebSocket in so many words: the answer, and the socket.

        ``headers`` replace those of a good handshake; an empty one is left out.
        """
        all_headers = {
            "Host": "localhost",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec_WebSocket_Version": "13",
            "Sec_WebSocket_Key": KEY,
            **headers,
        }
        lines = [f"{name.replace('_', '-')}: {each}" for name, each in all_headers.items() if each]
        head = "\r\n".join([f"GET {self.path}?{query} {protocol}", *lines, "", ""])
        sock = socket.create_connection(("127.0.0.1", self.port), DEADLINE)
        sock.sendall(head.encode())
        return read_answer(sock), sock


class Session:
    """An Engine.IO session on polling, request by request."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        opening = endpoint.request("GET", "EIO=4&transport=polling")
        assert opening.status == 200 and opening.body.startswith("0{"), opening
        self.opening: dict[str, Any] = json.loads(opening.body[1:])
        self.sid: str = self.opening["sid"]
        self.query = f"EIO=4&transport=polling&sid={self.sid}"

    def poll(self) -> Answer:
        return self.endpoint.request("GET", self.query)

    def waiting_poll(self) -> WaitingPoll:
        """A poll that the server has begun to answer."""
        return WaitingPoll(self.endpoint, f"{self.endpoint.path}?{self.query}")

    def post(self, body: bytes | str) -> Answer:
        return self.endpoint.request("POST", self.query, body, Content_Type="text/plain")

    def probe(self) -> ClientConnection:
        """A WebSocket for the upgrade of this session."""
        return self.endpoint.websocket(f"EIO=4&transport=websocket&sid={self.sid}")

    def upgrade(self) -> ClientConnection:
        """The session's WebSocket, upgraded to."""
        websocket = self.probe()
        websocket.send("2probe")
        assert websocket.recv(DEADLINE) == "3probe"
        websocket.send("5")
        return websocket


class WaitingPoll:
    """A request on a connection of its own, that has reached the application."""

    def __init__(self, endpoint: Endpoint, path: str) -> None:
        self._sock = socket.create_connection(("127.0.0.1", endpoint.port), DEADLINE)
        self._sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        endpoint.passed()

    def result(self) -> Answer:
        with self._sock:
            return read_answer(self._sock)


def until_closed(websocket: ClientConnection) -> tuple[list[str | bytes], int]:
    """What comes before the server closes, and its close code (1006: TCP just ended)."""
    packets: list[str | bytes] = []
    end = time.monotonic() + DEADLINE
    try:
        while True:
            packets.append(websocket.recv(max(0.1, end - time.monotonic())))
    except ConnectionClosed:
        assert websocket.close_code is not None
        return packets, websocket.close_code


def masked(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """A client's frame, RFC 6455 5.2; masked with zeros, which change nothing."""
    return bytes([opcode | final << 7]) + _length(len(payload), 0x80) + bytes(4) + payload


def header(opcode: int, length: int) -> bytes:
    """The head of a client's frame whose payload is to follow."""
    return bytes([opcode | 0x80]) + _length(length, 0x80) + bytes(4)


def _length(length: int, mask: int) -> bytes:
    if length < 126:
        return bytes([mask | length])
    if length < 1 << 16:
        return bytes([mask | 126]) + length.to_bytes(2, "big")
    return bytes([mask | 127]) + length.to_bytes(8, "big")


def read_answer(sock: socket.socket) -> Answer:
    """One HTTP response, byte by byte, so that nothing after it is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, f"the server hung up after {head!r}"
        head += byte
    status, *lines = head.decode().rstrip().split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    body = b""
    while len(body) < int(headers.get("content-length", 0)):
        body += sock.recv(1)
    return Answer(int(status.split()[1]), headers, body.decode())


def read_close(sock: socket.socket) -> int:
    """The code of the close frame that comes next among an Engine.IO server's frames."""
    while True:
        opcode, payload = _read_frame(sock)
        if opcode == 8:
            return int.from_bytes(payload[:2], "big")


def _read_frame(sock: socket.socket) -> tuple[int, bytes]:
    first, length = _exactly(sock, 2)
    if length == 126:
        length = int.from_bytes(_exactly(sock, 2), "big")
    elif length == 127:
        length = int.from_bytes(_exactly(sock, 8), "big")
    return first & 0x0F, _exactly(sock, length)


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        assert piece, "the server hung up without a close frame"
        data += piece
    return data
