"""Handlers that end in every way a handler can, or do not end, or compute."""

from __future__ import annotations

import sys
import time
from typing import Any

import gevent
from bare import app, server

__all__ = ["app", "server"]


@server.on("fail")
def fail(sid: str, how: str) -> None:
    if how == "exit":
        sys.exit(3)
    elif how == "interrupt":
        raise KeyboardInterrupt
    elif how == "timeout":
        with gevent.Timeout(0.01):
            time.sleep(60)
    elif how == "kill":
        gevent.getcurrent().kill()  # type: ignore[attr-defined]


@server.on("ping")
def ping(sid: str) -> str:
    return "pong"


@server.on("join")
def join(sid: str, room: str) -> list[str]:
    server.enter_room(sid, room)
    return sorted(server.of("/").rooms[room])


@server.on("rooms")
def rooms(sid: str, room: str) -> list[str]:
    return sorted(server.of("/").rooms[room])


@server.on("hang")
def hang(sid: str) -> None:
    time.sleep(600)


@server.on("compute")
def compute(sid: str, number: int) -> None:
    until = time.perf_counter() + 0.005
    while time.perf_counter() < until:
        pass
    server.emit("computed", number, to=sid)


@server.on("save")
def save(sid: str, data: Any) -> None:
    ack = server.defer_ack()
    gevent.spawn_later(0.05, ack, {"saved": data})
