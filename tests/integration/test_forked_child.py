"""What the code of a forked child finds, in programs that fork at the worst moment."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.integration.redis_server import redis_server
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * DEADLINE)
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


#: A handler forks while events wait behind it, and in other connections, before and after they have
#: been waiting for their turn.
QUEUED = """
from gevent import monkey
monkey.patch_all()
import gevent
from rtcio_sync import Server
from rtcio_sync.engineio.inbox import Inbox
from rtcio_sync.hub.forked import serves
from rtcio_sync.socketio.inbox_items import Event

server = Server(async_handlers=sys.argv[1] == "async")
children, charged = [], []

@server.on("compute")
def compute(sid):
    end = time.monotonic() + 0.03
    while time.monotonic() < end:
        pass

@server.on("fork")
def fork(sid):
    before = len(charged)  # others' events may have had their turn
    pid = os.fork()
    if pid:
        children.append(pid)
        return
    for _ in range(100):
        gevent.sleep(0.001)
    os._exit(len(charged) - before)

@server.on("charge")
def charge(sid, number):
    charged.append(number)

clients = [server.test_client() for _ in range(4)]
serves(server.eio, None)
server.eio.hub_thread.bind()
links = list(server.eio.sockets.values())

def send(number, *event):  # as of a real client, without the test client's way
    links[number].tested = False
    Inbox.enqueue(links[number], Event("/", None, list(event)))

if sys.argv[2] == "turn":
    send(0, "compute")
send(1, "fork")
send(1, "charge", 1)
for number in (2, 3):
    send(number, "charge", number)
gevent.sleep(0)
with gevent.Timeout(20):
    while not children or len(charged) < 3:
        gevent.sleep(0.001)
assert status_of(children[0]) == 0, "the child has handled events"
assert sorted(charged) == [1, 2, 3]
"""


@pytest.mark.parametrize("waits", ["callback", "turn"])
@pytest.mark.parametrize("handlers", ["in order", "async"])
def test_a_child_handles_no_event_of_its_parent(handlers: str, waits: str) -> None:
    ran(QUEUED, handlers, waits)


#: A thread beside the one that serves forks, and the child emits.
IN_A_THREAD = """
import logging, threading
import gevent
from rtcio_sync import Server
from rtcio_sync.engineio.socket import Socket
from rtcio_sync.hub.forked import serves

logging.basicConfig(stream=sys.stdout)
server = Server()
server.eio.hub_thread.bind()
serves(server.eio, None)
link = server.eio.sockets["x"] = Socket(server.eio, "x")
server.eio._trigger_event("connect", "x", {}, run_async=False)
server.eio.arrive(link, b"40", False)
while link.root is None or not link.root.ready:
    gevent.sleep(0.001)
sent = len(link.outbox)
children = []

def fork():
    pid = os.fork()
    if pid == 0:
        server.emit("one")
        server.emit("two", to=link.root.sid)
        sys.stdout.flush()
        os._exit(0)
    children.append(pid)

thread = threading.Thread(target=fork)
thread.start()
thread.join()
assert status_of(children[0]) == 0
server.emit("three")
assert len(link.outbox) == sent + 1
"""


def test_a_child_of_a_thread_is_told_that_it_has_no_clients() -> None:
    said = ran(IN_A_THREAD)
    assert said.count("WARNING") == 1
    assert "a forked child" in said and "os._exit()" in said


#: A server on python-socketio's manager forks while it has something to publish, and its child lets
#: greenlets run while the parent does not.
ON_A_CHANNEL = """
from gevent import monkey
monkey.patch_all()
import json, logging
import gevent, redis, socketio
from rtcio_sync import Server
from rtcio_sync.hub.forked import serves

logging.basicConfig(stream=sys.stdout)
url = sys.argv[1]
server = Server(client_manager=socketio.RedisManager(url))
server.eio.hub_thread.bind()
client = server.test_client()
serves(server.eio, None)
outside = redis.Redis.from_url(url)
heard = outside.pubsub()
heard.subscribe("socketio")
with gevent.Timeout(20):
    while outside.pubsub_numsub("socketio")[0][1] < 2:
        gevent.sleep(0.01)
server.emit("published")  # its connection is there
with gevent.Timeout(20):
    while server.manager._unpublished is not None:
        gevent.sleep(0.001)
for number in range(5):
    server.emit("queued", number)
reader, writer = os.pipe()
pid = os.fork()
if pid == 0:
    status = 1
    try:
        for number in range(20):
            message = {"method": "emit", "event": "news", "data": [number], "namespace": "/"}
            outside.publish("socketio", json.dumps({**message, "host_id": "another"}))
        server.emit("child")
        gevent.sleep(0.3)
        status = 0
        sys.stdout.flush()
    finally:
        os.write(writer, b"x")
        os._exit(status)
os.read(reader, 1)  # it blocks all greenlets
assert status_of(pid) == 0
came = []
with gevent.Timeout(20):
    while came.count("news") < 20 or "child" not in came:
        gevent.sleep(0.01)
        came += [name for name, arguments in client.received()]
server.emit("last")
events = []
with gevent.Timeout(20):
    while "last" not in events:
        message = heard.get_message(ignore_subscribe_messages=True, timeout=1)
        if message is not None:
            events.append(json.loads(message["data"])["event"])
assert events.count("queued") == 5, events
"""


def test_a_child_leaves_the_channel_to_its_parent() -> None:
    with redis_server() as url:
        assert "a forked child" not in ran(ON_A_CHANNEL, url)


#: A handler forks, and its child exits as a program does.
EXITS = """
import atexit
from rtcio_sync import Server
from rtcio_sync.hub.forked import serves

atexit.register(lambda: print("the end of the parent"))
server = Server(async_mode=sys.argv[1])
client = server.test_client()
serves(server.eio, None)

@server.on("fork")
def fork(sid, code):
    pid = os.fork()
    if pid == 0:
        print("in the child")
        sys.exit(code)
    return status_of(pid)

assert [client.call("fork", code) for code in (0, 3, None, "why")] == [0, 3, 0, 1]

statuses = []
for code in (0, 3):
    server.start_background_task(lambda: statuses.append(fork("", code))).join()
assert statuses == [0, 3]
"""


@pytest.mark.parametrize("mode", ["gevent", "threading"])
def test_a_child_of_a_handler_may_exit(mode: str) -> None:
    said = ran(EXITS, mode)
    assert said.count("in the child") == 6
    assert said.count("the end of the parent") == 1
