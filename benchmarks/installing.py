"""Installs what the chosen servers and figures need, if it is missing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from benchmarks.contestants import BUN, HERE, NODE_PACKAGES, PEERS, REQUIREMENTS, Contestant

#: The figures of several workers.
SEVERAL = {"workers", "redis", "handover"}


def install(contestants: Iterable[Contestant], figures: Iterable[str]) -> None:
    """Runs ``npm ci`` and ``pip``; the latter in ``benchmarks/.venv``, for the ASGI servers."""
    commands = {contestant.command[0] for contestant in contestants}
    needed = {
        "node": "node" in commands and NODE_PACKAGES / "socket.io",
        "several": "node" in commands
        and not SEVERAL.isdisjoint(figures)
        and NODE_PACKAGES / "@socket.io/sticky",
        "hosts": "node" in commands
        and "hosts" in figures
        and NODE_PACKAGES / "@socket.io/redis-streams-adapter",
        "bun": str(BUN) in commands and BUN,
        "call": "call" in figures and NODE_PACKAGES / "socket.io-client",
    }
    if any(path and not path.exists() for path in needed.values()):
        _run("npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", cwd=HERE / "node")
    installed = PEERS.parent / "requirements.txt"
    if str(PEERS) in commands and not (
        installed.exists() and installed.read_bytes() == REQUIREMENTS.read_bytes()
    ):
        _run(sys.executable, "-m", "venv", PEERS.parent.parent)
        _run(PEERS, "-m", "pip", "install", "--quiet", "--requirement", REQUIREMENTS)
        installed.write_bytes(REQUIREMENTS.read_bytes())


def _run(*command: str | Path, cwd: Path = HERE) -> None:
    subprocess.run(command, cwd=cwd, check=True, stdout=sys.stderr)
