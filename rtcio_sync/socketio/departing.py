"""Takes live sessions out of this process, and goes on with those of others: `ports.Sessions`.

A session is a connection with its sockets in all namespaces, or a socket that waits for its client
(`adapter.recovery`). It leaves as bytes, and its client notices nothing. Here, neither
``disconnect`` handlers run nor do peers hear of it. In the other process the ``connect`` and
``connection`` handlers run, because an app registers closures there.

What cannot be carried is found before anything is changed: then the session stays whole.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from contextlib import nullcontext
from copy import copy
from functools import partial
from typing import Any

from ..adapter.calls import Waiter
from ..adapter.emit import RoomIndex
from ..adapter.member import Member, Stage
from ..adapter.recovery import Recovery
from ..cluster.ports import Packed
from ..cluster.remote_events import values_in
from ..cluster.shared import body_of
from ..cluster.wire import decoded, encoded
from ..engineio.socket import Socket as Link
from ..engineio.state import State
from ..engineio.transfer import LinkState, busy, take_out
from ..errors import CannotMove, CannotPack, ProtocolError
from ..metrics import Counters
from ..parser.decoder import Partial
from ..parser.packet import TextPacket
from ..protocol.envelope import Drop
from ..protocol.packing import pack, unpack
from . import items
from .dispatch import NO_CONTEXT, Callee
from .lifecycle import Lifecycle
from .ports import Host
from .session_state import Acknowledged, MemberState, Part, SessionBytes
from .socket import Handshake, Socket, socket_of

__all__ = ["ACKNOWLEDGED", "Departing"]

ACKNOWLEDGED = "acknowledged"  # the name of what another process tells


class Departing:
    """The sessions of one server that change their process: `cluster.ports.Sessions`."""

    def __init__(self, host: Host, *, lifecycle: Lifecycle, counters: Counters) -> None:
        self._host = host
        self._engine: Any = host.eio
        self._manager: RoomIndex = host.manager
        self._lifecycle = lifecycle
        self._counters = counters
        #: The handlers of `on_moved`.
        self.handlers: list[Callee] = []
        #: What else belongs to a socket, by name.
        self.parts: dict[str, Part] = {}
        #: Values of an environ that are no plain ones, and how they get into the new one.
        self.of_environ: Callable[[dict[str, Any]], Any] = lambda environ: None
        self.into_environ: Callable[[dict[str, Any], Any], None] = lambda environ, value: None
        #: Tells the process that a socket has moved to: ``(sid, what, about)``.
        self.tell: Callable[[str, str, bytes], None] = lambda sid, what, about: None
        self._manager.ack_elsewhere = self._acknowledge_elsewhere
        #: Makes the callback of an acknowledgement that another process waits for.
        self.awaited: Callable[[Any], Callable[..., Any]] | None = None

    @property
    def _recovery(self) -> Recovery | None:
        found = self._manager.recovery
        return found if isinstance(found, Recovery) else None

    # -- leaving ---------------------------------------------------------------------------------

    def live(self) -> list[str]:
        """As `ports.Sessions.live`."""
        return [sid for sid, link in self._engine.sockets.items() if not link.closed]

    def busy(self, eio_sid: str) -> bool:
        """As `ports.Sessions.busy`."""
        link = self._engine.sockets.get(eio_sid)
        if link is None:
            return False
        if busy(link) or self._engine.transfer.awaits(eio_sid):
            return True
        return any(map(self._is_busy, self._manager.members_of(eio_sid)))

    def _is_busy(self, member: Member) -> bool:
        if member.stage is not Stage.CONNECTED or not member.ready or member.waiting:
            return True
        waiting = self._manager.callbacks.get(member.sid, {}).values()
        return any(isinstance(each, Waiter) and not _parts(each) for each in waiting)

    def freeze(self, eio_sid: str) -> None:
        """As `ports.Sessions.freeze`."""
        link = self._engine.sockets.get(eio_sid)
        if link is not None:
            link.freeze()

    def thaw(self, eio_sid: str) -> None:
        """As `ports.Sessions.thaw`."""
        link = self._engine.sockets.get(eio_sid)
        if link is not None:
            link.thaw()

    def pack(self, eio_sid: str) -> Packed:
        """As `ports.Sessions.pack`."""
        link = self._engine.sockets.get(eio_sid)
        if link is None:
            raise CannotMove("it has ended", later=True)
        if self.busy(eio_sid):
            raise CannotMove("it is busy", later=True)
        members = self._manager.members_of(eio_sid)
        environ = self._host.environ.get(eio_sid) or {}
        states = [self._state_of(member) for member in members]
        session = self._packed("the session", link.session)
        partial = None if link.partial is None else link.partial.state()
        kept = self._environ(environ)
        told = [(socket_of(self._host, each), each) for each in members] if self.handlers else []
        link_state, sock = take_out(link)
        state = SessionBytes(eio_sid, kept, session, link_state, partial, states)
        self._counters.moves += len(members)
        for member, each in zip(members, states, strict=True):
            self._part_callbacks(member, each)
            self._forget(member)
        self._host.environ.pop(eio_sid, None)
        self._tell(told, environ)
        taken: Any = sock
        fd = -1 if taken is None else taken.detach()
        return Packed(eio_sid, _names(states), encoded(state), fd)

    def waiting(self) -> list[tuple[str, str]]:
        """As `ports.Sessions.waiting`."""
        if self._recovery is None:
            return []
        return [
            (member.namespace, member.sid)
            for inside in self._manager.members.values()
            for member in inside.values()
            if member.stage is Stage.AWAY and member.session.open and member.session.taken is None
        ]

    def pack_waiting(self, namespace: str, sid: str) -> Packed:
        """As `ports.Sessions.pack_waiting`."""
        member = self._manager.member(sid, namespace)
        if member is None or member.stage is not Stage.AWAY or not member.session.open:
            raise CannotMove("it has ended, or its client is back", later=True)
        if member.session.taken is not None:
            raise CannotMove("its client comes back", later=True)
        socket: Socket | None = member.socket
        environ = {} if socket is None else socket.handshake.environ
        each = self._state_of(member)
        link = member.link
        sessions = {} if link is None else link.session
        own = {namespace: sessions[namespace]} if namespace in sessions else {}
        kept = self._packed("the session", own)
        state = SessionBytes("", self._environ(environ), kept, None, None, [each])
        told = [(socket_of(self._host, member), member)] if self.handlers else []
        self._part_callbacks(member, each)
        self._forget(member)
        self._tell(told, environ)
        return Packed("", _names([each]), encoded(state), -1)

    def _state_of(self, member: Member) -> MemberState:
        """A socket as it is; changes nothing."""
        socket: Socket | None = member.socket
        auth = member.auth if socket is None else socket.handshake.auth
        told_rooms, told = member.told or (set(), set())
        parts = {}
        for name, part in self.parts.items():
            value = part.pack(member)
            if value is not None:
                parts[name] = self._packed(name, value)
        return MemberState(
            member.namespace,
            member.sid,
            self._packed("a room", list(member.rooms or ())),
            self._packed("auth", auth),
            None if socket is None else self._packed("socket.data", socket.data),
            member.relays,
            member.recovered,
            member.returns,
            b"" if member.told is None else self._packed("a room", (told_rooms, told)),
            None if member.session is None else member.session.state(),
            parts,
        )

    def _packed(self, what: str, value: Any) -> bytes:
        try:
            return pack(value)
        except CannotPack as error:
            fix = "keep there what JSON has, bytes, tuples and sets"
            raise CannotMove(f"{what} has {error}; {fix}") from None

    def _environ(self, environ: dict[str, Any]) -> bytes:
        """The plain values of an environ, and what `of_environ` makes of the others."""
        plain = {}
        for key, value in environ.items():
            try:
                pack(value)
            except CannotPack:
                continue
            plain[key] = value
        return self._packed("the environ", (plain, self.of_environ(environ)))

    def _part_callbacks(self, member: Member, state: MemberState) -> None:
        """The acknowledgements that others wait for go along; this process gets none any more."""
        waiting = self._manager.callbacks.get(member.sid)
        if not waiting:
            return
        state.number = next(copy(waiting[0]))
        pending = {}
        for number, callback in waiting.items():
            part = _parts(callback)
            if part is not None:
                pending[number] = part(member.sid)
            elif number:
                self._counters.dropped["unanswered"] += 1
        state.pending = pending

    def _forget(self, member: Member) -> None:
        for part in self.parts.values():
            part.leave(member)
        if member.session is not None and self._recovery is not None:
            self._recovery.take_out(member.session)
        self._manager.take_out(member)

    def _tell(self, told: list[tuple[Socket, Member]], environ: Any) -> None:
        for socket, member in told:
            for handler in self.handlers:
                self._engine.spawn_in_turn(self._hear, environ, handler, socket, member)

    def _hear(self, environ: Any, handler: Callee, socket: Socket, member: Member) -> None:
        dispatcher, who = self._host.dispatcher, (member.sid, member.namespace)
        context = dispatcher.context(environ, *who, "moved", (socket,))
        with nullcontext() if context is NO_CONTEXT else context:
            dispatcher.guarded(environ, "moved", handler, socket, who=who)

    def _acknowledge_elsewhere(self, member: Member, number: int, arguments: list[Any]) -> None:
        """A handler acknowledges an event of a socket that has left. # hub or greenlet"""
        body, attachments = body_of(TextPacket, arguments)
        who = member.namespace, member.sid, member.returns
        self.tell(member.sid, ACKNOWLEDGED, encoded(Acknowledged(*who, number, body, attachments)))

    def acknowledged(self, node: str, number: int, about: bytes) -> None:
        """The same, said by the process from which the socket has come. # hub"""
        told = decoded(Acknowledged, about)
        member = self._manager.member(told.sid, told.namespace)
        if member is None or member.stage is not Stage.CONNECTED or member.returns != told.returns:
            return
        answer = tuple(values_in(told.body, told.attachments))
        if self._manager.late:  # encoding runs the app's code
            self._engine.spawn(self._manager.send_ack, member, told.number, answer)
        else:
            self._manager.send_ack(member, told.number, answer)

    # -- arriving --------------------------------------------------------------------------------

    def adopt(self, state: bytes) -> tuple[str, list[tuple[str, str]]]:
        """As `ports.Sessions.adopt`."""
        found = decoded(SessionBytes, state)
        if found.eio_sid and found.eio_sid in self._engine.sockets:
            raise ProtocolError(Drop.CHANNEL)
        try:
            if found.link is None:
                self._adopt_waiting(found)
            else:
                self._adopt_live(found, found.link)
        except (ValueError, TypeError, IndexError) as error:
            raise ProtocolError(Drop.CHANNEL) from error
        return found.eio_sid, _names(found.members)

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
            self._lifecycle.attach(member)
        self._counters.arrivals += len(found.members)
        link.arrived = frozenset(each.sid for each in found.members)

    def _adopt_waiting(self, found: SessionBytes) -> None:
        (each,) = found.members
        recovery = self._recovery
        if recovery is None or each.session is None:
            return
        environ = self._environ_of(found)
        # A connection that has ended: it keeps the app's session for the client's return.
        link = Link(self._engine, "")
        link.state = State.CLOSED
        link.session = unpack(found.session)
        member = self._member_of(each, "", environ)
        member.link = link
        for stage in (Stage.LEAVING, Stage.GONE):
            member.enter(stage)
        self._manager.park(member)
        recovery.lost(member, each.session.age)
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
        link.enqueue(items.Then(partial(self._greet, link)))
        attached: bool = self._engine.transfer.attach(link, fd)
        return attached

    def _greet(self, link: Link) -> None:  # greenlet
        """Runs the handlers of sockets that have come from another process."""
        self._engine.first_request(self._host.environ.get(link.sid) or {})
        for member in self._manager.members_of(link.sid):
            if member.sid in link.arrived and member.stage is Stage.CONNECTED:
                refused = self._lifecycle.ask(member, link.sid, member.auth, arrives=True)
                if refused is not None:
                    self._host.disconnect(member.sid, namespace=member.namespace)
                self._lifecycle.welcome(member)


def _parts(callback: Any) -> Callable[[str], Any] | None:
    """How a callback of another process goes along with its socket; `None`: it is of this one."""
    found: Callable[[str], Any] | None = getattr(callback, "part", None)
    return found


def _names(states: list[MemberState]) -> list[tuple[str, str]]:
    return [(each.namespace, each.sid) for each in states]
