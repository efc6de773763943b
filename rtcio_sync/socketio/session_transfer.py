"""Takes live sessions out of this process, and goes on with those of others: `ports.Sessions`.

A session is a connection with its sockets in all namespaces, or a socket that waits for its client
(`adapter.session_store`). It leaves as bytes, and its client notices nothing. Here, neither
``disconnect`` handlers run nor do peers hear of it. In the other process the ``connect`` and
``connection`` handlers run, because an app registers closures there.

What cannot be carried is found before anything is changed: then the session stays whole.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from copy import copy
from typing import Any

from ..adapter.member import Member, Stage
from ..adapter.server_call import Waiter
from ..cluster.messages import decoded, encoded
from ..cluster.ports import Packed
from ..cluster.remote_events import values_in
from ..cluster.shared_rooms import body_of
from ..engineio.connection_transfer import busy, take_out
from ..engineio.state import State
from ..errors import CannotMove, CannotPack
from ..parser.packet import TextPacket
from ..protocol.packing import pack
from .handler_call import NO_CONTEXT, Callee
from .ports import Host
from .session_arrival import Arriving
from .session_state import Acknowledged, MemberState, SessionBytes
from .socket import Socket, socket_of

__all__ = ["ACKNOWLEDGED", "Departing"]

ACKNOWLEDGED = "acknowledged"  # the name of what another process tells


class Departing(Arriving):
    """The sessions of one server that change their process: `cluster.ports.Sessions`."""

    def __init__(self, host: Host, **parts: Any) -> None:
        """``parts``: those of `Arriving`."""
        super().__init__(host, **parts)
        #: The handlers of `on_moved`.
        self.handlers: list[Callee] = []
        #: Values of an environ that are no plain ones, as `into_environ` takes them.
        self.of_environ: Callable[[dict[str, Any]], Any] = lambda environ: None
        #: Tells the process that a socket has moved to: ``(sid, what, about)``.
        self.tell: Callable[[str, str, bytes], None] = lambda sid, what, about: None
        self._manager.ack_elsewhere = self._acknowledge_elsewhere

    # -- leaving ---------------------------------------------------------------------------------

    def live(self) -> list[str]:
        """As `ports.Sessions.live`."""
        sockets = self._engine.sockets.items()
        return [sid for sid, link in sockets if not (link.closed or link.stands_in)]

    def busy(self, eio_sid: str) -> bool:
        """As `ports.Sessions.busy`."""
        link = self._engine.sockets.get(eio_sid)
        if link is None:
            return False
        if busy(link) or link.leaves or self._engine.transfer.awaits(eio_sid):
            return True
        return any(map(self._is_busy, self._manager.members_of(eio_sid)))

    def _is_busy(self, member: Member) -> bool:
        if member.stage is not Stage.CONNECTED or not member.ready or member.waiting:
            return True
        return _calls(self._manager.callbacks.get(member.sid, {}))

    def end_calls(self) -> bool:
        """As `ports.Sessions.end_calls`."""
        waiting = self._manager.callbacks
        asked = [sid for sid in list(waiting) if _calls(waiting.get(sid, {}))]
        for sid in asked:
            self._manager.end_calls(sid)
        return bool(asked)

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
        half = link.partial or link.ack  # a client sends one packet after the other
        partial = None if half is None else half.state()
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
        return Packed(encoded(state), fd)

    @property
    def may_return(self) -> bool:
        """As `ports.Sessions.may_return`."""
        return self._recovery is not None

    def polls(self, eio_sid: str) -> bool:
        """As `ports.Sessions.polls`."""
        link = self._engine.sockets.get(eio_sid)
        return link is not None and link.state is State.POLLING and link.websocket is None

    def send_away(self, eio_sid: str) -> None:
        """As `ports.Sessions.send_away`."""
        link = self._engine.sockets.get(eio_sid)
        if link is not None and not link.sent_away:
            link.send_away()

    def pack_away(self, eio_sid: str) -> list[Packed]:
        """As `ports.Sessions.pack_away`."""
        link = self._engine.sockets.get(eio_sid)
        if link is None:
            raise CannotMove("it has ended", later=True)
        if self.busy(eio_sid):
            raise CannotMove("it is busy", later=True)
        if link.parked:  # nobody has handled it, and the other host would not know of it
            raise CannotMove("its client has sent something", later=True)
        members = self._manager.members_of(eio_sid)
        environ = self._host.environ.get(eio_sid) or {}
        states = [self._state_of_one(member, environ) for member in members]  # all can, or none
        packed = [
            self._take_one(member, environ, state)
            for member, state in zip(members, states, strict=True)
        ]
        self._counters.moves += len(members)
        link.leave()
        self._host.environ.pop(eio_sid, None)
        return packed

    def waiting(self) -> list[tuple[str, str]]:
        """As `ports.Sessions.waiting`."""
        if self._recovery is None:
            return []
        return [
            (member.namespace, member.sid)
            for inside in self._manager.members.values()
            for member in inside.values()
            if _waits(member) and member.session.open and member.session.taken is None
        ]

    def pack_waiting(self, namespace: str, sid: str) -> Packed:
        """As `ports.Sessions.pack_waiting`."""
        member = self._manager.member(sid, namespace)
        if member is None or not _waits(member) or not member.session.open:
            raise CannotMove("it has ended, or its client is back", later=True)
        if member.session.taken is not None:
            raise CannotMove("its client comes back", later=True)
        link, socket = member.link, member.socket
        if link is None or not link.stands_in:
            return self._pack_one(member, {} if socket is None else socket.handshake.environ)
        packed = self._pack_one(member, self._host.environ.get(link.sid) or {})
        self._members.detach(member)
        if not link.joined:
            link.close(abort=True, reason="transport close")
        return packed

    def _pack_one(self, member: Member, environ: dict[str, Any]) -> Packed:
        """A socket without its connection."""
        return self._take_one(member, environ, self._state_of_one(member, environ))

    def _state_of_one(self, member: Member, environ: dict[str, Any]) -> SessionBytes:
        """The same as it is; changes nothing."""
        each, namespace = self._state_of(member), member.namespace
        link = member.link
        sessions = {} if link is None else link.session
        own = {namespace: sessions[namespace]} if namespace in sessions else {}
        kept = self._packed("the session", own)
        return SessionBytes("", self._environ(environ), kept, None, None, [each])

    def _take_one(self, member: Member, environ: dict[str, Any], state: SessionBytes) -> Packed:
        told = [(socket_of(self._host, member), member)] if self.handlers else []
        self._part_callbacks(member, state.members[0])
        self._forget(member)
        self._tell(told, environ)
        return Packed(encoded(state), -1)

    def kept(self, namespace: str, pid: str) -> tuple[str, list[Any], bool] | None:
        """As `ports.Sessions.kept`."""
        session = None if self._recovery is None else self._recovery.find(namespace, {"pid": pid})
        if session is None:
            return None
        member = session.member
        return member.sid, list(member.rooms or ()), member.relays

    def pack_kept(self, namespace: str, pid: str) -> Packed:
        """As `ports.Sessions.pack_kept`."""
        session = None if self._recovery is None else self._recovery.find(namespace, {"pid": pid})
        if session is None:
            raise CannotMove("it has ended")
        member, link = session.member, session.member.link
        if member.stage is Stage.CONNECTED and link is not None and not link.stands_in:
            link.close(abort=True, reason="transport close")
            raise CannotMove("its old connection has to end", later=True)
        return self.pack_waiting(namespace, member.sid)

    def lives(self, name: str) -> bool:
        """As `ports.Sessions.lives`."""
        if any(name in inside for inside in self._manager.members.values()):
            return True
        return self._recovery is not None and self._recovery.keeps(name)

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
            ends=socket is not None and (socket.handlers.unmet or bool(socket.handlers.ends)),
        )

    def _packed(self, what: str, value: Any) -> bytes:
        try:
            return pack(value)
        except CannotPack as error:
            fix = "keep only values of JSON, bytes, tuples and sets there"
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


def _waits(member: Member) -> bool:
    """Whether it waits for its client: lost, or sent here from another host."""
    link = member.link
    return member.stage is Stage.AWAY or (link is not None and link.stands_in and not link.closed)


def _calls(waiting: dict[int, Any]) -> bool:
    """Whether a `call` of this process waits for one of these answers."""
    each = waiting.copy().values()  # other threads change it
    return any(isinstance(one, Waiter) and not _parts(one) for one in each)


def _parts(callback: Any) -> Callable[[str], Any] | None:
    """How a callback of another process goes along with its socket; `None`: it is of this one."""
    found: Callable[[str], Any] | None = getattr(callback, "part", None)
    return found
