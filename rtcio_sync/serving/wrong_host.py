"""Requests that a load balancer has sent to the wrong host: sent on, or refused with a hint.

Each host tells the others its ``cluster_address``. A request for a session of another host then
goes to that address, as it came: a polling request by request, a WebSocket byte by byte. The other
host answers it as one of its own, and its workers hand it to the one with the session.

While a session moves from one host to another, a request may find it at neither: it waits. A host
that stops has each poll that it has sent on answered at once, and ends the WebSockets that it
passes on so that nothing that their clients have sent is lost.

# greenlet: all of it, unless it says hub
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from typing import Protocol
from urllib.parse import quote

import gevent
from gevent.socket import SHUT_RDWR, SHUT_WR, create_connection
from gevent.socket import socket as GreenSocket

from ..engineio.http_requests import MARK, SENT_ON, bad, closes_unsaid
from ..engineio.payload import read_body
from ..errors import ProtocolError
from ..protocol.websocket_handshake import handshake
from ..transport import takeover
from ..transport.ports import Environ, StartResponse

__all__ = ["Addresses", "Misrouted"]

log = logging.getLogger(__name__)

SAID_EACH = 60.0  # seconds
CONNECT_WITHIN = 2.0  # seconds
CHUNK = 65536
LONGEST_ADDRESS = 300  # bytes
MOST_ANSWER = 64_000_000  # bytes

AGAIN = 0.05  # seconds between two looks for the host with a session
#: Seconds that a request waits: while the nodes of other hosts tell a new one where they are, until
#: a host says that it stops, and until it has given its sessions to another one.
NEW, NEW_WITHIN = 5.0, 2.0
STOPS_WITHIN = 1.0
MOVES_WITHIN = 10.0
ENDS_WITHIN = 2.0  # seconds in which requests that were sent on are answered when this host stops

MOST_SENT_ON = 3  # times

#: What is between two neighbours alone (RFC 9110 7.6.1).
_HOP_BY_HOP = {
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
    "transfer-encoding", "upgrade", "expect", "content-length",
}  # fmt: skip


class Addresses:
    """Where other hosts can be reached, as they have told. ``own``: what this one tells. # hub

    ``has_hosts()``: whether there may be any.

    An address is sealed with the key that all hosts know, so that without ``cluster_secret`` it is
    as trustworthy as the Redis it came over.
    """

    WHAT = "address"  # the name of what is told

    def __init__(
        self,
        own: str | None,
        tell: Callable[[str, str, bytes], None],
        has_hosts: Callable[[], bool],
    ) -> None:
        self._own = own
        self._tell = tell
        self._has_hosts = has_hosts
        self._key = b""
        self._known: dict[str, str] = {}
        self._new_until = 0.0

    def begin(self, key: bytes) -> None:
        """The key of all hosts is known."""
        self._key = key
        if self._has_hosts():
            self._new_until = time.monotonic() + NEW

    @property
    def is_new(self) -> bool:
        """Whether others may not have told theirs yet."""
        return time.monotonic() < self._new_until

    def joined(self, node: str) -> None:
        """A node lives."""
        if self._own is not None:
            address = self._own.encode()
            self._tell(node, self.WHAT, self._seal(address) + address)

    def heard(self, node: str, number: int, body: bytes) -> None:
        """A node has told its address."""
        seal, address = body[:32], body[32:]
        if len(address) <= LONGEST_ADDRESS and hmac.compare_digest(seal, self._seal(address)):
            self._known[node] = address.decode("ascii", "replace")

    def died(self, node: str, *_: object) -> None:
        self._known.pop(node, None)

    def of(self, node: str) -> tuple[str, int] | None:
        """The host and the port of a node."""
        host, _, port = self._known.get(node, "").rpartition(":")
        return (host.strip("[]"), int(port)) if host and port.isdigit() else None

    def _seal(self, address: bytes) -> bytes:
        return hmac.digest(self._key, b"address\0" + address, hashlib.sha256)


class Places(Protocol):
    """What counts descriptors: the engine."""

    def lend(self) -> None:
        """Counts two. Raises `Refused` when there are too many connections."""

    def give_back(self, descriptors: int) -> None:
        """So many are closed."""


class Nodes(Protocol):
    """Which node has which connection."""

    def host_of(self, sid: str) -> str | None:
        """The node of another host; `None`: it is of none."""

    def is_leaving(self, sid: str) -> bool:
        """Whether the node with which it began gives its connections to another one."""


class Misrouted:
    """Answers requests for sessions of other hosts.

    ``is_here(sid)``: whether this node has it. ``places``: each request holds two. ``patience``:
    seconds that a poll may wait; ``most``: bytes of a body.
    """

    def __init__(
        self,
        nodes: Nodes,
        is_here: Callable[[str], bool],
        addresses: Addresses,
        places: Places,
        *,
        patience: float,
        most: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._nodes = nodes
        self._is_here = is_here
        self._addresses = addresses
        self._places = places
        self._patience = patience
        self._most = most
        self._now = now
        self._said = -math.inf
        #: Whether this host stops, the polls and the WebSockets that it has sent on, and how many
        #: requests.
        self._stops = False
        self._polls: set[GreenSocket] = set()
        self._passages: set[_Passage] = set()
        self._open = 0

    def answer(
        self, sid: str, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes] | None:
        """The answer of the host with the session; `None`: it is here by now, or nowhere.

        Raises `Refused` when there are too many connections, and for a request that was sent on in
        vain: the other host may have handled it, so it is not handled here again.
        """
        if self._nodes.host_of(sid) is None and not self._addresses.is_new:
            return None
        self._places.lend()
        self._open += 1
        passage: _Passage | None = None
        try:
            far = self._connected(sid, _times_sent_on(environ) < MOST_SENT_ON)
            if far is None:
                return None
            with far:
                far.settimeout(self._patience + CONNECT_WITHIN)
                if "HTTP_UPGRADE" not in environ:
                    return self._send_on(far, environ, start_response)
                begun = self._send_on_websocket(far, environ, start_response)
                if begun is None:
                    raise bad(1)
                request, passage = begun
                return request.leave_handed_out()  # which may raise, to end the request
        except (OSError, HTTPException, ProtocolError) as error:  # its client begins a new session
            log.debug("a request could not be sent on to its host: %s", error)
            raise bad(1) from None
        finally:
            self._open -= 1
            if passage is None:  # else they are given back when it ends
                self._places.give_back(2)

    def _connected(self, sid: str, may_send_on: bool) -> GreenSocket | None:
        """A connection to the host with a session; `None`: there is none, or it is this one."""
        began = self._now()
        while not self._is_here(sid):
            node = self._nodes.host_of(sid)
            address = None if node is None else self._addresses.of(node)
            if address is not None and may_send_on:
                with suppress(OSError):
                    return create_connection(address, CONNECT_WITHIN)
            within = STOPS_WITHIN if address is not None else 0.0
            if self._addresses.is_new:
                within = NEW_WITHIN
            if self._nodes.is_leaving(sid):
                within = MOVES_WITHIN
            if self._now() - began >= within:
                if address is None and node is not None:
                    self._hint()
                return None
            gevent.sleep(AGAIN)
        return None

    def stop(self) -> None:
        """This host stops: ends what others of it would wait for. # hub or greenlet"""
        self._stops = True
        for far in list(self._polls):
            _end_half(far)
        for passage in list(self._passages):
            passage.let_go()

    def ended(self) -> None:
        """Waits until what was sent on is answered. # greenlet"""
        until = self._now() + ENDS_WITHIN
        while (self._open or self._passages) and self._now() < until:
            gevent.sleep(AGAIN)

    def _hint(self) -> None:
        now = self._now()
        if now - self._said < SAID_EACH:
            return
        self._said = now
        log.warning(
            'this host got a request for a session of another host and answers 400 ("Session ID '
            'unknown"): let the load balancer send all requests of a client to one host (by a hash '
            "of its address), or set cluster_address on each host; clients with "
            'transports: ["websocket"] need neither'
        )

    def _send_on(
        self, far: GreenSocket, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        body = b""
        if environ["REQUEST_METHOD"] == "POST":
            body = read_body(environ, self._most)
        head = _head_of(environ)
        far.sendall(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        response = HTTPResponse(far, method=environ["REQUEST_METHOD"])
        if environ["REQUEST_METHOD"] == "GET":
            self._polls.add(far)
            if self._stops:
                _end_half(far)
        try:
            response.begin()
            answer = response.read(MOST_ANSWER)
        finally:
            self._polls.discard(far)
        headers = [each for each in response.getheaders() if each[0].lower() not in _HOP_BY_HOP]
        headers.append(("Content-Length", str(len(answer))))
        if closes_unsaid(environ, stopping=self._stops):
            headers.append(("Connection", "close"))
        start_response(f"{response.status} {response.reason}", headers)
        return [answer]

    def _send_on_websocket(
        self, far: GreenSocket, environ: Environ, start_response: StartResponse
    ) -> tuple[takeover.WebSocketRequest, _Passage] | None:
        request = takeover.find(environ)
        if request is None or not request.can_be_handed_out:
            return None  # the client stays on polling
        headers = handshake(environ)
        far.sendall(_head_of(environ) + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        answer = b""
        while b"\r\n\r\n" not in answer and len(answer) < CHUNK:
            data = far.recv(CHUNK)
            if not data:
                return None
            answer += data
        head, _, first = answer.partition(b"\r\n\r\n")
        if head.split(b" ", 2)[1:2] != [b"101"]:
            return None
        sock, unread = request.hand_out(start_response, headers)
        near, far = GreenSocket(fileno=sock.detach()), GreenSocket(fileno=far.detach())
        passage = _Passage(near, far, self._passed, self._patience + CONNECT_WITHIN)
        self._passages.add(passage)
        passage.start(unread, first)
        if self._stops:
            passage.let_go()
        return request, passage

    def _passed(self, passage: _Passage) -> None:
        self._passages.discard(passage)
        self._places.give_back(2)


class _Passage:
    """Passes the bytes of a WebSocket on, in both directions. ``ended(self)``: both are closed.

    ``patience``: seconds that the client may take nothing. The other host cannot tell: this one
    would wait for the client and not notice that the session is over.
    """

    def __init__(
        self,
        near: GreenSocket,
        far: GreenSocket,
        ended: Callable[[_Passage], None],
        patience: float,
    ) -> None:
        self._near, self._far = near, far
        self._ended = ended
        self._patience = patience
        self._left = 2
        #: Whether the client was told to come back elsewhere.
        self._let_go = False

    def start(self, from_client: bytes, from_host: bytes) -> None:
        """Begins with what was already read."""
        for each in (self._near, self._far):
            each.settimeout(None)
        gevent.spawn(self._pass_on, self._near, self._far, from_client)
        gevent.spawn(self._pass_on, self._far, self._near, from_host)

    def let_go(self) -> None:
        """Ends the half towards the client, which then ends its own. # hub or greenlet

        Until then what the client sends is passed on, and what it does not get any more waits for
        it at the other host.
        """
        self._let_go = True
        _end_half(self._near)

    def _send(self, target: GreenSocket, data: bytes) -> None:
        try:
            if target is self._near:
                with gevent.Timeout(self._patience, TimeoutError):
                    target.sendall(data)
            else:  # a handler that takes long may keep the host from reading
                target.sendall(data)
        except OSError:
            if not (self._let_go and target is self._near):  # else it is read all the same
                raise

    def _pass_on(self, source: GreenSocket, target: GreenSocket, first: bytes) -> None:
        """Passes bytes on until the source ends; the target ends then, too. # greenlet"""
        try:
            with suppress(OSError):
                data = first or source.recv(CHUNK)
                while data:
                    if not (self._let_go and target is self._near):
                        self._send(target, data)
                    data = source.recv(CHUNK)
        finally:
            if not self._let_go:
                for each in (source, target):
                    with suppress(OSError):
                        each.shutdown(SHUT_RDWR)
            elif source is self._near:
                _end_half(self._far)  # the host may still write, and reads to the end
            self._left -= 1
            if not self._left:
                self._near.close()
                self._far.close()
                self._ended(self)


def _end_half(sock: GreenSocket) -> None:
    with suppress(OSError):
        sock.shutdown(SHUT_WR)


def _head_of(environ: Environ) -> bytes:
    """The head of the request, as it came, without its end."""
    path = quote(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""), encoding="latin-1")
    lines = [f"{environ['REQUEST_METHOD']} {path}?{environ.get('QUERY_STRING', '')} HTTP/1.1"]
    for key, value in environ.items():
        name = key[5:].replace("_", "-").title() if key.startswith("HTTP_") else ""
        if name and name.lower() not in _HOP_BY_HOP and name != MARK:
            lines.append(f"{name}: {value}")
    if "HTTP_HOST" not in environ:  # it came as HTTP/1.0
        lines.append("Host: ")
    if environ.get("CONTENT_TYPE"):
        lines.append(f"Content-Type: {environ['CONTENT_TYPE']}")
    lines.append(f"{MARK}: {_times_sent_on(environ) + 1}")
    return "\r\n".join([*lines, ""]).encode("latin-1")


def _times_sent_on(environ: Environ) -> int:
    said = str(environ.get(SENT_ON, "0"))
    return int(said) if said in ("0", "1", "2") else MOST_SENT_ON
