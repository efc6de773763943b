"""python-socketio's own API: ``emit``, ``call``, ``enter_room`` and so on, by sid.

A namespace may be named without its slash; a room is one name. python-socketio checks neither.

Overridden of ``socketio.Server``, each asserted in ``tests/test_upstream.py``: ``emit`` (to an
empty list it goes to nobody), and what takes a namespace or a room. Used as it is:
``_send_packet``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from socketio import exceptions, packet

from ..adapter.calls import DisconnectedError, Waiter
from ..adapter.member import Stage
from ..adapter.recipients import recipients
from ..errors import OptionError
from ..hub.thread import HubThread, any_thread
from ..protocol.names import check_room, namespace_name
from .acks import UNWANTED, Ack, answering
from .server_hooks import ServerHooks
from .signatures import check_handler, check_plain

__all__ = ["PythonApi"]


class PythonApi(ServerHooks):
    """The methods of a `Server` that python-socketio's users know."""

    _hub_thread: HubThread

    def emit(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        room: Any = None,
        skip_sid: Any = None,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
    ) -> None:
        """Emits an event to the sockets in ``to``: a room, a sid, or a list of them.

        ``to`` `None`, or left out: ``room``, which says the same; both `None`: everybody in the
        namespace. An empty list: nobody. ``skip_sid``: whom to leave out, a sid, a room or a list
        of them; `None`: nobody. ``data``: the argument; a tuple: several; `None`: none.
        ``callback(*answer)`` runs for each client that acknowledges it; for one that does not, the
        latest 10,000 are kept until it leaves. ``ignore_queue``: not in other processes. Raises
        `OptionError` for what names no room, and `NotServing` as every call from another thread
        does (`rtcio_sync.errors`).
        """
        # `any_thread`, without its call: the way of most events. Before anything is served: here.
        if self._hub_thread.elsewhere() and self._hub_thread.serving:
            return self._hub_thread.run(
                self.emit, event, data, to, room, skip_sid, namespace, callback, ignore_queue
            )
        namespace = namespace_name(namespace)
        if callback is not None and type(callback) is not Waiter:
            check_handler(callback)
        room = room if to is None else to
        who = "all" if room is None else room
        self.logger.info('emitting event "%s" to %s [%s]', event, who, namespace)
        self.manager.emit(
            event,
            data,
            namespace,
            room=room,
            skip_sid=skip_sid,
            callback=callback,
            ignore_queue=ignore_queue,
        )
        return None

    @any_thread
    def enter_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        """Lets a client join a room.

        Raises `ValueError` for a sid that is unknown and for a room that is another client's own,
        and `OptionError` for what is no room: several of them, `None`.
        """
        check_room(room)
        super().enter_room(sid, room, namespace=namespace_name(namespace))

    @any_thread
    def leave_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        """Lets a client leave a room; no peer-left is sent. Raises `OptionError` for no room."""
        check_room(room)
        super().leave_room(sid, room, namespace=namespace_name(namespace))

    @any_thread
    def close_room(self, room: Any, namespace: str | None = None) -> None:
        """Lets all clients leave a room. Raises `ValueError` for a client's own and for none."""
        check_room(room)
        super().close_room(room, namespace=namespace_name(namespace))

    @any_thread
    def rooms(self, sid: str, namespace: str | None = None) -> list[Any]:
        """The rooms that a client is in, its own (named by its sid) included."""
        found: list[Any] = super().rooms(sid, namespace=namespace_name(namespace))
        return found

    @any_thread
    def transport(self, sid: str, namespace: str | None = None) -> str:
        """``"polling"`` or ``"websocket"``."""
        return str(super().transport(sid, namespace=namespace_name(namespace)))

    @any_thread
    def get_environ(self, sid: str, namespace: str | None = None) -> Any:
        """The WSGI environ of a client's handshake."""
        return super().get_environ(sid, namespace=namespace_name(namespace))

    @any_thread
    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs ``target(*args, **kwargs)`` in a greenlet (or thread) that it returns.

        Another thread than the main one may start it before anything is served: it begins with the
        first request or `listen` then, and `None` is returned. Raises `TypeError` for a coroutine
        function, which nothing would await.
        """
        check_plain(target)
        return super().start_background_task(target, *args, **kwargs)

    def defer_ack(self) -> Ack:
        """Takes over the acknowledgement of the event whose handler calls it.

        What the handlers return is then not sent. ``ack = server.defer_ack()``: ``ack(*answer)``
        sends the acknowledgement, once, whenever that is, from any thread; never called, it is
        withheld. ``ack.wanted`` tells whether the client asked for one. In both idioms; raises
        `OptionError` anywhere else than in a handler of a client's event, before it returns.
        """
        ack = answering.get()
        if ack is None or ack.late:
            raise OptionError(
                "defer_ack() takes over the acknowledgement of the event that is being handled: "
                "call it in the event's handler, before that returns"
            )
        if ack is UNWANTED:
            return Ack(self._hub_thread, self.manager.send_ack, None, None)
        ack.taken = True
        return ack

    @any_thread(in_hub="refuse")
    def call(
        self,
        event: str,
        data: Any = None,
        to: Any = None,
        sid: Any = None,
        namespace: str | None = None,
        timeout: float = 60,
        ignore_queue: bool = False,
    ) -> Any:
        """Emits to one client and waits for its acknowledgement; works inside handlers.

        ``to``: its sid; ``sid`` says the same. ``timeout`` is in seconds. Raises
        `socketio.exceptions.TimeoutError` after it; `DisconnectedError`, a kind of it, as soon as
        the client has left or lost its connection; `OptionError` (a `ValueError`) without a
        recipient; and `NotServing` in the hub, where nothing may wait. Of a client of another
        process nobody hears whether it has left: there the time-out is what ends the wait.
        """
        to = recipients(to, sid)
        if to is None or to == []:
            raise OptionError("Cannot use call() to broadcast: give the sid of a client as to=")
        namespace = namespace_name(namespace)
        if self.manager.nobody_answers(to, namespace):
            raise DisconnectedError(f"{event!r} has nobody to answer it: the client has left")
        waiter = Waiter(self.eio.create_event())
        try:
            self.emit(
                event,
                data=data,
                to=to,
                namespace=namespace,
                callback=waiter,
                ignore_queue=ignore_queue,
            )
            answered = waiter.event.wait(timeout=timeout)
        finally:
            self.manager.forget(waiter, to)
        if waiter.left:
            raise DisconnectedError(f"the client left before it answered {event!r}")
        if not answered:
            raise exceptions.TimeoutError()
        answer = waiter.answer
        return answer if len(answer) > 1 else answer[0] if answer else None

    @any_thread(in_hub="spawn")
    def disconnect(
        self, sid: str, namespace: str | None = None, ignore_queue: bool = False
    ) -> None:
        """Disconnects one client from a namespace; its connection stays for the others.

        One that is still being let in (in a ``connect`` handler, a middleware, or while one runs)
        is refused: its client gets ``connect_error``.
        """
        namespace = namespace_name(namespace)
        member = self.manager.member(sid, namespace)
        if member is not None and member.stage in (Stage.LEAVING, Stage.GONE, Stage.AWAY):
            self.lifecycle.end(member)
            return
        if member is not None and member.stage is Stage.CONNECTING:
            self.lifecycle.kick(member)
            return
        here = self.manager.is_connected if ignore_queue else self.manager.can_disconnect
        if not here(sid, namespace):
            return
        self._send_packet(
            self.manager.eio_sid_from_sid(sid, namespace),
            self.packet_class(packet.DISCONNECT, namespace=namespace),
        )
        found = self.manager.member(sid, namespace)
        self.lifecycle.disconnect(found, "server namespace disconnect")

    @any_thread
    def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """The app's own data of one client; until its last ``disconnect`` handler has run.

        Raises `KeyError` for a client that is not connected to the namespace.
        """
        name = namespace_name(namespace)
        kept: dict[str, Any] = self._kept(sid, name).setdefault(name, {})
        return kept

    @any_thread
    def save_session(self, sid: str, session: dict[str, Any], namespace: str | None = None) -> None:
        """Replaces what `get_session` gives. Raises `KeyError` as it does."""
        name = namespace_name(namespace)
        self._kept(sid, name)[name] = session

    def _kept(self, sid: str, namespace: str) -> dict[str, Any]:
        # By the member: the engine forgets a connection before its `disconnect` handlers run.
        member = self.manager.member(sid, namespace)
        if member is None:
            raise KeyError("Session not found")
        link = member.link
        kept: dict[str, Any] = (
            link.session if link is not None else self.eio.get_session(member.eio_sid)
        )
        return kept
