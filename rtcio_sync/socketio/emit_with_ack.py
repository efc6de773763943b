"""Emits with a time-out, and gathers the acknowledgements of several clients, of all workers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ..adapter.emit import RoomIndex
from ..adapter.gathering import Answers, Gathering, UnansweredError
from ..adapter.recipients import recipients, rooms_in
from ..cluster import messages
from ..cluster.pubsub_manager import Published
from ..cluster.remote_events import values_in
from ..cluster.shared_rooms import SharedRooms, body_of
from ..config.option_values import is_number
from ..engineio.inbox import since_wait
from ..errors import OptionError, ProtocolError
from ..hub.turns import LAST
from ..parser.packet import TextPacket, numbered
from ..protocol.envelope import Drop

__all__ = [
    "Asked", "Gatherer", "Recipients", "answers_of", "check_pause", "check_seconds", "check_wait",
]  # fmt: skip

ANSWER_WITHIN = 5.0  # seconds more that another worker may take than its clients


class Recipients(NamedTuple):
    """The sockets that an event is for, as a `BroadcastOperator` has them."""

    namespace: str
    rooms: Any
    skip: list[Any]
    #: Whether only those of this process are meant.
    local: bool = False
    #: Whether only those are meant for which no other data waits.
    volatile: bool = False


class Asked(NamedTuple):
    """An event that was sent, and whose acknowledgements are gathered."""

    event: str
    seconds: float
    #: When the seconds are over.
    deadline: float
    gathering: Gathering
    #: Set when all clients of this process have answered or left.
    done: Any
    #: The other workers that were asked, and the number of the question.
    nodes: list[str]
    question: int


class Gatherer:
    """The events of one server whose acknowledgements are gathered.

    ``encode(message, number)`` makes the packets of an event of another worker. ``now`` is the
    time; ``later`` calls back after some seconds, and what it calls must not block.
    """

    #: The name of the question to other workers.
    WHAT = "gather"

    def __init__(
        self,
        manager: RoomIndex,
        *,
        create_event: Callable[[], Any],
        spawn: Callable[..., None],
        now: Callable[[], float],
        later: Callable[..., None],
    ) -> None:
        self._manager = manager
        self._create_event = create_event
        self._spawn = spawn
        self._now = now
        self._later = later
        #: What other workers have asked and is not answered: until when their clients may answer.
        #: Timers of their own would keep the answers that have come until the time is over.
        self._open: dict[Gathering, float] = {}
        #: When `_end_overdue` is called next.
        self._looks_at = math.inf
        #: The packets of an event of another worker: ``(message, number)``.
        self.pieces: Callable[[messages.Emit, int], Any] | None = None
        #: Answers another worker: ``(node, number, body)``.
        self.reply: Callable[[str, int, bytes | None], None] = lambda node, number, body: None
        #: Wait for a turn to run the app's code: in a greenlet of the app, and in one of ours.
        self.take_turn: Callable[[float | None], None] = lambda since: None
        self.own_turn: Callable[[float | None], None] = lambda since: None

    # -- here ------------------------------------------------------------------------------------

    def begin(self, to: Recipients, event: str, args: tuple[Any, ...], seconds: float) -> Asked:
        """Sends an event to all of them. # hub or greenlet

        Raises `OptionError` for a time that is not above 0, and where other processes cannot be
        asked: over python-socketio's client managers.
        """
        check_seconds(seconds)
        manager, arguments = self._manager, [event, *args]
        rooms = recipients(to.rooms)
        done = self._create_event()
        deadline = self._now() + seconds
        nodes, question = self._ask_others(to, rooms, arguments, seconds)
        gathering = Gathering(done.set)
        encode = numbered(manager.server.packet_class, to.namespace, arguments)
        try:
            manager.gather(
                gathering,
                to.namespace,
                rooms,
                to.skip,
                encode,
                arguments,
                own=True,
                volatile=to.volatile,
            )
        except BaseException:
            self._forget(gathering, nodes, question)
            raise
        return Asked(event, seconds, deadline, gathering, done, nodes, question)

    def _forget(self, gathering: Gathering, nodes: list[str], question: int) -> None:
        """Nobody will wait for the answers."""
        self._manager.forget_gathering(gathering)
        gathering.release()
        if nodes and isinstance(self._manager, SharedRooms):
            self._manager.questions.forget(question)

    def _ask_others(
        self, to: Recipients, rooms: Any, arguments: list[Any], seconds: float
    ) -> tuple[list[str], int]:
        manager = self._manager
        if to.local:
            return [], 0
        if isinstance(manager, Published):
            raise OptionError(
                "with a client_manager, only the clients of this process can acknowledge together: "
                "write .local before .timeout(…), or use Server(cluster=…)"
            )
        nodes = manager.holders_of(to.namespace, rooms) if isinstance(manager, SharedRooms) else []
        if not nodes or not isinstance(manager, SharedRooms):
            return [], 0
        body, attachments = body_of(manager.server.packet_class, arguments)
        where = None if rooms is None else rooms_in(rooms)
        emit = messages.Emit(to.namespace, where, to.skip, body, attachments, volatile=to.volatile)
        about = messages.encoded(messages.Gather(emit, seconds))
        return nodes, manager.begin_to_ask(nodes, self.WHAT, about)

    def wait(self, asked: Asked) -> tuple[dict[str, tuple[Any, ...]], UnansweredError | None]:
        """Waits for the answers; gives them by sid, and the error if one is missing. # greenlet"""
        gathering, bodies, left = asked.gathering, [], 0.0
        try:
            asked.done.wait(max(0.0, asked.deadline - self._now()))
            left = max(0.0, asked.deadline + ANSWER_WITHIN - self._now())
        finally:  # the greenlet may be killed meanwhile
            self._manager.forget_gathering(gathering)
            bodies = self._replies(asked, left)
        # In this order: one that answers just now, in another thread, is among the answers then.
        silent, answers = gathering.silent, dict(gathering.answers)
        for body in bodies:
            if body is None:
                continue
            found = messages.decoded(messages.Gathered, body)
            given = values_in(found.body, found.attachments)
            answers.update(zip(found.sids, map(tuple, given), strict=False))
            silent += found.silent
        silent = [sid for sid in dict.fromkeys(silent) if sid not in answers]
        error = None
        if silent or None in bodies:
            error = UnansweredError(asked.event, asked.seconds, answers_of(answers), silent)
        return answers, error

    def _replies(self, asked: Asked, seconds: float) -> list[bytes | None]:
        """What the other workers say; `None` for one that says nothing, as it is late or dead."""
        manager = self._manager
        if not asked.nodes or not isinstance(manager, SharedRooms):
            return []
        replies = manager.questions.wait(asked.question, seconds)
        return [replies.get(each) for each in asked.nodes]

    def call(self, to: Recipients, event: str, args: tuple[Any, ...], seconds: float) -> Answers:
        """Sends an event and waits for all answers. Raises `UnansweredError`. # greenlet"""
        asked = self.begin(to, event, args, seconds)
        try:
            answers, error = self.wait(asked)
            self.take_turn(since_wait())
        finally:
            asked.gathering.release()
        if error is not None:
            raise error
        return answers_of(answers)

    def emit(
        self,
        to: Recipients,
        event: str,
        args: tuple[Any, ...],
        seconds: float,
        answered: Callable[[dict[str, tuple[Any, ...]], UnansweredError | None], None],
    ) -> None:
        """Sends an event; a greenlet calls ``answered(answers, error)``. # hub or greenlet"""
        asked = self.begin(to, event, args, seconds)

        def wait() -> None:
            try:
                answers, error = self.wait(asked)
                self.own_turn(LAST)  # one client may have answered many
                answered(answers, error)
            finally:
                asked.gathering.release()

        try:
            self._spawn(wait)
        except BaseException:
            self._forget(asked.gathering, asked.nodes, asked.question)
            raise

    # -- for another worker: hub -----------------------------------------------------------------

    def asked(self, node: str, number: int, about: bytes) -> None:
        """Another worker asks for the acknowledgements of clients of this one."""
        message = messages.decoded(messages.Gather, about)
        event = message.event
        event.rooms = None if event.rooms is None else messages.rooms_of(event.rooms)
        event.skip = messages.rooms_of(event.skip)
        if not event.body.startswith("[") or not event.body.endswith("]"):
            raise ProtocolError(Drop.CHANNEL)
        watched = self._manager.watched
        arguments = values_in(event.body, event.attachments) if watched else None
        if self._manager.late:  # encoding runs the app's code
            self._spawn(self._gather_for, node, number, message, arguments)
        else:
            self._gather_for(node, number, message, arguments)

    def _gather_for(
        self, node: str, number: int, message: messages.Gather, arguments: list[Any] | None
    ) -> None:
        manager, event = self._manager, message.event
        assert self.pieces is not None
        gathering: Gathering

        def done() -> None:
            self._open.pop(gathering, None)
            manager.forget_gathering(gathering)
            try:
                reply = self._gathered(gathering)
            except Exception:  # noqa: BLE001  (the other worker has to be told in any case)
                reply = None
            gathering.release()
            self.reply(node, number, reply)

        gathering = Gathering(done)
        deadline = self._open[gathering] = self._now() + message.seconds
        encode = partial(self.pieces, event)
        try:
            manager.gather(
                gathering,
                event.namespace,
                event.rooms,
                event.skip,
                encode,
                arguments,
                volatile=event.volatile,
            )
        except BaseException:  # it could not be encoded for these clients
            gathering.end()
            raise
        if gathering.waiting:
            self._look_at(deadline)

    def _look_at(self, deadline: float) -> None:
        if deadline < self._looks_at:
            self._looks_at = deadline
            self._later(max(0.0, deadline - self._now()), self._end_overdue)

    def _end_overdue(self) -> None:
        self._looks_at = math.inf
        now, left = self._now(), math.inf
        for gathering, deadline in list(self._open.items()):
            if deadline <= now:
                self._later(0, gathering.end)  # an error of one must not stop the others' end
            else:
                left = min(left, deadline)
        self._look_at(left)

    def _gathered(self, gathering: Gathering) -> bytes:
        """The reply with all answers; clients whose answer cannot be sent count as silent."""
        answers, silent = gathering.answers, gathering.silent
        try:
            body, attachments = body_of(TextPacket, [list(each) for each in answers.values()])
        except Exception:  # noqa: BLE001  (of a client: MessagePack has more than JSON)
            bad = [sid for sid, answer in answers.items() if not _can_be_sent(answer)]
            self._manager.server.counters.dropped[Drop.MALFORMED] += len(bad)
            answers = {sid: answer for sid, answer in answers.items() if sid not in bad}
            silent = [*silent, *bad]
            body, attachments = body_of(TextPacket, [list(each) for each in answers.values()])
        return messages.encoded(messages.Gathered(list(answers), body, attachments, silent))


def _can_be_sent(answer: tuple[Any, ...]) -> bool:
    """Whether other workers can be sent an answer."""
    try:
        body_of(TextPacket, list(answer))
    except Exception:  # noqa: BLE001  (as above)
        return False
    return True


def check_seconds(seconds: Any) -> None:
    """Raises `OptionError` for a time-out that is not a number above 0."""
    if not is_number(seconds, above=0):
        raise OptionError(f"timeout({seconds!r:.80}): give a number of seconds above 0")


def check_wait(seconds: Any) -> None:
    """Raises `OptionError` for what python-socketio's calls cannot wait for.

    0 and less do not wait, `None` waits for any time. gevent's hub would stop for one that is NaN.
    """
    try:
        fits = isinstance(seconds, (int, float)) and not math.isnan(seconds)
    except OverflowError:  # a whole number too large for a timer
        fits = False
    if seconds is not None and not fits:
        raise OptionError(
            f"timeout={seconds!r:.80}: give a number of seconds, or None to wait for any time"
        )


def check_pause(seconds: Any) -> None:
    """Raises `OptionError` for what is no number of seconds, such as NaN: the hub would stop."""
    try:
        fits = not isinstance(seconds, (str, bytes)) and not math.isnan(seconds)
    except (TypeError, ValueError, OverflowError):
        fits = False
    if not fits:
        raise OptionError(f"sleep({seconds!r:.80}): give a number of seconds")


def answers_of(found: dict[str, tuple[Any, ...]]) -> Answers:
    """The answers as an app gets them."""
    return Answers({sid: one_of(answer) for sid, answer in found.items()})


def one_of(answer: tuple[Any, ...]) -> Any:
    """One argument, a tuple of several, or `None`."""
    return answer if len(answer) > 1 else answer[0] if answer else None
