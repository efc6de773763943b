"""Several processes, one namespace: what a manager with a pub/sub back end does here.

`graft` turns any python-socketio manager, pub/sub ones included, into one with the index of
`manager`: `RoomIndex` is put right above `socketio.Manager` in its class's order of bases, so that
a `PubSubManager`'s own steps come first and the local ones are ours.

Overridden of upstream's ``PubSubManager`` (``tests/test_upstream.py`` asserts each): ``_publish``,
``_handle_emit``, ``_handle_disconnect``, ``_handle_callback``, ``emit``, ``enter_room``,
``leave_room`` and ``close_room``.
"""

from __future__ import annotations

import base64
import logging
from collections import deque
from typing import Any

from socketio.base_manager import BaseManager
from socketio.pubsub_manager import PubSubManager

from .envelope import Drop
from .errors import OptionError
from .manager import RoomIndex
from .rooms import recipients, rooms_in, skipped

__all__ = ["Published", "graft"]

log = logging.getLogger(__name__)

MAX_UNPUBLISHED = 10_000  # messages that wait for a pub/sub back end that does not keep up


def graft(manager: Any) -> Any:
    """Gives ``manager`` the index; one that is no python-socketio manager stays as it is."""
    if isinstance(manager, RoomIndex) or not isinstance(manager, BaseManager):
        return manager
    kind = type(manager)
    before = (Published,) if isinstance(manager, PubSubManager) else ()
    manager.__class__ = type(f"Indexed{kind.__name__}", (*before, kind, RoomIndex), {})
    manager.start_index()
    return manager


class Published(PubSubManager):
    """What goes before a `PubSubManager`'s own steps: nothing published blocks, nothing overtakes.

    Upstream publishes where it is called, on whichever connection of its pool is free. Here one
    task does it, in order, so that the hub may emit and two messages never change places.
    """

    _unpublished: deque[Any] | None = None

    NOBODY = "rtcio:nobody"  # a room for plain python-socketio processes on the same channel

    def _publish(self, data: Any) -> None:
        if not self.server.eio.hub_thread.serving:  # no hub runs that could do it later
            super()._publish(data)
            return
        with self.server.eio.gate:
            queue = self._unpublished
            if queue is None:
                queue = self._unpublished = deque()
                self.server.eio.spawn(self._publish_all)
            if len(queue) >= MAX_UNPUBLISHED:
                self.server.counters.dropped[Drop.PUBLISH] += 1
            else:
                queue.append(data)

    def _publish_all(self) -> None:
        while True:
            queue = self._unpublished
            while queue:
                try:
                    super()._publish(queue[0])
                except Exception:
                    log.exception("the client manager could not publish")
                queue.popleft()
            with self.server.eio.gate:
                if not queue:
                    self._unpublished = None
                    return

    def emit(
        self,
        event: str,
        data: Any,
        namespace: str | None = None,
        room: Any = None,
        skip_sid: Any = None,
        callback: Any = None,
        to: Any = None,
        **kwargs: Any,
    ) -> None:
        """Upstream's; whom ``to``, ``room`` and ``skip_sid`` name, `rooms` says."""
        rooms, out = recipients(to, room), skipped(skip_sid)
        if rooms == [] or (callback is not None and self._has_left(rooms, namespace or "/")):
            return
        if not kwargs.get("ignore_queue"):
            for each in [*(rooms_in(rooms) if rooms is not None else ()), *out]:
                _check_crossing(each)
        super().emit(
            event,
            data,
            namespace=namespace or "/",
            room=_singly(rooms),
            skip_sid=_singly(out) if out else None,
            callback=callback,
            **kwargs,
        )

    def _has_left(self, room: Any, namespace: str) -> bool:
        """Whether it names a socket of this process that is gone: its callbacks never went."""
        return isinstance(room, str) and room in self._departed and not self.member(room, namespace)

    def nobody_answers(self, room: Any, namespace: str) -> bool:
        for each in rooms_in(room):
            if self.member(each, namespace) is None and each not in self._departed:
                return False  # a room, or a socket of another process
        nobody: bool = super().nobody_answers(room, namespace)
        return nobody

    def close_room(self, room: Any, namespace: str | None = None) -> None:
        _check_crossing(room)
        super().close_room(room, namespace or "/")

    def enter_room(self, sid: str, namespace: str, room: Any, eio_sid: Any = None) -> None:
        if self.member(sid, namespace) is not None:  # here, though perhaps away for a while
            self.basic_enter_room(sid, namespace, room)
        elif room is not None:
            _check_crossing(room)
            super().enter_room(sid, namespace, room, eio_sid=eio_sid)

    def leave_room(self, sid: str, namespace: str, room: Any) -> None:
        if self.member(sid, namespace) is not None:
            self.basic_leave_room(sid, namespace, room)
        elif room is not None:
            _check_crossing(room)
            super().leave_room(sid, namespace, room)

    def announce(
        self, event: str, payload: Any, namespace: str, rooms: list[Any], told: set[str]
    ) -> set[str]:
        self.emit(event, payload, namespace=namespace, room=rooms, skip_sid=list(told))
        return told.union(self._participants(namespace, rooms))

    def publish_relay(self, message: dict[str, Any]) -> bool:
        self._publish(
            {
                "method": "emit",
                "event": message["event"],
                "data": [None],
                "namespace": message["namespace"],
                "room": self.NOBODY,
                "rtcio_relay": message,
                "host_id": self.host_id,
            }
        )
        return True

    def _handle_emit(self, message: dict[str, Any]) -> None:
        relay = message.get("rtcio_relay")
        if relay is None:
            super()._handle_emit(message)
        else:
            relay["attachments"] = [base64.b64decode(each) for each in relay["attachments"]]
            self.server.relay.from_elsewhere(relay)

    # These two run the app's code: the task that listens goes on, relays come after them.

    def _handle_disconnect(self, message: dict[str, Any]) -> None:
        self.server.eio.spawn(super()._handle_disconnect, message)

    def _handle_callback(self, message: dict[str, Any]) -> None:
        answer, guarded = super()._handle_callback, self.server.dispatcher.guarded
        self.server.eio.spawn(guarded, None, "ack", answer, message)


def _check_crossing(room: Any) -> None:
    """Raises `OptionError` for a room whose name other processes would not know again."""
    if not isinstance(room, (str, int, float)):
        raise OptionError(
            f"a {type(room).__name__} names a room in this process alone: where a client manager "
            "joins several, give a string or a number"
        )


def _singly(rooms: Any) -> Any:
    """One room as itself, and not in a list: all that older receivers expect of one."""
    return rooms[0] if isinstance(rooms, list) and len(rooms) == 1 else rooms
