"""Connects a socket to a namespace and disconnects it.

Every exit path removes it from its rooms.
"""

from __future__ import annotations

import builtins
import logging
from functools import reduce
from typing import Any

from engineio import packet as eio_packet
from socketio import exceptions, packet

from ..adapter.drops import Drops
from ..adapter.emit import RoomIndex
from ..adapter.member import Member, Stage, ending
from ..engineio.packet import Packet
from ..engineio.socket import Socket as Link
from ..errors import refusal
from ..events import node_reason, upstream_reason
from ..logs import tell
from ..metrics import Counters
from ..options import Limits
from ..parser.packet import connect_piece
from ..relay.relay import Relay
from .dispatch import Dispatcher
from .handling import Handling
from .overdue import Overdue
from .ports import Engine, Host, Upstream
from .registry import Registry
from .socket import Socket, socket_of

__all__ = ["Lifecycle"]

log = logging.getLogger(__name__)

_JOINED = "socket %(rtcio_sid)s is connected to %(rtcio_namespace)s"
_LEFT = "socket %(rtcio_sid)s has left %(rtcio_namespace)s: %(rtcio_reason)s"
_REFUSED = "connection %(rtcio_connection)s may not join %(rtcio_namespace)s: %(rtcio_reason)s"

_BY_THE_APP = "refused by the app"
REJECTED = {"message": "Connection rejected by server"}

_REFUSALS = (builtins.ConnectionRefusedError, exceptions.ConnectionRefusedError)


class Lifecycle:
    """Connects and disconnects the sockets of one server."""

    def __init__(
        self,
        host: Host,
        upstream: Upstream,
        *,
        registry: Registry,
        handling: Handling,
        overdue: Overdue,
        relay: Relay,
        drop: Drops,
        counters: Counters,
    ) -> None:
        self._host = host  # for the sockets that the app sees
        self._upstream = upstream
        self._engine: Engine = host.eio
        self._manager: RoomIndex = host.manager
        self._dispatcher: Dispatcher = host.dispatcher
        self._registry = registry
        self._handling = handling
        self._overdue = overdue
        self._relay = relay
        self._drop = drop
        self._counters = counters
        self._recovery = host.manager.recovery

    # -- connecting: greenlet --------------------------------------------------------------------

    def may_connect(self, eio_sid: str, namespace: str) -> bool:
        """Whether a connection may join a namespace; it is refused if not."""
        if not self._registry.knows(namespace):
            self.refuse(eio_sid, namespace, {"message": "Invalid namespace"}, "unknown")
            return False
        if self._too_many(eio_sid):
            self._drop("namespaces", connection=eio_sid, namespace=namespace)
            self.refuse(eio_sid, namespace, {"message": "Too many namespaces"}, "too many")
            return False
        return True

    def connect(self, eio_sid: str, namespace: str, auth: Any) -> None:
        """Connects a new socket (Socket.IO v5, "Connection to a namespace")."""
        always = self._upstream.always_connect
        sid = self._manager.pre_connect(eio_sid, namespace)
        if sid is None:
            self.refuse(eio_sid, namespace, {"message": "Unable to connect"}, "joined already")
            return
        member = self._manager.members[namespace][sid]
        member.auth = auth
        self.attach(member)
        self._recovery.begin(member)
        # Events for it wait from now on until its CONNECT packet was sent.
        member.held = []
        if always:
            self._accept(member)
        refused = self.ask(member, eio_sid, auth)
        if member.stage is Stage.GONE:  # the app disconnected it meanwhile, and it was told
            if not always:  # otherwise `disconnect` removes it, after its handlers
                self._remove(member)
        elif refused is not None:
            self._turn_away(member, refused)
        else:
            if not always:
                self._accept(member)
            if not self.welcome(member):
                self._recovery.close(member)  # the session has not begun

    def refuse_auth(self, eio_sid: str, namespace: str) -> None:
        """Answers a CONNECT whose ``auth`` is over its bounds."""
        self.refuse(eio_sid, namespace, {"message": "Auth too large"}, "auth too large")

    def _too_many(self, eio_sid: str) -> bool:
        link = self._engine.sockets.get(eio_sid)
        if not isinstance(link, Link):
            return False
        bound = link.limits.max_namespaces_per_connection
        return bound is not None and (link.root is not None) + len(link.members or ()) >= bound

    def refuse(self, eio_sid: str, namespace: str, why: Any, reason: str = _BY_THE_APP) -> None:
        """Answers a CONNECT with CONNECT_ERROR; ``reason`` is for the log.

        The answer ``why`` may be confidential, so it is not logged.
        """
        tell(log, _REFUSED, connection=eio_sid, namespace=namespace, reason=reason)
        pkt = self._upstream.packet_class(packet.CONNECT_ERROR, data=why, namespace=namespace)
        self._upstream._send_packet(eio_sid, pkt)

    def attach(self, member: Member) -> None:
        """Adds a member to its connection."""
        link = self._engine.sockets.get(member.eio_sid)
        if not isinstance(link, Link):
            return  # it has no connection: another package's test client
        member.link = link
        if member.namespace == "/":
            link.root = member
        else:
            link.members = link.members or {}
            link.members[member.namespace] = member
        if self._registry.own_limits:
            self._fit(link)

    def _fit(self, link: Link) -> None:
        """Gives a connection the widest limits of the namespaces that it is in."""
        inside = [*(("/",) if link.root is not None else ()), *(link.members or ())]
        found = [self._registry.limits_of(namespace) for namespace in inside]
        limits = reduce(Limits.widest, found) if found else self._registry.limits
        if limits != link.limits:
            link.adopt(limits)

    def _accept(self, member: Member) -> None:
        self.send_connect(member)
        self._manager.connect(member.sid, member.namespace)
        self._counters.connects += 1
        sid, eio_sid, namespace = member.sid, member.eio_sid, member.namespace
        tell(log, _JOINED, sid=sid, connection=eio_sid, namespace=namespace)
        self._manager.release(member)

    def send_connect(self, member: Member) -> None:
        """Answers a CONNECT with the sid and, with recovery, the key to the session."""
        data = {"sid": member.sid}
        if member.session is not None:
            data["pid"] = member.session.pid
        kind, link = self._upstream.packet_class, member.link
        if link is None or link.sid != member.eio_sid:  # of another package, or closed by now
            pkt = kind(packet.CONNECT, data=data, namespace=member.namespace)
            self._upstream._send_packet(member.eio_sid, pkt)
            return
        piece = connect_piece(kind, member.namespace, data)
        link.send(Packet(eio_packet.MESSAGE, piece))
        link.apart()

    def ask(
        self,
        member: Member,
        eio_sid: str,
        auth: Any,
        socket: Socket | None = None,
        *,
        arrives: bool = False,
    ) -> Any:
        """Runs middlewares and ``connect`` handlers; returns `None`, or the refusal.

        ``socket``: the argument of the middlewares; `None`: the member's own. ``arrives``: it comes
        from another process, where the middlewares have run.
        """
        environ = self._upstream.environ.get(eio_sid)
        space = None if arrives else self._registry.with_middlewares(member.namespace)
        greeted = self._registry.with_greeters(member.namespace) is not None
        number = self._overdue.begin("connect", member, self._overdue.now())
        try:
            with self._dispatcher.context(
                environ, member.sid, member.namespace, "connect", (environ, auth)
            ):
                given = (socket or socket_of(self._host, member)) if space or greeted else None
                for use in space.rtcio_middlewares if space is not None else ():
                    use(given)
                    if member.stage is Stage.GONE:
                        return None  # the middleware disconnected it: run no other
                said = self._upstream._trigger_event(
                    "connect", member.namespace, member.sid, environ, auth or None
                )
        except _REFUSALS as error:
            return self._worded(member, environ, refusal(error))
        except BaseException as error:  # noqa: BLE001  (the app's code: nobody comes in)
            return self._failed(member, environ, error)
        finally:
            self._overdue.end(number)
        return REJECTED if said is False else None

    def kick(self, member: Member) -> None:
        """Refuses, at once, a client whose middlewares or handlers still run. # greenlet

        These go on, but their result does not matter any more.
        """
        member.enter(Stage.GONE)
        self._recovery.close(member)
        self._manager.withdraw(member)
        self.refuse(member.eio_sid, member.namespace, REJECTED)

    def _worded(self, member: Member, environ: Any, why: Any) -> Any:
        """``why`` if it can be sent; otherwise logs the error and returns a general refusal."""
        kind, namespace = self._upstream.packet_class, member.namespace
        try:
            kind(packet.CONNECT_ERROR, data=why, namespace=namespace).encode()
        except Exception as error:  # noqa: BLE001  (the app's data, or its JSON module)
            return self._failed(member, environ, error)
        return why

    def _failed(self, member: Member, environ: Any, error: BaseException) -> Any:
        try:
            self._dispatcher.failed(error, environ, "connect", (member.sid, member.namespace))
        except BaseException:
            self._turn_away(member, REJECTED)
            raise
        return REJECTED

    def _turn_away(self, member: Member, why: Any) -> None:
        eio_sid, namespace = member.eio_sid, member.namespace
        if member.stage is Stage.CONNECTED:  # always_connect: connected before the answer
            self.leaving(member, "server namespace disconnect")
        self._manager.pre_disconnect(member.sid, namespace)
        if self._upstream.always_connect:
            # Without the reason: DISCONNECT has no data (Socket.IO v5, "Disconnection from a
            # namespace"), and for socket.io-client one with data is a broken packet.
            tell(log, _REFUSED, connection=eio_sid, namespace=namespace, reason=_BY_THE_APP)
            pkt = self._upstream.packet_class(packet.DISCONNECT, namespace=namespace)
            self._upstream._send_packet(eio_sid, pkt)
        else:
            self.refuse(eio_sid, namespace, why)
        self._remove(member)

    def welcome(self, member: Member) -> bool:
        """Runs the ``connection`` handlers; relays of the socket wait until they have returned.

        `False`: the connection has ended already, and the handlers did not run.
        """
        space = self._registry.with_greeters(member.namespace)
        gone = member.link is not None and member.link.closed
        if space is not None and not gone:
            socket = socket_of(self._host, member)
            for handler in space.rtcio_greeters:
                if member.stage is Stage.GONE:
                    break  # the handler before disconnected it
                both = space.name == "*" and handler.least > 1  # as python-socketio's get it
                given = (member.namespace, socket) if both else (socket,)
                self._handling.guarded(member, "connection", (), handler, *given)
        member.ready = True
        self._handling.observe(member)
        return not gone

    # -- a connection is lost: hub or greenlet ---------------------------------------------------

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
            self._tell_peers(member)
            if member.sid in self._manager.callbacks:
                self._manager.end_calls(member.sid)
            if may_return:
                recovery.lost(member)
        elif stage is Stage.CONNECTING:
            # Its middlewares and handlers may never return.
            self._tell_peers(member)
            self._manager.withdraw(member)
        self._depart(member)

    def _tell_peers(self, member: Member) -> None:
        if self._manager.late:  # encoding runs the app's code: not in the hub
            self._engine.spawn(self._relay.peer_left, member)
        else:
            self._relay.peer_left(member)

    def _depart(self, member: Member) -> None:
        if member.departed:
            return
        if member.stage in (Stage.LEAVING, Stage.GONE) and not member.present:
            self._manager.withdraw(member)

    # -- disconnecting: greenlet -----------------------------------------------------------------

    def disconnect(self, member: Member, reason: str) -> None:
        """Disconnects a socket: peer-left, the app's handlers, its rooms, whatever handlers raise.

        Runs once: a connection may end while the handlers of a disconnect by the server still run.
        """
        recovery = self._recovery
        self.leaving(member, reason)
        with self._engine.gate:
            if not member.enter(Stage.GONE):
                return
        recovers = member.session is not None
        told_to_wait = recovers and recovery.may_return(member, reason)
        try:
            # A handler that still ran may have joined it to a room since.
            self._relay.peer_left(member)
            if self._handling.hears_of_end(member):
                self._tell(member, "disconnecting", reason)
                self._tell(member, "disconnect", reason)
        finally:
            self._relay.peer_left(member)
            spawn, sid, said = self._engine.spawn, member.sid, node_reason(reason)
            tell(log, _LEFT, spawn=spawn, sid=sid, namespace=member.namespace, reason=said)
            with self._engine.gate:  # `end` comes before it or after it
                parked = recovers and recovery.may_return(member, reason)
                if parked:
                    self._park(member)
            if not parked:
                self._remove(member)
                if told_to_wait:  # the app disconnected it while its handlers ran
                    self._session_over(member)

    def end(self, member: Member) -> None:
        """Ends the session of a lost socket. # hub or greenlet

        Its handlers have run, or still run.
        """
        with self._engine.gate:
            self._recovery.close(member)
            away = member.stage is Stage.AWAY
        if away:
            self._remove(member)
            self._session_over(member)
        else:
            self._depart(member)

    def _session_over(self, member: Member) -> None:
        socket: Socket | None = member.socket
        if socket is not None:
            guarded, environ = self._dispatcher.guarded, socket.handshake.environ
            for callee in socket.handlers.ends:
                self._engine.spawn_in_turn(guarded, environ, "session end", callee)

    def _park(self, member: Member) -> None:
        """The handlers have run; the member stays, so that its client may come back."""
        self.detach(member)
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
        if socket is not None:
            given = self._dispatcher, socket.handshake.environ, event, node_reason(reason)
            guarded(member, event, (reason,), socket.handlers.end, *given, (sid, namespace))

    def _remove(self, member: Member) -> None:
        if member.session is not None:
            self._recovery.close(member)
        self._manager.disconnect(member.sid, member.namespace, ignore_queue=True)
        self._upstream._binary_packet.pop(member.eio_sid, None)
        self.detach(member)

    def detach(self, member: Member) -> None:
        """Removes a member from its connection, which may go on with other namespaces."""
        link = member.link
        if link is not None:
            if link.root is member:
                link.root = None
            elif link.members:
                link.members.pop(member.namespace, None)
            if self._registry.own_limits:
                self._fit(link)
