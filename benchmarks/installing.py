"""Installs what the chosen servers and figures need, if it is missing."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from benchmarks.contestants import (
    BUN,
    HERE,
    NODE_PACKAGES,
    PEERS,
    PYTHON,
    REQUIREMENTS,
    USERS,
    Contestant,
)
from benchmarks.run import needs_redis

#: The figures of several workers.
SEVERAL = {"workers", "redis", "handover"}


def install(contestants: Iterable[Contestant], figures: Iterable[str]) -> None:
    """Runs ``npm ci`` and ``pip``; the latter in environments for servers alone.

    These are ``benchmarks/.venv`` for the ASGI servers, and ``benchmarks/.venv-users`` for ours and
    python-socketio's.
    """
    parts = {part for contestant in contestants for part in contestant.command}
    needed = {
        "node": "node" in parts and NODE_PACKAGES / "socket.io",
        "several": "node" in parts
        and not SEVERAL.isdisjoint(figures)
        and NODE_PACKAGES / "@socket.io/sticky",
        "hosts": "node" in parts
        and "hosts" in figures
        and NODE_PACKAGES / "@socket.io/redis-streams-adapter",
        "bun": str(BUN) in parts and BUN,
        "call": "call" in figures and NODE_PACKAGES / "socket.io-client",
    }
    with _alone():
        if any(path and not path.exists() for path in needed.values()):
            _run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=HERE / "node")
        if str(PEERS) in parts:
            _environment(PEERS, REQUIREMENTS.read_text())
        if PYTHON in parts and not all(map(needs_redis, figures)):
            _environment(USERS, _of_users())


def _of_users() -> str:
    """What a user of the package and gunicorn has, in the versions that are installed here."""
    required = [each for each in metadata.requires("rtcio-sync") or () if "extra ==" not in each]
    names = [re.match(r"[\w.-]+", each)[0] for each in required]  # type: ignore[index]
    found = {name: metadata.version(name) for name in [*names, "gunicorn"]}
    found["gunicorn[gevent]"] = found.pop("gunicorn")
    return "".join(f"{name}=={version}\n" for name, version in found.items())


def _environment(python: Path, requirements: str) -> None:
    """Makes an environment with just these, unless that was done before."""
    installed = python.parent / "requirements.txt"
    if installed.exists() and installed.read_text() == requirements:
        return
    _run(sys.executable, "-m", "venv", "--clear", python.parent.parent)
    wanted = python.parent / "wanted.txt"
    wanted.write_text(requirements)
    _run(python, "-m", "pip", "install", "--quiet", "--requirement", wanted)
    wanted.replace(installed)


@contextmanager
def _alone() -> Iterator[None]:
    """Another benchmark that begins meanwhile waits, and then finds all installed."""
    lock = os.open(HERE, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _run(*command: str | Path, cwd: Path = HERE) -> None:
    subprocess.run(command, cwd=cwd, check=True, stdout=sys.stderr)
