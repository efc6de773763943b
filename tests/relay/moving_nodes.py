"""Nodes in one process, over streams that a seed delays, whose clients can move between them.

The bus and the sessions are made up here; exchange, rooms and relay are the real ones.
"""

from __future__ import annotations

import json
import os
import random
import secrets
from collections import defaultdict, deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import gevent
from gevent.event import Event

from rtcio_sync.adapter.emit import RoomIndex
from rtcio_sync.adapter.member import Member
from rtcio_sync.cluster.exchange import Exchange
from rtcio_sync.cluster.node import Node
from rtcio_sync.cluster.ports import Packed
from rtcio_sync.errors import CannotMove
from rtcio_sync.relay.relay import Passage, Relay
from tests.members import FakeServer, Link

HELLO, END = "hello", "end"

#: Messages that are on their way at once.
MOST_WAITING = 100


class Bus:
    """What `cluster.local_bus.Mesh` is, over a `Network`."""

    def __init__(self, network: Network, node: str, number: int) -> None:
        self.network = network
        self.node = node
        self.number = number
        self.nodes: dict[str, None] = {}
        self.heard: dict[str, None] = {}
        self.pids = [number]
        self.eldest = None

    @property
    def neighbours(self) -> list[str]:
        return [node for node in self.nodes if node not in self.network.far]

    def born(self, node: str) -> int:
        return self.network.hosts[node].bus.number

    def post(
        self, node: str, kind: int, body: bytes, key: bytes = b"", *, now: bool = False
    ) -> bool:
        if node not in self.nodes:
            return False
        self.network.streams[self.node, node].append((kind, key, body))
        return True


class Tasks:
    def create_event(self) -> Event:
        return Event()

    def sleep(self, seconds: float) -> None:
        gevent.sleep(seconds)

    def spawn(self, target: Callable[..., Any], *args: Any) -> None:
        gevent.spawn(target, *args)

    spawn_in_turn = spawn


class Client:
    """``heard``: for each source, the numbers that have come from it, in order."""

    def __init__(self, sid: str, rooms: list[str]) -> None:
        self.sid = sid
        #: The key to its session, and whether that waits for it somewhere.
        self.pid = sid[:4] + secrets.token_urlsafe(15)
        self.away = False
        self.rooms = rooms
        self.sent: dict[str, int] = defaultdict(int)
        #: Where it is connected; `None`: on its way, or lost.
        self.host: Host | None = None
        self.lost = False


class Host(FakeServer):
    """One node, and the sessions on it."""

    def __init__(self, network: Network, number: int) -> None:
        super().__init__()
        self.network = network
        self.name = f"n{number:03d}"
        self.bus = Bus(network, self.name, number)
        self.server.eio.generate_id = lambda: self.name + secrets.token_urlsafe(12)
        self.links: dict[str, Link] = {}
        self.frozen: set[str] = set()
        self.manager: Any = self.index
        self.relay = Relay(
            self.index, self.counters, self._drop, scope="namespace"
        )
        self.relay.namespaces.add("/")
        self.relay.ordinary = self._ordinary
        self.exchange = Exchange(
            self.index,
            tasks=Tasks(),
            later=gevent.spawn_later,
            relays=self.relay,
            counters=self.counters,
            guard=lambda environ, event, callback, *args: callback(*args),
            disconnect=lambda sid, namespace: None,
            do_here=lambda *args: None,
        )
        self.node = Node(
            self.index, self.exchange, self.server.eio, self.relay, key="/", send_on=lambda: None
        )
        self.node.bus = self.node.mesh = self.exchange.bus = self.bus  # type: ignore[assignment]
        self.exchange.succession.enable(self)
        self.exchange.leaving.give = self._give
        self.alive = True

    # -- clients ---------------------------------------------------------------------------------

    def open(self, *rooms: str) -> Client:
        member = self.joined()
        client = Client(member.sid, list(rooms))
        eio_sid = self.name + secrets.token_urlsafe(12)
        RoomIndex.move(self.index, member, eio_sid)
        self._settle(member, client, eio_sid)
        self.enter(member, *rooms)
        self.network.clients.append(client)
        return client

    def _settle(self, member: Member, client: Client, eio_sid: str) -> None:
        assert isinstance(member.link, Link)
        link: Any = member.link
        link.client, link.eio_sid, link.unread = client, eio_sid, []
        self.links[eio_sid] = link
        client.host = self
        member.ready = True
        self.relay.settle(member)

    def _drop(self, reason: str, *about: Any) -> None:
        self.network.drops.append((self.name, reason, *about))

    def _ordinary(self, link: Any, message: bytes, binary: bool) -> None:
        raw = message.decode().partition(",")[2][:-1]
        self.relay.forward(link.root, Passage(json.loads(raw), raw, []))

    def link_of(self, client: Client) -> Any:
        return self.index.member(client.sid, "/").link

    def says(self, client: Client, target: str) -> None:
        """The client relays its next number to a target."""
        number = client.sent[target]
        client.sent[target] += 1
        link = self.link_of(client)
        data = {"source": client.sid, "target": target, "data": number}
        message = f'42["#rtcio:message",{json.dumps(data)}]'.encode()
        if link.eio_sid in self.frozen:
            link.unread.append(message)
        else:
            self.relay.arrive(link, message, False)

    def emits(self, source: Client | Host, name: str, room: str) -> None:
        """A handler of the client, or the app, emits the next number to a room."""
        sent = source.sent if isinstance(source, Client) else self.network.emitted
        number = sent[f"{name} {room}"]
        sent[f"{name} {room}"] += 1
        data = {"source": f"{name} {room}", "data": number}
        self.manager.emit("room", data, "/", room=room, skip_sid=name)

    # -- as `ports.Sessions` ---------------------------------------------------------------------

    def live(self) -> list[str]:
        return list(self.links)

    def busy(self, eio_sid: str) -> bool:
        return self.network.random.random() < 0.2

    def freeze(self, eio_sid: str) -> None:
        self.frozen.add(eio_sid)

    def thaw(self, eio_sid: str) -> None:
        self.frozen.discard(eio_sid)
        link: Any = self.links[eio_sid]
        unread, link.unread = link.unread, []
        for message in unread:
            self.relay.arrive(link, message, False)

    def pack(self, eio_sid: str) -> Packed:
        assert eio_sid in self.frozen
        link: Any = self.links.pop(eio_sid)
        client: Client = link.client
        member = self.index.member(client.sid, "/")
        assert member is not None
        state = [eio_sid, client.sid, list(member.rooms or ()), link.sent]
        state.append([each.decode() for each in link.unread])
        for room in (None, *(member.rooms or ())):
            inside = self.index.rooms["/"][room]
            del inside[client.sid]
            if not inside:
                del self.index.rooms["/"][room]
        del self.index.members["/"][client.sid]
        self.index._by_eio_sid["/"].pop(member.eio_sid)
        if not self.index.members["/"]:
            del self.index.members["/"]
            self.index.rooms.pop("/", None)
        client.host = None
        fd = os.open(os.devnull, os.O_RDONLY) if self.network.random.random() < 0.8 else -1
        return Packed(json.dumps(state).encode(), fd)

    def waiting(self) -> list[tuple[str, str]]:
        return []

    def pack_waiting(self, namespace: str, sid: str) -> Packed:
        raise NotImplementedError

    may_return = True

    def send_away(self, eio_sid: str) -> None:
        """Its client knows at once."""
        link: Any = self.links[eio_sid]
        link.client.away, link.client.host = True, None

    def pack_away(self, eio_sid: str) -> list[Packed]:
        packed = self.pack(eio_sid)
        if packed.fd >= 0:
            os.close(packed.fd)
        return [packed._replace(fd=-1)]

    def kept(self, namespace: str, pid: str) -> tuple[str, list[Any], bool] | None:
        for link in self.links.values():
            client: Client = link.client  # type: ignore[attr-defined]
            if client.pid == pid:
                member = self.index.member(client.sid, namespace)
                assert member is not None
                return client.sid, list(member.rooms or ()), member.relays
        return None

    def pack_kept(self, namespace: str, pid: str) -> Packed:
        (client,) = (each for each in self.network.clients if each.pid == pid)
        if not client.away or self.network.random.random() < 0.3:
            raise CannotMove("it is busy", later=True)
        eio_sid = self.link_of(client).eio_sid
        self.freeze(eio_sid)
        (packed,) = self.pack_away(eio_sid)
        return packed

    def lives(self, name: str) -> bool:
        return any(name in (each.sid, each.pid) for each in self.network.clients)

    def comes(self, client: Client) -> bool:
        """A client that is away comes to this node."""
        if self.kept("/", client.pid) is None and not self.exchange.claims.fetch("/", client.pid):
            return False
        if self.kept("/", client.pid) is None:  # somebody has claimed it who died then
            return False
        if self.exchange.leaving.heir is not None:  # it takes no connections any more
            return False
        link = self.link_of(client)
        client.away, client.host = False, self
        self.thaw(link.eio_sid)
        return True

    def adopt(self, state: bytes) -> tuple[str, list[tuple[str, str]]]:
        eio_sid, sid, rooms, sent, unread = json.loads(state)
        member = Member(sid, eio_sid, "/")
        self.index._add(member)
        self.index.connect(sid, "/")
        for room in rooms:
            RoomIndex.basic_enter_room(self.index, sid, "/", room)
        link: Any = Link(self.limits)
        link.sent, link.eio_sid = sent, eio_sid
        link.unread = [each.encode() for each in unread]
        link.root, link.members = member, {"/": member}
        link.client = self.network.client(sid)
        member.link = link
        member.ready = True
        self.relay.settle(member)
        self.frozen.add(eio_sid)
        self.links[eio_sid] = link
        return "" if link.client.away else eio_sid, [("/", sid)]

    def attach(self, eio_sid: str, fd: int) -> bool:
        if fd >= 0:
            os.close(fd)
        link = self.links.get(eio_sid)
        if link is None or not self.alive:
            return False
        link.transport = SimpleNamespace(send=lambda frame: link.send_frames([frame]))
        link.client.host = self  # type: ignore[attr-defined]
        self.thaw(eio_sid)
        return True

    def _give(self, node: str, fd: int, about: bytes) -> bool:
        self.network.descriptors.append((node, about.decode(), os.dup(fd)))
        return True


class Network:
    """All nodes, and their streams."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.hosts: dict[str, Host] = {}
        self.streams: dict[tuple[str, str], deque[Any]] = defaultdict(deque)
        self.descriptors: list[tuple[str, str, int]] = []
        self.clients: list[Client] = []
        self.emitted: dict[str, int] = defaultdict(int)
        self.drops: list[Any] = []
        #: Nodes of another host.
        self.far: set[str] = set()
        #: The nodes that stand still.
        self.stopped: set[str] = set()
        #: The streams that deliver nothing: from a node to another one.
        self.delayed: set[tuple[str, str]] = set()

    def client(self, sid: str) -> Client:
        (found,) = (each for each in self.clients if each.sid == sid)
        return found

    @property
    def living(self) -> list[Host]:
        return [each for each in self.hosts.values() if each.alive]

    def add(self) -> Host:
        host = Host(self, len(self.hosts))
        others = self.living
        self.hosts[host.name] = host
        for other in others:
            self._connect(host, other)
        return host

    def _connect(self, host: Host, other: Host) -> None:
        if other.name in host.bus.nodes:
            return
        host.bus.nodes[other.name] = None
        self.streams[host.name, other.name].append(HELLO)
        host.exchange.joined(other.name)

    def die(self, host: Host) -> None:
        """Its process ends: what it has written is still read."""
        host.alive = False
        for link in host.links.values():
            link.client.lost, link.client.host = True, None  # type: ignore[attr-defined]
        for name in self.hosts:
            if name != host.name:
                self.streams[host.name, name].append(END)
                self.streams[name, host.name].clear()

    # -- time ------------------------------------------------------------------------------------

    def step(self, most: int = 3) -> bool:
        """Some stream delivers some of its messages; `False`: none has any."""
        still = self.stopped
        busy = [
            pair
            for pair, waiting in self.streams.items()
            if waiting and pair[1] not in still and pair not in self.delayed
        ]
        if self.descriptors and self.random.random() < 0.3:
            index = self.random.randrange(len(self.descriptors))
            node, eio_sid, fd = self.descriptors.pop(index)
            if self.hosts[node].alive:
                self.hosts[node].exchange.arrivals.descriptor(fd, eio_sid.encode())
            else:
                os.close(fd)
        if not busy:
            return bool(self.descriptors)
        source, target = self.random.choice(busy)
        waiting, host = self.streams[source, target], self.hosts[target]
        for _ in range(self.random.randint(1, most)):
            if waiting:
                self._deliver(self.hosts[source], host, waiting.popleft())
        return True

    def _deliver(self, source: Host, host: Host, item: Any) -> None:
        if not host.alive:
            return
        if item == HELLO:
            host.bus.heard[source.name] = None
            if source.alive:
                self._connect(host, source)
            host.exchange.met(source.name)
        elif item == END:
            if host.bus.nodes.pop(source.name, 0) is None:
                host.bus.heard.pop(source.name, None)
                host.exchange.died(source.name)
        else:
            host.exchange.received(source.name, *item)

    def settle(self) -> None:
        """Delivers all that is on its way."""
        while True:
            while self.step():
                pass
            gevent.sleep(0.002)
            if not self.step():
                return

    def run(self, steps: int, act: Callable[[], None]) -> None:
        """``act()`` between the deliveries."""
        for number in range(steps):
            if self.random.random() < 0.4:
                act()
            self.step()
            if number % 4 == 0:
                gevent.sleep(0)

    # -- what clients do -------------------------------------------------------------------------

    def _waiting(self) -> int:
        return sum(
            len(each) for (_, to), each in self.streams.items() if to not in self.stopped
        )

    def chatter(self) -> None:
        """A client relays to another, or somebody emits to a room."""
        ready = [
            each
            for each in self.clients
            if each.host is not None and each.host.name not in self.stopped
        ]
        if not ready or self._waiting() > MOST_WAITING:
            return
        client = self.random.choice(ready)
        host, kind = client.host, self.random.random()
        assert host is not None
        if kind < 0.6:
            target = self.random.choice(self.clients)
            if target is not client:
                host.says(client, target.sid)
        elif kind < 0.85:
            if host.link_of(client).eio_sid not in host.frozen:  # no handler of it runs then
                host.emits(client, client.sid, self.random.choice(client.rooms))
        else:
            # A node that is new knows not all rooms yet; with its first clients, it does.
            able = [each for each in self.living if each.name not in self.stopped]
            host = self.random.choice([each for each in able if each.links])
            host.emits(host, host.name, self.random.choice(["tea", "cake", "pie"]))

    def heard(self, client: Client) -> dict[str, list[int]]:
        """The numbers that have come to a client, by their source."""
        host = client.host
        assert host is not None, client.sid
        found: dict[str, list[int]] = defaultdict(list)
        for text in host.link_of(client).sent:
            event, data = json.loads(text[1:])
            if event in ("#rtcio:message", "room"):
                found[data["source"]].append(data["data"])
        return found

    def told_of_leaving(self, client: Client) -> list[str]:
        """The sids whose end a client was told."""
        assert client.host is not None
        texts = client.host.link_of(client).sent
        found = [json.loads(text[1:]) for text in texts]
        return [data["id"] for event, data in found if event == "#rtcio:peer-left"]

    def check(self) -> None:
        """Nothing is lost, doubled or out of order between clients that live."""
        living = [each for each in self.clients if not each.lost]
        for client in living:
            heard = self.heard(client)
            for other in living:
                if other is client:
                    continue
                sent = other.sent.get(client.sid, 0)
                got = heard.get(other.sid, [])
                assert got == list(range(sent)), (other.sid, "->", client.sid, sent, got)
                for room in client.rooms:
                    sent = other.sent.get(f"{other.sid} {room}", 0)
                    got = heard.get(f"{other.sid} {room}", [])
                    assert got == list(range(sent)), (other.sid, room, "->", client.sid, sent, got)
            for host in self.living:
                for room in client.rooms:
                    sent = self.emitted[f"{host.name} {room}"]
                    got = heard.get(f"{host.name} {room}", [])
                    assert got == list(range(sent)), (host.name, room, "->", client.sid, sent, got)


def check_the_lost(network: Network) -> None:
    """Those that live hear of the end of each lost peer once, and of nobody else's."""
    lost = {client.sid: client for client in network.clients if client.lost}
    for client in network.clients:
        if client.lost:
            continue
        told = network.told_of_leaving(client)
        peers = {sid for sid, each in lost.items() if set(each.rooms) & set(client.rooms)}
        assert sorted(told) == sorted(peers)
