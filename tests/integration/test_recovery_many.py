"""Thousands of connections that fail at the same moment, and come back while others go on."""

from __future__ import annotations

import json
import random
import socket
import struct
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from typing import Any

from benchmarks import wire
from benchmarks.clients import BATCH, Client, Pool
from tests.integration.servers import Running, running
from tests.timing import DEADLINE

ROOMS, SIZE = 500, 4
SPEAKERS = 25
#: How a connection ends, for each place in a room: told to the server, or not at all.
WAYS = ("reset", "end", "nothing", "end")
FENCE, FENCED = wire.event("echo", "all", acknowledgement=1), b'431["all"]'


class Peer:
    """A session: the connection that it has just now, and what has come on all it had."""

    def __init__(self, number: int, client: Client) -> None:
        self.number = number
        self.client = client
        self.key = (client.sid, client.pid)
        self.offset: str | None = None
        self.events: list[list[Any]] = []

    @property
    def way(self) -> str:
        return WAYS[self.number % SIZE]

    def take(self, message: bytes) -> None:
        assert message.startswith(b"42"), message
        *event, self.offset = json.loads(message[2:])
        assert isinstance(self.offset, str)
        self.events.append(event)

    def connect(self) -> bytes:
        offset = {} if self.offset is None else {"offset": self.offset}
        return wire.client_frame(f"40{json.dumps({'pid': self.key[1], **offset})}".encode())


class Crowd:
    """All of them, and speakers who stay."""

    def __init__(self, server: Running) -> None:
        self.server = server
        self.pool = Pool(server.port, bare=False)
        connects = (
            wire.client_frame(f'40{{"rooms":["room {number // SIZE}"]}}'.encode())
            for number in range(ROOMS * SIZE)
        )
        clients: list[Client] = []
        while batch := list(islice(connects, BATCH)):
            clients += self.pool.open_websockets(batch)
        self.pool.adopt(clients)
        self.peers = [Peer(number, client) for number, client in enumerate(clients)]
        self.of = {peer.client.fd: peer for peer in self.peers}
        self.speakers = self.pool.open(SPEAKERS)
        self.left_open: list[Client] = []

    def close(self) -> None:
        for client in [*self.pool.clients.values(), *self.left_open]:
            client.socket.close()
        self.pool.epoll.close()

    def speak(self, number: int, *, but: int = 0) -> None:
        """Says the number to each room, and relays it to its members; to one of ``but`` nothing."""
        for room in range(ROOMS):
            if but and room % but == 0:
                continue
            speaker = self.speakers[room % SPEAKERS]
            _send(speaker, wire.event("say", f"room {room}", number))
            for peer in self.peers[room * SIZE :][:SIZE]:
                _send(speaker, wire.event("#rtcio:message", _envelope(speaker, peer, number)))

    def fence(self) -> None:
        """Until the server has dealt with all that the speakers have sent; peers read nothing."""
        for speaker in self.speakers:
            _send(speaker, FENCE)
        for speaker in self.speakers:
            speaker.socket.settimeout(DEADLINE)
            assert speaker.text() == FENCED
            speaker.socket.setblocking(False)

    def read(self) -> None:
        """All that has been sent to those who are there."""
        waiting = set(self.of)
        for peer in self.peers:
            _send(peer.client, FENCE)
        for fd, message in self.heard():
            if message == FENCED:
                waiting.remove(fd)
            else:
                self.of[fd].take(message)
            if not waiting:
                return

    def heard(self) -> Iterator[tuple[int, bytes]]:
        end = time.monotonic() + 3 * DEADLINE
        while True:
            assert time.monotonic() < end, "something is missing"
            for fd, _ in self.pool.epoll.poll(1):
                for message in self.pool.messages(fd):
                    yield fd, message

    def cut(self) -> None:
        """Nobody has a connection any more; of some the server does not know it."""
        for peer in self.peers:
            client = peer.client
            if peer.way == "nothing":
                self.pool.epoll.unregister(client.fd)
                self.left_open.append(self.pool.clients.pop(client.fd))
                continue
            if peer.way == "reset":
                reset = struct.pack("ii", 1, 0)
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            self.pool.close([client])
        self.of.clear()

    def come_back(self, peers: list[Peer]) -> None:
        waiting = iter(peers)
        while batch := list(islice(waiting, BATCH)):
            clients = self.pool.open_websockets([peer.connect() for peer in batch])
            self.pool.adopt(clients)
            for peer, client in zip(batch, clients, strict=True):
                assert (client.sid, client.pid) == peer.key, "another session"
                peer.client = client
                self.of[client.fd] = peer


def _envelope(speaker: Client, peer: Peer, number: int) -> dict[str, Any]:
    return {"source": speaker.sid, "target": peer.key[0], "data": [peer.number, number]}


def _send(client: Client, packet: bytes) -> None:
    client.socket.setblocking(True)
    client.socket.sendall(wire.client_frame(packet))
    client.socket.setblocking(False)


def test_thousands_lost_at_once_come_back_each_to_its_own_while_others_go_on() -> None:
    """No ping in it: who is half-open stays so until its client is back."""
    with (
        running(
            "listen", "recovering", connection_state_recovery=True, ping_interval=600
        ) as server,
        closing(Crowd(server)) as crowd,
    ):
        crowd.speak(0, but=10)
        crowd.fence()
        crowd.read()
        crowd.speak(1)  # sent, and not read
        crowd.fence()
        peers = crowd.peers
        crowd.cut()
        lost = sum(peer.way != "nothing" for peer in peers)
        server.eventually("/stats", lambda stats: stats["away"] == lost)
        crowd.speak(2)
        order = random.Random(5).sample(peers, len(peers))
        third = 1 + len(order) // 3
        for turn in range(3):
            crowd.come_back(order[turn * third : (turn + 1) * third])
            crowd.speak(3 + turn)
        crowd.fence()
        crowd.read()
        stats = server.get_json("/stats")
        assert (stats["away"], stats["recoveries"]) == (0, len(peers))
        for room in range(ROOMS):
            members = peers[room * SIZE :][:SIZE]
            for peer in members:
                check(peer, members)


def check(peer: Peer, room: list[Peer]) -> None:
    """It has got what was sent to it, in order, nothing twice, and nobody else's."""
    by_name: dict[str, list[Any]] = defaultdict(list)
    for name, *args in peer.events:
        by_name[name].append(args[0])
    numbers = list(range(peer.number // SIZE % 10 == 0, 6))
    told = sorted(each.key[0] for each in room if each is not peer and each.way != "nothing")
    assert by_name.keys() == {"#rtcio:message", "said", "#rtcio:peer-left", "gone"}
    envelopes = by_name["#rtcio:message"]
    assert {envelope["target"] for envelope in envelopes} == {peer.key[0]}
    assert [envelope["data"] for envelope in envelopes] == [[peer.number, n] for n in numbers]
    assert by_name["said"] == numbers
    assert sorted(each["id"] for each in by_name["#rtcio:peer-left"]) == told
    assert sorted(each["id"] for each in by_name["gone"]) == told
