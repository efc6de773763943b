"""Peers without a client library: each frame and each packet is the test's own.

Engine.IO protocol 4 over Socket.IO protocol 5. Pings are answered; nothing else happens by itself.
"""

from __future__ import annotations

import http.client
import json
import socket
import time
from contextlib import suppress
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.integration.servers import Running
from tests.timing import DEADLINE

#: Engine.IO's packets of one polling body stand apart by this.
SEPARATOR = "\x1e"


class _Peer:
    """What the peers of both transports share: the way into a namespace and its packets."""

    sid: str
    namespace: str

    def send(self, packet: str | bytes) -> None:
        raise NotImplementedError

    def receive(self) -> str | bytes:
        raise NotImplementedError

    def join(self, namespace: str = "/", auth: Any = None) -> None:
        """Connect to a namespace, and keep the sid as `sid`."""
        self.namespace = namespace
        self.send(f"40{self.prefix}{'' if auth is None else json.dumps(auth)}")
        answer = self.receive()
        assert isinstance(answer, str) and answer.startswith(f"40{self.prefix}{{"), answer
        self.sid = json.loads(answer[2 + len(self.prefix) :])["sid"]

    @property
    def prefix(self) -> str:
        """What stands before the payload of each packet of this namespace."""
        return "" if self.namespace == "/" else f"{self.namespace},"

    def event(self, payload: str, ack_id: int | None = None) -> str:
        """The packet of an event; `payload` is the JSON array, as text."""
        return f"42{self.prefix}{'' if ack_id is None else ack_id}{payload}"

    def envelope(self, target: str, data: Any) -> str:
        """The packet of a relay."""
        envelope = {"source": self.sid, "target": target, "data": data}
        return self.event(json.dumps(["#rtcio:message", envelope]))

    def receive_until(self, packet: str) -> list[str | bytes]:
        """Receive until `packet` comes; what came before it."""
        before: list[str | bytes] = []
        while True:
            found = self.receive()
            if found == packet:
                return before
            before.append(found)


class RawWebSocket(_Peer):
    """An Engine.IO connection over a WebSocket."""

    def __init__(self, server: Running, *, sid: str | None = None) -> None:
        url = f"ws://127.0.0.1:{server.port}/socket.io/?EIO=4&transport=websocket"
        self.connection: ClientConnection = connect(
            url + (f"&sid={sid}" if sid else ""),
            # A socket of our own, so that no proxy of the environment's comes between.
            sock=socket.create_connection(("127.0.0.1", server.port)),
            compression=None,
            max_size=None,
            open_timeout=DEADLINE,
            ping_interval=None,
            close_timeout=5,
        ).__enter__()
        if sid is None:
            opening = self.receive()
            assert isinstance(opening, str) and opening.startswith("0{"), opening
            self.handshake = json.loads(opening[1:])

    def __enter__(self) -> RawWebSocket:
        return self

    def __exit__(self, *error: object) -> None:
        self.connection.close()

    def send(self, packet: str | bytes) -> None:
        self.connection.send(packet)

    def receive(self) -> str | bytes:
        while True:
            packet = self.connection.recv(DEADLINE)
            if packet != "2":
                return packet
            self.send("3")

    def receive_close(self) -> tuple[list[str | bytes], int]:
        """Receive until the server closes; what came before that, and the WebSocket close code."""
        packets: list[str | bytes] = []
        end = time.monotonic() + DEADLINE
        with suppress(ConnectionClosed):
            while True:
                assert time.monotonic() < end, f"still open after {packets}"
                packet = self.connection.recv(DEADLINE)
                if packet == "2":
                    self.send("3")
                else:
                    packets.append(packet)
        code = self.connection.close_code
        assert code is not None
        return packets, code


class RawPolling(_Peer):
    """An Engine.IO session over HTTP requests, one at a time."""

    def __init__(self, server: Running) -> None:
        self._server = server
        self._packets: list[str] = []
        status, body = self.request("GET", "/socket.io/?EIO=4&transport=polling")
        assert status == 200 and body.startswith("0{"), (status, body)
        opening, *self._packets = body.split(SEPARATOR)
        self.handshake = json.loads(opening[1:])
        self._path = f"/socket.io/?EIO=4&transport=polling&sid={self.handshake['sid']}"

    def __enter__(self) -> RawPolling:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):
            self.post("1")

    def request(self, method: str, path: str, body: str | bytes | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=DEADLINE)
        try:
            headers = {"Content-Type": "text/plain; charset=UTF-8", "Connection": "close"}
            encoded = body.encode() if isinstance(body, str) else body
            connection.request(method, path, encoded, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def post(self, *packets: str) -> int:
        """Send packets in one request; its HTTP status."""
        return self.request("POST", self._path, SEPARATOR.join(packets))[0]

    def post_bytes(self, body: bytes) -> int:
        """Send a body that need be no packets; its HTTP status."""
        return self.request("POST", self._path, body)[0]

    def send(self, packet: str | bytes) -> None:
        assert isinstance(packet, str), "an attachment is 'b' and base64 here"
        status = self.post(packet)
        assert status == 200, status

    def poll(self) -> list[str]:
        """The packets of one request, pings and NOOPs apart."""
        status, body = self.request("GET", self._path)
        assert status == 200, (status, body)
        packets = body.split(SEPARATOR)
        if "2" in packets:
            self.send("3")
        return [packet for packet in packets if packet not in ("2", "6", "")]

    def receive(self) -> str | bytes:
        while not self._packets:
            self._packets = self.poll()
        return self._packets.pop(0)
