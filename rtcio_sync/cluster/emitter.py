"""Emits into a cluster from a process without clients: Celery, cron, a Flask app elsewhere.

It is no node. It writes to the inboxes of all nodes, and each node emits to its own members. Its
entries are numbered, so that one which is written twice, because Redis' answer was lost, is
delivered once. Everything blocks, and may be called from any thread; what a signal handler sends
while the call that it interrupts sends something is sent after it, by that call.
"""

from __future__ import annotations

import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import gevent

from ..adapter.recipients import flat
from ..config.option_values import check_value
from ..errors import OptionError
from ..events import RtcioEvents
from ..hub.forked import holds
from ..logs import Seldom
from ..parser.packet import TextPacket
from ..protocol.names import check_name, namespace_name
from . import messages
from .emitter_inbox import OUTSIDE
from .frames import frame
from .messages import Kind, encoded
from .redis_addresses import client, failures, is_final
from .redis_outbox import Bounds
from .redis_survey import Graves, inbox_of, living
from .redis_writer import MOST_ENTRIES
from .shared_rooms import body_of

__all__ = ["Emitter"]

log = logging.getLogger(__name__)

WITHIN = 10.0  # seconds in which Redis, and nodes that it has forgotten, may come back
AGAIN = 0.2  # seconds between two tries
LONGEST = Bounds().each  # bytes of one message, as of a node
INSIDE = Bounds().inside  # bytes in an inbox, of all senders

# KEYS: an inbox. ARGV: the entry, the bytes and the entries that an inbox may have. Returns where
# the entry is, ``full``, or nothing: there is no inbox. Without SAMPLES 0 Redis would guess the
# size from the oldest entries. That takes 0.3 ms for 64 MB of small entries, else microseconds.
_ADD = """
local inside = redis.pcall('MEMORY', 'USAGE', KEYS[1], 'SAMPLES', 0)
if type(inside) == 'table' then return inside end
if inside and inside + #ARGV[1] > tonumber(ARGV[2]) then return 'full' end
return redis.pcall('XADD', KEYS[1], 'NOMKSTREAM', 'MAXLEN', '~', ARGV[3], '*', 'x', ARGV[1])
"""


def _named(rooms: Iterable[Any]) -> list[Any]:
    """As `flat`; raises `OptionError` for a room that no node can know, too."""
    found = flat(rooms)
    for each in found:
        messages.check_room(each)
    return found


class Emitter:
    """Emits to the clients of all servers of a cluster, ``Server(cluster=url)``.

    ``url``: of their Redis; ``prefix``: their ``cluster_prefix``. It connects when it is first
    used. `emit` and the others return when Redis has the message for all servers. They raise
    `OSError` or redis-py's errors if it cannot be reached within 10 s, and at once if the password
    is wrong or the user lacks a right; and `OptionError` for a message of more than 16 MB. A worker
    for which 64 MB wait already, because it does not read, does not get the message: `dropped`
    counts it, and the log names the worker. Immutable: ``to``, ``in_``, ``except_`` and ``of``
    return a new one, which shares the connection. Raises `OptionError` for an invalid address, and
    without the extra ``redis``.
    """

    __slots__ = ("_except", "_namespace", "_rooms", "_sender")

    def __init__(self, url: str, *, prefix: str = "rtcio") -> None:
        check_value("cluster_prefix", prefix)
        self._sender = _Sender(url, prefix)
        self._namespace = "/"
        self._rooms: tuple[Any, ...] | None = None
        self._except: tuple[Any, ...] = ()

    def _with(self, **changed: Any) -> Emitter:
        made: Emitter = object.__new__(Emitter)
        for name in self.__slots__:
            setattr(made, name, changed.get(name, getattr(self, name)))
        return made

    @property
    def dropped(self) -> int:
        """How many messages workers did not get, because 64 MB waited for them.

        Counted for each worker, since the process began, with those of `to` and the like.
        """
        return self._sender.dropped

    def of(self, namespace: str) -> Emitter:
        """The same for another namespace. Raises `OptionError` for an invalid name."""
        return self._with(_namespace=namespace_name(namespace))

    def to(self, *rooms: Any) -> Emitter:
        """Adds rooms or sids, given one by one or in lists; as `BroadcastOperator.to`."""
        if not rooms:
            raise OptionError("to() and in_() need a room, a list of rooms, or None for everybody")
        if all(each is None for each in rooms):
            return self
        return self._with(_rooms=(*(self._rooms or ()), *_named(rooms)))

    in_ = to

    def except_(self, *rooms: Any) -> Emitter:
        """Leaves out the sockets in ``rooms``, given one by one or in lists."""
        out = _named(each for each in rooms if each is not None)
        return self._with(_except=(*self._except, *out))

    def emit(self, event: str, *args: Any) -> None:
        """Emits to all of them. Raises `OptionError` for a reserved event name, or over 16 MB."""
        check_name(event)
        arguments = [event, *args]
        if event == RtcioEvents.INIT_OFFER and len(args) == 1:
            arguments.append({"polite": True})  # as `adapter.emit.polite`
        body, attachments = body_of(TextPacket, arguments)
        rooms = None if self._rooms is None else list(self._rooms)
        message = messages.Emit(self._namespace, rooms, list(self._except), body, attachments)
        self._sender.post(Kind.EMIT, encoded(message))

    def sockets_join(self, *rooms: Any) -> None:
        """Joins the sockets to ``rooms``, given one by one or in lists."""
        self._do("join", _named(rooms))

    def sockets_leave(self, *rooms: Any) -> None:
        """Takes the sockets out of ``rooms``, given one by one or in lists."""
        self._do("leave", _named(rooms))

    def disconnect_sockets(self, close: bool = False) -> None:
        """Disconnects the sockets; ``close``: their connections too, with all other namespaces."""
        self._do("close" if close else "disconnect", [])

    def _do(self, what: str, named: Iterable[Any]) -> None:
        rooms = None if self._rooms is None else list(self._rooms)
        given = self._namespace, rooms, list(self._except), what, list(named), 0
        self._sender.post(Kind.MANY, encoded(messages.Many(*given)))


class _Sender:
    """Writes to the inboxes of all nodes. ``url`` is not kept: it may hold a password."""

    def __init__(self, url: str, prefix: str) -> None:
        self._make = client(url)
        self._client: Any = None
        self._prefix = prefix
        self._lock = threading.Lock()
        #: The greenlets (or threads) that send or wait for the lock, and what their own signal
        #: handlers send meanwhile: it waits until they are done.
        self._inside: set[Any] = set()
        self._late: deque[tuple[int, bytes]] = deque()
        self._process = 0
        self._name, self._number = b"", 0
        #: The nodes that were there last, and the tokens that they had.
        self._known: dict[str, int] = {}
        #: Those of them that Redis does not know now, and since when.
        self._missed: dict[str, float] = {}
        #: Messages that nodes did not get, and when the log has said so of a node.
        self.dropped = 0
        self._warnings: dict[str, Seldom] = {}
        holds(self)

    def abandon(self) -> list[int]:
        """Makes a new lock, in a forked child: redis-py makes new connections. # after a fork"""
        self._lock = threading.Lock()
        self._inside.clear()
        self._late.clear()
        return []

    def post(self, kind: int, body: bytes) -> None:
        if len(body) > LONGEST:
            limit = f"{LONGEST:,} bytes ({LONGEST // 1_000_000} MB)"
            raise OptionError(f"a message of {len(body):,} bytes; an Emitter sends at most {limit}")
        own = gevent.getcurrent()
        if own in self._inside:  # a signal handler has interrupted it
            self._late.append((kind, body))
            return
        self._inside.add(own)
        try:
            self._post(kind, body)
        finally:
            self._inside.discard(own)
        while (late := self._next_late()) is not None:
            self.post(*late)

    def _next_late(self) -> tuple[int, bytes] | None:
        with suppress(IndexError):  # most often there is none
            return self._late.popleft()
        return None

    def _post(self, kind: int, body: bytes) -> None:
        with self._lock:
            if self._process != os.getpid():  # a forked child has a name of its own
                self._process = os.getpid()
                self._name, self._number = secrets.token_bytes(8), 0
            self._number += 1
            self._deliver(OUTSIDE.pack(self._name, self._number) + frame(kind, body))

    def _deliver(self, value: bytes) -> None:
        end = time.monotonic() + WITHIN
        written: set[str] = set()
        while True:
            try:
                if self._write(value, written):
                    return
                if time.monotonic() > end:  # nodes that died while Redis was gone
                    self._known = {node: self._known[node] for node in written & {*self._known}}
                    return
            except failures() as error:
                if time.monotonic() > end or is_final(error):
                    raise
            time.sleep(AGAIN)

    def _write(self, value: bytes, written: set[str]) -> bool:
        """Whether all nodes have it. ``written``: those that do."""
        if self._client is None:
            self._client = self._make()
        self._look(self._client)
        missing = [node for node in self._known if node not in written]
        pipeline = self._client.pipeline(transaction=False)
        for node in missing:
            inbox = inbox_of(self._prefix, node)
            pipeline.execute_command("EVAL", _ADD, 1, inbox, value, INSIDE, MOST_ENTRIES)
        replies = pipeline.execute(raise_on_error=False)
        failed = [each for each in replies if isinstance(each, Exception)]
        for node, where in zip(missing, replies, strict=True):
            if where is not None and not isinstance(where, Exception):
                written.add(node)
                if where == b"full":
                    self._drop(node)
        if failed:  # the others have it, and do not get it again
            raise failed[0]
        return all(node in written for node in self._known)

    def _drop(self, node: str) -> None:
        """A node does not get the message."""
        self.dropped += 1
        more = self._warnings.setdefault(node, Seldom()).more(time.monotonic())
        if more is not None:
            said = (
                "worker %s does not read, and %d MB wait for it: it does not get what this process "
                "emits (`rtcio-sync cluster status` names its host)%s"
            )
            log.warning(said, node, INSIDE // 1_000_000, more)

    def _look(self, redis: Any) -> None:
        """Finds out which nodes there are."""
        living_now, now = living(redis, self._prefix), time.monotonic()
        gone = {node: token for node, token in self._known.items() if node not in living_now}
        self._missed = {node: self._missed.get(node, now) for node in gone}
        dead = Graves(redis, self._prefix).among(gone) if gone else set()
        # Redis may have forgotten a node that lives; the node will be there again in a second.
        kept = {
            node: token
            for node, token in gone.items()
            if node not in dead and now - self._missed[node] <= WITHIN
        }
        self._known = {**kept, **living_now}
        for node in self._warnings.keys() - self._known.keys():
            del self._warnings[node]
