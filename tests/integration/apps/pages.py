"""The pages that the tests ask for, whatever the app."""

from __future__ import annotations

import os
import threading
from typing import Any

import flask


def add_pages(app: flask.Flask, server: Any) -> threading.Event:
    """Adds them; the event that handlers wait for between ``/hold`` and ``/release``."""
    released = threading.Event()
    if stall := os.environ.get("RTCIO_TEST_STALL"):
        from rtcio_sync.transport import slow_readers

        # Seconds that a client may read nothing of much: 5 are too few on a machine with other
        # work to do, where the test is about one that stays.
        slow_readers.STALL = float(stall)

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
