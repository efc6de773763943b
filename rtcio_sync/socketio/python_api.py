"""python-socketio's own API: ``emit``, ``call``, ``enter_room`` and so on, by sid.

A namespace may be named without its slash, and a room is one name; python-socketio does not check
this.

Overridden of ``socketio.Server``, each asserted in ``tests/test_upstream.py``: ``emit`` (an empty
list means nobody), ``instrument``, and the methods that take a namespace or a room. Used as it is:
``_send_packet``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, overload

from socketio import exceptions, packet

from ..adapter.member import Member, Stage
from ..adapter.recipients import recipients
from ..adapter.server_call import DisconnectedError, Waiter
from ..engineio.inbox import since_wait
from ..engineio.socket import Socket as Link
from ..errors import OptionError
from ..events import UNREADABLE_EVENTS
from ..functions import check_plain
from ..hub.thread import HubThread, any_thread, refuse_in_hub
from ..protocol.names import check_name, check_room, check_sid, namespace_name
from .admin_ui import AdminUI
from .deferred_ack import UNWANTED, Ack, answering
from .emit_with_ack import check_pause, check_wait
from .handler_call import Callee
from .handler_types import EventFn
from .server_hooks import ServerHooks

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

        ``room`` is another name for ``to``; if both are `None`, everybody in the namespace gets the
        event. An empty list means nobody. ``skip_sid``: a sid, a room or a list of them to leave
        out; `None`: none. ``data``: the argument; a tuple means several arguments, `None` means
        none. ``callback(*answer)`` runs for each client that acknowledges the event, with the
        arguments that it declares; for a client that does not, the latest 10,000 callbacks are kept
        until it leaves. ``ignore_queue``: do not emit in other processes. Raises `OptionError` for
        an invalid room, for a name that is not text and for one that makes clients close their
        connections, such as ``connect``; `TypeError` for an invalid callback; and `NotServing` as
        every call from another thread (`rtcio_sync.errors`).
        """
        # As `any_thread`, without its call, for speed. Before the first request it runs here.
        if self._hub_thread.elsewhere() and self._hub_thread.serving:
            return self._hub_thread.run(
                self.emit, event, data, to, room, skip_sid, namespace, callback, ignore_queue
            )
        if type(event) is not str or event in UNREADABLE_EVENTS:
            check_name(event, UNREADABLE_EVENTS)
        namespace = "/" if namespace is None else namespace_name(namespace)
        if callback is not None and type(callback) is not Waiter:
            callback = Callee(callback)
        room = room if to is None else to
        who = "all" if room is None else room
        self.logger.info('emitting event "%s" to %s [%s]', event, who, namespace)
        emit = self.manager.emit
        if ignore_queue:
            emit = partial(emit, ignore_queue=True)
        emit(event, data, namespace, room=room, skip_sid=skip_sid, callback=callback)
        return None

    @overload
    def event(self, handler: EventFn, /, *, namespace: str | None = None) -> EventFn: ...
    @overload
    def event(self, /, *, namespace: str | None = None) -> Callable[[EventFn], EventFn]: ...
    def event(self, *given: Any, namespace: str | None = None) -> Any:
        """Registers a handler under its own name, as `on`: a decorator.

        ``@server.event``, or ``@server.event(namespace=…)``. Raises `OptionError` for anything else
        than one function with a name.
        """

        def register(handler: EventFn) -> EventFn:
            name = getattr(handler, "__name__", "<lambda>")
            if not callable(handler) or name == "<lambda>":
                raise OptionError(
                    f"server.event takes a function, whose name is the event's, not {handler!r:.80}"
                    ": write @server.on('name')"
                )
            registered: EventFn = self.on(name, handler, namespace)
            return registered

        if len(given) > 1:
            raise OptionError(
                "server.event takes one function: make a call for each; a namespace is given as "
                "namespace=…"
            )
        return register(given[0]) if given else register

    @any_thread
    def enter_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        """Joins a client to a room.

        Raises `ValueError` for an unknown sid and for another client's own room, and `OptionError`
        for an invalid room, such as several rooms or `None`.
        """
        sid, room = check_sid(sid), check_room(room)
        super().enter_room(sid, room, namespace=namespace_name(namespace))

    @any_thread
    def leave_room(self, sid: str, room: Any, namespace: str | None = None) -> None:
        """Takes a client out of a room, without peer-left. Raises `OptionError` as `enter_room`."""
        sid, room = check_sid(sid), check_room(room)
        super().leave_room(sid, room, namespace=namespace_name(namespace))

    @any_thread
    def close_room(self, room: Any, namespace: str | None = None) -> None:
        """Takes all clients out of a room. Raises `ValueError` for a client's own room."""
        room = check_room(room)
        super().close_room(room, namespace=namespace_name(namespace))

    @any_thread
    def rooms(self, sid: str, namespace: str | None = None) -> list[Any]:
        """The rooms of a client, its own (named by its sid) included."""
        sid = check_sid(sid)
        found: list[Any] = super().rooms(sid, namespace=namespace_name(namespace))
        return found

    @any_thread
    def transport(self, sid: str, namespace: str | None = None) -> str:
        """``"polling"`` or ``"websocket"``. Raises `KeyError` as `get_session`."""
        self._refuse_elsewhere(sid)
        link = self._returning(sid, namespace)
        if link is not None:
            return str(self.eio.transport(link.sid))
        return str(super().transport(sid, namespace=namespace_name(namespace)))

    @any_thread
    def get_environ(self, sid: str, namespace: str | None = None) -> Any:
        """The WSGI environ of a client's handshake; `None`: the client is not connected.

        Raises `KeyError` for a client of another worker.
        """
        self._refuse_elsewhere(sid)
        link = self._returning(sid, namespace)
        if link is not None:
            return self.environ.get(link.sid)
        return super().get_environ(sid, namespace=namespace_name(namespace))

    def _returning(self, sid: str, namespace: str | None) -> Link | None:
        """The connection on which a client is about to come back to its session."""
        member: Member | None = self.manager.member(sid, namespace_name(namespace))
        return None if member is None else member.returning

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs ``target(*args, **kwargs)`` in a greenlet (or thread), which it returns.

        In another thread than the one that serves, it returns an object with the same ``join``,
        ``get``, ``kill``, ``ready``, ``successful``, ``dead``, ``value`` and ``exception``, which
        any thread may use. A task that another thread starts before the first request begins with
        the first request or `listen`: until then its ``join()`` waits. `SystemExit` ends only the
        task, and is logged. Raises `TypeError` for a coroutine function or a generator function,
        which nothing would run; a task that returns a coroutine or a generator has failed.
        """
        check_plain(target)
        return super().start_background_task(target, *args, **kwargs)

    def sleep(self, seconds: float = 0) -> None:
        """Waits, and lets other greenlets (or threads) run.

        Raises `OptionError` for what is no number of seconds; and `NotServing` in the hub, where
        nothing may wait.
        """
        check_pause(seconds)
        refuse_in_hub("sleep")
        super().sleep(seconds)

    def instrument(
        self,
        auth: Any = None,
        mode: str = "development",
        read_only: bool = False,
        server_id: str | None = None,
        namespace: str = "/admin",
        server_stats_interval: float = 2,
    ) -> Any:
        """Serves python-socketio's Admin UI, to those whom ``auth`` allows; returns its object.

        The other arguments are those of python-socketio's method. ``auth``: the login that is asked
        for, a dict or a list of several; a function of the login, which says yes with a true value;
        or `False`: everybody may. Raises `OptionError` for an invalid argument, also for an empty
        login, and if it was called before; `TypeError` for a coroutine function or a generator
        function.
        """
        given = auth, mode, read_only, server_id, namespace, server_stats_interval
        return AdminUI(self, *given)

    def defer_ack(self) -> Ack:
        """Takes over the acknowledgement of the event whose handler calls it.

        The results of the handlers are then not sent. After ``ack = server.defer_ack()``,
        ``ack(*answer)`` sends the acknowledgement, once, at any time, from any thread. If it is
        never called, no acknowledgement is sent. ``ack.wanted``: whether the client asked for one.
        It works in both idioms. Raises `OptionError` outside of a running handler of a client's
        event.
        """
        ack = answering.get()
        if ack is None or ack.late:
            raise OptionError(
                "defer_ack() takes over the acknowledgement of the event that is being handled: "
                "call it in the handler of an event, before the handler returns"
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

        ``to``: its sid; ``sid`` is another name for it. ``timeout`` is in seconds. Raises
        `socketio.exceptions.TimeoutError` after it; `DisconnectedError`, a subclass, as soon as the
        client has left or lost its connection; `OptionError` (a `ValueError`) without a recipient,
        and in a middleware or ``connect`` handler of that client, which gets nothing before it has
        returned; and `NotServing` in the hub, where nothing may wait. This process does not know
        whether a client of another process has left; there only the time-out ends the wait.
        """
        check_wait(timeout)
        to = recipients(to, sid)
        if to is None or to == []:
            raise OptionError("Cannot use call() to broadcast: give the sid of a client as to=")
        namespace = namespace_name(namespace)
        if self.connecting.waits_for(to):
            raise OptionError(
                f"{event!r} would not be answered: a client gets nothing before its middlewares "
                "and connect handlers have returned. Call it in a handler of 'connection', or in a "
                "background task"
            )
        if self.manager.nobody_answers(to, namespace):
            raise DisconnectedError(f"nobody can answer {event!r}: the client has left")
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
            self.eio.take_turn(since_wait())
        finally:
            self.manager.forget(waiter, to)
        if waiter.left:
            raise DisconnectedError(f"the client left before it answered {event!r}")
        if not answered:
            raise exceptions.TimeoutError(f"no client answered {event!r} within {timeout} s")
        answer = waiter.answer
        return answer if len(answer) > 1 else answer[0] if answer else None

    def disconnect(
        self, sid: str, namespace: str | None = None, ignore_queue: bool = False
    ) -> None:
        """Disconnects one client from a namespace; its connection stays for other namespaces.

        A client whose ``connect`` handler or middleware still runs is refused: it gets
        ``connect_error``. Raises `OptionError` for what is no sid, such as a `Socket`.
        """
        self._disconnect(check_sid(sid), namespace_name(namespace), ignore_queue)

    @any_thread(in_hub="spawn")
    def _disconnect(self, sid: str, namespace: str, ignore_queue: bool) -> None:
        member = self.manager.member(sid, namespace)
        if member is not None and self.connecting.kick(member):
            return
        if member is not None and member.stage in (Stage.LEAVING, Stage.GONE, Stage.AWAY):
            self.disconnecting.end(member)
            return
        here = self.manager.is_connected if ignore_queue else self.manager.can_disconnect
        with self.eio.gate:  # or DISCONNECT could come before CONNECT, which another thread sends
            if not here(sid, namespace):
                return
            self._send_packet(
                self.manager.eio_sid_from_sid(sid, namespace),
                self.packet_class(packet.DISCONNECT, namespace=namespace),
            )
            found = self.manager.member(sid, namespace)
            if found is not None:  # or another thread could send DISCONNECT again
                self.disconnecting.leaving(found, "server namespace disconnect")
        if found is not None:
            self.disconnecting.disconnect(found, "server namespace disconnect")

    @any_thread
    def get_session(self, sid: str, namespace: str | None = None) -> dict[str, Any]:
        """The app's data of one client, until its last ``disconnect`` handler has run.

        Raises `KeyError` for a client that is not connected to the namespace, or that is connected
        to another worker.
        """
        name = namespace_name(namespace)
        kept: dict[str, Any] = self._kept(sid, name).setdefault(name, {})
        return kept

    @any_thread
    def save_session(self, sid: str, session: dict[str, Any], namespace: str | None = None) -> None:
        """Replaces the data of `get_session`. Raises `KeyError` as `get_session`."""
        name = namespace_name(namespace)
        self._kept(sid, name)[name] = session

    def _refuse_elsewhere(self, sid: Any) -> None:
        """Raises `KeyError` for a client of another worker, `OptionError` for what is no sid."""
        check_sid(sid)
        if self.manager.is_elsewhere(sid):
            raise KeyError(
                "this client is connected to another worker, which has its session and its "
                "connection: use socket.data, which fetch_sockets() returns too, or ask that "
                "worker with server_side_call()"
            )

    def _kept(self, sid: str, namespace: str) -> dict[str, Any]:
        # From the member: the engine forgets a connection before its `disconnect` handlers run.
        member = self.manager.member(sid, namespace)
        if member is None:
            self._refuse_elsewhere(sid)
            raise KeyError("Session not found")
        link = member.link
        kept: dict[str, Any] = (
            link.session if link is not None else self.eio.get_session(member.eio_sid)
        )
        return kept
