"""Dynamic namespaces: those whose names a pattern or a function of the app accepts.

`Server.of` with a pattern or a function gives a `ParentNamespace`. A namespace with a name that
fits is made when the first client asks for it: a child, with the handlers and middlewares that the
parent has then. It is removed when its last socket has left, unless the app has asked for it by its
name. Otherwise clients could fill the memory with namespaces.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from ..adapter.emit import RoomIndex
from ..adapter.member import Member
from ..adapter.recipients import flat, recipients, rooms_in
from ..cluster import messages
from ..cluster.shared_rooms import SharedRooms, body_of
from ..errors import OptionError
from ..hub.thread import any_thread
from ..options import Limits
from ..protocol.names import check_name, namespace_name
from ..relay.relay import Relay
from .broadcast import check_last
from .emit_with_ack import Recipients
from .handler_call import Callee, Dispatcher
from .handler_registry import Registry
from .namespace import Namespace
from .socket import BroadcastOperator, Socket, in_turn

__all__ = ["ParentNamespace", "Parents"]

#: Accepts a name: a pattern that fits all of it or a part, or ``fn(name, auth)``.
Match = Any


_CHILDREN = "{0} works on one namespace: write [… for each in nsp.children.values()]"


def _for_children(name: str) -> Any:
    def refuse(self: ParentNamespace, *args: Any, **options: Any) -> NoReturn:
        raise OptionError(_CHILDREN.format(f"{name}(…)"))

    refuse.__doc__ = "Raises `OptionError`: sockets, their rooms and sessions are in the children."
    return refuse


class ParentNamespace(Namespace):
    """The namespaces whose names fit a pattern or a function: from `Server.of`.

    Handlers and middlewares of it are those of each child, from the time when it is made. `emit`
    reaches the clients of all children. Sockets are in the children alone: ``socket.nsp``.
    """

    def __init__(self, name: str, match: Match, limits: Limits | None) -> None:
        super().__init__(name)
        self.rtcio_match = match
        #: The function, if it is one.
        self.rtcio_accepts = None if isinstance(match, re.Pattern) else Callee(match)
        self.rtcio_limits = limits
        #: What other workers know it by, also those that run another version of the app.
        self.rtcio_key = ""
        self.rtcio_children: dict[str, Namespace] = {}

    @property
    def children(self) -> dict[str, Namespace]:
        """Its children in this process, by name: a copy, since clients make and remove them."""
        return dict(self.rtcio_children)

    def create_child(self, name: str) -> Namespace:
        """Makes a child, which stays: `Server.of` with a name that fits a pattern does so too.

        Raises `OptionError` for an invalid name, for ``"/"``, which is never one, and for the name
        of a `ParentNamespace`.
        """
        name = namespace_name(name)
        if name == "/":
            raise OptionError("the default namespace '/' is never dynamic: write server.of('/')")
        if name in self.server.parents.all:
            raise OptionError(f"{name} is the name of a dynamic namespace itself: choose another")
        made: Namespace = self.server.parents.child(self, name)
        self.server.parents.keep(name)
        return made

    def emit(self, event: str, *args: Any, **options: Any) -> None:
        """Sends an event to the clients of all children, in all workers."""
        if options:
            raise OptionError(
                "emit of a dynamic namespace: choose rooms with .to(…) or .except_(…)"
            )
        self._operator().emit(event, *args)

    def send(self, *args: Any, **options: Any) -> None:
        """Sends an event ``message`` to the clients of all children, as `emit`."""
        self.emit("message", *args, **options)

    @property
    def rooms(self) -> NoReturn:
        """Raises `OptionError`: the rooms are in the children."""
        raise OptionError(_CHILDREN.format("rooms"))

    def _operator(self) -> ParentOperator:
        return ParentOperator(self.server, self.name)

    # Each would look for a socket or a room in this namespace, and find nothing.
    call = _for_children("call")
    close_room = _for_children("close_room")
    disconnect = _for_children("disconnect")
    enter_room = _for_children("enter_room")
    fetch_sockets = _for_children("fetch_sockets")
    get_session = _for_children("get_session")
    leave_room = _for_children("leave_room")
    save_session = _for_children("save_session")
    session = _for_children("session")


class ParentOperator(BroadcastOperator):
    """The clients of all children of a `ParentNamespace`, as a `BroadcastOperator`."""

    __slots__ = ()

    @any_thread
    def emit(self, event: str, *args: Any, callback: Any = None) -> None:
        """As `BroadcastOperator.emit`, without ``callback``."""
        if callback is not None:
            raise OptionError(_CHILDREN.format("emit(…, callback=…)"))
        check_name(event)
        check_last(args)
        flags = self._flags
        to = Recipients(self._namespace, self._rooms, list(self._except), flags.local)
        self._server.parents.emit(to, event, args, volatile=flags.volatile)

    def call(self, event: str, *args: Any, timeout: float | None = None) -> NoReturn:
        """Raises `OptionError`: acknowledgements come from one namespace."""
        raise OptionError(_CHILDREN.format("call"))

    emit_with_ack = call

    def fetch_sockets(self) -> NoReturn:
        """Raises `OptionError`: the sockets are in the children."""
        raise OptionError(_CHILDREN.format("fetch_sockets()"))

    def sockets_here(self) -> list[Socket]:
        """The connected sockets of this process."""
        return [each for one in self._children() for each in one.sockets_here()]

    def sockets_join(self, *rooms: Any) -> None:
        """Joins the sockets to ``rooms``; those of other workers where a child is known here."""
        for one in self._children():
            one.sockets_join(*flat(rooms))

    def sockets_leave(self, *rooms: Any) -> None:
        """Takes the sockets out of ``rooms``, as `sockets_join`."""
        for one in self._children():
            one.sockets_leave(*flat(rooms))

    @any_thread(in_hub="spawn")
    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects the sockets, as `sockets_join`."""
        children = self._children()
        for one in children:
            one.tell_others("close" if close else "disconnect", [])
        in_turn(self._server.eio, [end for one in children for end in one.ends(close=close)])

    def _children(self) -> list[BroadcastOperator]:
        return [
            BroadcastOperator(self._server, name, self._rooms, self._except, self._flags)
            for name in self._server.parents.names(self._namespace)
        ]


class Parents:
    """The dynamic namespaces of one server.

    ``space(name, parent)`` makes and registers a `Namespace` with what its parent has. It is a
    `session_state.Part`: a socket that goes on in another worker is in a child of the same parent
    there, though the app's function would not accept its name (any more).
    """

    #: The name of what other workers are told, and of what sockets take along.
    WHAT = "dynamic"

    def __init__(
        self,
        registry: Registry,
        manager: RoomIndex,
        *,
        relay: Relay,
        dispatcher: Dispatcher,
        space: Callable[[str, ParentNamespace], Namespace],
    ) -> None:
        self._registry = registry
        self._manager = manager
        self._relay = relay
        self._dispatcher = dispatcher
        self._space = space
        self._numbers = itertools.count()
        #: By name, in the order in which the app has given them.
        self.all: dict[str, ParentNamespace] = {}
        #: The children that are removed when they are empty, and their parents.
        self._loose: dict[str, ParentNamespace] = {}
        #: The parents of namespaces whose sockets have come from other workers.
        self._moved: dict[str, ParentNamespace] = {}
        #: Delivers an event of another worker: ``(node, message)``.
        self.deliver: Callable[[str, messages.Emit], None] = lambda node, message: None

    def add(self, match: Match, limits: Limits | None) -> ParentNamespace:
        """A new parent, or the one that has this pattern or function already."""
        for each in self.all.values():
            if each.rtcio_match == match:
                if limits is not None:
                    self._limit(each, limits)
                return each
        self._manager.on_empty = self._emptied
        name = f"/_{next(self._numbers)}"
        made = ParentNamespace(name, match, limits)
        same = [
            each for each in self.all.values() if _described(each.rtcio_match) == _described(match)
        ]
        made.rtcio_key = f"{_described(match)} {len(same)}"
        self.all[name] = made
        return made

    def _by_key(self, key: Any) -> ParentNamespace | None:
        return next((each for each in self.all.values() if each.rtcio_key == key), None)

    def _may_be_dynamic(self, name: str) -> bool:
        """Whether patterns and functions are asked; as in Node, not for ``"/"``, always there.

        Nor for the names of parents, which have the default listeners by name.
        """
        return name.startswith("/") and name != "/" and name not in self.all

    def _limit(self, parent: ParentNamespace, limits: Limits) -> None:
        """Gives a parent other limits; children that have limits of their own keep them."""
        parent.rtcio_limits = limits
        for name in list(parent.rtcio_children):
            self._registry.inherit_limits(name, limits)

    def limits(self) -> Iterator[Limits]:
        """Those that children have, or will have."""
        return (each.rtcio_limits for each in self.all.values() if each.rtcio_limits is not None)

    def names(self, parent: str) -> list[str]:
        """The names of a parent's children in this process."""
        return list(self.all[parent].rtcio_children)

    # -- children: greenlet ------------------------------------------------------------------------

    def open(self, name: str, auth: Any) -> bool:
        """Makes the namespace for a client that asks for it; `False`: no parent accepts it."""
        if name in self._registry.spaces:
            return True
        if not self._may_be_dynamic(name):
            return False
        moved = self._moved.pop(name, None)
        for parent in list(self.all.values()) if moved is None else [moved]:
            if moved is not None or self._accepts(parent, name, auth):
                if name not in self._registry.spaces:  # the app's function may have taken its time
                    self._loose[name] = parent
                    self.child(parent, name)
                return True
        return False

    def _accepts(self, parent: ParentNamespace, name: str, auth: Any) -> bool:
        accepts = parent.rtcio_accepts
        if accepts is None:
            return _fits(parent.rtcio_match, name)
        said = self._dispatcher.guarded(
            None,
            "namespace",
            lambda: bool(accepts(name, auth or {})),  # its truth value may raise
        )
        return said is True

    def named(self, name: str) -> Namespace | None:
        """The namespace for the app, which names it: it stays; `None`: no pattern fits."""
        known = self._registry.spaces.get(name)
        if known is None and self._may_be_dynamic(name):
            for parent in self.all.values():
                match = parent.rtcio_match
                if isinstance(match, re.Pattern) and _fits(match, name):
                    known = self.child(parent, name)
                    break
        if known is not None:
            self.keep(name)
        return known

    def keep(self, name: str) -> None:
        """A child stays, though it is empty."""
        self._loose.pop(name, None)

    def child(self, parent: ParentNamespace, name: str) -> Namespace:
        """The child of a parent; makes it if there is none. It has all before anybody finds it."""
        known = self._registry.spaces.get(name)
        if known is not None and name in parent.rtcio_children:
            return known
        if parent.rtcio_limits is not None:
            self._registry.inherit_limits(name, parent.rtcio_limits)
        if parent.name in self._relay.namespaces:
            self._relay.serve(name, while_open=True)
        if known is None:
            return self._space(name, parent)
        parent.rtcio_children[name] = known  # the app has made it before it gave the pattern
        known.rtcio_copy(parent)
        return known

    def replace(self, name: str, space: Namespace) -> None:
        """A class-based namespace takes the place of the object that there was."""
        self._registry.spaces[name] = space
        for parent in self.all.values():
            if name in parent.rtcio_children:
                parent.rtcio_children[name] = space

    def _emptied(self, name: str) -> None:  # hub or greenlet
        """The last socket of a namespace has left."""
        self._moved.pop(name, None)
        parent = self._loose.pop(name, None)
        if parent is not None:
            self._registry.spaces.pop(name, None)
            self._registry.end_inherited(name)
            self._relay.closed(name)
            parent.rtcio_children.pop(name, None)

    # -- sockets that change their worker: hub or greenlet -----------------------------------------

    def pack(self, member: Member) -> str | None:
        """As `session_state.Part.pack`: the key of the parent."""
        for parent in self.all.values():
            if member.namespace in parent.rtcio_children:
                return parent.rtcio_key
        return None

    def leave(self, member: Member) -> None:
        """As `session_state.Part.leave`: nothing is kept of one socket."""

    def enter(self, member: Member, value: Any) -> None:
        """As `session_state.Part.enter`."""
        parent = self._by_key(value)
        if parent is not None and member.namespace not in self._registry.spaces:
            self._moved[member.namespace] = parent
            self._manager.server.eio.spawn_in_turn(self._open_for, member)

    def _open_for(self, member: Member) -> None:  # greenlet
        if self._manager.member(member.sid, member.namespace) is member:
            self.open(member.namespace, member.auth)

    # -- to all children: hub or greenlet ----------------------------------------------------------

    def emit(self, to: Recipients, event: str, args: tuple[Any, ...], *, volatile: bool) -> None:
        manager, parent = self._manager, to.namespace
        rooms = recipients(to.rooms)
        if not to.local and isinstance(manager, SharedRooms):
            body, attachments = body_of(manager.server.packet_class, [event, *args])
            where = None if rooms is None else rooms_in(rooms)
            key = self.all[parent].rtcio_key
            made = messages.Emit(key, where, to.skip, body, attachments, None, False, volatile)
            manager.tell(self.WHAT, messages.encoded(made))
        for name in self.names(parent):
            manager.emit(event, args, name, rooms, to.skip, ignore_queue=True, volatile=volatile)

    def told(self, node: str, number: int, about: bytes) -> None:
        """Another worker emits to all children of a parent. # hub"""
        message = messages.decoded(messages.Emit, about)
        parent = self._by_key(message.namespace)
        for name in () if parent is None else list(parent.rtcio_children):
            copied = messages.decoded(messages.Emit, about)
            copied.namespace = name
            self.deliver(node, copied)


def _fits(pattern: re.Pattern[str], name: str) -> bool:
    """Whether a name is one of those that a pattern is for.

    As in Node, `$` is the end of the name. In Python it is the place before a last line end, too,
    and a client may choose such a name.
    """
    return not name.endswith("\n") and pattern.search(name) is not None


def _described(match: Match) -> str:
    if isinstance(match, re.Pattern):
        return f"{match.flags} {match.pattern}"
    known = match if hasattr(match, "__qualname__") else type(match)
    return f"{known.__module__}.{known.__qualname__}"
