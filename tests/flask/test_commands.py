"""``flask rtcio run``, in a process that is patched: what it serves, and what it refuses."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import flask
import pytest
from click.testing import Result
from werkzeug.test import Client

from rtcio_sync.errors import OptionError
from rtcio_sync.flask.commands import _START, commands
from tests.timing import DEADLINE


class Listener:
    """As much of a server as the command needs."""

    path = "/socket.io"

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.asked: list[Any] = []
        self.tls: dict[str, str] = {}

    def listen(
        self, port: int, host: str, *, app: Any, ready: Callable[[int], Any], **tls: str
    ) -> None:
        self.asked.append((port, host, Client(app).get("/").text))
        self.tls = tls
        if self.error is not None:
            raise self.error
        ready(port)

    def stop(self) -> None:
        """Nothing to end."""


@pytest.fixture(autouse=True)
def patched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_RTCIO_PATCHED", "1")


def run(server: Listener | None, *args: str) -> tuple[flask.Flask, Result]:
    app = flask.Flask("of_the_tests")
    app.get("/")(lambda: "its page")
    if server is not None:
        app.extensions["rtcio"] = server
    return app, app.test_cli_runner().invoke(commands, ["run", *args])


def test_the_app_is_served_by_its_server() -> None:
    server = Listener()
    _, result = run(server, "--port", "5001", "-h", "::1")
    assert result.exit_code == 0
    assert server.asked == [(5001, "::1", "its page")]
    assert "'of_the_tests'" in result.output
    assert "http://localhost:5001/socket.io/" in result.output
    assert " * Debug mode: off" in result.output


@pytest.mark.parametrize(
    ("paths", "opened"),
    [
        (["/", "/call/"], "/"),
        (["/call/", "/other/"], "/call/"),
        (["/users/<name>/", "/word", "/call/"], "/call/"),
        (["/word"], ""),
        ([], ""),
    ],
)
def test_the_page_that_it_says_to_open_is_one_that_the_app_has(
    paths: list[str], opened: str
) -> None:
    app = flask.Flask("of_the_tests")
    app.extensions["rtcio"] = Listener()
    app.post("/posted/", endpoint="posted")(lambda: "")
    for path in paths:
        app.get(path, endpoint=path)(lambda **_: "its page")
    result = app.test_cli_runner().invoke(commands, ["run", "--host", "0.0.0.0"])
    word = "Open" if opened else "Running on"  # it would be a page that is not found
    assert f" * {word} http://localhost:5000{opened}\n" in result.output
    (network,) = [line for line in result.output.splitlines() if "In this network" in line]
    assert f":5000{opened}" in network


def test_an_error_of_a_view_is_shown_with_the_debugger_only() -> None:
    def view() -> str:
        raise RuntimeError("of the view")

    for option, shown in (("--debugger", True), ("--no-debugger", False)):
        server = Listener()
        app = flask.Flask("of_the_tests")
        app.get("/")(view)
        app.extensions["rtcio"] = server
        app.testing = option == "--debugger"  # Flask hands exceptions on, as it does in debug mode
        app.test_cli_runner().invoke(commands, ["run", option])
        ((_, _, page),) = server.asked
        assert ("of the view" in page) == shown


@pytest.mark.parametrize("options", [["--self-signed"], ["--cert", "adhoc"]])
def test_a_certificate_is_made_on_the_spot(options: list[str]) -> None:
    server = Listener()
    _, result = run(server, *options)
    assert result.exit_code == 0, result.output
    assert server.tls.keys() == {"certfile", "keyfile"}
    assert "https://localhost:5000/socket.io/" in result.output


def test_certificates_that_contradict_each_other_are_an_error_of_usage() -> None:
    _, result = run(Listener(), "--self-signed", "--cert", "cert.pem")
    assert result.exit_code == 2
    assert "leave out --cert" in result.output


def test_an_app_without_a_server_is_told_what_it_needs() -> None:
    _, result = run(None)
    assert result.exit_code == 1
    assert "write Server(app=app) where the app is made" in result.output


def test_why_it_cannot_listen_is_one_line() -> None:
    reason = os.strerror(errno.EADDRINUSE)
    _, result = run(Listener(OSError(errno.EADDRINUSE, reason)), "--port", "5001")
    assert result.exit_code == 1
    assert f"cannot listen on 127.0.0.1:5001: {reason}" in result.output


def test_an_error_that_is_not_of_the_port_says_what_is_wrong() -> None:
    _, result = run(Listener(OSError("the cluster's Redis cannot be reached")))
    assert result.exit_code == 1
    assert result.output.splitlines()[-1] == "Error: the cluster's Redis cannot be reached"


def test_the_process_that_serves_calls_itself_flask() -> None:
    command = [sys.executable, "-c", _START, "--app", "there_is_no_such_app", "rtcio", "run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE)
    assert "Try 'flask rtcio run --help'" in done.stderr


def test_an_invalid_argument_is_an_error_of_usage() -> None:
    _, result = run(Listener(OptionError("host='x/y': give a name")), "--host", "x/y")
    assert result.exit_code == 2
    assert "give a name" in result.output
