"""`SocketIO`: Flask-SocketIO's extension, a thin layer over one `Server`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flask

from ..errors import OptionError
from ..flask import extension
from ..server import Server
from . import running
from .current import EXTENSION, check_app, sid_now
from .handlers import Handlers
from .options import server_options
from .queues import Publisher, manager_of, queue_options
from .testing import SocketIOTestClient

__all__ = ["SocketIO"]


class SocketIO(Handlers):
    """Flask-SocketIO's extension on a `Server`.

    ``app``: the Flask app; `None`: `init_app` follows. ``manage_session=False``: handlers use the
    session as HTTP requests do, for sessions that are kept on the server's side. ``message_queue``:
    the URL of a queue to which several processes connect; that of a Redis becomes the option
    ``cluster``. ``channel``: its name there; processes with another one are apart. With a
    ``message_queue`` and without an ``app`` it is for a process without clients, which can only
    emit, and close and fill rooms. ``path`` (or ``resource``): the URL path of the endpoint. All
    other arguments are options of `Server`, which is the attribute `server`; each is described in
    `rtcio_sync.Options`. Raises `OptionError` for an unknown option, for an invalid value and for
    two options that contradict each other.
    """

    #: The reasons of ``disconnect``.
    reason = Server.reason

    def __init__(self, app: flask.Flask | None = None, **options: Any) -> None:
        super().__init__()
        self.server = None
        #: All arguments so far, for `init_app`; with a message queue also its ``client_manager``.
        self.server_options: dict[str, Any] = {}
        # The one of these that stands there for the app to look at.
        self._shown: Any = None
        if app is not None or "message_queue" in options:
            self.init_app(app, **options)
        else:
            self.server_options.update(options)

    def init_app(self, app: flask.Flask | None, **options: Any) -> None:
        """Makes a `Server` with all arguments so far and all handlers, and wraps ``app`` with it.

        `server` is the one that was made last.
        """
        given = self.server_options
        if self._shown is not None and given.get("client_manager") is self._shown:
            del given["client_manager"]
        given.update(options)
        self.manage_session = given.pop("manage_session", self.manage_session)
        if app is not None:
            check_app(app)
        url, channel = given.get("message_queue"), given.get("channel")
        for name, value in (("message_queue", url), ("channel", channel)):
            if value and not isinstance(value, str):
                raise OptionError(f"{name}={value!r:.100}: give text, or leave it out")
        if app is None and url:
            manager = manager_of(url, channel, write_only=True)
            self.server = Publisher(manager)
            given["client_manager"] = self._shown = manager
            return
        # Not kept with the arguments: the next call may have another queue, or a manager.
        queue: dict[str, Any] = {}
        if url and not {"client_manager", "cluster"} & options.keys():
            queue = queue_options(url, channel, given.get("async_mode"))
        server = Server(**server_options({**given, **queue}, app))
        self.serve_handlers(server)
        if app is not None:
            known = app.extensions.get(EXTENSION)
            if isinstance(known, SocketIO):  # it was wrapped before: the new server takes over
                app.extensions.pop(extension.EXTENSION, None)
            server.init_app(app)
            app.extensions[EXTENSION] = self
        self.server = server
        if queue:
            given["client_manager"] = self._shown = server.manager

    @property
    def async_mode(self) -> str:
        """``"gevent"``, ``"gevent_uwsgi"`` or ``"threading"``."""
        return str(self._ready().async_mode)

    def _ready(self) -> Any:
        if self.server is None:
            raise RuntimeError("this SocketIO has no app yet: call init_app(app) first")
        return self.server

    # -- sending -----------------------------------------------------------------------------------

    def emit(
        self,
        event: str,
        data: Any = None,
        *,
        namespace: str | None = "/",
        to: Any = None,
        room: Any = None,
        include_self: bool = True,
        skip_sid: Any = None,
        callback: Callable[..., Any] | None = None,
        ignore_queue: bool = False,
        broadcast: bool = True,
    ) -> None:
        """Emits an event to everybody in a namespace, or to those in ``to``; from anywhere.

        ``to``, or ``room``: a room, a sid or a list of them; an empty one is everybody. ``data``:
        the argument; a tuple means several arguments, `None` means none. ``include_self=False``,
        in a handler: not to its client. ``skip_sid``: sids that do not get it. ``callback``: runs
        for a client that acknowledges the event, in the contexts of the handler that called this,
        if there is one and its client is still there. ``ignore_queue``: not in other processes.
        ``broadcast=True`` says what is so anyway. Raises `OptionError` for ``broadcast=False``
        without ``to``.
        """
        if not (broadcast or to or room):
            raise OptionError("broadcast=False: give to=…; without it everybody gets the event")
        if not include_self and not skip_sid:
            skip_sid = sid_now()
        self._ready().emit(
            event,
            data,
            to=to or room or None,
            skip_sid=skip_sid,
            namespace=namespace,
            callback=self.in_this_context(callback) if callback else None,
            ignore_queue=ignore_queue,
        )

    def send(
        self,
        data: Any,
        json: bool = False,
        namespace: str | None = None,
        to: Any = None,
        callback: Callable[..., Any] | None = None,
        include_self: bool = True,
        skip_sid: Any = None,
        *,
        room: Any = None,
        ignore_queue: bool = False,
        broadcast: bool = True,
    ) -> None:
        """`emit` of the event ``"message"``, or ``"json"`` with ``json=True``."""
        self.emit(
            "json" if json else "message",
            data,
            namespace=namespace,
            to=to or room,
            skip_sid=skip_sid if include_self else sid_now(),
            callback=callback,
            ignore_queue=ignore_queue,
            broadcast=broadcast,
        )

    def call(
        self,
        event: str,
        data: Any = None,
        *,
        namespace: str | None = "/",
        to: Any = None,
        room: Any = None,
        timeout: float = 60,
        ignore_queue: bool = False,
    ) -> Any:
        """Emits to one client and waits for its acknowledgement; works inside handlers.

        ``to``, or ``room``: its sid. ``timeout`` is in seconds. Raises as `Server.call`:
        `socketio.exceptions.TimeoutError` after it, and `DisconnectedError` as soon as the client
        has left.
        """
        return self._ready().call(
            event,
            data,
            to=to or room or None,
            namespace=namespace,
            timeout=timeout,
            ignore_queue=ignore_queue,
        )

    def close_room(self, room: Any, namespace: str | None = None) -> None:
        """Takes all clients out of a room."""
        self._ready().close_room(room, namespace)

    # -- tasks and serving -------------------------------------------------------------------------

    def start_background_task(self, target: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Runs ``target(*args, **kwargs)`` in a greenlet (or thread), which has ``join()``."""
        return self._ready().start_background_task(target, *args, **kwargs)

    def sleep(self, seconds: float = 0) -> None:
        """Waits, and lets other greenlets (or threads) run."""
        self._ready().sleep(seconds)

    def run(
        self,
        app: flask.Flask,
        host: str | None = None,
        port: int | None = None,
        **options: Any,
    ) -> None:
        """Serves ``app`` until SIGTERM, SIGINT or `stop`, as `Server.listen` does.

        ``host``: 127.0.0.1 by default. ``port``: 5000, or that of the app's ``SERVER_NAME``.
        ``debug``: `app.debug` by default; with it, Flask's debugger, the reloader and a line for
        each request, which ``use_reloader`` and ``log_output`` turn on and off.
        ``reloader_options``: a dict for Werkzeug's reloader (``extra_files``, ``reloader_type``).
        ``extra_files``: further files that it watches. A server that is started anew, or ended,
        drains first, as without the reloader. ``allow_unsafe_werkzeug``: unused, because
        Werkzeug's server serves only on threads. The other options are those of `Server.listen`,
        TLS among them.
        """
        running.run(self._ready(), app, host, port, **options)

    def stop(self) -> None:
        """Ends `run`."""
        self._ready().stop()

    def test_client(
        self,
        app: flask.Flask,
        namespace: str | None = None,
        query_string: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Any = None,
        flask_test_client: Any = None,
    ) -> SocketIOTestClient:
        """A connected client without sockets, for tests of an app's own handlers."""
        return SocketIOTestClient(
            app,
            self,
            namespace=namespace,
            query_string=query_string,
            headers=headers,
            auth=auth,
            flask_test_client=flask_test_client,
        )
