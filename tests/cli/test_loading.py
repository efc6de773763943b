"""``--app module:attribute``: which app and which server it names."""

from __future__ import annotations

import flask
import pytest

from rtcio_sync.cli.loading import load
from rtcio_sync.errors import OptionError
from rtcio_sync.server import Server


@pytest.mark.parametrize("attribute", ["plain", "Holder.app", "create_app()"])
def test_a_flask_app_without_a_server_is_loaded_as_such(module: str, attribute: str) -> None:
    server, app = load(f"{module}:{attribute}")
    assert server is None
    assert type(app) is flask.Flask


@pytest.mark.parametrize("attribute", ["wrapped", "create_app('x', wrap=True)"])
def test_a_flask_app_that_has_a_server_comes_with_it(module: str, attribute: str) -> None:
    server, app = load(f"{module}:{attribute}")
    assert app is not None
    assert isinstance(server, Server)
    assert server is app.extensions["rtcio"]


def test_a_server_is_loaded_as_it_is(module: str) -> None:
    server, app = load(f"{module}:server")
    assert isinstance(server, Server)
    assert app is None


def test_a_socketio_of_ours_is_loaded_as_its_server(module: str) -> None:
    server, app = load(f"{module}:ours")
    assert isinstance(server, Server)
    assert server.app is not None
    assert app is None


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("bare", r"is a Server of socketio, .*; write rtcio_sync\.Server\(\)"),
        ("theirs", r"is a SocketIO of flask_socketio, .*; write from rtcio_sync\.flask_socketio"),
        ("wsgi", r"is a WSGIApp of socketio, .* Any other WSGI application: server\.listen"),
        ("nothing", "has no 'nothing'"),
        ("Holder.nothing", "has no 'Holder.nothing'"),
        ("number", "is a int, not a Flask app or a Server"),
        ("create_app", "call a factory"),
        ("create_app(", "a name, or a call with plain values"),
        ("create_app(plain)", "a name, or a call with plain values"),
        ("create_app(**{})", "a name, or a call with plain values"),
        ("plain or wrapped", "a name, or a call with plain values"),
    ],
)
def test_what_names_no_app_is_refused(module: str, attribute: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        load(f"{module}:{attribute}")


def test_a_module_that_is_not_there_is_refused(module: str) -> None:
    with pytest.raises(OptionError, match=f"no module '{module}_not_there'"):
        load(f"{module}_not_there:app")
    with pytest.raises(OptionError, match=f"no module .*: write {module}, without .py"):
        load(f"{module}.py:app")
    with pytest.raises(OptionError, match="no module"):
        load(f"{module}_not_there.py:app")
    with pytest.raises(OptionError, match="is not the name of a module"):
        load(f"./{module}:app")


def test_a_module_that_misses_another_fails_with_its_own_error(module: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_nowhere"):
        load(f"{module}_broken:app")
