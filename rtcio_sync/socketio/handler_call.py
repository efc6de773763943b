"""Calls one handler of the app, with the arguments that it declares, and handles its exception.

All of this runs in greenlets (or threads), never in the hub, because it runs the app's code.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Any, TypeGuard

from ..adapter.server_call import DisconnectedError
from ..errors import LimitExceeded, ProtocolError
from ..functions import completed
from ..hub import interrupts
from ..hub.forked import end_child
from ..logs import about, harmless, tell
from ..metrics import Counters
from .handler_signatures import arity, check_handler, plain_arity, warn_of_sid_before_data

__all__ = [
    "NO_CONTEXT",
    "TESTED",
    "Callee",
    "Dispatcher",
    "SocketCallee",
    "first_answer",
    "raising",
    "report",
]

#: A documented name: an app's exceptions go to this logger when there is no `app.logger`.
log = logging.getLogger("rtcio_sync.dispatch")

#: The sid and the namespace of a socket; `None` if unknown.
Who = tuple[str, str] | None
Context = Callable[[Any, str, str, str, tuple[Any, ...]], AbstractContextManager[Any]]

#: The context of a handler that needs none.
NO_CONTEXT = contextlib.nullcontext()

#: A key in the environ of a test client: the list of its handlers' exceptions.
TESTED = "rtcio.tested"

#: Whether a handler's exception is raised to the caller: see `raising`.
_raising = ContextVar("rtcio_raising", default=False)


@contextlib.contextmanager
def raising() -> Iterator[None]:
    """Inside of it, in this greenlet or thread only, a handler's exception is raised to the caller.

    For callers that hand in messages themselves, as Flask-SocketIO's test client does: a test has
    to see the exceptions of handlers.
    """
    before = _raising.set(True)
    try:
        yield
    finally:
        _raising.reset(before)


class Callee:
    """A handler and its number of parameters, read once.

    Raises `TypeError` for an object that cannot be a handler: not callable, a class, a coroutine
    function or a generator, an unbound method, or a function with a keyword-only parameter without
    a default.
    """

    __slots__ = ("fn", "least", "most", "takes_nothing")

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.fn = fn
        #: Whether it is a wrapper with ``*args`` around a function without parameters.
        self.takes_nothing = False
        plain = plain_arity(fn)
        if plain is not None:
            self.least, self.most = plain
            return
        check_handler(fn)
        self.least, self.most = arity(fn)
        wrapped = getattr(fn, "__wrapped__", None)
        self.takes_nothing = self.most is None and wrapped is not None and arity(wrapped)[1] == 0

    def __call__(self, *args: Any) -> Any:
        """Calls the handler: extra arguments are cut off, missing ones are `None`."""
        if self.most is not None and len(args) > self.most:
            args = args[: self.most]
        elif len(args) < self.least:
            args = self._filled(args)
        answer = self.fn(*args)
        if answer is not None:  # most handlers return nothing
            completed(self.fn, answer)
        return answer

    def _filled(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*args, *[None] * (self.least - len(args)))


class SocketCallee(Callee):
    """A handler of ``socket.on``, which gets no sid."""

    __slots__ = ()

    def _filled(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        # Fewer arguments than the handler declares: the one for `sid` is probably the data.
        warn_of_sid_before_data(self.fn)
        return super()._filled(args)


#: Handlers whose parameters are remembered; over it, all are read again.
MOST_CALLEES = 1000


class Dispatcher:
    """Calls an app's handlers for one server."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        #: Makes the context in which a handler runs: `(environ, sid, namespace, event, args)`.
        self.context: Context = _no_context
        #: Logs the current exception: `(environ, event, who)`.
        self.report: Callable[[Any, str, Who], None] = report
        #: The app's own handlers of exceptions: ``(exception, event, who)``. What the first gives
        #: that is not `None` is the acknowledgement of the event.
        self.on_error: list[Callable[[Exception, str, Who], Any]] = []
        self._callees: dict[Any, Callee] = {}

    def callee(self, fn: Any) -> Callee:
        """The `Callee` of a handler in one of python-socketio's registries."""
        key = fn
        try:
            known = self._callees.get(key)
        except TypeError:  # without a hash, like an object of a dataclass: `Callee` keeps its id
            key = ("id", id(fn))
            known = self._callees.get(key)
        if known is None:
            if len(self._callees) >= MOST_CALLEES:  # some are made anew for each call, perhaps
                self._callees.clear()
            known = self._callees[key] = Callee(fn)
        return known

    def forget(self, fn: Any) -> None:
        """Another handler has taken its place. It may still have others: then it is read again."""
        try:
            self._callees.pop(fn, None)
        except TypeError:
            self._callees.pop(("id", id(fn)), None)

    def guarded(
        self, environ: Any, event: str, fn: Callable[..., Any], *args: Any, who: Who = None
    ) -> Any:
        """Calls ``fn``. An exception is counted and logged, and the result is `None`."""
        return first_answer(self.answers(environ, event, fn, *args, who=who))

    def answers(
        self, environ: Any, event: str, fn: Callable[..., Any], *args: Any, who: Who = None
    ) -> list[Any]:
        """The result of ``fn`` in a list; an empty list if it raised, as for `guarded`."""
        try:
            return [fn(*args)]
        except BaseException as error:  # noqa: BLE001  (the app's may raise anything)
            self.failed(error, environ, event, who)
            return []

    def failed(self, error: BaseException, environ: Any, event: str, who: Who = None) -> list[Any]:
        """Counts and logs the current exception; inside of `raising`, raises it again.

        It may be any `BaseException`: for a client it makes no difference how a handler ended. If
        `on_error` has handled it, it is not logged; gives the acknowledgement then, in a list.
        """
        if self.on_error and isinstance(error, Exception):
            return self._ask_the_app(error, environ, event, who)
        if _raising.get():
            raise
        end_child(error)
        self._count_and_log(error, environ, event, who)
        return []

    def _ask_the_app(self, error: Exception, environ: Any, event: str, who: Who) -> list[Any]:
        """Runs `on_error`. If it raises, both exceptions are logged, in one record."""
        try:
            answers = [handler(error, event, who) for handler in tuple(self.on_error)]
        except BaseException as another:  # noqa: BLE001  (the app's may raise anything)
            self._count_and_log(another, environ, event, who)
            return []
        self._count(error, who)
        return [first_answer(answers)]

    def _count(self, error: BaseException, who: Who) -> None:
        if _is_the_clients(error, who):
            self.counters.dropped[error.reason] += 1
        else:
            self.counters.handler_errors += 1

    def _count_and_log(self, error: BaseException, environ: Any, event: str, who: Who) -> None:
        self._count(error, who)
        if _is_the_clients(error, who):
            # The client's request was refused, or a client left that the handler called: not an
            # error of the app.
            sid, namespace = who or (None, None)
            known: dict[str, Any] = {"sid": sid, "namespace": namespace, "event": event}
            message = "a handler of %(rtcio_sid)s ended early: %(rtcio_reason)s"
            tell(log, message, reason=error.reason, **known)
            return
        self.report(environ, event, who)
        if isinstance(environ, dict) and TESTED in environ:
            environ[TESTED].append(error)
        interrupts.heed(error)


def _is_the_clients(error: BaseException, who: Who) -> TypeGuard[ProtocolError | DisconnectedError]:
    """Whether a handler ended for something that a client did, so that the app is not to blame."""
    if isinstance(error, LimitExceeded) and error.sid is not None:
        return who is not None and error.sid == who[0]  # else it is a client that the app named
    return isinstance(error, (ProtocolError, DisconnectedError))


def first_answer(answers: list[Any]) -> Any:
    """The acknowledgement of an event with several handlers: the first result not `None`."""
    for answer in answers:
        if answer is not None:
            return answer
    return None


def _no_context(*_: Any) -> AbstractContextManager[Any]:
    return NO_CONTEXT


def report(environ: Any, event: str, who: Who, log: logging.Logger = log) -> None:
    """Logs the current exception, with its text unchanged, because it is the app's."""
    sid, namespace = who or (None, None)
    fields = about(sid=sid, namespace=namespace, event=event)
    with harmless():
        log.exception("the handler of '%(rtcio_event)s' raised", fields, extra=fields)
