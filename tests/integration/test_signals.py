"""A signal ends a process whose handlers compute."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.timing import DEADLINE

BUSY = """
    import os, signal, sys
    from gevent import monkey; monkey.patch_all()
    import gevent
    from rtcio_sync import Server
    from tests.clients import WebSocket

    server = Server()

    @server.on("busy")
    def busy(sid):
        print("busy", flush=True)
        while True:
            sum(range(100))

    def stop(number, frame):
        sys.exit(0)

    {prepare}
    if "{where}" == "a handler":
        WebSocket(server).join().emit("busy")
    else:
        server._hub_thread.bind()
        server.start_background_task(busy, "")
    try:
        gevent.sleep(60)
    except {expected}:
        print("stopped", flush=True)
"""


@pytest.mark.parametrize("where", ["a handler", "a task"])
@pytest.mark.parametrize(
    ("number", "prepare", "expected"),
    [
        (signal.SIGINT, "signal.signal(signal.SIGINT, signal.default_int_handler)",
         "KeyboardInterrupt"),
        (signal.SIGTERM, "signal.signal(signal.SIGTERM, stop)", "SystemExit"),
        (signal.SIGINT, "signal.signal(signal.SIGINT, stop)", "SystemExit"),
    ],
    ids=["an interrupt", "SIGTERM, handled", "SIGINT, handled"],
)  # fmt: skip
def test_a_signal_stops_the_process_though_a_handler_computes(
    number: int, prepare: str, expected: str, where: str
) -> None:
    code = textwrap.dedent(BUSY).format(prepare=prepare, expected=expected, where=where)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "busy\n"
            os.kill(process.pid, number)
            assert process.stdout.readline() == "stopped\n"
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()
