"""Several processes: managers with a pub/sub back end.

`graft` turns any python-socketio manager, pub/sub ones included, into a `RoomIndex`: its class gets
`RoomIndex` as a base right before `socketio.Manager`, so that the methods of a `PubSubManager` run
first and the local ones are ours.

Overridden of upstream's ``PubSubManager`` (``tests/test_upstream.py`` asserts each): ``_publish``,
``emit``, ``enter_room``, ``leave_room``, ``close_room``, ``_get_logger``, and what `listening`
lists, ``_return_callback`` among it.
"""

from __future__ import annotations

import base64
import logging
import math
import sys
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from itertools import islice
from typing import Any

import gevent
from socketio.base_manager import BaseManager
from socketio.pubsub_manager import PubSubManager

from ..adapter.callbacks import MAX_CALLBACKS
from ..adapter.emit import RoomIndex
from ..adapter.recipients import recipients, rooms_in, skipped
from ..errors import OptionError, ProtocolError
from ..logs import Seldom, plain
from ..parser.packet import parts_of
from ..protocol.envelope import Drop
from ..transport.slow_readers import memory_of
from .pubsub_channel import published_together
from .pubsub_subscriber import Listening, end

__all__ = ["Published", "graft"]

log = logging.getLogger(__name__)

SEVERAL = "rtcio:several"  # the key of callbacks that several recipients may answer
MAX_UNPUBLISHED = 10_000  # messages that wait for a slow pub/sub back end
MAX_UNPUBLISHED_BYTES = 64_000_000  # bytes of memory of these messages
TOGETHER = 16  # messages that Redis gets at once, so that it does not wake for each
TOGETHER_BYTES = 65_536  # bytes of memory of these messages

_Item = tuple[Any, int, Callable[[], None] | None]
"""A message that waits, its bytes, and what is called once it is published."""


def graft(manager: Any) -> Any:
    """Makes ``manager`` a `RoomIndex`; an object that is not python-socketio's stays unchanged."""
    if isinstance(manager, RoomIndex) or not isinstance(manager, BaseManager):
        return manager
    kind = type(manager)
    before = (Published,) if isinstance(manager, PubSubManager) else ()
    bases = (RoomIndex,) if issubclass(RoomIndex, kind) else (*before, kind, RoomIndex)
    manager.__class__ = type(f"Indexed{kind.__name__}", bases, {})
    manager.start_index()
    return manager


class Published(Listening):
    """Publishes for a `PubSubManager`: publishing never blocks the caller and keeps the order.

    Upstream publishes in the caller's greenlet, on any free connection of its pool. Here one task
    publishes, in order, so that the hub may emit and no message overtakes another.
    """

    _unpublished: deque[_Item] | None = None
    _unpublished_bytes = 0
    _failures: Seldom | None = None
    _waiting: deque[tuple[Any, int]] | None = None  # callbacks: their recipients and numbers

    #: The greenlet that publishes, if it is one of gevent's.
    _publisher: Any = None

    NOBODY = "rtcio:nobody"  # a room for plain python-socketio processes on the same channel

    def abandon(self) -> list[int]:
        """As for `Listening`, without sockets of its own. # after a fork

        What waits to be published is the parent's.
        """
        self.leave_sockets()
        end(self._publisher)
        self._unpublished, self._unpublished_bytes = None, 0
        return super().abandon()

    def _publish(self, data: Any, done: Callable[[], None] | None = None) -> None:
        """Queues a message; ``done`` is called once it is published, never otherwise."""
        if not self.server.eio.hub_thread.may_run:  # no hub runs that could publish it later
            self._publish_one(data, done)
            return
        size = memory_of(data, MAX_UNPUBLISHED_BYTES)
        with self.server.eio.gate:
            queue = self._unpublished
            if queue is None:
                queue = self._unpublished = deque()
                self.server.eio.spawn(self._publish_all)
            full = self._unpublished_bytes + size > MAX_UNPUBLISHED_BYTES
            if len(queue) >= MAX_UNPUBLISHED or full:
                self.server.counters.dropped[Drop.PUBLISH] += 1
            else:
                queue.append((data, size, done))
                self._unpublished_bytes += size

    def _publish_all(self) -> None:
        self._publisher = gevent.getcurrent()
        together = _publishes_as_redis(self)
        while True:
            queue = self._unpublished
            while queue:
                some = _some(queue) if together else [queue[0]]
                if len(some) == 1 or not self._publish_some(some):
                    for data, _, done in some:
                        self._publish_one(data, done)
                for _ in some:
                    queue.popleft()
                with self.server.eio.gate:
                    self._unpublished_bytes -= sum(size for _, size, _ in some)
            with self.server.eio.gate:
                if not queue:
                    self._unpublished = self._publisher = None
                    return

    def _publish_some(self, some: list[_Item]) -> bool:
        """Publishes several at once; `False`: each has to be published by itself."""
        if not self.connected:
            return False
        try:
            messages = [self.json.dumps(data) for data, _, _ in some]
            published_together(self.redis, self.channel, messages)
        except Exception:  # noqa: BLE001  (redis-py's, the system's, a JSON module's)
            return False
        for _, _, done in some:
            if done is not None:
                done()
        return True

    def _publish_one(self, data: Any, done: Callable[[], None] | None) -> None:
        gave_up.set(None)
        try:
            super()._publish(data)
        except Exception as error:  # noqa: BLE001  (each back end has its own)
            self._not_published("", error)
            return
        why = gave_up.get()
        if why is not None:
            self._not_published(why, None)
        elif done is not None:
            done()

    def _not_published(self, why: str, error: Exception | None) -> None:
        self.server.counters.dropped[Drop.UNPUBLISHED] += 1
        if self._failures is None:
            self._failures = Seldom()
        more = self._failures.more(self.server.eio.heartbeat.now())
        if more is not None:
            log.error("the client manager could not publish%s%s", why, more, exc_info=error)

    def _get_logger(self) -> Any:
        return _Muted(super()._get_logger())

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
        """Emits in all processes; for ``to``, ``room`` and ``skip_sid`` see `recipients`."""
        rooms, out = recipients(to, room), skipped(skip_sid)
        namespace = namespace or "/"
        where, skip = _singly(rooms), _singly(out) if out else None
        if rooms == [] or (callback is not None and self._has_left(where, namespace)):
            return
        if callback is not None and kwargs.get("volatile") and self._is_late(where, namespace):
            return
        own = kwargs.get("own", True)
        here = partial(super(PubSubManager, self).emit, event, data, namespace=namespace, own=own)
        if kwargs.get("volatile"):  # in this process; others send it as any event
            here = partial(here, volatile=True)
        if kwargs.get("ignore_queue"):
            here(room=where, skip_sid=skip, callback=callback)
            return
        for each in [*(rooms_in(rooms) if rooms is not None else ()), *out]:
            _check_crossing(each)
        asked = None
        if callback is not None:
            asked = self._asked(callback, where, namespace)
            callback = partial(self._return_callback, self.host_id, *asked)
        message = self._message(event, data, namespace, where, skip, asked)
        here(room=where, skip_sid=skip, callback=callback)
        self._publish(message)

    def _asked(self, callback: Any, where: Any, namespace: str) -> tuple[Any, str, int]:
        """Keeps a callback; returns its key for acknowledgements from other processes."""
        if self.server is None:
            raise RuntimeError("this manager only publishes: a callback needs a server's manager")
        if where is None:
            raise OptionError("a callback needs recipients when several processes run: give to=")
        if not self.server.manager_initialized:  # upstream listens once there is a client
            self.server.manager_initialized = True
            self.initialize()
        name = SEVERAL if isinstance(where, list) else where
        with self.server.eio.gate:  # or two threads could give two events the same number
            number = self._generate_ack_id(name, callback)
            # For a room, or a socket of another process, we cannot know that no answer will come.
            if self._waiting is None:
                self._waiting = deque()
            self._waiting.append((name, number))
            if len(self._waiting) > MAX_CALLBACKS:
                self._give_up(*self._waiting.popleft())
        return name, namespace, number

    def _give_up(self, name: Any, number: int) -> None:
        waiting = self.callbacks.get(name, {})
        waiting.pop(number, None)
        if waiting.keys() == {0}:  # the counter
            del self.callbacks[name]

    def forget(self, waiter: Any, room: Any) -> None:
        several = isinstance(room, list) and len(room) > 1
        super().forget(waiter, [*room, SEVERAL] if several else room)

    def _message(
        self, event: str, data: Any, namespace: str, where: Any, skip: Any, asked: Any = None
    ) -> dict[str, Any]:
        arguments = list(data) if isinstance(data, tuple) else [data]
        try:
            plain, attachments = parts_of(self.json, arguments)
            if plain is arguments and not all(isinstance(each, _UNCHANGING) for each in plain):
                # It is written later; until then the app may change the object that it emitted.
                plain = self.json.loads(self.json.dumps(plain))
            arguments = plain
        except ProtocolError:
            raise
        except (TypeError, ValueError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"the event '{event}' cannot be sent: {error}") from None
        null = data is not None and len(arguments) == 1 and _is_null(arguments[0])  # one argument
        if attachments:
            arguments = [arguments, *[base64.b64encode(each).decode() for each in attachments]]
        return {
            "method": "emit",
            "event": event,
            "data": arguments,
            "binary": bool(attachments),
            "namespace": namespace,
            "room": where,
            "skip_sid": skip,
            "callback": asked,
            "host_id": self.host_id,
            **({"rtcio_null": True} if null else {}),
        }

    def _has_left(self, room: Any, namespace: str) -> bool:
        """Whether it names a socket that has left this process: it answers no callbacks."""
        return isinstance(room, str) and room in self._departed and not self.member(room, namespace)

    def _is_late(self, room: Any, namespace: str) -> bool:
        """Whether it names a socket of this process for which other data waits."""
        here = isinstance(room, str) and self.member(room, namespace) is not None
        return here and not self.ready_among(namespace, [room])

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
        if self.member(sid, namespace) is not None:  # in this process, perhaps away
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
        self,
        event: str,
        payload: Any,
        namespace: str,
        rooms: list[Any],
        told: set[str],
        told_rooms: set[Any],
    ) -> set[str]:
        """Other processes know from the rooms which of their sockets were told before."""
        reached: set[str] = super().announce(event, payload, namespace, rooms, told, told_rooms)
        if "emit" not in self.__dict__:  # else the Admin UI's instrumentation has it published
            crossing = [room for room in rooms if _crosses(room)]
            skip = [room for room in told_rooms if _crosses(room)]
            if crossing:
                where, out = _singly(crossing), _singly(skip) or None
                self._publish(self._message(event, payload, namespace, where, out))
        return reached

    def publish_relay(self, message: dict[str, Any], done: Callable[[], None]) -> bool:
        rooms = message["rooms"]
        if rooms is not None:
            message = {**message, "rooms": [room for room in rooms if _crosses(room)]}
        self._publish(
            {
                "method": "emit",
                "event": message["event"],
                "data": [None],
                "namespace": message["namespace"],
                "room": self.NOBODY,
                "rtcio_relay": message,
                "host_id": self.host_id,
            },
            done,
        )
        return True


#: Why a back end's code gave up on a message, set in the publishing task; `None`: it did not.
gave_up: ContextVar[str | None] = ContextVar("rtcio_sync_gave_up", default=None)


class _Muted:
    """A manager's logger without upstream's two lines for each unpublished message."""

    def __init__(self, logger: Any) -> None:
        self._logger = logger

    def error(self, message: Any, *args: Any, **options: Any) -> None:
        if not str(message).startswith("Cannot publish"):
            self._logger.error(message, *args, **options)
        elif "giving up" in str(message):
            causes = options.get("extra") or {}
            gave_up.set("".join(f": {plain(str(each))}" for each in causes.values()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logger, name)


def _some(queue: deque[_Item]) -> list[_Item]:
    """The first ones of a queue, as many as may be published together; at least one."""
    some: list[_Item] = []
    room = TOGETHER_BYTES
    for item in islice(queue, TOGETHER):
        room -= item[1]
        if some and room < 0:
            break
        some.append(item)
    return some


def _publishes_as_redis(manager: Any) -> bool:
    """Whether it is a `RedisManager` that publishes as python-socketio's does."""
    known = sys.modules.get("socketio.redis_manager")  # it was imported, if it is one
    if known is None or not isinstance(manager, known.RedisManager):
        return False
    kinds = [kind for kind in type(manager).__mro__ if "_publish" in vars(kind)]
    return kinds[0] is Published and kinds[1] is known.RedisManager


def _is_null(value: Any) -> bool:
    """Whether it is null in JSON, as NaN and Infinity are too."""
    return value is None or (isinstance(value, float) and not math.isfinite(value))


_UNCHANGING = (str, int, float, type(None))


def _crosses(room: Any) -> bool:
    """Whether other processes know a room by its name."""
    return isinstance(room, (str, int, float))


def _check_crossing(room: Any) -> None:
    """Raises `OptionError` for a room whose name does not survive the way to other processes."""
    if not _crosses(room):
        raise OptionError(
            f"a {type(room).__name__} can name a room in one process only: with a client manager "
            "for several processes, give a string or a number"
        )


def _singly(rooms: Any) -> Any:
    """A single room without a list, as older receivers expect it."""
    return rooms[0] if isinstance(rooms, list) and len(rooms) == 1 else rooms
