"""What is said and done to several sockets at once: ``to``, ``in_`` and ``except_``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..adapter.member import Member, Stage
from ..adapter.recipients import flat
from ..errors import OptionError
from ..events import RESERVED_EVENTS
from ..hub.thread import HubThread, any_thread
from ..hub.turns import LAST

if TYPE_CHECKING:
    from ..server import Server
    from .socket import Socket

__all__ = ["BroadcastOperator", "check_name"]


class BroadcastOperator:
    """Some sockets of one namespace: those in any of its rooms (all, before `to`), less some.

    Immutable: each of ``to``, ``in_`` and ``except_`` returns a new one. A room may also be a sid.
    """

    __slots__ = ("_except", "_namespace", "_rooms", "_server")

    def __init__(
        self,
        server: Server,
        namespace: str,
        rooms: tuple[Any, ...] | None = None,
        excepted: tuple[Any, ...] = (),
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._rooms = rooms
        self._except = excepted

    def to(self, *rooms: Any) -> BroadcastOperator:
        """Adds rooms, each given singly or in a list. An empty list adds none: alone, it is nobody.

        `None` alone changes nothing: without rooms, they are all sockets of the namespace. Raises
        `OptionError` without an argument, and for what cannot name a room.
        """
        if not rooms:
            raise OptionError("to() and in_() need a room, a list of rooms, or None for everybody")
        if all(each is None for each in rooms):
            return self
        known = (*(self._rooms or ()), *flat(rooms))
        return BroadcastOperator(self._server, self._namespace, known, self._except)

    in_ = to

    def except_(self, *rooms: Any) -> BroadcastOperator:
        """Leaves out the sockets in ``rooms``, each given singly or in a list; without any, none.

        Raises `OptionError` for what cannot name a room.
        """
        out = flat(each for each in rooms if each is not None)
        return BroadcastOperator(self._server, self._namespace, self._rooms, (*self._except, *out))

    @property
    def _hub_thread(self) -> HubThread:
        return self._server._hub_thread

    @any_thread
    def emit(self, event: str, *args: Any) -> None:
        """Emits to all of them. Raises `OptionError` for a reserved event name."""
        check_name(event)
        self._server.manager.emit(
            event,
            args,
            namespace=self._namespace,
            room=self._rooms,
            skip_sid=list(self._except),
        )

    @any_thread
    def fetch_sockets(self) -> list[Socket]:
        """The sockets themselves, of this process."""
        connected = (each for each in self._members() if each.stage is Stage.CONNECTED)
        return [self._server._socket(member) for member in connected]

    @any_thread
    def sockets_join(self, *rooms: Any) -> None:
        """Makes them join ``rooms``, each given singly or in a list."""
        named = flat(rooms)
        for member in self._members():
            for room in named:
                self._server.enter_room(member.sid, room, namespace=self._namespace)

    @any_thread
    def sockets_leave(self, *rooms: Any) -> None:
        """Makes them leave ``rooms``, each given singly or in a list."""
        named = flat(rooms)
        for member in self._members():
            for room in named:
                self._server.leave_room(member.sid, room, namespace=self._namespace)

    @any_thread(in_hub="spawn")
    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects them; ``close``: their connections too, with all other namespaces."""
        for member in self._members(connecting=True):
            self._server.eio.take_turn(LAST)  # their handlers run here, one after the other
            self._server._socket(member).disconnect(close)

    def _members(self, *, connecting: bool = False) -> list[Member]:
        """Those that are away for a while included: what is done to them holds when they return.

        ``connecting``: those that are being let in, too.
        """
        manager = self._server.manager
        inside = manager._participants(self._namespace, self._rooms)
        out = manager._participants(self._namespace, self._except)
        found = (manager.member(sid, self._namespace) for sid in inside if sid not in out)
        return [
            each
            for each in found
            if each is not None
            and (each.present or (connecting and each.stage is Stage.CONNECTING))
        ]


def check_name(event: Any) -> None:
    """Raises `OptionError` for what no app may emit."""
    if not isinstance(event, str):
        raise OptionError(f"an event's name is a string, not {type(event).__name__}")
    if event in RESERVED_EVENTS:
        raise OptionError(f"{event!r} is a reserved event name and cannot be emitted")
