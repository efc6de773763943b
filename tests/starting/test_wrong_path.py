"""A client that asks for another path than the server's: the log says so, once a minute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flask
import pytest

from rtcio_sync import Server
from rtcio_sync.logs import Seldom
from rtcio_sync.serving.listen import signaling_only
from rtcio_sync.starting import wrong_path
from tests.wsgi import environ_of, request

CLIENT = {"EIO": "4", "transport": "polling"}


def in_flask() -> Any:
    app = flask.Flask("app")
    Server(app=app)
    app.get("/other/socket.io/")(lambda: "a server of the app's own")
    return app


def alone() -> Any:
    return signaling_only("/socket.io", Server().handle_request)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Callable[[], Any]:
    monkeypatch.setattr(wrong_path, "_seldom", Seldom())
    name = wrong_path.__name__
    return lambda: [each.getMessage() for each in caplog.records if each.name == name]


@pytest.mark.parametrize("served", [in_flask, alone])
def test_a_client_at_another_path_is_warned_of(
    served: Callable[[], Any], said: Callable[[], Any]
) -> None:
    application = served()
    for _ in range(2):
        assert request(application, environ_of("GET", CLIENT, path="/ws/\n"))[0] == 404
    (line,) = said()
    assert line.startswith(r"a client asks for the path /ws/\n, but signaling is at /socket.io/: ")
    assert "write io(url, {path: '/socket.io/'})" in line


def test_nothing_else_is_warned_of(said: Callable[[], Any]) -> None:
    application = in_flask()
    assert request(application, environ_of("GET", CLIENT, path="/other/socket.io/"))[0] == 200
    assert request(application, environ_of("GET", CLIENT, path="/socket.io/"))[0] == 200
    visitor = environ_of("GET", {}, path="/no/page") | {"QUERY_STRING": "EIO=4"}
    assert request(application, visitor)[0] == 404
    assert said() == []
