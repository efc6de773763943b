"""The scenario of a whole call: real socket.io-clients, in a process of Node."""

from __future__ import annotations

import json
import subprocess

from benchmarks import clients
from benchmarks.accounting import settle
from benchmarks.clients import Void
from benchmarks.connecting import warm_up
from benchmarks.contestants import HERE
from benchmarks.subject import Scale, Subject, Turns

MEMBERS = 4
TOGETHER = 10  # rooms, in the warm-up
PROGRAM = HERE / "node/participants.js"
#: None: socket.io-client's own default, polling and then the upgrade.
TRANSPORTS: dict[str, list[str] | None] = {"default": None, "websocket": ["websocket"]}


def call(subject: Subject, scale: Scale) -> Turns:
    """Server CPU per participant of a call, from the first request until all have left.

    Four clients come at the same time, join a room, send each other a description and eleven
    candidates, a relay at a time, and leave; then the next room begins.
    """
    warm_up(subject.pool(), scale.warm_lives)
    with Participants(subject.port) as participants:
        for way, transports in TRANSPORTS.items():
            participants.hold(scale.warm_rooms, transports, together=TOGETHER)
            participants.hold(scale.rooms, transports)
            for _ in range(scale.turns):
                yield {}
                before = settle(subject.pid)
                participants.hold(scale.rooms, transports)
                cost = settle(subject.pid) - before
                yield {f"call-{way}": cost / 1000 / scale.rooms / MEMBERS}


class Participants:
    """The process of the clients, which inherits the core of the load."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._process = subprocess.Popen(
            ["node", str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Participants:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def hold(self, rooms: int, transports: list[str] | None, together: int = 1) -> None:
        """Holds calls in so many rooms, one after the other, or some together; blocks."""
        assert self._process.stdin is not None and self._process.stdout is not None
        task = {
            "port": self._port,
            "rooms": rooms,
            "together": together,
            "transports": transports,
            "patience": clients.PATIENCE,
        }
        self._process.stdin.write(f"{json.dumps(task)}\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline() or '{"error": "the clients ended"}')
        if "error" in answer:
            raise Void(answer["error"])
