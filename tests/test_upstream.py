"""What we override and use of python-engineio and python-socketio is still there, as we know it.

An upgrade of either fails here first. The first half says what is relied on; the second reads our
own code, so that nothing is relied on that the first half does not name.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engineio
import engineio.base_server
import engineio.base_socket
import engineio.packet
import engineio.socket
import pytest
import socketio
import socketio.base_manager
import socketio.base_namespace
import socketio.base_server
import socketio.packet
from engineio.async_drivers import _websocket_wsgi
from engineio.async_drivers import gevent as gevent_driver
from engineio.async_drivers import threading as threads

import rtcio_sync
from rtcio_sync import server
from rtcio_sync.adapter import emit
from rtcio_sync.cluster import pubsub
from rtcio_sync.engineio import packet as engine_packet
from rtcio_sync.engineio import server as engine
from rtcio_sync.engineio import socket as engine_socket
from rtcio_sync.parser import packet as packets
from rtcio_sync.socketio import namespace

PACKAGE = Path(rtcio_sync.__file__).parent

#: Names of each class upstream: those that ours override and those that ours call.
SIGNATURES: dict[type, dict[str, str]] = {
    engineio.Server: {
        "__init__": "(self, async_mode=None, ping_interval=25, ping_timeout=20, "
        "max_http_buffer_size=1000000, allow_upgrades=True, http_compression=True, "
        "compression_threshold=1024, cookie=None, cors_allowed_origins=None, "
        "cors_credentials=True, logger=False, json=None, async_handlers=True, "
        "monitor_clients=None, transports=None, **kwargs)",
        "_cors_allowed_origins": "(self, environ)",
        "_cors_headers": "(self, environ)",
        "_deflate": "(self, response)",
        "_generate_sid_cookie": "(self, sid, attributes)",
        "_get_socket": "(self, sid)",
        "_gzip": "(self, response)",
        "_ok": "(self, packets=None, headers=None, jsonp_index=None)",
        "_trigger_event": "(self, event, *args, **kwargs)",
        "async_modes": "(self)",
        "create_event": "(self, *args, **kwargs)",
        "disconnect": "(self, sid=None)",
        "generate_id": "(self)",
        "handle_request": "(self, environ, start_response)",
        "send": "(self, sid, data)",
        "send_packet": "(self, sid, pkt)",
        "shutdown": "(self)",
        "start_background_task": "(self, target, *args, **kwargs)",
    },
    engineio.socket.Socket: {
        "__init__": "(self, server, sid)",
        "close": "(self, wait=True, abort=False, reason=None)",
        "poll": "(self)",
        "receive": "(self, pkt)",
        "send": "(self, pkt)",
    },
    engineio.packet.Packet: {
        "__init__": "(self, packet_type=6, data=None, encoded_packet=None)",
        "encode": "(self, b64=False)",
    },
    _websocket_wsgi.SimpleWebSocketWSGI: {
        "__init__": "(self, handler, server, **kwargs)",
        "__call__": "(self, environ, start_response)",
    },
    socketio.Manager: {
        "__init__": "(self)",
        "_generate_ack_id": "(self, sid, callback)",
        "basic_close_room": "(self, room, namespace)",
        "basic_disconnect": "(self, sid, namespace, **kwargs)",
        "basic_enter_room": "(self, sid, namespace, room, eio_sid=None)",
        "basic_leave_room": "(self, sid, namespace, room)",
        "connect": "(self, sid, namespace)",
        "eio_sid_from_sid": "(self, sid, namespace)",
        "emit": "(self, event, data, namespace, room=None, skip_sid=None, callback=None, to=None, "
        "**kwargs)",
        "enter_room": "(self, sid, namespace, room, eio_sid=None)",
        "get_participants": "(self, namespace, room)",
        "get_rooms": "(self, sid, namespace)",
        "is_connected": "(self, sid, namespace)",
        "is_pre_connected": "(self, sid, namespace)",
        "is_sid_room": "(self, namespace, room)",
        "leave_room": "(self, sid, namespace, room)",
        "pre_connect": "(self, eio_sid, namespace)",
        "pre_disconnect": "(self, sid, namespace)",
        "set_server": "(self, server)",
        "sid_from_eio_sid": "(self, eio_sid, namespace)",
        "trigger_callback": "(self, sid, id, data)",
    },
    socketio.PubSubManager: {
        "_handle_callback": "(self, message)",
        "_handle_close_room": "(self, message)",
        "_handle_disconnect": "(self, message)",
        "_handle_emit": "(self, message)",
        "_handle_enter_room": "(self, message)",
        "_handle_leave_room": "(self, message)",
        "_listen": "(self)",
        "_return_callback": "(self, host_id, sid, namespace, callback_id, *args)",
        "_thread": "(self)",
        "_publish": "(self, data)",
        "_get_logger": "(self)",
        "close_room": "(self, room, namespace=None)",
        "emit": "(self, event, data, namespace=None, room=None, skip_sid=None, callback=None, "
        "to=None, **kwargs)",
        "enter_room": "(self, sid, namespace, room, eio_sid=None)",
        "leave_room": "(self, sid, namespace, room)",
    },
    socketio.Server: {
        "__init__": "(self, client_manager=None, logger=False, serializer='default', json=None, "
        "async_handlers=True, always_connect=False, namespaces=None, **kwargs)",
        "_engineio_server_class": "(self)",
        "_get_event_handler": "(self, event, namespace, args)",
        "_get_namespace_handler": "(self, namespace, args)",
        "_handle_ack": "(self, eio_sid, namespace, id, data)",
        "_handle_connect": "(self, eio_sid, namespace, data)",
        "_handle_disconnect": "(self, eio_sid, namespace, reason=None)",
        "_handle_eio_connect": "(self, eio_sid, environ)",
        "_handle_eio_disconnect": "(self, eio_sid, reason)",
        "_handle_eio_message": "(self, eio_sid, data)",
        "_handle_event_internal": "(self, server, sid, eio_sid, data, namespace, id)",
        "_handle_event": "(self, eio_sid, namespace, id, data)",
        "_send_eio_packet": "(self, eio_sid, eio_pkt)",
        "_send_packet": "(self, eio_sid, pkt)",
        "_trigger_event": "(self, event, namespace, *args)",
        "call": "(self, event, data=None, to=None, sid=None, namespace=None, timeout=60, "
        "ignore_queue=False)",
        "close_room": "(self, room, namespace=None)",
        "disconnect": "(self, sid, namespace=None, ignore_queue=False)",
        "emit": "(self, event, data=None, to=None, room=None, skip_sid=None, namespace=None, "
        "callback=None, ignore_queue=False)",
        "enter_room": "(self, sid, room, namespace=None)",
        "get_environ": "(self, sid, namespace=None)",
        "get_session": "(self, sid, namespace=None)",
        "leave_room": "(self, sid, room, namespace=None)",
        "on": "(self, event, handler=None, namespace=None)",
        "register_namespace": "(self, namespace_handler)",
        "rooms": "(self, sid, namespace=None)",
        "save_session": "(self, sid, session, namespace=None)",
        "shutdown": "(self)",
        "start_background_task": "(self, target, *args, **kwargs)",
        "transport": "(self, sid, namespace=None)",
    },
    socketio.Namespace: {
        "__init__": "(self, namespace=None)",
        "_set_server": "(self, server)",
        "emit": "(self, event, data=None, to=None, room=None, skip_sid=None, namespace=None, "
        "callback=None, ignore_queue=False)",
        "rooms": "(self, sid, namespace=None)",
        "trigger_event": "(self, event, *args)",
    },
    socketio.packet.Packet: {
        "__init__": "(self, packet_type=2, data=None, namespace=None, id=None, binary=None, "
        "encoded_packet=None)",
        "add_attachment": "(self, attachment)",
        "data_is_binary": "(data)",
        "decode": "(self, encoded_packet)",
        "deconstruct_binary": "(data)",
        "encode": "(self)",
        "reconstruct_binary": "(data, attachments)",
    },
}

#: Attributes that are no functions: of a class, or of each instance.
ATTRIBUTES: dict[Callable[[], Any], str] = {
    lambda: engineio.Server(async_mode="threading", logger=logging.getLogger("test")): """
        _async allow_upgrades async_handlers async_mode compression_methods compression_threshold
        cookie cors_allowed_origins cors_credentials handlers http_compression
        max_http_buffer_size ping_interval ping_interval_grace_period ping_timeout reason sockets
        start_service_task transports
    """,
    lambda: plain_server(): """
        _binary_packet always_connect async_handlers async_mode eio environ handlers manager
        namespace_handlers namespaces not_handled packet_class reason reserved_events
    """,
    socketio.Manager: "callbacks json rooms server",
    lambda: socketio.PubSubManager(write_only=True): "host_id write_only",
    socketio.packet.Packet: """
        attachment_count data id json namespace packet_type uses_binary_events
    """,
    engineio.packet.Packet: "binary data encode_cache packet_type",
    lambda: threads: "_async",
    lambda: gevent_driver: "Thread",
}

#: Our classes that derive from one upstream.
HEIRS: dict[type, type] = {
    engine.Server: engineio.Server,
    engine_socket.Socket: engineio.socket.Socket,
    engine_packet.Packet: engineio.packet.Packet,
    emit.RoomIndex: socketio.Manager,
    pubsub.Published: socketio.PubSubManager,
    packets.TextPacket: socketio.packet.Packet,
    server.Server: socketio.Server,
    namespace.Namespace: socketio.Namespace,
}

#: The modules whose first lines list the private names that they replace or use.
LISTS = {
    "engineio.admission": (engineio.Server,),
    "engineio.server": (engineio.Server,),
    "adapter.rooms": (socketio.Manager,),
    "adapter.emit": (socketio.Manager,),
    "cluster.pubsub": (socketio.PubSubManager,),
    "socketio.server_hooks": (socketio.Server,),
    "server": (socketio.Server,),
    "socketio.python_api": (socketio.Server,),
    "socketio.node_api": (socketio.Server, socketio.Namespace),
    "socketio.listeners": (socketio.Server, socketio.Manager, socketio.PubSubManager),
}


ALL_ATTRIBUTES = {name for names in ATTRIBUTES.values() for name in names.split()}


def plain_server() -> Any:
    quiet = logging.getLogger("test")  # or upstream adds a handler to its own
    return socketio.Server(async_mode="threading", logger=quiet, engineio_logger=quiet)


@pytest.mark.parametrize(
    ("owner", "name", "signature"),
    [
        pytest.param(owner, name, signature, id=f"{owner.__name__}.{name}")
        for owner, names in SIGNATURES.items()
        for name, signature in names.items()
    ],
)
def test_a_function_upstream_has_the_signature_that_we_rely_on(
    owner: type, name: str, signature: str
) -> None:
    assert str(inspect.signature(getattr(owner, name))) == signature


@pytest.mark.parametrize("make", ATTRIBUTES, ids=range(len(ATTRIBUTES)))
def test_an_object_upstream_has_the_attributes_that_we_rely_on(make: Callable[[], Any]) -> None:
    made = make()
    assert {name for name in ATTRIBUTES[make].split() if not hasattr(made, name)} == set()


def test_the_drivers_have_what_we_rely_on() -> None:
    assert {"thread", "event", "websocket", "sleep"} <= threads._async.keys()


def test_an_event_handler_upstream_is_found_with_its_arguments() -> None:
    plain = plain_server()

    def named(sid: str, data: Any) -> None: ...

    def any_event(event: str, sid: str, data: Any) -> None: ...

    plain.on("named", named)
    plain.on("*", any_event)
    assert plain._get_event_handler("named", "/", ("sid", 1)) == (named, ("sid", 1))
    assert plain._get_event_handler("other", "/", ("sid", 1)) == (any_event, ("other", "sid", 1))
    assert plain._get_event_handler("disconnect", "/", ("sid", "why")) == (None, ("sid", "why"))
    assert plain._get_namespace_handler("/", ("sid", 1)) == (None, ("sid", 1))


def test_an_acknowledgement_upstream_is_kept_by_its_number() -> None:
    plain = socketio.Manager()
    assert plain._generate_ack_id("sid", print) == 1
    assert plain._generate_ack_id("sid", repr) == 2
    assert {number: each for number, each in plain.callbacks["sid"].items() if number} == {
        1: print,
        2: repr,
    }


# -- what our own code says ------------------------------------------------------------------------


@pytest.mark.parametrize("ours", HEIRS, ids=lambda ours: f"{ours.__module__}.{ours.__name__}")
def test_whatever_we_override_is_relied_on_above(ours: type) -> None:
    upstream = HEIRS[ours]
    theirs = {name for each in upstream.__mro__[:-1] for name in vars(each)}
    own = {
        name
        for each in ours.__mro__
        if each.__module__.startswith("rtcio_sync.")
        for name in vars(each)
    }
    overridden = {name for name in own & theirs if not re.fullmatch("__(?!init)[a-z_]+__", name)}
    assert overridden - SIGNATURES[upstream].keys() - ALL_ATTRIBUTES == set()


def test_whatever_private_name_of_upstreams_we_use_is_relied_on_above() -> None:
    relied_on = {name for names in SIGNATURES.values() for name in names} | ALL_ATTRIBUTES
    ours: set[str] = set()
    used: dict[str, str] = {}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        ours |= _defined(tree)
        used.update(dict.fromkeys(_private_attributes(tree), path.name))
    theirs = _upstreams_names()
    unnamed = {name: where for name, where in used.items() if name in theirs - ours - relied_on}
    assert unnamed == {}


def _defined(*trees: ast.AST) -> set[str]:
    """The names of the functions, classes and attributes that some code makes."""
    found: set[str] = set()
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
    return found


def _private_attributes(tree: ast.AST) -> set[str]:
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and re.fullmatch("_[a-z].*", node.attr)
    }


@functools.cache
def _upstreams_names() -> set[str]:
    folders = [Path(str(package.__file__)).parent for package in (engineio, socketio)]
    sources = [path.read_text() for folder in folders for path in folder.rglob("*.py")]
    return _defined(*map(ast.parse, sources))


@pytest.mark.parametrize("module", LISTS)
def test_the_list_at_the_top_of_a_module_is_complete(module: str) -> None:
    loaded = importlib.import_module(f"rtcio_sync.{module}")
    tree = ast.parse((PACKAGE / f"{module.replace('.', '/')}.py").read_text())
    private = {
        name for owner in LISTS[module] for name in SIGNATURES[owner] if re.match("_[a-z]", name)
    } | {name for name in ALL_ATTRIBUTES if name.startswith("_")}
    said = set(re.findall(r"``(?:\w+\.)*(_[a-z]\w*)", str(loaded.__doc__)))
    touched = (_private_attributes(tree) | _defined(tree)) & private
    assert touched - said == set(), "used, and not in the list"
    theirs = _upstreams_names()
    assert said - theirs - {"_websocket_wsgi"} == set(), "in the list, and no more upstream's"
