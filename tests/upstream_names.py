"""The names of python-engineio, python-socketio, gevent and others that we override or use."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from typing import Any

import engineio
import engineio.packet
import engineio.socket
import gevent.socket
import redis
import socketio
import socketio.admin
import socketio.packet
import werkzeug.local
import werkzeug.test
from engineio.async_drivers import _websocket_wsgi
from engineio.async_drivers import gevent as gevent_driver
from engineio.async_drivers import threading as threads
from gevent.pywsgi import Input

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
        "initialize": "(self)",
        "leave_room": "(self, sid, namespace, room)",
    },
    socketio.RedisManager: {
        "_redis_connect": "(self)",
        "_redis_listen_with_retries": "(self)",
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
        "event": "(self, *args, **kwargs)",
        "get_environ": "(self, sid, namespace=None)",
        "get_session": "(self, sid, namespace=None)",
        "instrument": "(self, auth=None, mode='development', read_only=False, server_id=None, "
        "namespace='/admin', server_stats_interval=2)",
        "leave_room": "(self, sid, room, namespace=None)",
        "on": "(self, event, handler=None, namespace=None)",
        "register_namespace": "(self, namespace_handler)",
        "rooms": "(self, sid, namespace=None)",
        "save_session": "(self, sid, session, namespace=None)",
        "shutdown": "(self)",
        "sleep": "(self, seconds=0)",
        "start_background_task": "(self, target, *args, **kwargs)",
        "transport": "(self, sid, namespace=None)",
    },
    socketio.admin.InstrumentedServer: {
        "__init__": "(self, sio, auth=None, mode='development', read_only=False, server_id=None, "
        "namespace='/admin', server_stats_interval=2)",
        "_basic_enter_room": "(self, sid, namespace, room, eio_sid=None)",
        "_basic_leave_room": "(self, sid, namespace, room)",
        "_check_for_upgrade": "(self, eio_sid, sid, namespace)",
        "_emit_server_stats": "(self)",
        "_trigger_event": "(self, event, namespace, *args)",
        "admin_disconnect": "(self, _, namespace, close, room_filter=None)",
        "admin_emit": "(self, _, namespace, room_filter, event, *data)",
        "admin_enter_room": "(self, _, namespace, room, room_filter=None)",
        "admin_leave_room": "(self, _, namespace, room, room_filter=None)",
        "instrument": "(self)",
        "serialize_socket": "(self, sid, namespace, eio_sid=None)",
        "uninstrument": "(self)",
    },
    socketio.Namespace: {
        "__init__": "(self, namespace=None)",
        "_set_server": "(self, server)",
        "call": "(self, event, data=None, to=None, sid=None, namespace=None, timeout=None, "
        "ignore_queue=False)",
        "emit": "(self, event, data=None, to=None, room=None, skip_sid=None, namespace=None, "
        "callback=None, ignore_queue=False)",
        "rooms": "(self, sid, namespace=None)",
        "send": "(self, data, to=None, room=None, skip_sid=None, namespace=None, callback=None, "
        "ignore_queue=False)",
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
    werkzeug.test.Client: {
        "_add_cookies_to_wsgi": "(self, environ: 'WSGIEnvironment') -> 'None'",
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
        manager_initialized namespace_handlers namespaces not_handled packet_class reason
        reserved_events
    """,
    socketio.Manager: "callbacks json rooms server",
    lambda: instrumented(): "_timestamps",
    lambda: socketio.PubSubManager(write_only=True): "host_id write_only",
    lambda: socketio.RedisManager(): "channel pubsub",
    socketio.packet.Packet: """
        attachment_count data id json namespace packet_type uses_binary_events
    """,
    engineio.packet.Packet: "binary data encode_cache packet_type",
    lambda: werkzeug.local.LocalProxy: "_get_current_object",
    lambda: threads: "_async",
    lambda: gevent_driver: "Thread",
    lambda: gevent.socket.socket: "_accept",
    lambda: redis.Connection(): "_sock connect disconnect",
    lambda: Input(io.BytesIO(), 0): """
        _chunked_input_error chunk_length chunked_input content_length position
    """,
}

ALL_ATTRIBUTES = {name for names in ATTRIBUTES.values() for name in names.split()}


def instrumented() -> Any:
    """The manager of a server that had an Admin UI."""
    made = plain_server()
    made.instrument(auth=False).uninstrument()
    return made.manager


def plain_server() -> Any:
    quiet = logging.getLogger("test")  # or upstream adds a handler to its own
    return socketio.Server(async_mode="threading", logger=quiet, engineio_logger=quiet)
