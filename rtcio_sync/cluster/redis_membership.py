"""Who lives, according to Redis: claims an id, beats, and buries who stands still. # hub

Three keys of one slot: ``records`` (id -> what a node says of itself), ``beats`` (id -> its mark:
its token, and when Redis last heard it) and ``graves`` (the ids and tokens of the dead).
Everything that decides is a script, so nobody can come between. A node is buried by whoever first
removes the mark that stood still; the others see the grave.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from functools import partial
from typing import Protocol

from ..engineio.ids import is_node
from ..errors import ProtocolError
from ..protocol.envelope import Drop
from .messages import Struct, decoded, encoded
from .redis_heartbeats import Beats
from .redis_link import Replied
from .redis_resp import ErrorReply, Reply, command

__all__ = [
    "LONGEST_RECORD", "OLDEST_VERSION", "TOKENS", "VERSION", "Census", "Events", "Identity",
    "Record", "keys_of", "marks_in",
]  # fmt: skip

#: Of the protocol over Redis; nodes from `OLDEST_VERSION` on are spoken to.
VERSION = OLDEST_VERSION = 1

TOKENS = 1 << 20  #: how many tokens there are; a mark is a number that Lua can hold exactly
_TIMES = 1 << 32

FRESH = 3.0  # seconds since its last beat in which a node surely lives
MOST_NODES = 10_000
LONGEST_RECORD = 1000  # bytes


class Identity(Protocol):
    """What a node says of itself to other hosts."""

    @property
    def node(self) -> str: ...

    @property
    def born(self) -> int: ...

    @property
    def host(self) -> str:
        """The same for the nodes of one host, and for no others."""

    def neighbours(self) -> Collection[str]:
        """The other nodes of this host that live."""


class Record(Struct):
    """What a node says of itself."""

    version: int
    token: int
    host: str
    born: int
    sessions: int = 0
    rooms: int = 0


class Events(Protocol):
    """What a census calls. # hub"""

    def claimed(self) -> None:
        """The id is this node's, for Redis too; it may have been before."""

    def refused(self, reason: str) -> None:
        """The id is not this node's: it is ``taken``, or ``buried``."""

    def objected(self, error: ErrorReply) -> None:
        """Redis replied with an error."""

    def found(self, node: str, record: Record) -> None:
        """A node lives. Called again when it is seen with another token."""

    def dead(self, node: str, token: int) -> None:
        """A node is buried."""

    def buried(self, node: str, token: int) -> None:
        """The same, and it was this node that did it."""


_MARK = """
local function mark(token)
  local now = redis.call('TIME')
  local tenths = (now[1] * 10 + math.floor(now[2] / 100000)) % 4294967296
  return string.format('%.0f', token * 4294967296 + tenths)
end
local function token_of(found)
  return math.floor(tonumber(found) / 4294967296)
end
local function grave(id, token)
  return id .. ':' .. string.format('%.0f', token)
end
local function bury(id, token)
  local now = redis.call('TIME')[1]
  redis.call('HDEL', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
  redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', now - 86400)
  redis.call('ZADD', KEYS[3], now, grave(id, token))
end
"""

# ARGV: id, token, record.
_CLAIM = (
    _MARK
    + """
local found = redis.call('HGET', KEYS[2], ARGV[1])
if found and token_of(found) ~= tonumber(ARGV[2]) then return 'taken' end
if redis.call('ZSCORE', KEYS[3], grave(ARGV[1], tonumber(ARGV[2]))) then return 'buried' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], mark(tonumber(ARGV[2])))
return 'claimed'
"""
)

# ARGV: id, token, record, ids of neighbours. Returns the time.
_BEAT = (
    _MARK
    + """
local found = redis.call('HGET', KEYS[2], ARGV[1])
if not found or token_of(found) ~= tonumber(ARGV[2]) then return 'missing' end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[1], mark(tonumber(ARGV[2])))
for at = 4, #ARGV do
  local other = redis.call('HGET', KEYS[2], ARGV[at])
  if other then redis.call('HSET', KEYS[2], ARGV[at], mark(token_of(other))) end
end
return mark(0)
"""
)

# ARGV: id, its mark ('': it has none), its token. Returns 1 if it is this node that buries it.
_BURY = (
    _MARK
    + """
local found = redis.call('HGET', KEYS[2], ARGV[1]) or ''
if found ~= ARGV[2] then return 0 end
if redis.call('ZSCORE', KEYS[3], grave(ARGV[1], tonumber(ARGV[3]))) then return 0 end
bury(ARGV[1], tonumber(ARGV[3]))
return 1
"""
)

# ARGV: id, token ('': whichever it has). Returns the token, or nothing.
_LEAVE = (
    _MARK
    + """
local found = redis.call('HGET', KEYS[2], ARGV[1])
if not found then return false end
local token = token_of(found)
if ARGV[2] ~= '' and token ~= tonumber(ARGV[2]) then return false end
bury(ARGV[1], token)
return token
"""
)


def keys_of(prefix: str) -> list[str]:
    """The keys of the records, the beats and the graves."""
    return [f"{prefix}:{{nodes}}:{each}" for each in ("records", "beats", "graves")]


class Census:
    """Keeps the id of this node, and knows which others live.

    ``call(command, replied)`` sends a command to the master of these keys; `False`: there is no
    connection. ``status()``: how many sessions and rooms there are.
    """

    def __init__(
        self,
        me: Identity,
        token: int,
        prefix: str,
        *,
        call: Callable[[bytes, Replied], bool],
        events: Events,
        status: Callable[[], tuple[int, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._me = me
        self._token = token
        self._node = me.node
        self.keys = keys_of(prefix)
        self._call = call
        self._events = events
        self._status = status
        self._clock = clock
        self._beats = Beats(clock)
        self._asking: float | None = None
        #: The other nodes that have a mark or had one: their tokens.
        self._tokens: dict[str, int] = {}
        #: Those of them that are known to live.
        self._living: set[str] = set()
        #: Whether Redis has said that the id is this node's, since the connection was made.
        self.claimed = False
        #: Seconds that the last beat took.
        self.round_trip = 0.0

    # -- this node ---------------------------------------------------------------------------------

    def connected(self) -> None:
        """There is a connection: claims the id, once more."""
        self.claimed = False
        sent = self._run(
            _CLAIM, self._node, self._token, self._record(), replied=self._claim_replied
        )
        self._asking = self._clock() if sent else None

    @property
    def silent(self) -> float:
        """Seconds for which an answer is awaited."""
        return 0.0 if self._asking is None else self._clock() - self._asking

    def disconnected(self) -> None:
        """The connection has ended."""
        self._asking = None
        self.claimed = False

    def _record(self) -> bytes:
        sessions, rooms = self._status()
        me = self._me
        return encoded(Record(VERSION, self._token, me.host, me.born, sessions, rooms))

    def _claim_replied(self, reply: Reply) -> None:
        self._asking = None
        if reply == b"claimed":
            self.claimed = True
            self._events.claimed()
        elif reply in (b"taken", b"buried"):
            self._events.refused("taken" if reply == b"taken" else "buried")
        else:
            self._failed(reply)

    def _failed(self, reply: Reply) -> bool:
        """Whether a reply is an error, which it tells."""
        if isinstance(reply, ErrorReply):
            self._events.objected(reply)
            return True
        return False

    def beat(self) -> None:
        """To be called every second."""
        if self._asking is not None:
            return
        if not self.claimed:
            self.connected()
            return
        self._beats.ask()
        self._asking = self._clock()
        others = self._me.neighbours()
        said = self._record()
        # Before the time, so that none is of the future. A script would take four times as long.
        marks: list[Reply] = []
        self._call(command("HGETALL", self.keys[1]), marks.append)
        replied = partial(self._beat_replied, marks)
        self._run(_BEAT, self._node, self._token, said, *others, replied=replied)

    def leave(self, done: Callable[[], None]) -> None:
        """Gives the id back."""
        if not self._run(_LEAVE, self._node, self._token, replied=lambda reply: done()):
            done()

    def _run(self, script: str, *args: bytes | str | int, replied: Replied) -> bool:
        return self._call(command("EVAL", script, 3, *self.keys, *args), replied)

    # -- the others --------------------------------------------------------------------------------

    def _beat_replied(self, found: list[Reply], reply: Reply) -> None:
        asked, self._asking = self._asking, None
        if asked is not None:
            self.round_trip = self._clock() - asked
        if reply == b"missing":  # Redis has forgotten, or this node is buried
            self.connected()
            return
        if any(self._failed(each) for each in (reply, *found)):
            return
        try:
            now, marks = marks_in([reply, *found])
        except ProtocolError:
            return
        marks.pop(self._node, None)
        ages = {node: (now - mark) % _TIMES / 10 for node, mark in marks.items()}
        dead = self._beats.answer(marks, ages)
        self._look(marks, ages)
        for node in dead:
            self._bury(node, marks.get(node))
        missing = [node for node in self._tokens if node not in marks and node not in dead]
        for node in missing:
            self._visit(node, self._tokens[node])

    def _look(self, marks: Mapping[str, int], ages: Mapping[str, float]) -> None:
        """Asks for the records of nodes that are new, or are seen to live for the first time."""
        ask = []
        for node, mark in marks.items():
            token = mark // _TIMES
            known = self._tokens.get(node)
            if known != token:
                if known is not None:
                    self.forget(node)
                    self._events.dead(node, known)
                self._tokens[node] = token
                self._beats.watch(node, mark)
                if ages[node] <= FRESH:
                    ask.append(node)
            elif node not in self._living and self._beats.moved(node):
                ask.append(node)
        if ask:
            replied = self._records_replied(ask)
            self._call(command("HMGET", self.keys[0], *ask), replied)

    def _records_replied(self, asked: list[str]) -> Replied:
        def replied(reply: Reply) -> None:
            if self._failed(reply) or not isinstance(reply, list) or len(reply) != len(asked):
                return
            for node, body in zip(asked, reply, strict=True):
                if not isinstance(body, bytes) or len(body) > LONGEST_RECORD:
                    continue
                try:
                    record = decoded(Record, body)
                except ProtocolError:
                    continue
                if record.token == self._tokens.get(node):
                    self._living.add(node)
                    self._events.found(node, record)

        return replied

    def met(self, node: str, token: int) -> None:
        """A node has spoken to this one: it lives."""
        self._tokens[node] = token
        self._living.add(node)
        self._beats.watch(node)

    def forget(self, node: str) -> None:
        """A node is dead."""
        self._tokens.pop(node, None)
        self._living.discard(node)
        self._beats.forget(node)

    def _bury(self, node: str, mark: int | None) -> None:
        token = self._tokens[node]

        def replied(reply: Reply) -> None:
            if self._failed(reply) or self._tokens.get(node) != token:
                return
            if reply == 1:
                self.forget(node)
                self._events.buried(node, token)
            else:  # it has moved, or another was quicker
                self._visit(node, token)

        self._run(_BURY, node, "" if mark is None else mark, token, replied=replied)

    def bury_again(self, node: str, token: int) -> None:
        """A node that is dead for the others has been seen in Redis: it is to learn that."""
        self._run(_LEAVE, node, token, replied=lambda reply: None)

    def ended(self, node: str) -> None:
        """A node of this host is dead, as its host knows."""

        def replied(reply: Reply) -> None:
            if isinstance(reply, int):
                self.forget(node)
                self._events.buried(node, reply)

        self._run(_LEAVE, node, "", replied=replied)

    def _visit(self, node: str, token: int) -> None:
        """Asks whether a node is buried that is not seen any more."""

        def replied(reply: Reply) -> None:
            if self._failed(reply):
                return
            if isinstance(reply, bytes) and self._tokens.get(node) == token:
                self.forget(node)
                self._events.dead(node, token)

        self._call(command("ZSCORE", self.keys[2], f"{node}:{token}"), replied)


def marks_in(reply: Reply) -> tuple[int, dict[str, int]]:
    """Redis' time and the marks of all nodes. Raises `ProtocolError`."""
    if not isinstance(reply, list):
        raise ProtocolError(Drop.CHANNEL)
    try:
        now, found = reply
        said = list(zip(found[::2], found[1::2], strict=True))[:MOST_NODES]
        now = int(now)
    except (TypeError, ValueError):
        raise ProtocolError(Drop.CHANNEL) from None
    marks = {}
    for name, mark in said:
        with suppress(AttributeError, ValueError):  # somebody else's
            node, number = name.decode("ascii"), int(mark)
            if is_node(node) and 0 < number < TOKENS * _TIMES:
                marks[node] = number
    return now, marks
