"""Reloading for development: the server runs in a child process, which starts anew on changes.

The child watches the files of its modules, by their times: the app's and the libraries that are
worked on, without those that are installed. When one has changed it stops as on SIGTERM, so that
all clients come back, and its parent starts the next child.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import click

__all__ = ["CHANGED", "Changes", "is_first", "is_reloaded", "reload_on_changes"]

CHANGED = 3  # the exit code of a child that wants to be started anew
LOOK_EACH = 0.5  # seconds between two looks at the files
_POLL = 0.05  # seconds between two looks at the child

#: In the environment of a child: how many there have been.
_CHILD = "_RTCIO_RELOADED"

_INSTALLED = tuple(
    os.path.join(sysconfig.get_paths()[name], "")
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


@cache
def _number() -> str | None:
    """Which child of `reload_on_changes` this process is; `None`: it is none.

    The variable is removed: what the app starts is no child.
    """
    return os.environ.pop(_CHILD, None)


def is_reloaded() -> bool:
    """Whether this process is a child of `reload_on_changes`."""
    return _number() is not None


def is_first() -> bool:
    """Whether no child came before this process."""
    return _number() in (None, "1")


def reload_on_changes(command: Sequence[str], environ: Mapping[str, str] | None = None) -> int:
    """Runs ``command`` in a child, and again whenever a file has changed; its last exit code.

    ``environ``: variables for the child, added to this process's own.
    """
    count, child = 0, None
    asked = False

    def stop(*_: Any) -> None:
        nonlocal asked
        asked = True
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGTERM)

    before = {each: signal.signal(each, stop) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        while True:
            count += 1
            child = subprocess.Popen(
                command, env={**os.environ, **(environ or {}), _CHILD: str(count)}
            )
            if asked:  # the signal came before there was this child
                child.send_signal(signal.SIGTERM)
            while child.poll() is None:
                time.sleep(_POLL)
            if asked or child.returncode != CHANGED:
                return 0 if asked and child.returncode < 0 else child.returncode
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Changes:
    """The files of this process's modules, and whether one of them has changed."""

    def __init__(self) -> None:
        #: The file that has changed; `None`: none has.
        self.changed: str | None = None
        self._times: dict[str, float] = {}
        self._more: set[str] = set()
        self._parent = os.getppid()
        self.look()

    @property
    def watched(self) -> set[str]:
        """The files that are watched."""
        return {*_module_files(), *self._more}

    def look(self) -> str | None:
        """The first file that has changed since it was seen first; `None`: none has."""
        for path in self.watched:
            try:
                now = os.stat(path).st_mtime
            except OSError:
                continue  # an editor writes it anew
            if self._times.setdefault(path, now) != now:
                return path
        return None

    def begin(self, stop: Callable[[], Any]) -> None:
        """Watches in a thread. ``stop()`` is called when a file has changed."""
        self.look()  # at the modules that were imported since it was made
        threading.Thread(target=self._watch, args=(stop,), daemon=True).start()

    def _watch(self, stop: Callable[[], Any]) -> None:
        self.wait()
        while True:  # a server that has not begun to listen yet does not hear the first one
            stop()
            time.sleep(LOOK_EACH)

    def wait(self) -> None:
        """Returns when a file has changed, or when the parent process has died."""
        while self.changed is None and os.getppid() == self._parent:
            time.sleep(LOOK_EACH)
            self.changed = self.look()
        if self.changed is not None:
            click.echo(f" * {self.changed} has changed: restarting", err=True)

    @contextmanager
    def mended(self) -> Iterator[None]:
        """An exception inside is printed; once a file has changed the process ends.

        The watched files are those of the traceback too: of a module that cannot be imported.
        An exception of click's is raised in the first child: the command line is wrong.
        """
        try:
            yield
        except Exception as error:  # the app's own code may raise anything
            if isinstance(error, click.ClickException) and is_first():
                raise
            traceback.print_exc()
            self._more |= set(_files_of(error))
            self.look()
            self.wait()
            sys.exit(CHANGED)


def _module_files() -> set[str]:
    found = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return {path for path in found if path is not None and _is_watched(path)}


def _is_watched(path: str) -> bool:
    return path.endswith(".py") and not path.startswith(_INSTALLED)


def _files_of(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        for frame, _ in traceback.walk_tb(error.__traceback__):
            if _is_watched(frame.f_code.co_filename):
                yield frame.f_code.co_filename
        if isinstance(error, SyntaxError) and error.filename:
            yield error.filename
        error = error.__cause__ or error.__context__
