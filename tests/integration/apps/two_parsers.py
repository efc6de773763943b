"""The test app, with a second server beside it that speaks MessagePack, at ``/packed``."""

from __future__ import annotations

import os
from typing import Any

import socketio
from calls import app, server

from rtcio_sync import Server

__all__ = ["app", "server"]

packed = Server(serializer="msgpack", async_mode=server.async_mode)
app.wsgi_app = socketio.WSGIApp(  # type: ignore[method-assign]
    packed, app.wsgi_app, socketio_path="packed"
)


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())


@packed.on("echo")
def echo(sid: str, *args: Any) -> Any:
    return args
