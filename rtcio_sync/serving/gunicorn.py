"""gunicorn's gevent workers: when one begins, and the connections that it hands over and takes.

A worker that is to be one of several is found while the app is loaded: in a worker, or with
``--preload`` in the master, whose children begin on their own. Then its methods that get a new
connection, and a request, are wrapped.

Used of gunicorn's private names, and asserted in ``tests/test_upstream.py``: ``spawn_worker`` of
the arbiter, and its local variable ``worker``; of ``GeventWorker`` ``handle``, ``handle_request``,
``server_class``, ``wsgi_handler``, ``timeout_ctx``, ``sockets``, ``ppid``, and the ``servers`` of
its main loop (`transport.server_stop`); of a request ``method``, ``uri``, ``query``, ``version``,
``headers``, ``proxy_protocol_info`` and ``unreader.buf``.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import gevent
import gevent.socket
from gevent.pywsgi import WSGIHandler

from ..transport.descriptor_shortage import heed_worker_on_threads
from ..transport.server_stop import servers_of
from ..transport.takeover import stack
from .descriptor_passing import Arrived, Giver
from .forwarded_heads import BUSY, PEEKED, head_of, proxy_prefix, sid_in_first, sid_in_query
from .gunicorn_exit import Exit, MoveOut
from .gunicorn_http import adopt, parted
from .pywsgi import Parting
from .reread_socket import Reread

__all__ = [
    "Front", "heed_shortage", "is_gevents", "keep_addresses", "on_worker", "owner_on_stack",
    "replaced_by",
]  # fmt: skip

log = logging.getLogger(__name__)


class Node(Protocol):
    """What the front of a worker needs of its node: `cluster.node.Node`."""

    @property
    def alone(self) -> bool: ...

    @property
    def heir(self) -> str | None:
        """The node to which this one leaves."""

    def owner(self, sid: str) -> str | None:
        """The other node to which a sid belongs."""


def owner_on_stack() -> Any:
    """The gunicorn worker or arbiter that loads the app now; `None`: there is none."""
    kinds = tuple(
        getattr(sys.modules[module], name)
        for module, name in (("gunicorn.workers.base", "Worker"), ("gunicorn.arbiter", "Arbiter"))
        if module in sys.modules
    )
    for frame in stack(sys._getframe()) if kinds else ():
        found: Any = frame.f_locals.get("self")
        if isinstance(found, kinds):
            return found
    return None


def is_gevents(worker: Any) -> bool:
    """Whether a worker is gunicorn's on gevent, or derives from it."""
    module = sys.modules.get("gunicorn.workers.ggevent")
    return module is not None and isinstance(worker, module.GeventWorker)


def heed_shortage(worker: Any) -> None:
    """Has gunicorn's worker of threads live if it may open no more files. # before it serves"""
    module = sys.modules.get("gunicorn.workers.gthread")
    if module is not None and isinstance(worker, module.ThreadWorker):
        heed_worker_on_threads(worker)


class _Listener(gevent.socket.socket):
    """Knows its address also when it is closed."""

    def __init__(self, taken: Any) -> None:
        super().__init__(taken.family, taken.type, taken.proto, fileno=taken.detach())
        self._address = super().getsockname()

    def getsockname(self) -> Any:
        return self._address


def keep_addresses(worker: Any) -> None:
    """Has a worker that stops serve what it has accepted before. # before it serves

    gunicorn asks the listener for its address with each new connection. A connection that waited
    while the worker closed it would be lost, with a traceback.
    """
    if is_gevents(worker):
        worker.sockets = [_Listener(each) for each in worker.sockets]


def on_worker(begin: Callable[[Any], None]) -> bool:
    """Has ``begin(worker)`` called in the worker that loads the app, before it serves.

    With ``--preload``: in each worker. `False`: gunicorn does not load the app now.
    """
    found = owner_on_stack()
    if found is None:
        return False
    if hasattr(found, "ppid"):  # a worker
        _before_run(found, begin)
        return True

    def in_child() -> None:
        for frame in stack(sys._getframe()):
            if frame.f_code.co_name == "spawn_worker" and frame.f_locals.get("self") is found:
                _before_run(frame.f_locals["worker"], begin)
                return

    os.register_at_fork(after_in_child=in_child)
    return True


def replaced_by(master: int) -> int | None:
    """The master whose place this one takes (``USR2``), as long as that one runs."""
    number = os.environ.get("GUNICORN_PID", "")
    # The new master is its child. A program that a worker starts is not, and has the variable too.
    return int(number) if number.isdigit() and _parent_of(master) == int(number) else None


def _parent_of(pid: int) -> int | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[1])


def _before_run(worker: Any, begin: Callable[[Any], None]) -> None:
    after = worker.cfg.post_worker_init

    def post_worker_init(worker: Any) -> None:
        begin(worker)
        after(worker)

    worker.cfg.set("post_worker_init", post_worker_init)


class Front:
    """The connections of one worker."""

    def __init__(
        self,
        worker: Any,
        node: Node,
        giver: Giver,
        move_out: MoveOut,
    ) -> None:
        self._worker = worker
        self._node = node
        self._giver = giver
        self._exit = Exit(worker, move_out, lambda: node.alone, self._hand_on)
        # Read now: a listener may be closed while a connection that it has accepted waits.
        self._names = [each.getsockname() for each in worker.sockets]

    def install(self) -> None:
        """Wraps the worker's methods. # before it serves"""
        worker = self._worker
        if worker.cfg.is_ssl:
            if worker.cfg.workers > 1 and worker.age == 1:
                log.warning(
                    "gunicorn ends TLS itself, so its workers cannot hand connections to each "
                    "other, and polling fails: end TLS in a proxy in front, or use `-w 1`"
                )
            return
        self._exit.install()
        if worker.server_class is None:
            worker.handle = self._of_streams(worker.handle)
            worker.handle_request = self._of_requests(worker.handle_request)
        else:
            worker.server_class = self._of_pywsgi(worker.server_class)
            worker.wsgi_handler = self._of_handlers(worker.wsgi_handler or WSGIHandler)

    def serve(self, listener: int, connection: Arrived) -> None:
        """Serves a connection that another worker has accepted. # greenlet

        Blocks while the worker's pool is full, and until the worker serves.
        """
        while not (servers := servers_of(self._worker)) and self._worker.alive:
            gevent.sleep(0.02)
        server = servers[min(listener, len(servers) - 1)] if servers else None
        if server is None or server.closed:
            connection.close()
        elif not adopt(server, connection):
            server.do_handle(connection, connection.getpeername())

    # -- a new connection --------------------------------------------------------------------------

    def _of_streams(self, handle: Callable[..., None]) -> Callable[..., None]:
        def handle_here(listener: Any, client: Any, address: Any) -> None:
            if self._node.alone or not self._goes_on(listener, client):
                fair = client if isinstance(client, Reread) else Reread(client, b"")
                handle(listener, fair, address)

        return handle_here

    def _of_pywsgi(self, kind: Any) -> Any:
        node, goes_on = self._node, self._goes_on

        class Server(kind):
            def handle(self, client: Any, address: Any) -> None:
                if node.alone or not goes_on(self, client):
                    super().handle(client, address)

        return Server

    def _goes_on(self, listener: Any, client: Any) -> bool:
        """Hands a new connection to its owner; `True`: it is not this worker's any more."""
        first = b""
        if self._node.heir is None or isinstance(client, Arrived):
            with suppress(OSError), self._worker.timeout_ctx():
                first = client.recv(PEEKED, socket.MSG_PEEK)
        sid = sid_in_first(first)
        node = self._node.owner(sid) if sid is not None else None
        if node is None and not isinstance(client, Arrived):
            node = self._node.heir  # this worker leaves
        if node is None:
            return False
        given = self._giver.give(node, client.fileno(), self._index(listener), _unread_of(client))
        if given is None:
            return False  # its owner is dead: the session is unknown
        if not given:
            with suppress(OSError):
                client.recv(65536)
                client.sendall(BUSY)
        client.close()
        return True

    def _index(self, listener: Any) -> int:
        """Which of the worker's listeners it is: a socket, which may be closed, or a server."""
        for number, each in enumerate(self._worker.sockets):
            if each is listener:
                return number
        return self._named(getattr(listener, "address", None))

    def _named(self, name: Any) -> int:
        return self._names.index(name) if name in self._names else 0

    # -- a request on a connection that was kept alive ---------------------------------------------

    def _of_requests(self, handle: Callable[..., Any]) -> Callable[..., Any]:
        def handle_request(listener_name: Any, req: Any, client: Any, address: Any) -> Any:
            self._exit.request()
            if not self._node.alone and self._request_goes_on(listener_name, req, client):
                raise StopIteration  # gunicorn then closes its descriptor
            return handle(listener_name, req, client, address)

        return handle_request

    def _request_goes_on(self, listener_name: Any, req: Any, client: Any) -> bool:
        node = self._owner_of(req.query)
        if node is None or req.version[0] != 1:
            return False
        read = (
            proxy_prefix(req.proxy_protocol_info, self._worker.cfg.proxy_protocol)
            + head_of(req.method, req.uri, req.version, req.headers)
            + req.unreader.buf.getvalue()
            + _unread_of(client)
        )
        return bool(self._giver.give(node, client.fileno(), self._named(listener_name), read))

    def _owner_of(self, query: str) -> str | None:
        sid = sid_in_query(query or "")
        if sid is None:  # a handshake, or for the app: the heir of a worker that leaves has it
            return self._node.heir
        return self._node.owner(sid)

    # -- this worker leaves ------------------------------------------------------------------------

    def leaves(self, heir: str) -> None:
        """Accepts no connections any more, and hands those over that are idle. # greenlet"""
        for server in servers_of(self._worker):
            server.stop_accepting()
        self._hand_on()

    def _hand_on(self) -> None:
        """Hands over the connections that wait for a request."""
        if self._node.heir is None:
            return
        for index, server in enumerate(servers_of(self._worker)):
            for sock, data in parted(server):
                gevent.spawn(self._give, index, sock, data)

    def _give(self, listener: int, sock: Any, data: bytes) -> None:
        heir = self._node.heir
        try:
            if heir is not None:
                self._giver.give(heir, sock.fileno(), listener, data)
        finally:
            sock.close()

    def _of_handlers(self, kind: Any) -> Any:
        node, goes_on = self._node, self._handler_goes_on

        # Another server of the app may have made its own already.
        base: Any = kind if issubclass(kind, Parting) else type("Base", (Parting, kind), {})

        class Handler(base):
            def run_application(self) -> None:
                query = self.environ.get("QUERY_STRING", "")
                if node.alone or not goes_on(self, query):
                    super().run_application()

            def write(self, data: Any) -> None:
                # gevent-websocket refuses a bad handshake with text, which cannot be sent.
                super().write(data.encode() if isinstance(data, str) else data)

        return Handler

    def _handler_goes_on(self, handler: Any, query: str) -> bool:
        node = self._owner_of(query)
        if node is None:
            return False
        client = handler.socket
        client.settimeout(0.0)
        try:
            unread = bytes(handler.rfile.peek())
        except OSError:
            unread = b""
        finally:
            client.settimeout(None)
        lines = [each.rstrip("\r\n") for each in handler.headers.headers]
        head = "\r\n".join([handler.requestline, *lines]) + "\r\n\r\n"
        read = head.encode("latin-1") + unread + _unread_of(client)
        listener = self._index(handler.server)
        if not self._giver.give(node, client.fileno(), listener, read):
            return False
        # Detached: at its end, the handler would read from it once more.
        os.close(client.detach())
        handler.close_connection = True
        handler.log_request = _not_logged  # the owner logs it
        return True


def _unread_of(client: Any) -> bytes:
    """What was read of it before its server got it."""
    return client.left() if isinstance(client, Reread) else b""


def _not_logged() -> None:
    """Logs nothing."""
