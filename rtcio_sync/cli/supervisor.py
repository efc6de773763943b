"""``rtcio-sync --workers N``: starts the workers, and new ones for those that die, and ends them.

The supervisor opens the listening socket and serves nothing itself. It runs the same command again,
which becomes a template of workers (`worker_template`). Each worker is a fork of that, and finds
the socket in its environment (`serving.supervised_worker`). The workers are one server, as those of
gunicorn are.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import click

from ..starting.addresses import Addresses, not_listening
from .first_lines import print_first_lines
from .worker_process import Template, Worker

__all__ = ["Supervisor", "supervise"]

BACKLOG = 1024
END_WITHIN = 10.0  # seconds, beside those of the drain, until a worker is killed
REPORTED_WITHIN = 5.0  # seconds until its template says that a worker which was killed has ended
AGAIN = 1.0  # seconds between two starts of a worker that dies at once
LOOK_EACH = 0.2  # seconds between two looks at what says nothing by itself


class Leaving:
    """Workers that are told to end, and their template, which ends after them."""

    def __init__(self, workers: list[Worker], template: Template, patience: float) -> None:
        self.workers = workers
        self.template = template
        self._until = time.monotonic() + patience
        for each in workers:
            each.listen_no_more()
            each.tell(signal.SIGTERM)

    def have_left(self) -> bool:
        """Whether they have ended. Those that take too long are killed."""
        live = [each for each in self.workers if each.poll() is None]
        if not live:
            self.template.end()
            return True
        late = time.monotonic() - self._until
        if late > REPORTED_WITHIN:  # the template does not say that they have ended
            self.template.end()
        elif late > 0:
            for each in live:
                each.tell(signal.SIGKILL)
        return False


class Supervisor:
    """``command``: what becomes the template. ``said(port)`` is called once all serve."""

    def __init__(
        self, command: Sequence[str], count: int, *, patience: float, said: Callable[[int], Any]
    ) -> None:
        self._command = command
        self._count = count
        self._patience = patience + END_WITHIN
        self._said = said
        self._workers: list[Worker] = []
        #: Workers that are waited for.
        self._starting: list[Worker] = []
        self._leaving: list[Leaving] = []
        self._signals: set[int] = set()

    def run(self, host: str, port: int) -> int:
        """Runs until a signal ends it; the exit code. Raises `OSError` if it cannot listen."""
        self._listener = _listener(host, port)
        self._life, alive = os.pipe()
        with self._listener, _told(self._signals) as self._woken:
            self._template = self._new_template()
            try:
                return self._run()
            finally:
                self._listener.close()
                self._leave(self._workers, self._template)
                while self._leaving:
                    self._wait()
                os.close(alive)
                os.close(self._life)

    def _run(self) -> int:
        self._workers = self._started(1)
        if not (self._stopping or any(each.ready for each in self._workers)):
            return self._why_not()
        self._workers += self._started(self._count - 1)
        if not self._stopping:
            self._said(self._listener.getsockname()[1])
        while not self._stopping:
            self._wait()
            if signal.SIGHUP in self._signals:
                self._signals.discard(signal.SIGHUP)
                self._replace_all()
            self._replace_dead()
        return 0

    @property
    def _stopping(self) -> bool:
        return not self._signals.isdisjoint((signal.SIGTERM, signal.SIGINT))

    # -- waiting -----------------------------------------------------------------------------------

    def _wait(self) -> None:
        """Until something has happened, or for a moment."""
        leaving = self._leaving
        templates = [self._template, *(each.template for each in leaving)]
        workers = [*self._workers, *self._starting]
        told = [each for each in templates if not each.ended]
        heard = [each for each in workers if each.fileno() >= 0]
        watched: list[int | Template | Worker] = [self._woken, *told, *heard]
        able, _, _ = select.select(watched, [], [], LOOK_EACH)
        for template in told:
            if template in able:
                template.read()
        for worker in heard:
            if worker in able:
                worker.hear()
        if self._woken in able:
            with suppress(BlockingIOError):
                os.read(self._woken, 4096)
        leaving[:] = [each for each in leaving if not each.have_left()]

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < until:
            self._wait()

    # -- processes ---------------------------------------------------------------------------------

    def _new_template(self) -> Template:
        return Template(self._command, self._listener, self._life)

    def _why_not(self) -> int:
        """The exit code after an invalid option, or an app that cannot be loaded."""
        for first in self._workers:
            first.tell(signal.SIGKILL)
            while first.poll() is None:
                self._wait()
            return first.poll() or 1
        return self._template.end() or 1

    def _started(self, count: int) -> list[Worker]:
        """New workers that have been waited for; none, if the template cannot fork or we stop."""
        while not (self._stopping or self._template.has_settled()):
            self._wait()
        if self._stopping or not self._template.ready:
            return []
        self._starting = [self._template.start() for _ in range(count)]
        while not (self._stopping or all(each.has_settled() for each in self._starting)):
            self._wait()
        made, self._starting = self._starting, []
        return made

    def _replace_all(self) -> None:
        """New workers for all, if at least one of them serves: the app may be broken now."""
        before, self._template = self._template, self._new_template()
        made, template = self._started(self._count), self._template
        if any(each.ready for each in made):
            made, self._workers, template = self._workers, made, before
        else:
            self._template = before
            if not self._stopping:
                click.echo("The new workers do not start. The old ones go on.", err=True)
        self._leave(made, template)

    def _replace_dead(self) -> None:
        for each in list(self._workers):
            if each.poll() is not None:
                self._workers.remove(each)
                if time.monotonic() - each.since < AGAIN:
                    self._pause(AGAIN)
        missing = self._count - len(self._workers)
        if not missing or self._stopping:
            return
        if self._template.ended:  # it died, too
            self._template.end()
            self._template = self._new_template()
        made = self._started(missing)
        self._workers += made
        if not made:  # the template takes too long, or cannot start any more
            self._template.end()
            self._pause(AGAIN)

    def _leave(self, workers: list[Worker], template: Template) -> None:
        self._leaving.append(Leaving(workers, template, self._patience))


@contextmanager
def _told(signals: set[int]) -> Iterator[int]:
    """Adds the signals that come to this set. Gives a descriptor that has data once one comes."""
    reads, writes = os.pipe()
    for each in (reads, writes):
        os.set_blocking(each, False)
    signal.set_wakeup_fd(writes, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, _: signals.add(number))
    yield reads


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
