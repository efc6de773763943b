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

from rtcio_sync import Server
from rtcio_sync import server as server_module
from rtcio_sync.adapter.emit import RoomIndex
from rtcio_sync.cluster.pubsub import graft
from rtcio_sync.config import values as option_values
from rtcio_sync.hub.thread import HubThread
from rtcio_sync.metrics import Counters
from rtcio_sync.parser.packet import TextPacket

deselecting.table.update(
    {
        # -- behaviours of the server ------------------------------------------------------------
        "test_server.py::TestServer::test_create": (
            "pins that an option nobody knows is accepted: ours refuses it"
        ),
        "test_server.py::TestServer::test_custom_json": (
            "pins that json= changes the JSON of the whole process: ours changes it for one server"
        ),
        **dict.fromkeys(
            (
                "test_server.py::TestServer::test_logger",
                "test_server.py::TestServer::test_engineio_logger",
                "test_pubsub_manager.py::TestPubSubManager::test_custom_json",
            ),
            "pins that the text 'foo' may stand for a logger or a JSON module: ours refuses it",
        ),
        **dict.fromkeys(
            (
                f"test_server.py::TestServer::{name}"
                for name in ("test_emit", "test_emit_default_namespace", "test_send")
            ),
            "pins that a text may stand for a callback: ours refuses what cannot be called",
        ),
        **dict.fromkeys(
            (
                f"test_server.py::TestServer::test_handle_connect_{name}rejected_always_connect"
                for name in ("", "namespace_")
            ),
            "pins a DISCONNECT packet with a payload, which socket.io-client cannot read",
        ),
        **dict.fromkeys(
            (
                f"test_pubsub_manager.py::TestPubSubManager::test_write_only_{name}_logger"
                for name in ("default", "with_provided")
            ),
            "pins that a manager hands out the logger itself: ours keeps two of its lines from it",
        ),
        "test_server.py::TestServer::test_call_without_async_handlers": (
            "pins that call() cannot work where handlers run in order: ours takes an "
            "acknowledgement at once, so it can"
        ),
        "test_server.py::TestServer::test_handle_connect_namespace_twice": (
            "pins 'Unable to connect', a refusal that is a string: the protocol has an object there"
        ),
        "test_server.py::TestServer::test_handle_connect_with_auth_none": (
            "pins that a connect handler that raises TypeError is called twice"
        ),
        "test_server.py::TestServer::test_handle_legacy_disconnect": (
            "pins that a disconnect handler that raises TypeError is called twice"
        ),
        "test_server.py::TestServer::test_msgpack": (
            "pins the very class of the packets: ours also reads the undefined of JavaScript"
        ),
        **dict.fromkeys(
            (
                f"test_packet.py::TestPacket::test_{name}"
                for name in (
                    "encode_binary_event_packet",
                    "encode_binary_ack_packet",
                    "invalid_binary_packet",
                    "encode_many_binary",
                    "encode_many_binary_ack",
                    "data_is_binary_list",
                    "data_is_binary_dict",
                )
            ),
            "pins that a packet is searched for bytes when it is made: ours finds them as it is "
            "written",
        ),
        # -- the manager's tables: what rooms(sid) and each disconnect walked ----------------------
        **dict.fromkeys(
            (
                f"test_manager.py::TestBaseManager::{name}"
                for name in (
                    "test_pre_connect",
                    "test_connect",
                    "test_pre_disconnect",
                    "test_disconnect",
                    "test_disconnect_default_namespace",
                    "test_disconnect_twice",
                )
            ),
            "pins the tables that made N disconnects cost N²: a room for each sid among the "
            "others, a list of the sids that leave",
        ),
        "test_manager.py::TestBaseManager::test_emit_with_callback": (
            "pins that an event that wants an acknowledgement goes out by itself: ours waits for "
            "the CONNECT packet of its socket like any other"
        ),
    }
)

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
