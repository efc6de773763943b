"""Members of namespaces without a server: a `RoomIndex`, and connections that keep what is sent."""

from __future__ import annotations

import itertools
import logging
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

from rtcio_sync.adapter.emit import RoomIndex
from rtcio_sync.adapter.member import Member
from rtcio_sync.adapter.recovery_options import RecoveryOptions
from rtcio_sync.adapter.session_store import Recovery
from rtcio_sync.metrics import Counters
from rtcio_sync.options import Limits
from rtcio_sync.parser.packet import TextPacket
from rtcio_sync.transport.driver import frames_of
from tests.timing import Clock


class Link:
    """A connection that keeps what it is sent: the text of packets, and attachments."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.sent: list[Any] = []
        self.failed: list[str] = []
        self.members: dict[str, Member] | None = None
        self.root: Member | None = None
        #: Its WebSocket; `None`: it polls.
        self.transport: Any = None

    def send(self, pkt: Any) -> None:
        self.sent.append(pkt.data)

    def send_together(self, pkts: list[Any]) -> None:
        self.sent += [pkt.data for pkt in pkts]

    def send_frames(self, frames: list[bytes]) -> None:
        for payload, binary in frames_of(b"".join(frames)):
            self.sent.append(payload if binary else payload[1:].decode())

    def fail(self, label: str, reason: str) -> None:
        self.failed.append(label)

    def taken(self) -> list[Any]:
        """What it was sent since the last call."""
        taken, self.sent = self.sent, []
        return taken


class FakeServer:
    """A `RoomIndex`, and only what it needs of its server."""

    def __init__(self, index: RoomIndex | None = None, *, recovery: Any = None) -> None:
        self.clock = Clock()
        self.counters = Counters()
        self.limits = Limits()
        #: The bounds that somebody's waiting packets were over.
        self.over: list[int] = []
        self.ended: list[Member] = []
        self.index = RoomIndex() if index is None else index
        self.index.limits_of = lambda namespace: self.limits
        options = RecoveryOptions.of(recovery)
        if options is not None:
            self.index.recovery = Recovery(
                options, now=self.clock.now, later=self.clock.later, end=self.ended.append
            )
        sids = (f"sid{number}" for number in itertools.count(1))
        self.server: Any = SimpleNamespace(
            counters=self.counters,
            eio=SimpleNamespace(
                backlog=SimpleNamespace(on_ceiling=lambda data, bound: self.over.append(bound)),
                gate=nullcontext(),
                generate_id=lambda: next(sids),
                heartbeat=self.clock,
                hub_thread=SimpleNamespace(may_run=False),
                spawn=lambda fn, *args: fn(*args),
                spawn_in_turn=lambda fn, *args: fn(*args),
            ),
            logger=logging.getLogger(__name__),
            packet_class=TextPacket,
        )
        self.index.set_server(self.server)

    @property
    def recovery(self) -> Recovery:
        assert isinstance(self.index.recovery, Recovery)
        return self.index.recovery

    def joined(self, namespace: str = "/", *, polling: bool = False) -> Member:
        """A socket of its own connection, connected to a namespace."""
        member = self.joining(namespace, polling=polling)
        self.index.connect(member.sid, namespace)
        return member

    def joining(self, namespace: str = "/", *, polling: bool = False) -> Member:
        """One whose CONNECT is not answered yet."""
        link = Link(self.limits)
        if not polling:
            link.transport = SimpleNamespace(send=lambda frame: link.send_frames([frame]))
        sid = self.index.pre_connect(f"eio of {id(link)}", namespace)
        member = self.index.member(sid, namespace)
        assert member is not None
        member.link = link
        link.members = {namespace: member}
        link.root = member if namespace == "/" else None
        self.index.recovery.begin(member)
        return member

    def enter(self, member: Member, *rooms: Any) -> None:
        for room in rooms:
            self.index.enter_room(member.sid, member.namespace, room)

    def rooms(self, member: Member) -> list[Any]:
        """The rooms it is in, its own left out."""
        return self.index.get_rooms(member.sid, member.namespace)[1:]
