"""python-socketio's asyncio server with its default options, for uvicorn and Granian.

It runs in the environment of ``requirements.txt`` beside this file, and imports nothing else.
"""

from __future__ import annotations

from typing import Any

import socketio

server = socketio.AsyncServer(async_mode="asgi")
application = socketio.ASGIApp(server)


@server.on("join")
async def join(sid: str, room: str) -> None:
    await server.enter_room(sid, room)


@server.on("say")
async def say(sid: str, room: str, payload: object) -> None:
    await server.emit("say", payload, to=room, skip_sid=sid)


@server.on("#rtcio:message")
async def relay(sid: str, payload: dict[str, Any]) -> None:
    await server.emit("#rtcio:message", payload, to=payload["target"])


@server.event
async def disconnect(sid: str, reason: str) -> None:
    for room in server.rooms(sid):
        if room != sid:
            await server.emit("#rtcio:peer-left", {"id": sid}, to=room, skip_sid=sid)
