"""The conftest of Flask-SocketIO's own tests when `rtcio_sync.flask_socketio` is in its place.

Not named ``conftest.py``, for it replaces a package in the process: `test_upstream_suites` loads it
with ``-p`` into a process of its own. ``RTCIO_ASYNC_MODE`` says on what the servers run:
``gevent``, monkey-patched as an app is, or ``threading``.
"""

from __future__ import annotations

import os
import sys

MODE = os.environ["RTCIO_ASYNC_MODE"]

if MODE == "gevent":
    from gevent import monkey

    monkey.patch_all()

from typing import Any  # noqa: E402

import rtcio_sync.flask_socketio  # noqa: E402


class OnMode(rtcio_sync.flask_socketio.SocketIO):
    def init_app(self, app: Any, **options: Any) -> None:
        super().init_app(app, **{"async_mode": MODE, **options})


rtcio_sync.flask_socketio.SocketIO = OnMode  # type: ignore[misc]
sys.modules["flask_socketio"] = rtcio_sync.flask_socketio
