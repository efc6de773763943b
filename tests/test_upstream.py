"""What we use of python-engineio, python-socketio and Werkzeug is still there, as we know it.

An upgrade of one of them fails here first. The first half lists what we rely on; the second half
reads our own code, so that we rely on nothing that the first half does not list.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import engineio
import engineio.base_server
import engineio.base_socket
import engineio.packet
import engineio.socket
import gunicorn.arbiter
import gunicorn.http.message
import gunicorn.http.unreader
import gunicorn.workers.base
import pytest
import socketio
import socketio.admin
import socketio.base_manager
import socketio.base_namespace
import socketio.base_server
import socketio.packet
import werkzeug
import werkzeug._reloader
import werkzeug.test
from engineio.async_drivers import threading as threads
from gunicorn.workers import ggevent

import rtcio_sync
from rtcio_sync import server
from rtcio_sync.adapter import emit
from rtcio_sync.cluster import pubsub_manager
from rtcio_sync.engineio import packet as engine_packet
from rtcio_sync.engineio import server as engine
from rtcio_sync.engineio import socket as engine_socket
from rtcio_sync.parser import packet as packets
from rtcio_sync.socketio import admin_ui, namespace
from tests.upstream_names import ALL_ATTRIBUTES, ATTRIBUTES, SIGNATURES, plain_server

PACKAGE = Path(rtcio_sync.__file__).parent

#: Our classes that derive from one upstream.
HEIRS: dict[type, type] = {
    engine.Server: engineio.Server,
    engine_socket.Socket: engineio.socket.Socket,
    engine_packet.Packet: engineio.packet.Packet,
    emit.RoomIndex: socketio.Manager,
    pubsub_manager.Published: socketio.PubSubManager,
    packets.TextPacket: socketio.packet.Packet,
    server.Server: socketio.Server,
    namespace.Namespace: socketio.Namespace,
    admin_ui.AdminUI: socketio.admin.InstrumentedServer,
}

#: The modules whose first lines list the private names that they replace or use.
LISTS: dict[str, tuple[type, ...]] = {
    "engineio.cors": (engineio.Server,),
    "engineio.connection_transfer": (engineio.Server,),
    "engineio.server": (engineio.Server,),
    "engineio.tasks": (engineio.Server,),
    "adapter.callbacks": (socketio.Manager,),
    "adapter.rooms": (socketio.Manager,),
    "adapter.emit": (socketio.Manager,),
    "cluster.pubsub_manager": (socketio.PubSubManager,),
    "cluster.pubsub_subscriber": (socketio.PubSubManager, socketio.RedisManager),
    "socketio.server_hooks": (socketio.Server,),
    "server": (socketio.Server,),
    "server_parts": (socketio.Server,),
    "socketio.admin_ui": (socketio.Server, socketio.admin.InstrumentedServer),
    "socketio.python_api": (socketio.Server,),
    "socketio.node_api": (socketio.Server, socketio.Namespace),
    "relay.foreign_servers": (socketio.Server, socketio.Manager, socketio.PubSubManager),
    "flask.context": (),
    "testing": (werkzeug.test.Client,),
}


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


def test_werkzeugs_reloader_is_called_as_we_call_it() -> None:
    first, *options = inspect.signature(werkzeug._reloader.run_with_reloader).parameters
    assert first == "main_func" and {"extra_files", "reloader_type", "interval"} <= {*options}
    assert werkzeug._reloader._get_args_for_reloading()[0] == sys.executable


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


def test_gunicorn_has_what_we_rely_on() -> None:
    spawn = inspect.getsource(gunicorn.arbiter.Arbiter.spawn_worker)
    assert "worker = self.worker_class(" in spawn and "worker.init_process()" in spawn
    begin = inspect.getsource(gunicorn.workers.base.Worker.init_process)
    assert begin.index("self.load_wsgi()") < begin.index("self.cfg.post_worker_init(self)")
    assert begin.index("self.cfg.post_worker_init(self)") < begin.index("self.run()")
    worker = ggevent.GeventWorker
    assert {"handle", "handle_request", "timeout_ctx"} <= set(dir(worker))
    assert worker.server_class is None and worker.wsgi_handler is None
    run = inspect.getsource(worker.run)
    for used in ("servers = []", "partial(self.handle, s)", "self.server_class(", "self.sockets"):
        assert used in run
    assert "self.handle_request(listener_name, req, client, addr)" in inspect.getsource(
        ggevent.AsyncWorker.handle
    )
    request = inspect.getsource(ggevent.AsyncWorker.handle_request)
    assert "self.nr += 1" in request and "self.nr >= self.max_requests" in request
    base = gunicorn.workers.base.Worker
    assert "self.alive = False" in inspect.getsource(base.handle_exit)
    assert "signal.SIGTERM, self.handle_exit" in inspect.getsource(base.init_signals)
    parsed = inspect.getsource(gunicorn.http.message)
    for name in ("method", "uri", "query", "version", "headers", "proxy_protocol_info", "unreader"):
        assert f"self.{name} = " in parsed or f"self.{name}," in parsed, name
    assert hasattr(gunicorn.http.unreader.Unreader(), "buf")


def test_upstreams_redis_manager_listens_as_we_replace_it() -> None:
    assert "in self._redis_listen_with_retries()" in inspect.getsource(
        socketio.RedisManager._listen
    )


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
    folders = [Path(str(package.__file__)).parent for package in (engineio, socketio, werkzeug)]
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


def test_gunicorns_gevent_worker_has_what_its_requests_are_taken_with() -> None:
    # In a process of its own: to import the worker has gevent patch this one.
    code = (
        "from gunicorn.workers.ggevent import GeventWorker as W; import gunicorn.config as c\n"
        "run = W.run.__code__\n"
        "assert 'servers' in run.co_varnames and {'server_class', 'wsgi'} <= {*run.co_names}\n"
        "assert W.server_class is None\n"
        "from rtcio_sync.serving import gunicorn_http as ours\n"
        "made = c.Config()\n"
        "known = {*ours._SETTINGS} & made.settings.keys()\n"
        "assert all(ours._is_default(made, each) for each in ours._SETTINGS)\n"
        "assert {'accesslog', 'pre_request', 'max_requests', 'proxy_protocol'} <= known\n"
        "made.set('accesslog', '-')\n"
        "assert not ours._is_default(made, 'accesslog')\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
