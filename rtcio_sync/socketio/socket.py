"""Socket.IO's own server API, sync: the `Socket` that a ``connection`` handler gets."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..adapter.member import Member, Stage, ending
from ..adapter.recipients import OrderedSet, flat
from ..events import RtcioEvents
from ..hub.thread import HubThread, any_thread
from ..protocol.names import check_event
from .broadcast import BroadcastOperator, check_name
from .dispatch import Callee

if TYPE_CHECKING:
    from ..server import Server

__all__ = ["Handshake", "Socket"]

Fn = TypeVar("Fn", bound=Callable[..., Any])


class Handshake:
    """What the client said when it connected.

    ``auth``: the ``auth`` option of its socket.io-client, ``{}`` if it had none. ``headers``: by
    lower-case name. ``query``: the last value of each parameter. ``address``: the peer's address
    as the WSGI server (or werkzeug's ProxyFix) tells it. ``environ``: the handshake's WSGI environ
    without the server's own streams and sockets.
    """

    __slots__ = ("auth", "environ")

    def __init__(self, environ: Any, auth: Any) -> None:
        self.environ: dict[str, Any] = environ if isinstance(environ, dict) else {}
        self.auth: Any = {} if auth is None else auth

    @property
    def headers(self) -> dict[str, str]:
        found = {
            key[5:].replace("_", "-").lower(): value
            for key, value in self.environ.items()
            if key.startswith("HTTP_")
        }
        for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            if self.environ.get(key):
                found[key.replace("_", "-").lower()] = self.environ[key]
        return found

    @property
    def query(self) -> dict[str, str]:
        text = self.environ.get("QUERY_STRING", "")
        return dict(urllib.parse.parse_qsl(text, keep_blank_values=True))

    @property
    def address(self) -> str:
        return str(self.environ.get("REMOTE_ADDR", ""))


class Socket:
    """One client in one namespace, as a ``connection`` handler gets it."""

    __slots__ = (
        "_any",
        "_ends",
        "_listeners",
        "_member",
        "_server",
        "_uses",
        "data",
        "handshake",
        "id",
    )

    def __init__(self, server: Server, member: Member, handshake: Handshake) -> None:
        self._server = server
        self._member = member
        self._listeners: dict[str, list[tuple[Callee, bool]]] = {}
        self._any: list[Callee] = []
        self._uses: list[Callee] = []
        self._ends: list[Callee] = []
        #: The sid.
        self.id: str = member.sid
        #: The app's own, for as long as the socket lives.
        self.data: dict[str, Any] = {}
        #: What the client said when it connected.
        self.handshake = handshake

    @property
    def _hub_thread(self) -> HubThread:
        return self._server._hub_thread

    @property
    @any_thread
    def rooms(self) -> set[Any]:
        """The rooms it is in, its own (named by its sid) first, in the order of joining.

        A copy, and empty once it has left: in a ``disconnecting`` handler they are all there, in a
        ``disconnect`` handler none is, as in Node.
        """
        if ending.get() == (self._member, "disconnect"):
            return OrderedSet()
        return OrderedSet(self._server.manager.get_rooms(self.id, self._member.namespace))

    @property
    def may_return(self) -> bool:
        """Whether its session waits for it: asked in a ``disconnect`` handler."""
        session = self._member.session
        return session is not None and session.open and self._member.stage is not Stage.CONNECTED

    def on_session_end(self, handler: Fn) -> Fn:
        """Registers ``handler()`` to run when a lost client did not come back to its session."""
        self._ends.append(Callee(handler))
        return handler

    def _over(self) -> None:
        for callee in self._ends:
            self._server.eio.spawn_in_turn(
                self._server.dispatcher.guarded, self.handshake.environ, "session end", callee
            )

    @property
    def connected(self) -> bool:
        """Whether it still is."""
        return self._member.stage is Stage.CONNECTED

    @property
    def recovered(self) -> bool:
        """Whether it came back to an earlier session."""
        return self._member.recovered

    @property
    def namespace(self) -> str:
        """The name of its namespace."""
        return self._member.namespace

    # -- handlers --------------------------------------------------------------------------------

    def on(self, event: str, handler: Fn | None = None) -> Any:
        """Registers a handler of an event: a decorator, or a call with ``handler``.

        An event's handlers get the client's arguments; the first result that is not `None` is the
        acknowledgement (to give it later, or not at all: `Server.defer_ack`). Those of
        ``"disconnecting"`` (the rooms are still there) and ``"disconnect"`` get ``(reason)``, one
        of `DisconnectReason`. Several handlers of one event run in the order they were registered.
        Raises `TypeError` for what can't be a handler.
        """
        return self._register(event, handler, once=False)

    def once(self, event: str, handler: Fn | None = None) -> Any:
        """Like `on`, for the next such event alone."""
        return self._register(event, handler, once=True)

    def _register(self, event: str, handler: Fn | None, *, once: bool) -> Any:
        check_event(event, "socket")

        def register(fn: Fn) -> Fn:
            self._listeners.setdefault(event, []).append((Callee(fn), once))
            if event == RtcioEvents.MESSAGE:
                self._server._observe(self._member)
            return fn

        return register if handler is None else register(handler)

    def off(self, event: str, handler: Callable[..., Any] | None = None) -> None:
        """Removes a handler of an event, or all of them."""
        kept = [each for each in self._listeners.get(event, ()) if each[0].fn != handler]
        self._listeners[event] = kept if handler is not None else []
        self._server._observe(self._member)

    def on_any(self, handler: Fn) -> Fn:
        """Registers a handler ``(event, *args)`` of every event; it runs before the others."""
        self._any.append(Callee(handler))
        self._server._observe(self._member)
        return handler

    def use(self, fn: Fn) -> Fn:
        """Registers ``fn(event, args)`` to run before each of its events; to drop one, raise.

        ``args`` is the list of the event's arguments: what ``fn`` changes in it, or puts in their
        place, is what the next middleware and the handlers get. A relayed message that was changed
        is sent on as it is then, under the same rules.
        """
        self._uses.append(Callee(fn))
        self._server._observe(self._member)
        return fn

    # -- towards the client ----------------------------------------------------------------------

    @any_thread
    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> None:
        """Sends an event to this client.

        ``callback(*answer)`` runs when the client acknowledges it, with the arguments it declares.
        Raises `OptionError` for a reserved event name, `TypeError` for what can't be a handler.
        """
        check_name(event)
        self._server.manager.emit(
            event,
            args,
            namespace=self._member.namespace,
            room=self.id,
            callback=None if callback is None else Callee(callback),
        )

    def send(self, *args: Any) -> None:
        """Sends an event ``message``."""
        self.emit("message", *args)

    def call(self, event: str, *args: Any, timeout: float = 60) -> Any:
        """Sends an event and waits for the acknowledgement: its argument, a tuple of several.

        ``timeout`` is in seconds. Raises `socketio.exceptions.TimeoutError` after it,
        `DisconnectedError` (a kind of it) once the client has left, and `OptionError` for a
        reserved event name. Works inside a handler of the same socket.
        """
        check_name(event)
        return self._server.call(
            event, args, to=self.id, namespace=self._member.namespace, timeout=timeout
        )

    @any_thread(in_hub="spawn")
    def disconnect(self, close: bool = False) -> None:
        """Disconnects it; ``close``: its connection too, with all other namespaces."""
        self._server.disconnect(self.id, namespace=self._member.namespace)
        if close:
            self._server.eio.disconnect(self._member.eio_sid)

    # -- towards others --------------------------------------------------------------------------

    def to(self, *rooms: Any) -> BroadcastOperator:
        """The sockets in ``rooms``, this one left out; see `BroadcastOperator.to`."""
        return self.broadcast.to(*rooms)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """All sockets but this one and those in ``rooms``."""
        return self.broadcast.except_(*rooms)

    @property
    def broadcast(self) -> BroadcastOperator:
        """All sockets of the namespace but this one."""
        return BroadcastOperator(self._server, self._member.namespace, None, (self.id,))

    # -- rooms -----------------------------------------------------------------------------------

    @any_thread
    def join(self, *rooms: Any) -> None:
        """Joins rooms, each given singly or in a list; nothing, once the client has left.

        Raises `ValueError` for a room that is another socket's own, and `OptionError` (one too)
        for what cannot name a room.
        """
        if self._server.manager.member(self.id, self._member.namespace) is self._member:
            for room in flat(rooms):
                self._server.enter_room(self.id, room, namespace=self._member.namespace)

    @any_thread
    def leave(self, *rooms: Any) -> None:
        """Leaves rooms; no peer-left is sent."""
        for room in flat(rooms):
            self._server.leave_room(self.id, room, namespace=self._member.namespace)

    # -- what the library calls: greenlet --------------------------------------------------------

    def _pass(self, event: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Runs the middlewares: the arguments as they leave them."""
        if not self._uses:
            return args
        given = list(args)
        for use in self._uses:
            use(event, given)
        return tuple(given)

    def _receive(self, event: str, args: tuple[Any, ...]) -> list[Any]:
        """Runs the handlers of one event: what each returned that did not raise."""
        dispatcher, environ, who = self._server.dispatcher, self.handshake.environ, self._who
        for each in self._any:
            dispatcher.guarded(environ, event, each, event, *args, who=who)
        listeners = self._listeners.get(event)
        if not listeners:
            return []
        if any(once for _, once in listeners):
            self._listeners[event] = [each for each in listeners if not each[1]]
            self._server._observe(self._member)
        answers: list[Any] = []
        for callee, _ in listeners:
            answers += dispatcher.answers(environ, event, callee, *args, who=who)
        return answers

    def _end(self, event: str, reason: str) -> None:
        dispatcher, environ = self._server.dispatcher, self.handshake.environ
        for callee, _ in self._listeners.get(event, ()):
            dispatcher.guarded(environ, event, callee, reason, who=self._who)

    @property
    def _who(self) -> tuple[str, str]:
        return self.id, self._member.namespace

    @property
    def _observing(self) -> bool:
        return bool(self._any or self._uses or self._listeners.get(RtcioEvents.MESSAGE))
