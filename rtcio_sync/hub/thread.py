"""The thread that runs a server's hub, and how calls of other threads run there.

gevent's objects belong to the thread that made them: a greenlet spawned in another thread never
runs, a loop that another thread wakes does not wake. So a server has one serving thread. A public
call from another thread (gevent's pool, a real thread, a C library's callback thread) runs in the
serving thread, while the caller waits for the result or the exception.

Two kinds of callers differ from a plain greenlet: another thread (`any_thread` hands over its call)
and the hub itself, where nothing may wait and no code of the app may run.
"""

from __future__ import annotations

import contextvars
import functools
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, cast, overload

import gevent
from gevent._hub_local import get_hub_if_exists
from gevent.hub import Hub, get_hub
from gevent.monkey import get_original

from ..errors import NotServing
from .greenlet_pool import Pool

__all__ = ["ANSWER_WITHIN", "HubThread", "any_thread", "refuse_in_hub"]

ANSWER_WITHIN = 5.0
"""Seconds that the hub has to begin with a call from another thread."""

P = ParamSpec("P")
R = TypeVar("R")

# The interpreter's own, not gevent's patched ones: gevent's locks belong to one thread's hub.
_get_ident = cast("Callable[[], int]", get_original("_thread", "get_ident"))
_new_lock = cast("Callable[[], Any]", get_original("_thread", "allocate_lock"))

_STOPPED = (
    "the server has stopped, so other threads cannot call it any more: end your threads before "
    "stop(), or handle this error"
)
_NO_ANSWER = (
    f"the thread that serves did not answer within {ANSWER_WITHIN:g} s: a handler computes without "
    "a pause, or blocks without gevent. Call monkey.patch_all() before all imports, and run long "
    "computations in gevent.get_hub().threadpool"
)


def refuse_in_hub(name: str = "") -> None:
    """Raises `NotServing` in the hub, for a call that waits for an answer. # any thread"""
    if isinstance(gevent.getcurrent(), Hub):
        called = f"{name}()" if name else "this call"
        raise NotServing(
            f"{called} waits for an answer, and code in the hub must not wait: "
            f"write gevent.spawn({name or 'call'}, …)"
        )


class HubThread:
    """The thread in which a server's hub runs.

    It is the thread that made the server, until another thread serves a request or calls
    `Server.listen`. Before the first request, calls of other threads run in their own thread, and
    tasks that they spawn wait for the hub.
    """

    def __init__(self) -> None:
        self._ident = _get_ident()
        self._hub: Any = None
        # Of the thread that made the server: under gunicorn it runs before anything is served.
        self._makers_hub: Any = get_hub_if_exists()
        self._waiting: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        #: What was spawned before anything is served, and has not begun, in order; and in which
        #: hub it is to begin.
        self._early: dict[Callable[[], Any], Any] = {}
        self._pool = Pool()
        #: Whether the server runs on threads: then each call runs where it is made.
        self.threaded = False
        #: Whether the server has stopped.
        self.ended = False

    def elsewhere(self) -> bool:
        """Whether the caller is in another thread, and has to use `run`."""
        return self._ident != _get_ident() and not self.threaded

    @property
    def serving(self) -> bool:
        """Whether a hub runs, or will soon run, the tasks that are spawned."""
        return self._hub is not None or self.threaded

    @property
    def may_run(self) -> bool:
        """Whether a hub in another thread runs the tasks that are spawned, or may do so."""
        return self.serving or (self._makers_hub is not None and self.elsewhere())

    @property
    def in_greenlet(self) -> bool:
        """Whether the caller is a greenlet of the hub that serves, and may wait for a turn."""
        if self._hub is None or self.threaded or self._ident != _get_ident():
            return False
        return isinstance(gevent.getcurrent(), gevent.Greenlet)

    @property
    def in_hub(self) -> bool:
        """Whether the caller is the hub itself, which must not wait."""
        return isinstance(gevent.getcurrent(), Hub)

    def bind(self, *, anew: bool = False) -> None:
        """Makes the calling thread the serving thread, if there is none yet.

        ``anew``: even if another thread was it before. # greenlet
        """
        if self.threaded:
            self.ended = False
            return
        # Not if the hub was destroyed, as at the end of its thread. (Here, for speed.)
        hub = self._hub
        if hub is not None and hub.loop is not None and not self.ended and not anew:
            return
        self._pool.close()
        self._pool = Pool()
        self._ident, self._hub, self.ended = _get_ident(), get_hub(), False
        for task, hub in self._early.copy().items():
            if hub is not self._hub:  # that of the thread that made the server may never run
                self._pool.spawn(task)
        self._begin_waiting()

    def _begin_waiting(self) -> None:  # hub or greenlet
        for target, args in self._taken():
            self._pool.spawn(target, *args)

    def _taken(self) -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
        with suppress(IndexError):  # another thread may take them, too
            while True:
                yield self._waiting.popleft()

    def end(self) -> None:
        """The server has stopped. # greenlet"""
        self.ended = True
        self._pool.close()

    def abandon(self) -> None:
        """Is that of a process that has not served yet, in a forked child. # after a fork

        The hub may belong to a thread that is not here. The parent does the tasks that wait.
        """
        self._ident, self._hub, self._makers_hub, self.ended = _get_ident(), None, None, False
        self._pool.abandon()
        self._pool = Pool()
        self._waiting.clear()
        self._early.clear()

    def spawn(self, target: Callable[..., Any], *args: Any) -> None:
        """Runs ``target(*args)`` in a greenlet of the hub's thread; from any thread.

        The greenlet is one of a pool (`greenlet_pool`), so that a short task is cheap.
        """
        if self._ident == _get_ident():
            if self._hub is None:
                target, args = self.early(functools.partial(target, *args)), ()
                self._pool.spawn(target, *args)
            else:
                # As `Pool.spawn`, without its call, for speed.
                self._hub.loop.run_callback(self._pool.run, target, *args)
        elif self._hub is None:
            self._waiting.append((target, args))
            hub = self._hub or self._makers_hub  # a thread may have begun to serve just now
            if hub is not None:
                hub.loop.run_callback_threadsafe(self._begin_waiting)
        else:
            self._hub.loop.run_callback_threadsafe(self._pool.run, target, *args)

    def early(self, task: Callable[[], Any]) -> Callable[[], Any]:
        """The task, for a greenlet of the thread that made the server; nothing is served yet.

        If it has not begun when another thread serves, or the server turns out to run on threads,
        it runs there (`bind`, `left_over`): then the hub of this thread may never run.
        """

        def begin() -> Any:
            # The first who comes runs it: `pop` is one step, in which no other thread runs.
            return None if self._early.pop(begin, None) is None else task()

        self._early[begin] = get_hub()
        if self._hub is not None and self.elsewhere():  # a thread has begun to serve just now
            self._hub.loop.run_callback_threadsafe(self._pool.run, begin)
        return begin

    def left_over(self) -> list[Callable[[], Any]]:
        """What was spawned before anything was served and has not begun, for other threads.

        # any thread
        """
        waiting = [functools.partial(target, *args) for target, args in self._taken()]
        return [*self._early, *waiting]

    def forget(self, task: Callable[[], Any]) -> None:
        """A task of `early` does not run any more: it has run, or its greenlet was killed."""
        self._early.pop(task, None)

    def run(self, fn: Callable[..., R], *args: Any, **options: Any) -> R:
        """Runs a call from another thread: returns its result, or raises its exception.

        Blocks the calling thread until it is done. Raises `NotServing` after the end, and when the
        hub has not begun with the call after `ANSWER_WITHIN` seconds; the call does not run then.
        """
        if self._hub is None:
            return fn(*args, **options)
        call = _Call(functools.partial(fn, *args, **options))
        self._hand_over(call.begin)
        if not call.begun.acquire(timeout=ANSWER_WITHIN) and call.claim():
            raise self._no_answer()
        while not call.done.acquire(timeout=ANSWER_WITHIN):
            self.look_for_life()  # a call that has begun may wait for any time
        if call.error is not None:
            raise call.error
        return cast("R", call.result)

    def _hand_over(self, callback: Callable[[], None]) -> None:
        loop = None if self._hub is None else self._hub.loop
        if self.ended or loop is None:  # stopped, or its thread has ended and destroyed the hub
            raise NotServing(_STOPPED)
        loop.run_callback_threadsafe(callback)

    def look_for_life(self) -> None:
        """Raises `NotServing` when the hub does not run any more. # another thread"""
        if self._hub is None and not self.ended:
            return  # nothing is served yet
        alive = _new_lock()
        alive.acquire()
        self._hand_over(alive.release)
        if not alive.acquire(timeout=ANSWER_WITHIN):
            raise self._no_answer()

    def _no_answer(self) -> NotServing:
        return NotServing(_STOPPED if self.ended else _NO_ANSWER)  # it may have stopped meanwhile


class _Call:
    """One call of another thread that waits for the hub."""

    def __init__(self, fn: Callable[[], Any]) -> None:
        self.fn = fn
        self.result: Any = None
        self.error: BaseException | None = None
        self.context = contextvars.copy_context()
        self.begun, self.done, self._free = _new_lock(), _new_lock(), _new_lock()
        self.begun.acquire()
        self.done.acquire()

    def claim(self) -> bool:
        """`True` for the first caller: the hub, which runs it, or the thread, which gives up."""
        claimed: bool = self._free.acquire(False)
        return claimed

    def begin(self) -> None:  # hub
        if self.claim():
            self.begun.release()
            gevent.spawn(self._work)

    def _work(self) -> None:  # greenlet
        try:
            self.result = self.context.run(self.fn)
        except BaseException as error:  # noqa: BLE001 - it is the caller's, whatever it is
            self.error = error
        finally:
            self.done.release()


class _Homed(Protocol):
    """A class whose methods `any_thread` decorates; ``_hub_thread`` is that of its server."""

    @property
    def _hub_thread(self) -> HubThread: ...


S = TypeVar("S", bound=_Homed)
Method = Callable[Concatenate[S, P], R]


@overload
def any_thread(method: Method[S, P, R], /) -> Method[S, P, R]: ...
@overload
def any_thread(
    *, in_hub: Literal["spawn", "refuse"]
) -> Callable[[Method[S, P, R]], Method[S, P, R]]: ...
def any_thread(
    method: Method[S, P, R] | None = None, /, *, in_hub: Literal["run", "spawn", "refuse"] = "run"
) -> Any:
    """Decorates a public method: any thread may call it, and it runs in the serving thread.

    ``in_hub`` is for calls from the hub itself: ``"run"`` for a method that never waits;
    ``"spawn"`` for one that runs an app's handlers: a greenlet runs it and the call returns `None`
    at once; ``"refuse"`` for one that waits for an answer: it raises `NotServing`.
    """

    def decorate(method: Method[S, P, R]) -> Method[S, P, R]:
        @functools.wraps(method)
        def call(self: S, *args: P.args, **options: P.kwargs) -> R:
            thread = self._hub_thread
            if thread.elsewhere():
                return thread.run(method, self, *args, **options)
            if in_hub != "run" and thread.in_hub:
                if in_hub == "refuse":
                    refuse_in_hub(method.__name__)
                thread.spawn(functools.partial(method, self, *args, **options))
                return cast("R", None)
            return method(self, *args, **options)

        return cast("Method[S, P, R]", call)

    return decorate if method is None else decorate(method)
