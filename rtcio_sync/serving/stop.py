"""How a process that serves ends: a signal or `Server.stop`, then the drain.

A server that stops owes its clients the same under every WSGI server: it closes a WebSocket with
code 1001 (RFC 6455 7.4.1) and answers a poll with 400, so that all of them reconnect. It sends
neither Socket.IO's DISCONNECT nor Engine.IO's CLOSE packet: after the first no client reconnects,
after the second no Python client does.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import gevent

from ..hub.thread import any_thread
from ..transport import descriptor_shortage, server_stop
from .ports import Event, Stoppable
from .startup_warnings import warn_if_unpatched

__all__ = ["AT_ONCE", "Stop", "on_signals", "on_signals_of_threads"]

log = logging.getLogger(__name__)

AT_ONCE = 100  # up to so many clients are closed in one step
SPREAD_STEPS = 20
SPREAD = 0.7  # of the drain: over this part the steps are spread, the rest is for handlers

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stop:
    """How one server stops. ``drain_seconds``: how long handlers may take to finish then."""

    def __init__(self, engine: Stoppable, *, drain_seconds: float) -> None:
        self._engine = engine
        self._hub_thread = engine.hub_thread
        self._drain_seconds = drain_seconds
        #: Called when the drain begins, and when no client is left.
        self.on_drain: list[Callable[[], None]] = []
        self.on_drained: list[Callable[[], None]] = []
        #: Whether another process goes on with the same listener.
        self.is_followed: Callable[[], bool] = lambda: False
        #: Whether `listen` was called.
        self.listening = False
        #: What each `listen` waits for: one for each port.
        self._asked: list[Event] = []
        #: Whether one of them has begun to drain.
        self._drained = False

    @property
    def serving(self) -> bool:
        """Whether a `listen` has not returned."""
        return bool(self._asked)

    @contextmanager
    def listens(self, asked: Event) -> Iterator[bool]:
        """`listen` was called, and waits for ``asked``; gives whether no other one does so.

        # greenlet or thread
        """
        self.listening = True
        if not self._asked:
            self._drained = False  # it may serve again after a stop
        self._asked.append(asked)
        try:
            yield self._asked[0] is asked
        finally:
            self._asked.remove(asked)

    def ask(self) -> None:
        """Has each `listen` end. # any thread"""
        if self._asked and not self._hub_thread.ended:
            self._ask()

    @any_thread
    def _ask(self) -> None:
        self.end()

    def end(self) -> None:
        """As `ask`, in the thread that serves, and also after `drain`. # greenlet"""
        for asked in tuple(self._asked):
            asked.set()

    def drain_in_turn(self, asked: Event) -> None:
        """`drain`, once for several `listen`: the first does it, and the others wait for it."""
        while self._asked[0] is not asked:
            self._engine.sleep(0.02)
        if not self._drained:
            self._drained = True
            self.drain()

    def first_request(self, environ: dict[str, Any]) -> None:
        """A WSGI server sends its first request: from now on its end drains too. # greenlet"""
        if self._engine.async_mode == "gevent":
            if not self.listening:  # else `listen` has done so
                warn_if_unpatched()
                for server in server_stop.servers_here():
                    descriptor_shortage.heed(server)
            server_stop.watch_stop(
                environ,
                self.drain,
                patience=self._drain_seconds + 1,
                is_followed=lambda: self.is_followed(),
            )
        elif self._engine.async_mode == "threading":
            server_stop.watch_worker_on_threads(self.drain)

    def give_up(self, node: str) -> None:
        """Worker ``node`` regards this one as dead: the peers of its clients were told. # greenlet

        So the clients have to come back as new ones, to a worker that all others know.
        """
        log.error(
            "this worker did not run for so long that worker %s treats it as dead: this worker "
            "closes its connections, so that the clients reconnect, and stops",
            node,
        )
        self._engine.stopping = True  # who came here now would be alone
        for client in list(self._engine.sockets.values()):
            client.send_on()
        os.kill(os.getpid(), signal.SIGTERM)

    def drain(self) -> None:
        """Closes every client so that it reconnects, and lets handlers finish. # greenlet

        Many clients are closed a few at a time, spread over most of the drain, so that they do not
        all reconnect to the next worker at the same moment.
        """
        engine = self._engine
        engine.stopping = True
        for each in self.on_drain:
            each()
        until = time.monotonic() + self._drain_seconds
        clients = list(engine.sockets.values())
        steps = SPREAD_STEPS if len(clients) > AT_ONCE else 1
        for step in range(steps):
            for client in clients[step::steps]:
                client.send_on()
            if step + 1 < steps:
                engine.sleep(self._drain_seconds * SPREAD / steps)
        engine.sleep(0.05)  # at least one turn of the loop, which sends the close frames
        while engine.working and time.monotonic() < until:
            engine.sleep(0.02)
        for each in tuple(self.on_drained):
            each()
        engine.shutdown()
        engine.hub_thread.end()


# -- signals ---------------------------------------------------------------------------------------


def on_signals(stop: Callable[[], Any]) -> Callable[[], None]:
    """Has SIGTERM and SIGINT call ``stop`` in a greenlet; the result undoes it."""
    watchers = {}
    if _in_main_thread():
        for number in SIGNALS:
            watchers[number] = gevent.signal_handler(number, stop)

    def restore() -> None:
        for number, watcher in watchers.items():
            watcher.cancel()
            # libev leaves the system's default behind, which Python does not know of.
            signal.signal(number, signal.getsignal(number) or signal.SIG_DFL)

    return restore


def on_signals_of_threads(stop: Callable[[], Any]) -> Callable[[], None]:
    """`on_signals` of a process that runs no gevent hub."""
    previous: dict[int, Any] = {}
    if _in_main_thread():
        for number in SIGNALS:
            previous[number] = signal.signal(number, lambda *_: stop())

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    return restore


def _in_main_thread() -> bool:
    # Python lets no other thread handle signals; there, only `Server.stop` ends `listen`.
    return threading.current_thread() is threading.main_thread()
