"""``rtcio-sync --workers N``: starts the workers, and new ones for those that die, and ends them.

The supervisor opens the listening socket and serves nothing itself. Each worker is a process of the
same command, which finds the socket in its environment (`serving.supervised_worker`). The workers
are one server, as those of gunicorn are.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import click
import gevent
import gevent.socket
from gevent.event import Event

from ..starting.addresses import Addresses, not_listening
from .first_lines import print_first_lines

__all__ = ["READY", "Supervisor", "is_worker", "supervise"]

#: As in `serving.supervised_worker`, which only workers import: it would import the server.
LISTENER, LIFE, READY = "RTCIO_SYNC_LISTENER", "RTCIO_SYNC_LIFE", "RTCIO_SYNC_READY"

BACKLOG = 1024
START_WITHIN = 30.0  # seconds in which a worker is ready
END_WITHIN = 10.0  # seconds, beside those of the drain, until a worker is killed
AGAIN = 1.0  # seconds between two starts of a worker that dies at once
LOOK_EACH = 0.05


class Worker:
    """One process."""

    def __init__(self, command: Sequence[str], listener: socket.socket, life: int) -> None:
        heard, ready = os.pipe()
        environ = {
            **os.environ,
            LISTENER: str(listener.fileno()),
            LIFE: str(life),
            READY: str(ready),
        }
        try:
            self.process = subprocess.Popen(
                command, env=environ, pass_fds=(listener.fileno(), life, ready)
            )
        finally:
            os.close(ready)
        self._heard = heard
        self.since = time.monotonic()
        #: Whether it serves.
        self.ready = False

    def wait_ready(self, stopping: Event) -> None:
        """Waits until it serves, or has ended, takes too long, or is not needed. # greenlet"""
        try:
            while not stopping.is_set():
                try:
                    gevent.socket.wait_read(self._heard, LOOK_EACH)
                except TimeoutError:  # only now: it may serve while another one is waited for
                    if time.monotonic() - self.since < START_WITHIN:
                        continue
                else:
                    self.ready = os.read(self._heard, 1) == b"r"
                return
        finally:
            os.close(self._heard)

    def tell(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


class Supervisor:
    """``command``: what a worker runs. ``said(port)`` is called once all serve."""

    def __init__(
        self, command: Sequence[str], count: int, *, patience: float, said: Callable[[int], Any]
    ) -> None:
        self._command = command
        self._count = count
        self._patience = patience + END_WITHIN
        self._said = said
        self._workers: list[Worker] = []
        #: What ends workers that others have replaced.
        self._leaving: list[gevent.Greenlet[..., None]] = []
        self._stopping = Event()
        self._reload = Event()

    def run(self, host: str, port: int) -> int:
        """Runs until a signal ends it; the exit code. Raises `OSError` if it cannot listen."""
        listener = _listener(host, port)
        self._life, alive = os.pipe()
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self._stopping.set)
        gevent.signal_handler(signal.SIGHUP, self._reload.set)
        try:
            self._workers = self._started(listener, 1)
            for first in self._workers:
                if not (first.ready or self._stopping.is_set()):
                    # An invalid option, or an app that cannot be loaded.
                    first.tell(signal.SIGKILL)
                    return first.process.wait() or 1
            self._workers += self._started(listener, self._count - 1)
            if not self._stopping.is_set():
                self._said(listener.getsockname()[1])
            self._watch(listener)
        finally:
            listener.close()
            self._end(self._workers)
            gevent.joinall(self._leaving)
            os.close(alive)
        return 0

    def _started(self, listener: socket.socket, count: int) -> list[Worker]:
        if self._stopping.is_set():
            return []
        made = [Worker(self._command, listener, self._life) for _ in range(count)]
        for each in made:
            each.wait_ready(self._stopping)
        return made

    def _replace_all(self, listener: socket.socket) -> None:
        """New workers for all, if at least one of them serves: the app may be broken now."""
        made = self._started(listener, self._count)
        if any(each.ready for each in made):
            made, self._workers = self._workers, made
        elif not self._stopping.is_set():
            click.echo("The new workers do not start. The old ones go on.", err=True)
        self._leaving.append(gevent.spawn(self._end, made))

    def _watch(self, listener: socket.socket) -> None:
        while not self._stopping.wait(LOOK_EACH):
            if self._reload.is_set():
                self._reload.clear()
                self._replace_all(listener)
            for each in list(self._workers):
                if each.process.poll() is None:
                    continue
                self._workers.remove(each)
                if time.monotonic() - each.since < AGAIN:
                    gevent.sleep(AGAIN)
                if not self._stopping.is_set():
                    self._workers += self._started(listener, 1)

    def _end(self, workers: list[Worker]) -> None:
        """Ends them, and waits until they have. # greenlet"""
        for each in workers:
            each.tell(signal.SIGTERM)
        until = time.monotonic() + self._patience
        while any(each.process.poll() is None for each in workers):
            if time.monotonic() > until:
                for each in workers:
                    each.tell(signal.SIGKILL)
            gevent.sleep(LOOK_EACH)


def _listener(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, address = found[0]
    listener = socket.socket(family, kind, proto)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def is_worker() -> bool:
    """Whether a supervisor has started this process."""
    return LISTENER in os.environ


def supervise(host: str, port: int, count: int, drain_seconds: float | None, page: str) -> int:
    """Runs this command in ``count`` workers until a signal ends them; the exit code.

    ``page``: the path that is to be opened.
    """

    def said(port: int) -> None:
        found = Addresses.of(host, port, tls=False)
        print_first_lines(found, [f"workers: {count}"], tls=False, page=page)

    command = [sys.executable, "-m", "rtcio_sync", *sys.argv[1:]]
    patience = 1.0 if drain_seconds is None else drain_seconds
    try:
        return Supervisor(command, count, patience=patience, said=said).run(host, port)
    except OSError as error:
        raise click.ClickException(not_listening(host, port, error)) from None
