"""A socket's life in a namespace: admitted, welcomed, gone. No way out of it leaves a ghost."""

from __future__ import annotations

import builtins
import logging
from functools import reduce
from typing import TYPE_CHECKING, Any

from socketio import exceptions, packet

from ..adapter.member import Member, Stage, ending
from ..adapter.recovery import Recovery
from ..engineio.socket import Socket as Link
from ..errors import refusal
from ..events import node_reason, upstream_reason
from ..logs import tell
from ..options import Limits
from .namespace import Namespace
from .reconnect import Returning, without_session
from .socket import Socket

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["Sessions"]

log = logging.getLogger(__name__)

_JOINED = "socket %(rtcio_sid)s is connected to %(rtcio_namespace)s"
_LEFT = "socket %(rtcio_sid)s has left %(rtcio_namespace)s: %(rtcio_reason)s"
_REFUSED = "connection %(rtcio_connection)s may not join %(rtcio_namespace)s: %(rtcio_reason)s"

_BY_THE_APP = "refused by the app"
REJECTED = {"message": "Connection rejected by server"}

_REFUSALS = (builtins.ConnectionRefusedError, exceptions.ConnectionRefusedError)


class Sessions:
    """Connects and disconnects the sockets of one server."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.returning = Returning(server, self)

    # -- greenlet --------------------------------------------------------------------------------

    def connect(self, eio_sid: str, namespace: str, auth: Any) -> None:
        """Answers a CONNECT packet (Socket.IO v5, "Connection to a namespace")."""
        server = self.server
        if not server._knows(namespace):
            self._refuse(eio_sid, namespace, {"message": "Invalid namespace"}, "unknown")
            return
        if self._too_many(eio_sid):
            server.relay.drop("namespaces", connection=eio_sid, namespace=namespace)
            self._refuse(eio_sid, namespace, {"message": "Too many namespaces"}, "too many")
            return
        if server.recovery is not None:
            if self.returning.take(server.recovery, eio_sid, namespace, auth):
                return
            auth = without_session(auth)
        sid = server.manager.pre_connect(eio_sid, namespace)
        if sid is None:
            self._refuse(eio_sid, namespace, {"message": "Unable to connect"}, "joined already")
            return
        member = server.manager.member(sid, namespace)
        member.auth = auth
        self.attach(member)
        if server.recovery is not None:
            server.recovery.begin(member)
        # What is emitted to it from now on waits for its CONNECT packet to go first.
        member.held = []
        if server.always_connect:
            self._accept(member)
        refused = self.ask(member, eio_sid, auth)
        if member.stage is Stage.GONE:  # it was put out meanwhile, and told so
            if not server.always_connect:  # else `disconnect` removes it, after its handlers
                self._remove(member)
        elif refused is not None:
            self._turn_away(member, refused)
        else:
            if not server.always_connect:
                self._accept(member)
            if not self.welcome(member) and server.recovery is not None:
                server.recovery.close(member)  # nothing of it has begun

    def refuse_auth(self, eio_sid: str, namespace: str) -> None:
        """Answers a CONNECT whose ``auth`` is more than may be kept."""
        self._refuse(eio_sid, namespace, {"message": "Auth too large"}, "auth too large")

    def _too_many(self, eio_sid: str) -> bool:
        link = self.server.eio.sockets.get(eio_sid)
        if not isinstance(link, Link):
            return False
        bound = link.limits.max_namespaces_per_connection
        return bound is not None and (link.root is not None) + len(link.members or ()) >= bound

    def _refuse(self, eio_sid: str, namespace: str, why: Any, reason: str = _BY_THE_APP) -> None:
        # What is told to the client may be for it alone: the reason in the log is our own.
        tell(log, _REFUSED, connection=eio_sid, namespace=namespace, reason=reason)
        pkt = self.server.packet_class(packet.CONNECT_ERROR, data=why, namespace=namespace)
        self.server._send_packet(eio_sid, pkt)

    def attach(self, member: Member) -> None:
        """Makes a member the socket of its connection."""
        link = self.server.eio.sockets.get(member.eio_sid)
        if not isinstance(link, Link):
            return  # one that has no connection: another package's test client
        member.link = link
        if member.namespace == "/":
            link.root = member
        else:
            link.members = link.members or {}
            link.members[member.namespace] = member
        self._fit(link)

    def _fit(self, link: Link) -> None:
        """Gives a connection the widest limits of the namespaces that it is in."""
        if not self.server._limits:
            return  # no namespace has its own
        inside = [*(("/",) if link.root is not None else ()), *(link.members or ())]
        found = [self.server.limits_of(namespace) for namespace in inside]
        limits = reduce(Limits.widest, found) if found else self.server.options.limits
        if limits != link.limits:
            link.adopt(limits)

    def _accept(self, member: Member) -> None:
        self.send_connect(member)
        self.server.manager.connect(member.sid, member.namespace)
        self.server.counters.connects += 1
        sid, eio_sid, namespace = member.sid, member.eio_sid, member.namespace
        tell(log, _JOINED, sid=sid, connection=eio_sid, namespace=namespace)
        self.server.manager.release(member)

    def send_connect(self, member: Member) -> None:
        """Answers a CONNECT with the sid and, with recovery, what gives the session back."""
        data = {"sid": member.sid}
        if member.session is not None:
            data["pid"] = member.session.pid
        pkt = self.server.packet_class(packet.CONNECT, data=data, namespace=member.namespace)
        self.server._send_packet(member.eio_sid, pkt)
        if member.link is not None:
            member.link.apart()

    def ask(self, member: Member, eio_sid: str, auth: Any, socket: Socket | None = None) -> Any:
        """Runs what may refuse a client: `None`, or what to answer it.

        ``socket``: what the middlewares get; `None`: the member's own.
        """
        server = self.server
        environ = server.environ.get(eio_sid)
        space = server._space_with("_uses", member.namespace)
        greeted = server._space_with("_connection", member.namespace) is not None
        number = server.overdue.begin("connect", member, server.overdue.now())
        try:
            with server.dispatcher.context(
                environ, member.sid, member.namespace, "connect", (environ, auth)
            ):
                given = (socket or server._socket(member)) if space or greeted else None
                for use in space._uses if space is not None else ():
                    use(given)
                    if member.stage is Stage.GONE:
                        return None  # put out by it: nobody else is asked
                said = server._trigger_event(
                    "connect", member.namespace, member.sid, environ, auth or None
                )
        except _REFUSALS as error:
            return self._worded(member, environ, refusal(error))
        except BaseException as error:  # noqa: BLE001  (the app's code: nobody comes in)
            return self._failed(member, environ, error)
        finally:
            server.overdue.end(number)
        return REJECTED if said is False else None

    def kick(self, member: Member) -> None:
        """Puts out one that is being let in: a refusal, sent at once. # greenlet

        What the app is being asked about it goes on; the answer does not matter any more.
        """
        eio_sid, namespace = member.eio_sid, member.namespace
        member.stage = Stage.GONE
        if self.server.recovery is not None:
            self.server.recovery.close(member)
        self.server.manager.withdraw(member)
        self._refuse(eio_sid, namespace, REJECTED)

    def _worded(self, member: Member, environ: Any, why: Any) -> Any:
        """``why``, unless it holds what cannot be sent: then that is logged, and less is said."""
        kind, namespace = self.server.packet_class, member.namespace
        try:
            kind(packet.CONNECT_ERROR, data=why, namespace=namespace).encode()
        except Exception as error:  # noqa: BLE001  (the app's data, or its JSON module)
            return self._failed(member, environ, error)
        return why

    def _failed(self, member: Member, environ: Any, error: BaseException) -> Any:
        try:
            who = member.sid, member.namespace
            self.server.dispatcher.failed(error, environ, "connect", who)
        except BaseException:
            self._turn_away(member, REJECTED)
            raise
        return REJECTED

    def _turn_away(self, member: Member, why: Any) -> None:
        server = self.server
        eio_sid, namespace = member.eio_sid, member.namespace
        if member.stage is Stage.CONNECTED:  # always_connect: it was let in before it was asked
            self.leaving(member, "server namespace disconnect")
        server.manager.pre_disconnect(member.sid, member.namespace)
        if server.always_connect:
            # Without the reason: DISCONNECT carries nothing (Socket.IO v5, "Disconnection from a
            # namespace"), and socket.io-client takes one that does for a broken packet.
            tell(log, _REFUSED, connection=eio_sid, namespace=namespace, reason=_BY_THE_APP)
            pkt = server.packet_class(packet.DISCONNECT, namespace=namespace)
            server._send_packet(eio_sid, pkt)
        else:
            self._refuse(eio_sid, namespace, why)
        self._remove(member)

    def welcome(self, member: Member) -> bool:
        """Runs the ``connection`` handlers; relays of the socket wait until they have returned.

        `False`: its connection has ended already, and they did not run.
        """
        server = self.server
        space: Namespace | None = server._space_with("_connection", member.namespace)
        gone = member.link is not None and member.link.closed
        if space is not None and not gone:
            socket = server._socket(member)
            for handler in space._connection:
                if member.stage is Stage.GONE:
                    break  # put out by the one before
                both = space.name == "*" and handler.least > 1  # as python-socketio's get it
                given = (member.namespace, socket) if both else (socket,)
                server._guarded(member, "connection", (), handler, *given)
        member.ready = True
        server._observe(member)
        return not gone

    # -- hub or greenlet -----------------------------------------------------------------------

    def leaving(self, member: Member, reason: str) -> None:
        """The socket is lost: its peers hear of it now, and for all but its handlers it is gone.

        One that may return stays in its rooms, and a target.
        """
        recovery = self.server.recovery
        may_return = recovery is not None and recovery.may_return(member, reason)
        if recovery is not None and not may_return:
            recovery.close(member)
        with self.server.eio.gate:  # two threads may notice it at once
            stage = member.stage
            if stage is Stage.CONNECTED:
                self.server.manager.pre_disconnect(member.sid, member.namespace)
        if stage is Stage.CONNECTED:
            self.server.counters.disconnects += 1
            self.server.counters.reasons[node_reason(reason)] += 1
            self.server.relay.settle(member)
            self._tell_peers(member)
            self.server.manager.end_calls(member.sid)
            if recovery is not None and may_return:
                recovery.lost(member)
        elif stage is Stage.CONNECTING:
            # What is asked about it may never return.
            self._tell_peers(member)
            self.server.manager.withdraw(member)
        self._depart(member)

    def _tell_peers(self, member: Member) -> None:
        if self.server.inbound.late:  # to encode it is the app's code: not in the hub
            self.server.eio.spawn(self.server.relay.peer_left, member)
        else:
            self.server.relay.peer_left(member)

    def _depart(self, member: Member) -> None:
        if member.stage in (Stage.LEAVING, Stage.GONE) and not member.present:
            self.server.manager.withdraw(member)

    # -- greenlet --------------------------------------------------------------------------------

    def disconnect(self, member: Member, reason: str) -> None:
        """Takes a socket out: peer-left, the app's handlers, its rooms; whatever they raise.

        Once: a connection may end while the handlers of a disconnect by the server still run.
        """
        server = self.server
        self.leaving(member, reason)
        with server.eio.gate:
            if member.stage in (Stage.GONE, Stage.AWAY):
                return
            member.stage = Stage.GONE
        recovery = server.recovery
        told_to_wait = recovery is not None and recovery.may_return(member, reason)
        try:
            # A handler that still ran may have joined a room since its peers were told.
            server.relay.peer_left(member)
            if server._hears_of_ends(member):
                self._tell(member, "disconnecting", reason)
                self._tell(member, "disconnect", reason)
        finally:
            server.relay.peer_left(member)
            spawn, sid, said = server.eio.spawn, member.sid, node_reason(reason)
            tell(log, _LEFT, spawn=spawn, sid=sid, namespace=member.namespace, reason=said)
            if recovery is not None and recovery.may_return(member, reason):
                self._park(recovery, member)
            else:
                self._remove(member)
                if told_to_wait:  # it was put out while its handlers ran
                    self._over(member)

    def end(self, member: Member) -> None:
        """One that is lost does not come back. # hub or greenlet

        Its handlers have run, or still do, and then find its session over.
        """
        if self.server.recovery is not None:
            self.server.recovery.close(member)
        if member.stage is Stage.AWAY:
            self._remove(member)
            self._over(member)
        else:
            self._depart(member)

    def _over(self, member: Member) -> None:
        if member.socket is not None:
            member.socket._over()

    def _park(self, recovery: Recovery, member: Member) -> None:
        """The app has heard of the loss; the member stays for its client to come back to."""
        self.detach(member)
        self.server.manager.park(member)
        recovery.park(member)

    def _tell(self, member: Member, event: str, reason: str) -> None:
        token = ending.set((member, event))
        try:
            self._tell_both(member, event, reason)
        finally:
            ending.reset(token)

    def _tell_both(self, member: Member, event: str, reason: str) -> None:
        server = self.server
        server._guarded(
            member,
            event,
            (reason,),
            server._trigger_event,
            event,
            member.namespace,
            member.sid,
            upstream_reason(reason),
        )
        if member.socket is not None:
            server._guarded(
                member, event, (reason,), member.socket._end, event, node_reason(reason)
            )

    def _remove(self, member: Member) -> None:
        if self.server.recovery is not None:
            self.server.recovery.close(member)
        self.server.manager.disconnect(member.sid, member.namespace, ignore_queue=True)
        self.server._binary_packet.pop(member.eio_sid, None)
        self.detach(member)

    def detach(self, member: Member) -> None:
        """Takes a member off its connection, which may go on for other namespaces."""
        link = member.link
        if link is not None:
            if link.root is member:
                link.root = None
            elif link.members:
                link.members.pop(member.namespace, None)
            self._fit(link)
