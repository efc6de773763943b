"""A client that comes while a handler forks is the parent's: the child does not accept it."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: A server on gevent whose child begins between the moment in which the loop has seen a client at
#: the listening socket, and the one in which it accepts it: the pipe's watcher goes first.
PROGRAM = """
import os, sys
patched = sys.argv[1] == "patched"
if patched:
    from gevent import monkey
    monkey.patch_all()
import _socket
import socket
import gevent
from gevent.pywsgi import WSGIServer
from rtcio_sync import Server
from rtcio_sync.hub.forked import serves

def page(environ, start_response):
    start_response("200 OK", [])
    return [b"ok"]

server = Server()
wsgi = WSGIServer(("127.0.0.1", 0), page)
wsgi.start()
serves(server.eio, wsgi.socket)
reader, writer = os.pipe()
loop = gevent.get_hub().loop
watcher = loop.io(reader, 1, priority=2)
children = []

def fork():
    os.read(reader, 1)
    watcher.stop()
    children.append(os.fork())

watcher.start(fork)
client = socket.socket()
client.settimeout(10)
if patched:
    client._sock.setblocking(True)
    client._sock.connect(wsgi.address)
else:
    client.connect(wsgi.address)
os.write(writer, b"x")
gevent.sleep(0.2)
if children[0] == 0:
    replaced = _socket.socket(fileno=os.dup(wsgi.socket.fileno()))
    way_in = replaced.getsockname()
    try:
        _socket.socket(replaced.family, replaced.type).connect(way_in)
    except OSError:
        os._exit(wsgi.closed)
    os._exit(2)  # anybody on this machine could connect
_, status = os.waitpid(children[0], 0)
assert os.waitstatus_to_exitcode(status) == 0, "the child accepts, or has failed"
client.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
heard = gevent.get_hub().threadpool.apply(client._sock.recv if patched else client.recv, (100,))
assert heard.startswith(b"HTTP/1.1 200"), heard
os._exit(0)
"""


#: A child begins while the app has a default time-out for sockets.
WITH_TIMEOUT = """
import os, socket
from rtcio_sync import Server
from rtcio_sync.hub.forked import serves

socket.setdefaulttimeout(10)
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
client.settimeout(None)
assert os.get_blocking(client.fileno())
server = Server()
serves(server.eio, listener)
pid = os.fork()
if pid == 0:
    os._exit(socket.getdefaulttimeout() != 10)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "the child has no time-out"
assert os.get_blocking(client.fileno()), "the parent's reads would raise"
"""


@pytest.mark.parametrize("sockets", ["patched", "unpatched"])
def test_a_client_that_comes_while_a_handler_forks_is_the_parents(sockets: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, sockets], capture_output=True, text=True, timeout=120
    )
    assert "Traceback" not in ran.stderr and "failed with" not in ran.stderr, ran.stderr
    assert ran.returncode == 0, ran.stderr


#: A master forks its workers, and one of them serves; then one of a server that has clients.
WORKER = """
import os, socket, sys
from rtcio_sync import Emitter, Server
from rtcio_sync.hub.forked import serves

if sys.argv[1] == "master":
    outside = Emitter("redis://127.0.0.1:1/0")
else:
    serves(Server().eio, socket.create_server(("127.0.0.1", 0)))
pid = os.fork()
if pid == 0:
    server = Server(async_mode="threading")
    if sys.argv[1] == "serves":
        serves(server.eio, socket.create_server(("127.0.0.1", 0)))

    def leave():
        raise SystemExit(3)

    server.dispatcher.guarded(None, "chat", leave)
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == int(sys.argv[2])
"""


@pytest.mark.parametrize(("parent", "code"), [("master", 7), ("serves", 7), ("copy", 3)])
def test_only_a_child_without_clients_of_its_own_ends_with_its_handler(
    parent: str, code: int
) -> None:
    """Else one handler that calls `sys.exit` would cut off all clients of a worker."""
    ran = subprocess.run(
        [sys.executable, "-c", WORKER, parent, str(code)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_a_child_leaves_the_parents_sockets_as_they_are() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITH_TIMEOUT], capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
