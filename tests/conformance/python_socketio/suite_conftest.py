"""The conftest of python-socketio's own tests when they run against `rtcio_sync.Server`.

Not named ``conftest.py``, for it replaces classes in the process: `test_upstream_suites` loads it
with ``-p`` into a process of its own.

* `socketio.Server` is ours. Where a test has put a mock in the place of `engineio.Server`, that is
  what our server makes its engine of, told only what the test told the server.
* `Manager` is the one with our index, and a `PubSubManager` is given it.
* `Packet` is the one with our JSON.
* The server of the Admin UI's tests is on a free port instead of always the same.
"""

from __future__ import annotations

import functools
import socket
from typing import Any
from unittest import mock

import deselecting
import engineio
import pytest
import socketio
import socketio.base_manager
import socketio.manager
import socketio.packet
import socketio.pubsub_manager
import socketio.server
from left_out import TABLE

from rtcio_sync import Server
from rtcio_sync import server as server_module
from rtcio_sync.adapter.emit import RoomIndex
from rtcio_sync.cluster.pubsub_manager import graft
from rtcio_sync.config import option_values as option_values
from rtcio_sync.hub.thread import HubThread
from rtcio_sync.metrics import Counters
from rtcio_sync.parser.packet import TextPacket

deselecting.table.update(TABLE)

_engine = engineio.Server
_options = server_module.upstream_options()
server_module.upstream_options = lambda: _options  # where a test has put a mock in its place, too
_pubsub_manager = socketio.pubsub_manager.PubSubManager


class SubstitutedServer(Server):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if isinstance(self.manager, mock.Mock):
            self.manager.nobody_answers.return_value = False

    def _engineio_server_class(self) -> Any:
        if engineio.Server is _engine:
            return super()._engineio_server_class()
        told = {*self.options.given, "async_handlers"}
        if "engineio_logger" in told:
            told.add("logger")

        def make(**options: Any) -> Any:
            made = engineio.Server(**{name: options[name] for name in options if name in told})
            made.hub_thread = HubThread()  # of a mock, everything is true
            return made

        return make


def _but_for_mocks(check: Any) -> Any:
    """What `Server` asks of an option's value; a mock would be taken for anything."""

    def checked(name: str, value: Any) -> None:
        if not isinstance(value, mock.Mock):
            check(name, value)

    return checked


for _option in ("client_manager", "logger", "engineio_logger"):
    option_values._CHECKS[_option] = _but_for_mocks(option_values._CHECKS[_option])


def _set_server(manager: Any, server: Any) -> None:
    if isinstance(server, mock.Mock):
        # What ours gives a greenlet of its own, so that the one that listens need not wait for it,
        # a mock of a server does at once. Of what no server upstream has, it has nothing.
        for spawn in (server.eio.spawn, server.eio.spawn_in_turn):
            spawn.side_effect = lambda fn, *given: fn(*given)
        server.dispatcher.guarded.side_effect = lambda environ, event, fn, *given: fn(*given)
        server.counters = Counters()
    socketio.base_manager.BaseManager.set_server(manager, server)


@functools.wraps(_pubsub_manager, updated=())
def _indexed_pubsub_manager(*args: Any, **options: Any) -> Any:
    return graft(_pubsub_manager(*args, **options))


RoomIndex.set_server = _set_server
socketio.Server = SubstitutedServer
socketio.server.Server = SubstitutedServer
socketio.manager.Manager = RoomIndex
socketio.pubsub_manager.PubSubManager = _indexed_pubsub_manager
socketio.packet.Packet = TextPacket


@pytest.fixture(autouse=True, scope="session")
def _free_port() -> None:
    from tests.web_server import SocketIOWebServer  # upstream's, in whose folder this runs

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    SocketIOWebServer.start.__defaults__ = (port,)
    connect = socketio.SimpleClient.connect

    @functools.wraps(connect)
    def connect_there(self: Any, url: str, *args: Any, **options: Any) -> Any:
        return connect(self, url.replace(":8900", f":{port}"), *args, **options)

    socketio.SimpleClient.connect = connect_there
