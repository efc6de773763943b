"""Answers CONNECT: a client joins a namespace, or is refused.

Middlewares and ``connect`` handlers run before the answer, ``connection`` handlers after it. A
client that is refused leaves nothing behind. # greenlet
"""

from __future__ import annotations

import builtins
import logging
from contextvars import ContextVar
from functools import partial
from typing import Any

import gevent
from engineio import packet as eio_packet
from socketio import exceptions, packet

from ..adapter.drops import Drops
from ..adapter.emit import RoomIndex
from ..adapter.member import Member, Stage
from ..engineio.packet import Packet
from ..engineio.socket import Socket as Link
from ..errors import refusal
from ..functions import completed, says_no
from ..logs import tell
from ..metrics import Counters
from ..parser.packet import connect_piece
from .connection_members import ConnectionMembers
from .disconnect import Disconnecting
from .dynamic_namespaces import Parents
from .handler_call import Dispatcher
from .handler_registry import Registry
from .handler_run import Handling
from .inbox_items import Then
from .overdue_handlers import Overdue
from .ports import Engine, Host, Upstream
from .socket import Socket, socket_of

__all__ = ["Connecting"]

log = logging.getLogger(__name__)

_JOINED = "socket %(rtcio_sid)s is connected to %(rtcio_namespace)s"
_REFUSED = "connection %(rtcio_connection)s may not join %(rtcio_namespace)s: %(rtcio_reason)s"

#: The socket whose middlewares and ``connect`` handlers run in this context, and their greenlet.
_asking: ContextVar[tuple[Member, Any] | None] = ContextVar("rtcio_asking", default=None)

_BY_THE_APP = "refused by the app"
REJECTED = {"message": "Connection rejected by server"}

_REFUSALS = (builtins.ConnectionRefusedError, exceptions.ConnectionRefusedError)


class Connecting:
    """Connects the sockets of one server."""

    def __init__(
        self,
        host: Host,
        upstream: Upstream,
        *,
        registry: Registry,
        parents: Parents,
        members: ConnectionMembers,
        disconnecting: Disconnecting,
        handling: Handling,
        overdue: Overdue,
        drop: Drops,
        counters: Counters,
    ) -> None:
        self._host = host  # for the sockets that the app sees
        self._upstream = upstream
        self._engine: Engine = host.eio
        self._manager: RoomIndex = host.manager
        self._dispatcher: Dispatcher = host.dispatcher
        self._registry = registry
        self._parents = parents
        self._members = members
        self._disconnecting = disconnecting
        self._handling = handling
        self._overdue = overdue
        self._drop = drop
        self._counters = counters
        self._recovery = host.manager.recovery
        own: Any = type(upstream)
        #: Whether it runs the handlers, and not a method of the app's own subclass.
        self._is_plain = own._trigger_event.__module__.startswith("rtcio_sync.")

    def receive(self, eio_sid: str, namespace: str, auth: Any) -> None:
        """Answers a CONNECT: the client gets a new session, or is refused."""
        if self.may_connect(eio_sid, namespace, auth):
            self.connect(eio_sid, namespace, auth)

    def may_connect(self, eio_sid: str, namespace: str, auth: Any = None) -> bool:
        """Whether a connection may join a namespace; it is refused if not.

        ``auth``: for the app's functions that accept names of namespaces.
        """
        link = self._engine.sockets.get(eio_sid)
        # Not at the first CONNECT.
        if not isinstance(link, Link) or link.root is not None or link.members:
            self._disconnecting.await_end(eio_sid, namespace)
        known = self._registry.knows(namespace)
        if not known and not self._parents.all:
            self.refuse(eio_sid, namespace, {"message": "Invalid namespace"}, "unknown")
            return False
        if isinstance(link, Link) and _is_full(link):
            self._drop("namespaces", connection=eio_sid, namespace=namespace)
            self.refuse(eio_sid, namespace, {"message": "Too many namespaces"}, "too many")
            return False
        if self._parents.all and not self._opens(link, eio_sid, namespace, auth) and not known:
            self.refuse(eio_sid, namespace, {"message": "Invalid namespace"}, "unknown")
            return False
        return True

    def _opens(self, link: Any, eio_sid: str, namespace: str, auth: Any) -> bool:
        """`Parents.open`, where the app's function may run for long."""
        asks = Member(eio_sid, eio_sid, namespace)  # for a warning: it is none yet
        asks.link = link if isinstance(link, Link) else None
        number = self._overdue.begin("namespace", asks, self._overdue.now())
        try:
            return self._parents.open(namespace, auth)
        finally:
            self._overdue.end(number)

    def may_join_late(self, link: Link, namespace: str) -> bool:
        """Whether a CONNECT is handled that a client has sent before its connection ended.

        The engine does not know that connection any more, so `may_connect` cannot count. What the
        client has sent after its CONNECT is handled too, so some have to be.
        """
        if _is_full(link):
            self._drop("namespaces", connection=link.sid, namespace=namespace)
            return False
        link.late_joins += 1
        return True

    def connect(self, eio_sid: str, namespace: str, auth: Any) -> None:
        """Connects a new socket (Socket.IO v5, "Connection to a namespace")."""
        always = self._upstream.always_connect
        with self._engine.gate:  # events for it wait from the beginning until CONNECT was sent
            sid = self._manager.pre_connect(eio_sid, namespace)
            if sid is not None:
                self._manager.members[namespace][sid].held = []
        if sid is None:
            self.refuse(eio_sid, namespace, {"message": "Unable to connect"}, "joined already")
            return
        member = self._manager.members[namespace][sid]
        member.auth = auth
        if self._parents.all and not self._is_open_still(namespace, auth):
            self._manager.pre_disconnect(sid, namespace)
            self.refuse(eio_sid, namespace, {"message": "Invalid namespace"}, "unknown")
            self._disconnecting.remove(member)
            return
        self._members.attach(member)
        self._recovery.begin(member)
        if always and not self._accept(member):
            self._disconnecting.remove(member)
            return
        refused = self.ask(member, eio_sid, auth) if self._meets_code(namespace) else None
        if member.stage is Stage.GONE:  # the app disconnected it meanwhile, and it was told
            if not always:  # otherwise `disconnect` removes it, after its handlers
                self._disconnecting.remove(member)
        elif refused is not None:
            self._turn_away(member, refused)
        elif not always and not self._accept(member):
            self._disconnecting.remove(member)
        elif not self.welcome(member):
            self._recovery.close(member)  # the session has not begun

    def _meets_code(self, namespace: str) -> bool:
        """Whether code of the app may run before a CONNECT is answered."""
        return (
            self._registry.meets(namespace)
            or not self._is_plain
            or "_trigger_event" in vars(self._upstream)  # the Admin UI's instrumentation
        )

    def _is_open_still(self, namespace: str, auth: Any) -> bool:
        """Its last socket may have left meanwhile, and taken it away: then it is made again.

        The app's function may say no this time.
        """
        return self._parents.open(namespace, auth) or self._registry.knows(namespace)

    def refuse_auth(self, eio_sid: str, namespace: str) -> None:
        """Answers a CONNECT whose ``auth`` is over its bounds."""
        self.refuse(eio_sid, namespace, {"message": "Auth too large"}, "auth too large")

    def refuse(self, eio_sid: str, namespace: str, why: Any, reason: str = _BY_THE_APP) -> None:
        """Answers a CONNECT with CONNECT_ERROR; ``reason`` is for the log.

        The answer ``why`` may be confidential, so it is not logged.
        """
        tell(log, _REFUSED, connection=eio_sid, namespace=namespace, reason=reason)
        pkt = self._upstream.packet_class(packet.CONNECT_ERROR, data=why, namespace=namespace)
        self._upstream._send_packet(eio_sid, pkt)

    def open(self, member: Member) -> None:
        """Makes the namespace of a member that comes from another process, if it is dynamic."""
        if self._parents.all:
            self._parents.open(member.namespace, member.auth)
            if member.link is not None:
                self._members.fit(member.link)  # it may have other limits only now

    def _accept(self, member: Member) -> bool:
        """`False`: another thread has refused it just before (`kick`)."""
        answer = self.answer(member)  # encoded first: the app's code may do it, and wait
        with self._engine.gate:
            if member.stage is Stage.GONE:
                return False
            # Others may hear of the sid, and send something to it, as soon as CONNECT is sent.
            self._manager.connect(member.sid, member.namespace)
            self.send_connect(member, answer)
            self._manager.release(member)
        self._counters.connects += 1
        if log.isEnabledFor(logging.DEBUG):
            sid, eio_sid, namespace = member.sid, member.eio_sid, member.namespace
            tell(log, _JOINED, sid=sid, connection=eio_sid, namespace=namespace)
        return True

    def answer(self, member: Member) -> Packet:
        """The CONNECT packet with the sid and, with recovery, the key to the session."""
        kind, namespace = self._upstream.packet_class, member.namespace
        return Packet(eio_packet.MESSAGE, connect_piece(kind, namespace, _keys(member)))

    def send_connect(self, member: Member, answer: Packet) -> None:
        """Sends the `answer` to a CONNECT."""
        link = member.link
        if link is None or link.sid != member.eio_sid:  # of another package, or closed by now
            kind, namespace = self._upstream.packet_class, member.namespace
            pkt = kind(packet.CONNECT, data=_keys(member), namespace=namespace)
            self._upstream._send_packet(member.eio_sid, pkt)
            return
        link.send_apart(answer)

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
        token = _asking.set((member, gevent.getcurrent()))
        try:
            with self._dispatcher.context(
                environ, member.sid, member.namespace, "connect", (environ, auth)
            ):
                given = (socket or socket_of(self._host, member)) if space or greeted else None
                # Copies, here and in the like: each may register more, and remove some.
                for use in tuple(space.rtcio_middlewares) if space is not None else ():
                    if says_no(use(given)):
                        return REJECTED
                    if member.stage is Stage.GONE and not _may_return(member):
                        return None  # the middleware disconnected it: run no other
                trigger = self._upstream._trigger_event  # maybe a subclass's
                sid, namespace = member.sid, member.namespace
                said = completed(trigger, trigger("connect", namespace, sid, environ, auth or None))
                return REJECTED if says_no(said) else None
        except _REFUSALS as error:
            return self._worded(member, environ, error)
        except BaseException as error:  # noqa: BLE001  (the app's code: nobody comes in)
            return self._failed(member, environ, error)
        finally:
            _asking.reset(token)
            self._overdue.end(number)

    @staticmethod
    def waits_for(to: Any) -> bool:
        """Whether the caller is a middleware or ``connect`` handler of the one client in ``to``.

        Its client gets nothing before it has returned, so it must not wait for an answer.
        """
        member, greenlet = _asking.get() or (None, None)
        if member is None or (member.stage is not Stage.CONNECTING and member.returning is None):
            return False
        if to != member.sid and to != [member.sid]:
            return False
        return greenlet is gevent.getcurrent()  # and not one that it has spawned

    def kick(self, member: Member) -> bool:
        """Refuses, at once, a client whose middlewares or handlers still run. # greenlet

        These go on, but their result does not matter any more. `False`: none run, or not any more;
        or it was about to come back to its session, so that the old socket has to end as usual.
        """
        session = member.session
        with self._engine.gate:
            returns = session is not None and session.asked and session.open
            if returns:
                session.refused = True
            elif member.stage is not Stage.CONNECTING:
                return False
            else:
                member.enter(Stage.GONE)
            self._recovery.close(member)
        if returns:
            self.refuse(session.taken.sid, member.namespace, REJECTED)
            return False
        self._manager.withdraw(member)
        self.refuse(member.eio_sid, member.namespace, REJECTED)
        return True

    def _worded(self, member: Member, environ: Any, refused: BaseException) -> Any:
        """What it says, if that can be sent; otherwise logs the error and is a general refusal."""
        kind, namespace = self._upstream.packet_class, member.namespace
        try:
            why = refusal(refused)
            kind(packet.CONNECT_ERROR, data=why, namespace=namespace).encode()
        except BaseException as error:  # noqa: BLE001  (the app's text, data or JSON module)
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
            self._disconnecting.leaving(member, "server namespace disconnect")
        self._manager.pre_disconnect(member.sid, namespace)
        if self._upstream.always_connect:
            # Without the reason: DISCONNECT has no data (Socket.IO v5, "Disconnection from a
            # namespace"), and for socket.io-client one with data is a broken packet.
            tell(log, _REFUSED, connection=eio_sid, namespace=namespace, reason=_BY_THE_APP)
            pkt = self._upstream.packet_class(packet.DISCONNECT, namespace=namespace)
            self._upstream._send_packet(eio_sid, pkt)
        else:
            self.refuse(eio_sid, namespace, why)
        self._disconnecting.remove(member)

    def welcome(self, member: Member) -> bool:
        """Runs the ``connection`` handlers; relays of the socket wait until they have returned.

        `False`: the connection has ended already, and the handlers did not run.
        """
        gone = member.link is not None and member.link.closed
        space = self._registry.with_greeters(member.namespace)
        if space is not None and not gone:
            socket = socket_of(self._host, member)
            socket.handlers.unmet = False
            for handler, given in self._registry.greeters(space, member.namespace, socket):
                if member.stage is Stage.GONE:
                    break  # the handler before disconnected it
                self._handling.guarded(member, "connection", (), handler, *given)
        link = member.link
        with self._engine.gate:  # or one more relay could come in meanwhile
            if link is not None and link.inbox:
                link.enqueue(Then(partial(self._ready, member, link)))
            else:
                member.ready = True
        self._handling.observe(member)
        return not gone

    def _ready(self, member: Member, link: Link) -> None:
        """What came before its handlers had returned is done: its relays wait no more."""
        if member.link is link:  # it has not moved to another connection
            member.ready = True
            self._handling.observe(member)


def _may_return(member: Member) -> bool:
    """Whether only its old connection is `GONE`, and not its session."""
    return member.session is not None and bool(member.session.open)


def _keys(member: Member) -> dict[str, str]:
    session = member.session
    return {"sid": member.sid} if session is None else {"sid": member.sid, "pid": session.pid}


def _is_full(link: Link) -> bool:
    """Whether a connection is in as many namespaces as it may be."""
    bound = link.limits.max_namespaces_per_connection
    joined = (link.root is not None) + len(link.members or ()) + link.late_joins
    return bound is not None and joined >= bound
