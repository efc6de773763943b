"""Goes on with sessions that have come from another process: the second half of `Departing`."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from functools import partial
from typing import Any

from ..adapter.emit import RoomIndex
from ..adapter.member import Member, Stage
from ..adapter.session_store import Recovery
from ..cluster.messages import decoded
from ..engineio.connection_transfer import LinkState
from ..engineio.socket import Socket as Link
from ..engineio.state import State
from ..errors import ProtocolError
from ..metrics import Counters
from ..parser.decoder import Partial
from ..protocol.envelope import Drop
from ..protocol.packing import unpack
from . import inbox_items
from .connect import Connecting
from .connection_members import ConnectionMembers
from .ports import Host
from .session_state import MemberState, Part, SessionBytes
from .socket import Handshake, Socket

__all__ = ["Arriving"]


class Arriving:
    """The sessions of one server that come from other processes."""

    def __init__(
        self,
        host: Host,
        *,
        members: ConnectionMembers,
        connecting: Connecting,
        counters: Counters,
    ) -> None:
        self._host = host
        self._engine: Any = host.eio
        self._manager: RoomIndex = host.manager
        self._members = members
        self._connecting = connecting
        self._counters = counters
        #: What else belongs to a socket, by name.
        self.parts: dict[str, Part] = {}
        #: How values of an environ that are no plain ones get into the new one.
        self.into_environ: Callable[[dict[str, Any], Any], None] = lambda environ, value: None
        #: Makes the callback of an acknowledgement that another process waits for.
        self.awaited: Callable[[Any], Callable[..., Any]] | None = None

    @property
    def _recovery(self) -> Recovery | None:
        found = self._manager.recovery
        return found if isinstance(found, Recovery) else None

    def adopt(self, state: bytes) -> tuple[str, list[tuple[str, str]]]:
        """As `ports.Sessions.adopt`."""
        found = decoded(SessionBytes, state)
        if found.eio_sid and found.eio_sid in self._engine.sockets:
            raise ProtocolError(Drop.CHANNEL)
        try:
            if found.link is None:
                self._adopt_one(found)
            else:
                self._adopt_live(found, found.link)
        except (ValueError, TypeError, IndexError) as error:
            raise ProtocolError(Drop.CHANNEL) from error
        return found.eio_sid, [(each.namespace, each.sid) for each in found.members]

    def _adopt_live(self, found: SessionBytes, state: LinkState) -> None:
        environ = self._environ_of(found)
        session = unpack(found.session)
        link = self._engine.transfer.make(state, environ)
        self._engine.handlers["connect"](link.sid, environ)
        if session:
            link.session = session
        if found.partial is not None:
            link.partial = Partial.of(found.partial)
        for each in found.members:
            member = self._member_of(each, link.sid, environ)
            self._members.attach(member)
        self._counters.arrivals += len(found.members)
        link.arrived = frozenset(each.sid for each in found.members)

    def _adopt_one(self, found: SessionBytes) -> None:
        (each,) = found.members
        recovery = self._recovery
        if recovery is None or each.session is None:  # its client could not find it here
            raise ProtocolError(Drop.CHANNEL)
        environ = self._environ_of(found)
        if each.session.away:
            self._adopt_waiting(found, each, each.session.age, environ)
        else:
            self._adopt_expected(found, each, environ)

    def _adopt_expected(
        self, found: SessionBytes, each: MemberState, environ: dict[str, Any]
    ) -> None:
        """One whose client is on its way here. If it does not come, it is lost then."""
        link = self._engine.transfer.stand_in(self._engine.generate_id(), environ)
        self._engine.handlers["connect"](link.sid, environ)
        link.session = unpack(found.session)
        link.arrived = frozenset((each.sid,))
        self._members.attach(self._member_of(each, link.sid, environ))
        self._counters.arrivals += 1

    def _adopt_waiting(
        self, found: SessionBytes, each: MemberState, waited: float, environ: dict[str, Any]
    ) -> None:
        recovery = self._recovery
        assert recovery is not None
        # A connection that has ended: it keeps the app's session for the client's return.
        link = Link(self._engine, "")
        link.closed = True
        link.state = State.CLOSED
        link.session = unpack(found.session)
        link.arrived = frozenset((each.sid,))
        member = self._member_of(each, "", environ)
        member.link = link
        for stage in (Stage.LEAVING, Stage.GONE):
            member.enter(stage)
        self._manager.park(member)
        recovery.lost(member, waited)
        member.enter(Stage.AWAY)

    def _environ_of(self, found: SessionBytes) -> dict[str, Any]:
        environ: dict[str, Any]
        environ, more = unpack(found.environ)
        self.into_environ(environ, more)
        return environ

    def _member_of(self, state: MemberState, eio_sid: str, environ: dict[str, Any]) -> Member:
        manager, sid = self._manager, state.sid
        member = Member(sid, eio_sid, state.namespace)
        member.auth = unpack(state.auth)
        member.relays, member.recovered = state.relays, state.recovered
        member.returns = state.returns
        manager.take_in(member, unpack(state.rooms))
        member.enter(Stage.CONNECTED)
        if state.told:
            member.told = unpack(state.told)
        if state.data is not None:
            member.socket = Socket(self._host, member, Handshake(environ, member.auth))
            member.socket.data = unpack(state.data)
            member.socket.handlers.unmet = state.ends
        if state.session is not None and self._recovery is not None:
            self._recovery.take_in(member, state.session)
        if state.number > 1:
            manager.callbacks[sid] = {0: itertools.count(state.number)}
        if self.awaited is not None:
            for number, pending in state.pending.items():
                manager.callbacks[sid][number] = self.awaited(pending)
        for name, value in state.parts.items():
            if name in self.parts:
                self.parts[name].enter(member, unpack(value))
        return member

    def attach(self, eio_sid: str, fd: int) -> bool:
        """As `ports.Sessions.attach`."""
        link = self._engine.sockets.get(eio_sid)
        if link is None or not self._engine.transfer.awaits(eio_sid):
            if fd >= 0:
                os.close(fd)
            return False
        link.enqueue(inbox_items.Then(partial(self._greet, link)))
        attached: bool = self._engine.transfer.attach(link, fd)
        return attached

    def _greet(self, link: Link) -> None:  # greenlet
        """Runs the handlers of sockets that have come from another process."""
        self._engine.first_request(self._host.environ.get(link.sid) or {})
        for member in self._manager.members_of(link.sid):
            if member.sid in link.arrived and member.stage is Stage.CONNECTED:
                self._connecting.open(member)
                refused = self._connecting.ask(member, link.sid, member.auth, arrives=True)
                if refused is not None:
                    self._host.disconnect(member.sid, namespace=member.namespace)
                self._connecting.welcome(member)
