"""The contexts of a handler: whose they are, what is in them, and where its errors are logged."""

from __future__ import annotations

import logging
from typing import Any

import flask
import pytest

from rtcio_sync.flask.context import APP, handler_context, report
from rtcio_sync.socketio import handler_call
from tests.wsgi import environ_of


def new_app() -> flask.Flask:
    app = flask.Flask("of_the_tests")
    app.secret_key = "of the tests"
    return app


def handshake(app: flask.Flask, **headers: str) -> dict[str, Any]:
    return {**environ_of("GET", {"room": "tea"}, headers=headers), APP: app}


@pytest.mark.parametrize("environ", [None, {}, {"PATH_INFO": "/socket.io/"}])
def test_without_an_app_there_is_no_context(environ: Any) -> None:
    assert handler_context(environ, "sid", "/", "chat", ()) is handler_call.NO_CONTEXT


def test_both_contexts_are_of_the_app_and_the_handshake() -> None:
    app = new_app()
    with handler_context(handshake(app, Cookie="a=b"), "sid", "/calls", "chat", (1, "two")):
        request: Any = flask.request
        assert flask.current_app == app
        assert (request.sid, request.namespace) == ("sid", "/calls")
        assert request.event == {"message": "chat", "args": (1, "two")}
        assert (request.args["room"], request.cookies["a"]) == ("tea", "b")
        assert request.remote_addr == "192.0.2.7"
    assert not flask.has_app_context()


def test_the_session_stays_with_the_connection() -> None:
    environ = handshake(new_app())
    with handler_context(environ, "sid", "/", "chat", ()):
        flask.session["name"] = "ann"
    with handler_context(environ, "sid", "/", "chat", ()):
        assert flask.session["name"] == "ann"
    with handler_context(handshake(new_app()), "other", "/", "chat", ()):
        assert "name" not in flask.session


@pytest.mark.parametrize("with_app", [True, False])
def test_an_error_is_logged_where_the_apps_own_are(
    with_app: bool, caplog: pytest.LogCaptureFixture
) -> None:
    environ = handshake(new_app()) if with_app else {}
    try:
        raise ValueError("the app's own")
    except ValueError:
        report(environ, "chat", ("sid", "/"))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.name == ("of_the_tests" if with_app else handler_call.log.name)
    assert record.exc_info is not None and record.exc_info[0] is ValueError
