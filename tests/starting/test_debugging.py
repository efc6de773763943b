"""The debugger and the log of requests around an app, and not around its Socket.IO path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import werkzeug.debug
from werkzeug.test import Client

from rtcio_sync.starting.debugging import log_requests, with_debugger


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    if environ["PATH_INFO"] in ("/bad", "/socket.io/bad"):
        raise RuntimeError("of the app")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]


def test_an_error_of_a_view_is_shown_by_the_debugger(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(with_debugger(app, "/socket.io", "127.0.0.1"))
    assert client.get("/").text == "fine"
    answer = client.get("/bad")
    assert answer.status_code == 500
    assert "of the app" in answer.text and "Debugger" in answer.text
    assert "Debugger is active; its PIN: " in capsys.readouterr().err


def test_a_debugger_without_trusted_hosts_is_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    class Before303:
        pin = None

        def __init__(self, app: Any, evalex: bool) -> None:
            self.app = app

        def __call__(self, *args: Any) -> Any:
            return self.app(*args)

    monkeypatch.setattr(werkzeug.debug, "DebuggedApplication", Before303)
    assert Client(with_debugger(app, "/socket.io", "127.0.0.1")).get("/").text == "fine"


def test_an_error_of_the_socketio_path_is_not_shown_to_its_client() -> None:
    client = Client(with_debugger(app, "/socket.io", "127.0.0.1"))
    with pytest.raises(RuntimeError):
        client.get("/socket.io/bad")


def test_each_request_is_a_line_with_its_status(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(log_requests(app, "/socket.io"))
    client.get("/a?b=c", environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("192.0.2.7 - - [")
    assert line.endswith('] "GET /a?b=c HTTP/1.1" 200 -')


def test_a_request_cannot_write_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    Client(log_requests(app, "/socket.io")).get("/a%0Aforged%1b[2J")
    (line,) = capsys.readouterr().err.splitlines()
    assert "\\nforged\\x1b" in line


def test_requests_to_the_socketio_path_are_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(log_requests(app, "/socket.io"))
    client.get("/socket.io/?sid=secret")
    client.get("/socket.io")
    assert capsys.readouterr().err == ""
    client.get("/socket.ios")
    assert "/socket.ios" in capsys.readouterr().err
