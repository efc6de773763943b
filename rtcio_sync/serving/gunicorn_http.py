"""Plain requests to the Socket.IO path under gunicorn's gevent worker, answered by `http`.

gunicorn's parser, its environ and its two writes for each answer take most of the time of a short
request. After the first request of a worker, its listening sockets give new connections to
`http.Connection`, which hands over to the worker all that needs it. It does so only with settings
under which nobody can tell the difference: no access log, no hooks for requests, no
``max_requests``, no TLS, no PROXY protocol.

Used of gunicorn's private names, and asserted in ``tests/test_upstream.py``: of ``GeventWorker``
``server_class`` and ``wsgi``, and the ``servers`` of its main loop (`transport.server_stop`).
"""

from __future__ import annotations

import _socket
import os
import re
import socket
import sys
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gevent
from gevent.server import StreamServer

from ..transport.descriptor_shortage import Shortage
from ..transport.ports import Environ
from ..transport.server_stop import gunicorn_worker, servers_of
from .http import HEAD, Answer, Connection, accept, first_line, take_over
from .http_response import Response
from .idle_connections import Idle
from .ports import Application, Engine
from .reread_socket import Reread

__all__ = ["adopt", "answer_directly", "parted"]

LOOK_EVERY = 0.1  # seconds between two checks of the answers that a worker that stops waits for

#: Settings that must have their defaults: what else they ask for happens in gunicorn's own way of a
#: request.
_SETTINGS = (
    "accesslog", "header_map", "http_protocols", "logconfig", "logconfig_dict", "logconfig_json",
    "max_requests", "post_request", "pre_request", "proxy_protocol", "statsd_host", "syslog",
)  # fmt: skip

#: Keys of gunicorn's environs that are the same for all requests of a worker.
_SHARED = (
    "SERVER_SOFTWARE", "wsgi.errors", "wsgi.version", "wsgi.multithread", "wsgi.multiprocess",
    "wsgi.run_once", "wsgi.file_wrapper",
)  # fmt: skip

_sid = re.compile(r"(?:^|&)sid=([^&]*)").search


def answer_directly(environ: Environ, engine: Engine) -> bool:
    """Has plain requests answered without gunicorn, from now on. ``environ``: of the first request.

    `False`: gunicorn goes on to answer all, since its settings or the place of the app ask for it.
    # greenlet
    """
    worker = gunicorn_worker()
    if worker is None or not _suits(worker, environ):
        return False
    for server in servers_of(worker):
        if server.family in (socket.AF_INET, socket.AF_INET6) and not server.ssl_enabled:
            _Entrance(worker, server, environ, engine).open()
    return True


def adopt(server: StreamServer, arrived: Reread) -> bool:
    """Answers a connection that another worker has accepted, of which it may have read something.

    `False`: gunicorn answers all, and has to answer this one too. # greenlet
    """
    entrance = getattr(server.do_handle, "__self__", None)
    if not isinstance(entrance, _Entrance):
        return False
    take_over(entrance, arrived)
    return True


def parted(server: StreamServer) -> list[tuple[_socket.socket, bytes]]:
    """The connections of a worker that leaves which wait for a request, and what was read of it.

    From now on the next requests on the others, and all new ones, are left to gunicorn's own way.
    """
    entrance = getattr(server.do_handle, "__self__", None)
    if not isinstance(entrance, _Entrance):
        return []
    entrance.leaves = True
    return [each.depart() for each in entrance.idle.waiting(Connection)]


def _suits(worker: Any, environ: Environ) -> bool:
    module = sys.modules.get("gunicorn.workers.ggevent")
    if module is None or type(worker) is not module.GeventWorker:
        return False
    cfg = worker.cfg
    if cfg.is_ssl or not all(_is_default(cfg, name) for name in _SETTINGS):
        return False
    # Where the app stands under a prefix, or an outer application changes the environ, the path of
    # a request is not what the app sees.
    return (
        not environ.get("SCRIPT_NAME")
        and not os.environ.get("SCRIPT_NAME")
        and "?" in environ.get("RAW_URI", "")
        and environ["RAW_URI"].partition("?")[0] == environ.get("PATH_INFO")
    )


def _is_default(cfg: Any, name: str) -> bool:
    setting = cfg.settings.get(name)
    if setting is None:
        return True
    kind: Any = type(setting)
    return bool(setting.get() == kind().get())


class _Entrance:
    """One listening socket of a worker (`http.Entrance`)."""

    #: What belongs to another worker is handed over to gunicorn first, and by `gunicorn.Front`.
    elsewhere: Callable[[Connection, str], bool] | None = None

    #: Whether the worker leaves: then the heir answers what comes.
    leaves = False

    def __init__(
        self, worker: Any, server: StreamServer, environ: Mapping[str, Any], engine: Engine
    ) -> None:
        self._worker = worker
        self._server: Any = server
        self._engine = engine
        self._handle: Callable[..., None] = server.do_handle
        #: gunicorn's own way of a connection, which closes it, and the greenlets for it. The server
        #: forgets them when it is closed; a connection may be handed over after that.
        self._serve_all: Any = self._server.handle
        self._greenlets: Any = self._server.pool
        self._close: Callable[[], None] = server.close
        self._answering = 0
        name, port, *_ = server.socket.getsockname()
        self._shared = {key: environ[key] for key in _SHARED if key in environ}
        self._shared |= {
            "SERVER_NAME": name,
            "SERVER_PORT": str(port),
            "wsgi.url_scheme": "http",
        }
        self.application: Application = worker.wsgi
        path = environ["PATH_INFO"]
        self.beginnings, self.first_line = first_line(path if path.endswith("/") else f"{path}/")
        cfg = worker.cfg
        bounds = (cfg.limit_request_line, cfg.limit_request_field_size)
        self.longest = min([HEAD, *(each for each in bounds if each > 0)])
        self._most_fields = cfg.limit_request_fields or 100
        #: The fields in which a trusted proxy says the scheme, and their values for https.
        self._schemes = {
            f"HTTP_{name.upper().replace('-', '_')}": value
            for name, value in cfg.secure_scheme_headers.items()
        }
        self._trusted = frozenset(cfg.forwarded_allow_ips)
        self._trusts_networks = any("/" in each for each in self._trusted)
        self.idle = Idle(engine.idle_bound, engine.limits.handshake_timeout, cfg.keepalive)

    def open(self) -> None:
        """Takes the connections that come from now on."""
        self.shortage = Shortage(self._server)
        self._server.do_read = partial(accept, self._server.socket, self)
        self._server.do_handle = self._begin
        self._server.close = self._end

    def _end(self) -> None:
        """The worker stops: it waits for the greenlets of its pool, and so for our answers."""
        self._close()
        self.idle.end_kept()  # so that no request comes on one when the process ends
        if self._answering and not self._greenlets.full():
            self._greenlets.spawn(self._wait)

    def _wait(self) -> None:
        while self._answering:
            gevent.sleep(LOOK_EVERY)

    @property
    def loop(self) -> Any:
        return self._server.loop

    @property
    def ending(self) -> bool:
        return not self._worker.alive or not self._worker.cfg.keepalive

    # -- hub ---------------------------------------------------------------------------------------

    def _begin(self, first: Any, *rest: Any) -> None:
        if isinstance(first, Connection):
            first.readable()
        else:
            self._handle(first, *rest)

    def hand_over(self, sock: _socket.socket, address: Any, data: bytes) -> None:
        serve = partial(self._greenlets.spawn, self._serve_all, Reread(sock, data), address)
        if self._greenlets.full():
            gevent.spawn(serve)  # it waits for its turn
        else:
            serve()

    def get_environ(self) -> Environ:
        return dict(self._shared)

    def is_plain(self, environ: Environ) -> bool:
        """Whether gunicorn's own way would give the same answer."""
        if self.leaves:
            return False
        query = environ["QUERY_STRING"]
        if "%" in query or len(environ) > self._most_fields:
            return False
        marks = self._schemes.keys() & environ.keys()
        if marks and not self._takes_scheme(marks, environ):
            return False
        environ["RAW_URI"] = f"{environ['PATH_INFO']}?{query}"
        sid = _sid(query)
        return sid is None or sid[1] in self._engine.sockets  # or it may be another worker's

    def _takes_scheme(self, marks: set[str], environ: Environ) -> bool:
        """Sets the scheme that a trusted proxy has seen; `False`: gunicorn has to decide."""
        if len(marks) > 1 or self._trusts_networks:
            return False
        if "*" in self._trusted or environ["REMOTE_ADDR"] in self._trusted:
            (mark,) = marks
            said = environ[mark]
            if "," in said:  # the field was repeated
                return False
            environ["wsgi.url_scheme"] = "https" if said == self._schemes[mark] else "http"
        return True

    def serve(self, answer: Answer, response: Response, environ: Environ) -> None:
        self._engine.hub_thread.spawn(self._answer, answer, response, environ)

    # -- greenlet ----------------------------------------------------------------------------------

    def _answer(self, answer: Answer, response: Response, environ: Environ) -> None:
        self._answering += 1
        try:
            answer(response, environ)
        finally:
            self._answering -= 1

    def failed(self, environ: Environ, error: BaseException) -> None:
        if not isinstance(error, gevent.GreenletExit):
            uri = environ.get("PATH_INFO", "")
            self._worker.log.error("Error handling request %s", uri, exc_info=error)
