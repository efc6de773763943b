"""``flask rtcio run``, in a process that is patched: what it serves, and what it refuses."""

from __future__ import annotations

import errno
import os
from typing import Any

import flask
import pytest
from click.testing import Result

from rtcio_sync.errors import OptionError
from rtcio_sync.flask.commands import commands


class Listener:
    """As much of a server as the command needs."""

    path = "/socket.io"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[Any] = []

    def listen(self, port: int, host: str, *, app: Any) -> None:
        self.asked.append((port, host, app))
        if self.error is not None:
            raise self.error


@pytest.fixture(autouse=True)
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_RTCIO_PATCHED", "1")


def run(server: Listener | None, *args: str) -> tuple[flask.Flask, Result]:
    app = flask.Flask("of_the_tests")
    if server is not None:
        app.extensions["rtcio"] = server
    return app, app.test_cli_runner().invoke(commands, ["run", *args])


def test_the_app_is_served_by_its_server() -> None:
    server = Listener()
    app, result = run(server, "--port", "5001", "-h", "::1")
    assert result.exit_code == 0
    assert server.asked == [(5001, "::1", app)]
    assert "'of_the_tests'" in result.output and ":5001/socket.io/" in result.output


def test_an_app_without_a_server_is_told_what_it_needs() -> None:
    _, result = run(None)
    assert result.exit_code == 1
    assert "write Server(app=app) where the app is made" in result.output


def test_why_it_cannot_listen_is_one_line() -> None:
    reason = os.strerror(errno.EADDRINUSE)
    _, result = run(Listener(OSError(errno.EADDRINUSE, reason)), "--port", "5001")
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:5001: {reason}" in result.output


def test_an_invalid_argument_is_an_error_of_usage() -> None:
    _, result = run(Listener(OptionError("host='x/y': give a name")), "--host", "x/y")
    assert result.exit_code == 2
    assert "give a name" in result.output
