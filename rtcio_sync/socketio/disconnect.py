"""Disconnects a socket: it leaves its rooms and its peers are told, whatever its handlers do.

When a connection is lost, `Disconnecting.leaving` does at once what others notice. The app's
handlers run later, when their turn in the connection's inbox comes (`Disconnecting.disconnect`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from socketio import packet

from ..adapter.emit import RoomIndex
from ..adapter.member import Member, Stage, ending
from ..events import node_reason, upstream_reason
from ..logs import tell
from ..metrics import Counters
from ..relay.peer_left import send_peer_left
from ..relay.relay import Relay
from .connection_members import ConnectionMembers
from .handler_call import Callee, Dispatcher
from .handler_registry import Registry
from .handler_run import Handling
from .ports import Engine, Host, Upstream
from .socket import Socket

__all__ = ["Disconnecting"]

log = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a client waits for its last ``disconnect`` handlers until it is refused."""

#: Handlers of ``"connection"``, and what each is given.
Greeters = list[tuple[Callee, tuple[Any, ...]]]

_LEFT = "socket %(rtcio_sid)s has left %(rtcio_namespace)s: %(rtcio_reason)s"


class Disconnecting:
    """Disconnects the sockets of one server."""

    def __init__(
        self,
        host: Host,
        upstream: Upstream,
        *,
        registry: Registry,
        members: ConnectionMembers,
        handling: Handling,
        relay: Relay,
        counters: Counters,
    ) -> None:
        self._upstream = upstream
        self._engine: Engine = host.eio
        self._manager: RoomIndex = host.manager
        self._dispatcher: Dispatcher = host.dispatcher
        self._registry = registry
        self._members = members
        self._handling = handling
        self._relay = relay
        self._counters = counters
        self._recovery = host.manager.recovery
        #: Set when the handlers have run of a socket that the app has disconnected.
        self._awaited: dict[Member, Any] = {}

    # -- hub or greenlet -------------------------------------------------------------------------

    def leaving(self, member: Member, reason: str) -> None:
        """The socket is lost: sends peer-left now and hides it from all but its own handlers.

        One that may come back stays in its rooms, and stays a relay target.
        """
        recovery, session = self._recovery, member.session
        may_return = session is not None and recovery.may_return(member, reason)
        if session is not None and not may_return:
            recovery.close(member)
        with self._engine.gate:  # two threads may notice it at once
            stage = member.stage
            if stage is Stage.CONNECTED:
                self._manager.pre_disconnect(member.sid, member.namespace)
        if stage is Stage.CONNECTED:
            self._counters.disconnects += 1
            self._counters.reasons[node_reason(reason)] += 1
            self._relay.settle(member)
            if member.rooms:
                self._tell_peers(member)
            if member.sid in self._manager.callbacks:
                self._manager.end_calls(member.sid)
            if may_return:
                recovery.lost(member)
                for listener in self._manager.on_lost:
                    if self._manager.late:
                        self._engine.spawn(listener, member)
                    else:
                        listener(member)
        elif stage is Stage.CONNECTING:
            # Its middlewares and handlers may never return.
            if member.rooms:
                self._tell_peers(member)
            self._manager.withdraw(member)
        self._depart(member)

    def _tell_peers(self, member: Member) -> None:
        if self._manager.late:  # encoding runs the app's code: not in the hub
            self._engine.spawn(send_peer_left, self._relay, member)
        else:
            send_peer_left(self._relay, member)

    def _depart(self, member: Member) -> None:
        if member.departed:
            return
        if member.stage in (Stage.LEAVING, Stage.GONE) and not member.present:
            self._manager.withdraw(member)

    # -- greenlet --------------------------------------------------------------------------------

    def disconnect(self, member: Member, reason: str, *, heard: bool = True) -> None:
        """Disconnects a socket: peer-left, the app's handlers, its rooms, whatever handlers raise.

        Runs once: a connection may end while the handlers of a disconnect by the server still run.
        ``heard``: `False` if the caller knows that no code of the app hears of it.
        """
        recovery = self._recovery
        if not (member.stage is Stage.LEAVING and member.departed):  # else that was done
            self.leaving(member, reason)
        with self._engine.gate:
            if not member.enter(Stage.GONE):
                return
        recovers = member.session is not None
        told_to_wait = recovers and recovery.may_return(member, reason)
        try:
            if member.rooms:  # a handler that still ran may have joined it to a room since
                send_peer_left(self._relay, member)
            if heard and self._handling.hears_of_end(member):
                self._tell(member, "disconnecting", reason)
                self._tell(member, "disconnect", reason)
        finally:
            if member.rooms:
                send_peer_left(self._relay, member)
            if log.isEnabledFor(logging.DEBUG):
                spawn, sid, said = self._engine.spawn, member.sid, node_reason(reason)
                tell(log, _LEFT, spawn=spawn, sid=sid, namespace=member.namespace, reason=said)
            with self._engine.gate:  # `end` comes before it or after it
                parked = recovers and recovery.may_return(member, reason)
                if parked:
                    self._park(member)
            if not parked:
                greeters = self._greeters(member)
                self.remove(member)
                # It has waited if the app disconnected it while its handlers ran.
                socket: Socket | None = member.socket
                if socket is not None and (socket.handlers.ends or socket.handlers.unmet):
                    self._session_over(member, greeters, told_to_wait, _at_once)

    def leave_all(self, eio_sid: str) -> None:
        """Tells a client, before its connection ends, that it has left each of its namespaces.

        socket.io-client comes back to a namespace of which it only loses the connection.
        """
        for member in self._manager.members_of(eio_sid):
            with self._engine.gate:  # as when one is disconnected
                if member.stage is Stage.CONNECTED:
                    pkt = self._upstream.packet_class(packet.DISCONNECT, namespace=member.namespace)
                    self._upstream._send_packet(eio_sid, pkt)
                    self.leaving(member, "server namespace disconnect")

    def await_end(self, eio_sid: str, namespace: str) -> None:
        """Waits for the handlers of a socket that the app has disconnected, at most `PATIENCE`.

        Its client knows already, and may come back at once on the same connection.
        """
        member = self._manager.member_of(eio_sid, namespace)
        if member is None or member.stage is not Stage.GONE:
            return
        ended = self._awaited[member] = self._engine.create_event()
        if self._manager.member_of(eio_sid, namespace) is member:  # else just now, in a thread
            ended.wait(PATIENCE)
        self._awaited.pop(member, None)

    def end(self, member: Member) -> None:
        """Ends the session of a lost socket. # hub or greenlet

        Its handlers have run, or still run.
        """
        with self._engine.gate:
            self._recovery.close(member)
            away = member.stage is Stage.AWAY
            if away:  # two threads may end it at once: the second finds it `GONE`
                member.enter(Stage.GONE)
        if away:
            greeters = self._greeters(member)
            self.remove(member)
            self._session_over(member, greeters, True, self._engine.spawn_in_turn)
        else:
            self._depart(member)

    def _greeters(self, member: Member) -> Greeters:
        """The ``connection`` handlers that have to run before the handlers of the session's end.

        A dynamic namespace is removed with its last socket, so they are taken before.
        """
        socket: Socket | None = member.socket
        if socket is None or not socket.handlers.unmet:
            return []
        space = self._registry.with_greeters(member.namespace)
        if space is None:
            return []
        return list(self._registry.greeters(space, member.namespace, socket))

    def _session_over(
        self, member: Member, greeters: Greeters, waited: bool, run: Callable[..., None]
    ) -> None:
        """Has the handlers of the session's end ``run``.

        ``waited``: its client could have come back.
        """
        socket: Socket | None = member.socket
        if socket is not None and socket.handlers.unmet:
            run(self._end_unmet, member, socket, greeters, waited)
            return
        for callee, always in () if socket is None else socket.handlers.ends:
            if always or waited:
                run(self._hear_end, member, socket, callee)

    def _end_unmet(
        self, member: Member, socket: Socket, greeters: Greeters, waited: bool
    ) -> None:  # greenlet
        """The session came from another process, and its client did not come back to this one.

        Only ``connection`` handlers can register here what is to run at its end.
        """
        socket.handlers.unmet = False
        for handler, given in greeters:
            self._run(member, socket, "connection", partial(handler, *given))
        self._session_over(member, [], waited, _at_once)

    def _hear_end(self, member: Member, socket: Socket, callee: Callee) -> None:  # greenlet
        self._run(member, socket, "session end", callee)

    def _run(
        self, member: Member, socket: Socket, event: str, handler: Callable[[], Any]
    ) -> None:  # greenlet
        """Runs a handler after the end; the guard is around the app's context too."""
        environ, who = socket.handshake.environ, (member.sid, member.namespace)

        def run() -> None:
            with self._dispatcher.context(environ, *who, event, ()):
                handler()

        self._dispatcher.guarded(environ, event, run, who=who)

    def _park(self, member: Member) -> None:
        """The handlers have run; the member stays, so that its client may come back."""
        self._members.detach(member)
        self._manager.park(member)
        self._recovery.park(member)

    def _tell(self, member: Member, event: str, reason: str) -> None:
        token = ending.set((member, event))
        try:
            self._tell_both(member, event, reason)
        finally:
            ending.reset(token)

    def _tell_both(self, member: Member, event: str, reason: str) -> None:
        guarded, trigger = self._handling.guarded, self._upstream._trigger_event
        sid, namespace, told = member.sid, member.namespace, upstream_reason(reason)
        guarded(member, event, (reason,), trigger, event, namespace, sid, told)
        socket: Socket | None = member.socket
        if socket is not None and socket.handlers.events.get(event):
            given = self._dispatcher, socket.handshake.environ, event, node_reason(reason)
            guarded(member, event, (reason,), socket.handlers.end, *given, (sid, namespace))

    def remove(self, member: Member) -> None:
        """Removes a socket from its rooms and its connection, with what the app kept of it."""
        if member.session is not None:
            self._recovery.close(member)
        link = member.link
        if link is not None and link.sessions:  # before the client may join anew, as somebody else
            link.sessions.pop(member.namespace, None)
        self._manager.disconnect(member.sid, member.namespace, ignore_queue=True)
        self._upstream._binary_packet.pop(member.eio_sid, None)
        self._members.detach(member)
        if self._awaited:
            ended = self._awaited.pop(member, None)
            if ended is not None:
                ended.set()


def _at_once(do: Callable[..., None], *args: Any) -> None:
    do(*args)
