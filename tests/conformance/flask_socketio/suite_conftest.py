"""The conftest of Flask-SocketIO's own tests when they run against `rtcio_sync.Server`.

Not named ``conftest.py``, for it replaces a class in the process: `test_upstream_suites` loads it
with ``-p`` into a process of its own. ``RTCIO_ASYNC_MODE`` says on what the servers run:
``gevent``, monkey-patched as an app is, or ``threading``.
"""

from __future__ import annotations

import os

MODE = os.environ["RTCIO_ASYNC_MODE"]

if MODE == "gevent":
    from gevent import monkey

    monkey.patch_all()

from typing import Any  # noqa: E402

import deselecting  # noqa: E402
import socketio  # noqa: E402
import socketio.server  # noqa: E402

from rtcio_sync import Server  # noqa: E402

deselecting.table.update(
    {
        "test_socketio.py::TestSocketIO::test_message_queue_options": (
            "pins that a server may be given a client manager that cannot listen: ours refuses it, "
            "as an option that contradicts what a server is"
        ),
    }
)


class SubstitutedServer(Server):
    def __init__(self, **options: Any) -> None:
        if options.get("async_mode") is None:
            options["async_mode"] = MODE
        super().__init__(**options)


socketio.Server = SubstitutedServer
socketio.server.Server = SubstitutedServer
