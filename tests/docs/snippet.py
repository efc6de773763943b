"""Runs programs as a document shows them, without a port: a path a line in, an exit code out.

Each runs in a fork of this process, which has imported already what takes its time, and in the
folder that it is in; what it prints is in `snippet.log` there. Whatever would serve for ever
returns at once. Then each server that the program has made, and not tested itself, is met by two
clients in memory; every event that it has handlers for is sent to it, and none may raise.
"""

from gevent import monkey

monkey.patch_all()

import os  # noqa: E402
import runpy  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import flask  # noqa: E402
import flask_socketio  # noqa: E402
from gevent import pywsgi  # noqa: E402

from rtcio_sync import Server, TestClient  # noqa: E402

servers: list[Server] = []
tested: list[Server] = []

#: What a handler may be sent: the fields that the documents use.
PAYLOAD = {"roomId": "demo", "name": "ada", "text": "hello", "mic": True, "cam": False}


def remember(server: Server, **options: Any) -> None:
    _init(server, **options)
    servers.append(server)


def test_client(server: Server, *args: Any, **options: Any) -> TestClient:
    tested.append(server)
    return _test_client(server, *args, **options)


def nothing(*args: Any, **kwargs: Any) -> None:
    """Instead of what serves until it is stopped."""


def listen(server: Server, port: int, host: str = "0.0.0.0", **options: Any) -> None:
    assert isinstance(port, int) and isinstance(host, str)
    assert server in servers


def events(server: Server, client: TestClient) -> set[str]:
    own = set(server.handlers.get(client.namespace, {}))
    socket = server.of(client.namespace).sockets.get(str(client.sid))
    return (own | set(socket.handlers.events if socket else ())) - {"connect", "disconnect", "*"}


def meet(server: Server, namespace: str) -> None:
    clients = [_test_client(server, namespace=namespace, auth={}) for _ in range(2)]
    for client in clients:
        # A server that asks for a token has nothing to say to one without.
        assert client.connected or client.error, (namespace, client)
    for client in clients:
        if client.connected:
            for event in sorted(events(server, client) - {"disconnecting"}):
                if client.connected:
                    client.emit(event, {**PAYLOAD, "to": client.sid})
    for client in clients:
        client.disconnect()


def run(program: Path) -> None:
    os.chdir(program.parent)
    log = os.open("snippet.log", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.path.insert(0, str(program.parent))
    runpy.run_path(str(program), run_name="__main__")
    for server in (each for each in servers if each not in tested):
        for namespace in sorted({"/", *server.registry.spaces, *server.handlers} - {"*"}):
            meet(server, namespace)
        failed = server.stats()["handler_errors"]
        assert failed == 0, f"{failed} handlers raised"


def main() -> None:
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                run(Path(line.strip()))
                os._exit(0)
            except BaseException:  # noqa: BLE001  (the program may raise anything; it is told)
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


_init, Server.__init__ = Server.__init__, remember  # type: ignore[method-assign]
_test_client, Server.test_client = Server.test_client, test_client  # type: ignore[method-assign]
Server.listen = listen  # type: ignore[method-assign]
flask.Flask.run = nothing  # type: ignore[method-assign]
flask_socketio.SocketIO.run = nothing
pywsgi.WSGIServer.serve_forever = nothing
main()
