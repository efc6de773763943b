"""Who opens more connections than the process may have files fills no log, and harms nobody."""

from __future__ import annotations

import os
import resource
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.integration.servers import Running, running
from tests.timing import until


def _process(server: Running) -> int:
    """The process that serves: gunicorn's only worker, or the server itself."""
    master = server.process.pid
    children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
    return int(children[0]) if children else master


THREADS = "gunicorn-threads"
WAYS = ["listen", "gunicorn-gevent", "gunicorn-geventwebsocket", "pywsgi", THREADS]


@pytest.mark.parametrize("way", WAYS)
def test_connections_that_cannot_be_accepted_wait_and_are_told_of_once(way: str) -> None:
    mode: dict[str, Any] = {"async_mode": "threading"} if way == THREADS else {}
    with running(way, clean_log=False, **mode) as server, ExitStack() as stack:
        server.get("/socket.io/?EIO=4&transport=polling").read()  # the server watches from now on
        process = _process(server)
        before = resource.prlimit(process, resource.RLIMIT_NOFILE)
        count = len(os.listdir(f"/proc/{process}/fd"))
        resource.prlimit(process, resource.RLIMIT_NOFILE, (count + 20, before[1]))
        for _ in range(60):
            stack.enter_context(socket.create_connection((server.host, server.port)))
        until(lambda: "new connections wait" in server.log())
        stack.close()
        answer = server.get("/socket.io/?EIO=4&transport=polling")
        assert answer.status == 200 and answer.read().startswith(b"0{")
        resource.prlimit(process, resource.RLIMIT_NOFILE, before)
        assert server.log().count("new connections wait") == 1
        assert _process(server) == process, "its worker died"
        if way != THREADS:  # which says at length what it could not do for each connection
            assert "Traceback" not in server.log()
