"""Names of options in other releases and other libraries, and what to write here instead.

Pure: a name in, the fix out. `options` raises the error.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import OptionError
from .node_options import NODE_OPTIONS, instead_of

__all__ = ["FOREIGN", "METHODS", "hint_for", "plain", "unknown_option", "without_old"]


def plain(name: str) -> str:
    """``name`` in lower case, without underscores and hyphens."""
    return name.replace("_", "").replace("-", "").lower()


_ORIGINS = "cors_allowed_origins, an origin like 'https://example.com', a list of them, or '*'"
_MANAGER = "client_manager=socketio.RedisManager('redis://…')"
_LISTEN = "it is an argument of listen(port, host=…, …), not of Server"

#: What to write instead, by name, in lower case and without underscores.
FOREIGN = {
    # Socket.IO and Engine.IO on Node: `NODE_OPTIONS`, and parts of their values
    **{plain(name): each.said for name, each in NODE_OPTIONS.items()},
    "cors": _ORIGINS,
    "origin": _ORIGINS,
    "origins": _ORIGINS,
    "corsorigin": _ORIGINS,
    "corsorigins": _ORIGINS,
    "allowedorigins": _ORIGINS,
    "credentials": "cors_credentials",
    "methods": "leave it out: the methods that Socket.IO needs are allowed",
    "allowedheaders": "leave it out: all headers that a page asks for are allowed",
    "maxpayload": "max_http_buffer_size, in bytes",
    "maxdisconnectionduration": "connection_state_recovery={'max_disconnection_duration': …}, in "
    "seconds",
    "skipmiddlewares": "connection_state_recovery={'skip_middlewares': …}",
    "maxrecoverybytes": "connection_state_recovery={'max_recovery_bytes': …}",
    "maxrecoverytotal": "connection_state_recovery={'max_recovery_total': …}",
    # Flask-SocketIO
    "managesession": "leave it out: a handler has the Flask session of the handshake, and what it "
    "changes there stays with the connection (for other data: server.session(sid)); "
    "rtcio_sync.flask_socketio.SocketIO has this option",
    "messagequeue": _MANAGER,
    "channel": "client_manager=socketio.RedisManager('redis://…', channel=…)",
    "resource": "path, the URL path of the endpoint",
    "debug": "leave it out: listen() has no debugger; for Flask's own, set app.debug = True",
    "usereloader": "leave it out: listen() does not reload; a program like `watchfiles` does",
    "logoutput": "listen(port, log='default') for a line of each request",
    # python-socketio's and python-engineio's applications
    "socketiopath": "path, the URL path of the endpoint",
    "engineiopath": "path, the URL path of the endpoint",
    "staticfiles": "Server(app=app) and the Flask app's own static files",
    "wsgiapp": "Server(app=app), or listen(port, app=…) for a plain WSGI application",
    "flaskapp": "app",
    # other names that people try
    "redis": _MANAGER,
    "redisurl": _MANAGER,
    "broker": _MANAGER,
    "url": _MANAGER,
    "manager": _MANAGER,
    "host": _LISTEN,
    "port": _LISTEN,
    "sslcontext": _LISTEN,
    "certfile": _LISTEN,
    "keyfile": _LISTEN,
    "endpoint": "path, the URL path of the endpoint",
    "prefix": "path, the URL path of the endpoint",
    "namespace": "namespaces, a list of namespaces that clients may join without a handler",
    "timeout": "ping_timeout or drain_seconds, in seconds, or Limits(…)",
    "maxconnectionsperip": "limits=Limits(sockets_per_ip=…)",
    "maxmessagesize": "max_http_buffer_size, in bytes",
    "compression": "http_compression",
    "pinggraceperiod": "ping_interval=(seconds, grace)",
}

#: A note for Node's names that are ours in another spelling, but with another unit.
NOTES = {
    "pinginterval": "in seconds: 25 where Node has 25000",
    "pingtimeout": "in seconds: 20 where Node has 20000",
    "connectionstaterecovery": "with max_disconnection_duration in seconds",
    "httpcompression": "True or False; the threshold is compression_threshold, in bytes",
}

#: Names of arguments in `run` of Flask-SocketIO and Flask, and what to write for `Server.listen`.
LISTEN = {
    "debug": "leave it out: listen() has no debugger; for Flask's own, set app.debug = True",
    "usereloader": "leave it out: listen() does not reload; a program like `watchfiles` does",
    "reloaderoptions": "leave it out: listen() does not reload",
    "extrafiles": "leave it out: listen() does not reload",
    "logoutput": "log='default' for a line of each request",
    "threaded": "leave it out: Server(async_mode='threading') serves on threads",
    "processes": "leave it out: for several processes use gunicorn, or rtcio-sync --workers N",
    "workers": "leave it out: for several processes use gunicorn, or rtcio-sync --workers N",
    "allowunsafewerkzeug": "leave it out: listen() may be used in production",
    "loaddotenv": "leave it out: load the file before you call listen()",
    "ssl": "ssl_context=(certfile, keyfile), or an ssl.SSLContext",
    "tls": "ssl_context=(certfile, keyfile), or an ssl.SSLContext",
    "sslcontext": "ssl_context",
    "cert": "certfile and keyfile",
    "key": "certfile and keyfile",
    "sslcert": "certfile and keyfile",
    "sslkey": "certfile and keyfile",
    "sslcertfile": "certfile",
    "sslkeyfile": "keyfile",
    "wsgiapp": "app",
    "application": "app",
    "callback": "ready, a function that takes the port",
    "onready": "ready, a function that takes the port",
    "address": "host",
    "bind": "listen(port, host=…)",
    "hostname": "host",
    "path": "Server(path=…)",
    "cors": "Server(cors_allowed_origins=…)",
    "corsallowedorigins": "Server(cors_allowed_origins=…)",
    "logger": "Server(logger=…), or log= for a line of each request",
}

#: Names of methods in Flask-SocketIO and on Node, and what to write for `Server`.
METHODS = {
    "run": "write server.listen(port), or run the app with `flask rtcio run` or gunicorn",
    "on_error_default": "write @server.on_error above def handler(exception, event, socket)",
    "on_namespace": "write server.register_namespace(…)",
    "join_room": "write server.enter_room(sid, room), or socket.join(room)",
    "adapter": "write Server(cluster='redis://…')",
    "fetchSockets": "write server.fetch_sockets()",
    "socketsJoin": "write server.sockets_join(…)",
    "socketsLeave": "write server.sockets_leave(…)",
    "disconnectSockets": "write server.disconnect_sockets()",
    "emitWithAck": "write server.call(event, data, to=sid)",
    "broadcast": "write server.emit(event, data), which sends to everybody",
    "socket": "write server.sockets[sid]",
}

#: Options of older releases of python-socketio and python-engineio, and what replaces them.
OLD = {
    "binary": "leave it out: since python-socketio 5, bytes are always sent as bytes",
    "engineio_options": "give each of its entries as an option of Server()",
    "client_manager_class": "give client_manager=…, a client manager rather than its class",
    "ping_interval_grace_period": "give ping_interval=(seconds, grace)",
}


def without_old(given: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """``given`` with old options replaced by new ones, and a warning for each."""
    found = dict(given)
    warnings = [f"Server({name}=…) is deprecated: {OLD[name]}" for name in OLD if name in found]
    found.pop("binary", None)
    options = found.pop("engineio_options", None)
    if options is not None:
        if not isinstance(options, Mapping):
            raise OptionError("engineio_options: give each of its entries as an option of Server()")
        found = {**options, **found}
    manager_class = found.pop("client_manager_class", None)
    if manager_class is not None and "client_manager" not in found:
        if not isinstance(manager_class, type):
            raise OptionError("client_manager_class: give client_manager=…, a client manager")
        found["client_manager"] = manager_class()
    grace = found.pop("ping_interval_grace_period", None)
    if grace is not None and not isinstance(found.get("ping_interval"), tuple):
        found["ping_interval"] = (found.get("ping_interval", 10), grace)
    return found, warnings


def hint_for(
    name: str, known: Iterable[str], foreign: Mapping[str, str], limits: Iterable[str] = ()
) -> str:
    """What to write in place of ``name``, as the end of a sentence; empty if unknown."""
    names = sorted(known)
    key = plain(name)
    for each in names:
        if plain(each) == key:
            note = f" It is {NOTES[key]}" if key in NOTES and name != name.lower() else ""
            return f"did you mean {each!r}?{note}"
    if key in foreign:
        said = foreign[key]
        return said if said.startswith(("it is", "leave")) else f"write {said}"
    for each in limits:
        if plain(each) == key:
            return f"write limits=Limits({each}=…)"
    near = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.7)
    if near:
        return f"did you mean {near[0]!r}?"
    near = difflib.get_close_matches(key, [*foreign, *map(plain, limits)], n=1, cutoff=0.85)
    return hint_for(near[0], names, foreign, limits) if near and near[0] != key else ""


def unknown_option(
    call: str,
    name: str,
    known: Iterable[str],
    foreign: Mapping[str, str] = FOREIGN,
    limits: Iterable[str] = (),
    value: Any = None,
    of_server: Iterable[str] = (),
) -> OptionError:
    """The error for an option that ``call`` does not have.

    ``value``: what was given for it. ``of_server``: options of `Server`, for another ``call``.
    """
    if name in of_server and plain(name) not in foreign:
        return OptionError(f"{call} has no option {name!r}; it is one of Server: Server({name}=…)")
    node = instead_of(name, value) if foreign is FOREIGN else None
    hint = node or hint_for(name, known, foreign, limits)
    return OptionError(
        f"{call} has no option {name!r}; {hint}"
        if hint
        else f"{call} has no option {name!r}; it has {', '.join(sorted(known))}"
    )
