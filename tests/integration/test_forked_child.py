"""What the code of a forked child finds, in programs that fork at the worst moment."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.timing import DEADLINE

#: What the programs have in common: the end of a child.
COMMON = f"""
import os, sys, time

def status_of(pid):
    end = time.monotonic() + {DEADLINE}
    while time.monotonic() < end:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, 9)
    raise AssertionError("the child does not end")
"""


def ran(program: str, *args: str) -> str:
    """What a program has said; it has to succeed."""
    command = [sys.executable, "-c", COMMON + program, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * DEADLINE)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout


#: Another thread holds a lock of the server while this one forks.
LOCKED = """
import threading
from contextlib import contextmanager
from rtcio_sync import Emitter, Server
from rtcio_sync.hub.forked import serves
from rtcio_sync.socketio.socket_handlers import CHANGING

server = Server(async_mode="threading")
server.on("double", lambda sid, number: 2 * number)
client = server.test_client()
server.eio.heartbeat.later(1000, print)
emitter = Emitter("redis://127.0.0.1:1")
serves(server.eio, None)
lock = {
    "gate": server.eio.gate,
    "alarm": server.eio.heartbeat._alarm._cond,
    "handlers": CHANGING,
    "emitter": emitter._sender._lock,
}[sys.argv[1]]
held, end = threading.Event(), threading.Event()

def hold():
    with lock:
        held.set()
        end.wait()

threading.Thread(target=hold, daemon=True).start()
held.wait()
pid = os.fork()
if pid == 0:
    again = server.test_client()
    assert again.call("double", 2) == 4
    with CHANGING, emitter._sender._lock:
        os._exit(0)
assert status_of(pid) == 0
end.set()
assert client.call("double", 3) == 6
"""


@pytest.mark.parametrize("lock", ["gate", "alarm", "handlers", "emitter"])
def test_a_child_does_not_wait_for_a_thread_of_its_parent(lock: str) -> None:
    ran(LOCKED, lock)
