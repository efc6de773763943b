"""The pages that the tests ask for, whatever the app."""

from __future__ import annotations

import threading
from typing import Any

import flask


def add_pages(app: flask.Flask, server: Any) -> threading.Event:
    """Adds them; the event that handlers wait for between ``/hold`` and ``/release``."""
    released = threading.Event()

    @app.get("/health")
    def health() -> str:
        return "ok"

    @app.get("/stats")
    def stats() -> Any:
        return flask.jsonify(server.stats())

    @app.get("/hold")
    def hold() -> str:
        released.clear()
        return "ok"

    @app.get("/release")
    def release() -> str:
        released.set()
        return "ok"

    return released
