"""Faulty handlers for the attacked application: on request, they do what apps' handlers do wrong.

They are the same under every Python server on gevent; `../node/server.js` has them for Node.
``census`` returns what the server holds by its own count.
"""

from __future__ import annotations

import time
from typing import Any

import gevent
import socketio


def _killed() -> None:
    gevent.getcurrent().kill()


def _raise(error: BaseException) -> None:
    raise error


#: How a handler may end that does not end well.
ENDS = {
    "an error": lambda: _raise(ValueError("asked to")),
    "a timeout": lambda: _raise(gevent.Timeout()),
    "an exit": lambda: _raise(gevent.GreenletExit()),
    "killed": _killed,
}


def add_misbehaving(server: socketio.Server, *beside: socketio.Server) -> None:
    """Adds them to a server; its census counts the clients of those beside it, too."""

    @server.on("connect")
    def connect(sid: str, environ: dict[str, Any], auth: Any = None) -> None:
        if isinstance(auth, dict) and auth.get("kick"):
            server.disconnect(sid)

    @server.on("raise")
    def raises(sid: str, end: str) -> None:
        ENDS[end]()

    @server.on("compute")
    def compute(sid: str, milliseconds: float) -> None:
        end = time.perf_counter() + milliseconds / 1000
        while time.perf_counter() < end:
            pass

    @server.on("never-return")
    def never_return(sid: str) -> None:
        gevent.sleep(3600)

    @server.on("answer")
    def answer(sid: str, size: int) -> str:
        return "x" * size

    @server.on("send-much")
    def send_much(sid: str, count: int, size: int) -> None:
        for number in range(count):
            server.emit("much", f"{number:{size}}", to=sid)

    @server.on("say")
    def say(sid: str, room: str, payload: object) -> None:
        server.emit("say", payload, to=room, skip_sid=sid)

    @server.on("census")
    def census(sid: str) -> dict[str, int]:
        found = [_census(each) for each in (server, *beside)]
        return {name: sum(each[name] for each in found) for name in found[0]}


def _census(server: socketio.Server) -> dict[str, int]:
    if hasattr(server, "stats"):
        stats = server.stats()
        names = ("connections", "connected", "rooms")
        return {name: stats[name] for name in names}
    return {
        "connections": len(server.eio.sockets),
        "connected": sum(1 for _ in server.manager.get_participants("/", None)),
        "rooms": len(server.manager.rooms.get("/", ())),
    }
