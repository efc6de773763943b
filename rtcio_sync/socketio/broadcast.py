"""Sends events to one client or to several, with a time-out, volatile, or in this process only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from ..adapter.gathering import Answers, UnansweredError
from ..adapter.member import Member, Stage
from ..adapter.recipients import flat
from ..adapter.server_call import DisconnectedError
from ..errors import OptionError
from ..hub.thread import HubThread, any_thread
from ..protocol.names import FUNCTIONS, NoName, check_name
from ..warned import warn_of_milliseconds
from .emit_with_ack import Recipients, answers_of, check_seconds
from .handler_call import Callee
from .ports import Host

__all__ = ["PLAIN", "Broadcast", "Flags", "OneSocket", "check_last", "named_rooms"]

C = TypeVar("C", bound="Choice")
B = TypeVar("B", bound="Broadcast")
One = TypeVar("One", bound="OneSocket")


class Flags(NamedTuple):
    """How an event is to be sent."""

    #: Seconds in which clients have to acknowledge it; `None`: callbacks wait for any time.
    timeout: float | None = None
    #: Whether it is only for clients for which nothing waits.
    volatile: bool = False
    #: Whether it is only for clients of this process.
    local: bool = False


PLAIN = Flags()


class Choice(NoName):
    """Recipients, and how to send to them."""

    __slots__ = ("_flags", "_namespace", "_server")

    rtcio_instead = "these are recipients already: call their emit, or give the names of rooms"

    _flags: Flags
    _namespace: str
    _server: Host

    @property
    def _hub_thread(self) -> HubThread:
        return self._server.eio.hub_thread

    def _with(self: C, flags: Flags) -> C:
        """The same recipients with other flags."""
        raise NotImplementedError

    def timeout(self: C, seconds: float) -> C:
        """The sockets have ``seconds`` to acknowledge: for ``emit(…, callback=…)`` and ``call``.

        Raises `OptionError` for what is not a number above 0. Warns of 5,000 and more, which is
        most likely meant as milliseconds.
        """
        check_seconds(seconds)
        warn_of_milliseconds("timeout", seconds)
        return self._with(self._flags._replace(timeout=seconds))

    @property
    def volatile(self: C) -> C:
        """An event is dropped for each client for which other data waits: `Socket.volatile`.

        Such a client counts as one that does not answer, if answers are gathered.
        """
        return self._with(self._flags._replace(volatile=True))

    def compress(self: C, compress: bool) -> C:
        """Changes nothing: see `Socket.compress`."""
        return self


class OneSocket(Choice):
    """Sends events to one client as was chosen: the part of `SocketEmitter` for any process."""

    __slots__ = ("_excepted", "_sid")

    def __init__(
        self, server: Host, namespace: str, sid: str, flags: Flags, excepted: tuple[Any, ...]
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._sid = sid
        self._flags = flags
        self._excepted = excepted

    def _with(self: One, flags: Flags) -> One:
        return type(self)(self._server, self._namespace, self._sid, flags, self._excepted)

    @any_thread
    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> None:
        """As `Socket.emit`. With a time-out: ``callback(error, *answer)``.

        ``error`` is `None`, or an `UnansweredError` if the client does not answer in time, or has
        left.
        """
        check_name(event)
        callee = None if callback is None else Callee(callback)
        seconds = self._flags.timeout
        if callee is None or seconds is None:
            self._server.manager.emit(
                event,
                args,
                namespace=self._namespace,
                room=self._sid,
                callback=callee,
                volatile=self._flags.volatile,
            )
            return
        member = self._server.manager.member(self._sid, self._namespace)

        def answered(answers: dict[str, tuple[Any, ...]], error: UnansweredError | None) -> None:
            answer = answers.get(self._sid, ())
            if error is None and self._sid not in answers:  # nobody was asked: it had left before
                error = UnansweredError(event, seconds, Answers({}), [self._sid])
            if member is None:
                self._server.dispatcher.guarded(None, event, callee, error, *answer)
            else:
                self._server.handling.guarded(member, "ack", answer, callee, error, *answer)

        self._server.gatherer.emit(self._recipients, event, args, seconds, answered)

    @property
    def _recipients(self) -> Recipients:
        manager = self._server.manager
        here = manager.member(self._sid, self._namespace) is not None
        # Nobody else has to be asked for one that is here, or that has left.
        local = here or self._flags.local or not manager.is_elsewhere(self._sid)
        return Recipients(self._namespace, [self._sid], [], local, self._flags.volatile)

    def send(self, *args: Any, callback: Callable[..., Any] | None = None) -> None:
        """Sends an event ``message``, as `emit`."""
        self.emit("message", *args, callback=callback)

    @any_thread(in_hub="refuse")
    def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """As `Socket.call`, with the chosen time-out."""
        check_name(event)
        chosen = timeout if timeout is not None else self._flags.timeout
        seconds = 60 if chosen is None else chosen
        if self._flags.volatile:
            return self._call_if_ready(event, args, seconds)
        return self._server.call(
            event, args, to=self._sid, namespace=self._namespace, timeout=seconds
        )

    emit_with_ack = call

    def _call_if_ready(self, event: str, args: tuple[Any, ...], seconds: float) -> Any:
        """Calls it unless other data waits for it; then raises `UnansweredError` at once."""
        answers = self._server.gatherer.call(self._recipients, event, args, seconds)
        if not answers:
            raise DisconnectedError(f"{self._sid} has left, so {event!r} will not be answered")
        return answers[0]


def named_rooms(given: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """The rooms in the arguments of `Broadcast.to`; `None`: everybody is meant."""
    if not given:
        raise OptionError("to() and in_() need a room, a list of rooms, or None for everybody")
    if given[0] is None and all(each is None for each in given):
        return None
    return tuple(flat(given))


def check_last(args: tuple[Any, ...]) -> None:
    """Raises `TypeError` for a function where Node has the callback, also if nobody is there."""
    if args and type(args[-1]) in FUNCTIONS:
        raise TypeError(
            f"{args[-1]!r:.80} cannot be sent: for acknowledgements write "
            ".timeout(5).emit(…, callback=…)"
        )


class Broadcast(Choice):
    """Several clients of one namespace, and how to send to them: see `BroadcastOperator`."""

    __slots__ = ("_except", "_rooms")

    def __init__(
        self,
        server: Host,
        namespace: str,
        rooms: tuple[Any, ...] | None = None,
        excepted: tuple[Any, ...] = (),
        flags: Flags = PLAIN,
    ) -> None:
        self._server = server
        self._namespace = namespace
        self._rooms = rooms
        self._except = excepted
        self._flags = flags

    def to(self: B, *rooms: Any) -> B:
        """Adds rooms, given one by one or in lists. An empty list alone means nobody.

        `None` alone changes nothing: without rooms, all sockets of the namespace are meant. Raises
        `OptionError` without an argument, and for an invalid room.
        """
        named = named_rooms(rooms)
        if named is None:
            return self
        known = (*(self._rooms or ()), *named)
        return type(self)(self._server, self._namespace, known, self._except, self._flags)

    in_ = to

    def except_(self: B, *rooms: Any) -> B:
        """Leaves out the sockets in ``rooms``, given one by one or in lists.

        Raises `OptionError` for an invalid room.
        """
        out = flat(each for each in rooms if each is not None)
        excepted = (*self._except, *out)
        return type(self)(self._server, self._namespace, self._rooms, excepted, self._flags)

    def _with(self: B, flags: Flags) -> B:
        return type(self)(self._server, self._namespace, self._rooms, self._except, flags)

    @property
    def local(self: B) -> B:
        """Only the sockets of this process."""
        return self._with(self._flags._replace(local=True))

    @any_thread
    def emit(self, event: str, *args: Any, callback: Callable[..., Any] | None = None) -> None:
        """Emits to all of them.

        ``callback(error, answers)``, which needs `timeout`, runs once: when all have acknowledged
        the event, or cannot any more. ``answers``: a list, `Answers`. ``error``: `None`, or an
        `UnansweredError` if some did not. Raises `OptionError` for a reserved event name.
        """
        check_name(event)
        if args and type(args[-1]) in FUNCTIONS:  # as `check_last`, without its call, for speed
            check_last(args)
        if callback is not None:
            self._emit_with_callback(event, args, Callee(callback))
        elif self._flags is PLAIN:
            rooms, out = self._rooms, self._except
            self._server.manager.emit(
                event,
                args,
                namespace=self._namespace,
                room=rooms[0] if rooms is not None and len(rooms) == 1 else rooms,
                skip_sid=out[0] if len(out) == 1 else list(out),
            )
        else:
            self._server.manager.emit(
                event,
                args,
                namespace=self._namespace,
                room=self._rooms,
                skip_sid=list(self._except),
                ignore_queue=self._flags.local,
                volatile=self._flags.volatile,
            )

    def _emit_with_callback(self, event: str, args: tuple[Any, ...], callee: Callee) -> None:
        seconds = self._flags.timeout
        if seconds is None:
            raise OptionError("say how long to wait for answers: .timeout(5).emit(…, callback=…)")

        def answered(answers: dict[str, tuple[Any, ...]], error: UnansweredError | None) -> None:
            self._server.dispatcher.guarded(None, event, callee, error, answers_of(answers))

        self._server.gatherer.emit(self._recipients, event, args, seconds, answered)

    @any_thread(in_hub="refuse")
    def call(self, event: str, *args: Any, timeout: float | None = None) -> Answers:
        """Emits to all of them, and waits until all have acknowledged the event.

        ``timeout``: seconds; `None`: those of `timeout`, else 60. Raises `UnansweredError`, with
        the answers of the others, when the time is over or all that did not answer have left;
        `OptionError` for a reserved event name; and `NotServing` in the hub.
        """
        check_name(event)
        chosen = timeout if timeout is not None else self._flags.timeout
        seconds = 60 if chosen is None else chosen
        return self._server.gatherer.call(self._recipients, event, args, seconds)

    emit_with_ack = call

    @property
    def _recipients(self) -> Recipients:
        out = list(self._except)
        flags = self._flags
        return Recipients(self._namespace, self._rooms, out, flags.local, flags.volatile)

    def members(self, *, connecting: bool = False) -> list[Member]:
        """The members, also those that are away: a change to them holds when they return.

        ``connecting``: also those that are still connecting.
        """
        manager = self._server.manager
        inside = manager.sids_in(self._namespace, self._rooms)
        out = manager.sids_in(self._namespace, self._except)
        found = (manager.member(sid, self._namespace) for sid in inside if sid not in out)
        return [
            each
            for each in found
            if each is not None
            and (each.present or (connecting and each.stage is Stage.CONNECTING))
        ]
