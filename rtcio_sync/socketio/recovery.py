"""Reconnects a client to its session.

It waits until the inbox of the old connection is empty, runs the middlewares again if the app asks
for it, moves the member to the new connection and replays the events that it missed.

A client that names a session takes it over, also from a half-open connection, which is its own old
one. It waits for two things: the messages of the old connection, with its ``disconnect`` handlers,
and another connection that is being admitted to the session. The rest happens in one step, so that
each event is either replayed or sent, never both and never neither.

All of it runs in the greenlet of the new connection's inbox.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from ..adapter.emit import RoomIndex
from ..adapter.member import Member, Stage
from ..adapter.session_log import Session
from ..adapter.session_store import Recovery
from ..engineio.packet import Packet
from ..engineio.socket import Socket as Link
from ..logs import tell
from ..metrics import Counters
from . import inbox_items
from .connect import REJECTED, Connecting
from .connection_members import ConnectionMembers
from .disconnect import Disconnecting
from .handler_run import Handling
from .ports import Engine, Host
from .socket import Handshake, Socket

__all__ = ["Reconnect", "without_session"]

log = logging.getLogger(__name__)

_BACK = "socket %(rtcio_sid)s has come back on connection %(rtcio_connection)s"

#: Seconds that a client waits for the inbox of its old connection. If a handler takes longer, or
#: never returns, the client gets a new session.
PATIENCE = 5.0
LOOK_AGAIN = 1.0  # seconds after which a waiting client checks whether its connection is open


class Reconnect:
    """Reconnects the clients of one server to their sessions."""

    def __init__(
        self,
        host: Host,
        recovery: Recovery,
        *,
        members: ConnectionMembers,
        connecting: Connecting,
        disconnecting: Disconnecting,
        handling: Handling,
        counters: Counters,
    ) -> None:
        self._host = host  # for the sockets that the app sees
        self._engine: Engine = host.eio
        self._manager: RoomIndex = host.manager
        self._recovery = recovery
        self._members = members
        self._connecting = connecting
        self._disconnecting = disconnecting
        self._handling = handling
        self._counters = counters
        #: Sends a connection to the process that has the session which its client names: ``(link,
        #: namespace, auth)``; `False`: there is none. `None`: there is no other process. # greenlet
        self.elsewhere: Callable[[Link, str, Any], bool] | None = None
        #: Gets the session with a key from another host: ``(namespace, pid)``; `False`: there is
        #: none. `None`: there is no other host. # greenlet
        self.fetch: Callable[[str, str], bool] | None = None

    def receive(self, eio_sid: str, namespace: str, auth: Any) -> None:
        """Answers a CONNECT: its client comes back to its session, or gets a new one."""
        apps = without_session(auth)
        if not self._connecting.may_connect(eio_sid, namespace, apps):
            return
        if not self.take(eio_sid, namespace, auth):
            self._connecting.connect(eio_sid, namespace, apps)

    def take(self, eio_sid: str, namespace: str, auth: Any) -> bool:
        """Answers a CONNECT that names a session; `False`: the client gets a new session."""
        link = self._engine.sockets.get(eio_sid)
        session = self._recovery.find(namespace, auth)
        if not isinstance(link, Link):
            return False
        if session is None and self._fetched(namespace, auth):
            session = self._recovery.find(namespace, auth)
        if session is None:
            return self.elsewhere is not None and self.elsewhere(link, namespace, auth)
        if self._manager.member_of(eio_sid, namespace) is not None:
            return False
        # The client uses its newest connection: an older one that still waits gives up.
        session.wanted = link
        until = self._until()
        while session.open:
            if session.wanted is not link:
                link.close(abort=True, reason="transport close")
            if link.closed:
                return True  # this connection has ended; the session goes on waiting
            with self._engine.gate:  # of two threads that come at once one waits for the other
                before = session.taken or _in_the_way(session.member)
                if before is None:
                    session.taken = link
            if before is None:
                return self._admit(session, link, auth) or session.refused
            self._after(before, session, until)
        if session.refused:  # the app was asked about an older connection of the same client
            self._connecting.refuse(eio_sid, namespace, REJECTED)
        return session.refused

    def _fetched(self, namespace: str, auth: Any) -> bool:
        pid = auth.get("pid") if isinstance(auth, dict) else None
        return self.fetch is not None and isinstance(pid, str) and self.fetch(namespace, pid)

    def _until(self) -> float:
        now: float = self._engine.heartbeat.now()
        return now + PATIENCE

    def _after(self, link: Link, session: Session, until: float) -> None:
        """Waits until all items that are now in a connection's inbox are handled, or gives up."""
        if self._engine.heartbeat.now() >= until:
            self._give_up(session.member)
            return
        done = self._engine.create_event()
        link.enqueue(inbox_items.Then(done.set))
        done.wait(LOOK_AGAIN)

    def _admit(self, session: Session, link: Link, auth: Any) -> bool:
        """Answers the connection that has ``taken`` the session, as `take`."""
        member, offset = session.member, auth.get("offset")
        try:
            if session.missed(offset) is None:
                self._give_up(member)
                return False
            socket = self._new_socket(member, link, auth)
            asked = not self._recovery.options.skip_middlewares
            if asked and not self._ask(member, link, auth, socket):
                return True
            until = self._until()
            # The app's code ran: meanwhile the old connection may have been lost, for example.
            answer = self._connecting.answer(member)  # the app's code may encode it, and wait
            while session.open and (asked or not link.closed):
                with self._engine.gate:
                    before = _in_the_way(member)
                    lost = member.stage is Stage.AWAY
                    known = member.ready
                    may = before is None and session.open
                    back = may and self._resume(session, link, offset, answer)
                if before is not None:
                    self._after(before, session, until)
                elif back:
                    tell(log, _BACK, sid=member.sid, connection=link.sid)
                    self._greet(member, socket, lost=lost, known=known)
                    return True
                else:
                    return False
            return session.open
        finally:
            session.taken = None

    def _new_socket(self, member: Member, link: Link, auth: Any) -> Socket | None:
        """The `Socket` for the returning client; `None`: the app never used the old one."""
        before: Socket | None = member.socket
        if before is None:
            return None
        handshake = Handshake(self._host.environ.get(link.sid), without_session(auth))
        made = Socket(self._host, member, handshake)
        made.data = before.data
        return made

    def _ask(self, member: Member, link: Link, auth: Any, socket: Socket | None) -> bool:
        """Runs middlewares and ``connect`` handlers again; a refusal ends the session."""
        session, before = member.session, member.recovered
        member.recovered = session.asked = True
        try:
            refused = self._connecting.ask(member, link.sid, without_session(auth), socket)
        finally:
            with self._engine.gate:
                session.asked = False
        if session.refused:  # by `Connecting.kick`, which has answered
            return False
        if refused is None:
            return True
        member.recovered = before
        self._give_up(member)
        self._connecting.refuse(link.sid, member.namespace, refused)
        return False

    def _give_up(self, member: Member) -> None:
        """Ends the session; a half-open connection that still has it is closed as usual."""
        self._recovery.close(member)
        if member.stage is Stage.CONNECTED and member.link is not None:
            member.link.close(abort=True, reason="transport close")
        else:
            self._disconnecting.end(member)

    def _resume(self, session: Session, link: Link, offset: Any, answer: Packet) -> bool:
        """Moves the session to the new connection and first sends the missed events."""
        # gate held
        member = session.member
        missed = session.missed(offset)
        if missed is None:
            self._give_up(member)
            return False
        # The app knows that it was away; its messages wait until the app knows that it is back.
        member.ready = member.ready and member.stage is Stage.CONNECTED
        member.held = []  # what other threads send comes after CONNECT, and after what was missed
        self._move(member, link)
        self._connecting.send_connect(member, answer)
        session.resumed()
        if missed:
            link.send_frames(missed)
        self._manager.release(member)
        return True

    def _greet(self, member: Member, socket: Socket | None, *, lost: bool, known: bool) -> None:
        """``known``: whether the app has seen it in this process."""
        if lost or not known:
            before, member.socket = member.socket, socket
            self._handling.watch(member)
            self._counters.connects += lost
            self._connecting.open(member)
            if not self._connecting.welcome(member) and before is not None and socket is not None:
                # The app does not know of this return.
                socket.handlers.ends = before.handlers.ends
                socket.handlers.unmet = before.handlers.unmet
        else:  # half-open: the app knows of no loss, and gets no event for the return
            if member.socket is not None and socket is not None:
                member.socket.handshake = socket.handshake
            self._handling.observe(member)

    def _move(self, member: Member, link: Link) -> None:
        old = member.link
        kept = None if old is None or not old.sessions else old.sessions.get(member.namespace)
        self._members.detach(member)
        self._manager.move(member, link.sid)
        self._members.attach(member)
        if old is not None and old is not link and kept is not None:
            link.session[member.namespace] = kept
            old.session.pop(member.namespace, None)  # it may go on with other namespaces
        self._recovery.back(member.session)
        member.enter(Stage.CONNECTED)
        member.told = None
        member.recovered = True
        member.returns += 1
        self._counters.recoveries += 1
        if old is not None and not old.joined:
            old.close(abort=True, reason="transport close")  # it has no member: no event


def _in_the_way(member: Member) -> Link | None:
    """The old connection, if its inbox has to be handled before the member may move."""
    link: Link | None = member.link
    if link is None:
        return None
    return link if link.inbox is not None or member.stage in _ENDING else None


_ENDING = (Stage.LEAVING, Stage.GONE)


def without_session(auth: Any) -> Any:
    """A client's ``auth`` without the key to its session."""
    if not isinstance(auth, dict) or not ("pid" in auth or "offset" in auth):
        return auth
    return {key: value for key, value in auth.items() if key not in ("pid", "offset")} or None
