"""The command line's own rules, and the public app that it serves; no process, no socket."""

from __future__ import annotations

import base64
import hashlib
import hmac
import socket
import subprocess
import sys
import textwrap
import uuid
from pathlib import Path
from typing import Any

import flask
import pytest

from rtcio_sync._version import __version__
from rtcio_sync.cli.command import public_app, run
from rtcio_sync.cli.loading import load
from rtcio_sync.config.origins import parse_origins
from rtcio_sync.errors import OptionError
from rtcio_sync.server import Server


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr, which is one line, while stdout is empty."""
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and said.err.startswith("rtcio-sync: "), said.err
    return said.err


# -- origins ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("*", "*"),
        (" * ", "*"),
        ("https://example.com", ["https://example.com"]),
        (
            "https://a.example, http://localhost:5173,",
            ["https://a.example", "http://localhost:5173"],
        ),
        ("HTTPS://Example.COM", ["https://example.com"]),
        ("https://example.com:443", ["https://example.com"]),
        ("http://example.com:80", ["http://example.com"]),
        ("http://example.com:443", ["http://example.com:443"]),
        ("http://[::1]:3000", ["http://[::1]:3000"]),
        ("capacitor://localhost", ["capacitor://localhost"]),
    ],
)
def test_origins_become_what_browsers_send(text: str, origins: Any) -> None:
    assert parse_origins(text) == origins


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "name an origin"),
        (" , ", "name an origin"),
        ("example.com", "'example.com' is not an origin: write it like https://"),
        ("https://", "is not an origin"),
        ("https://*.example.com", r"only Server\(cors_allowed_origins=\) in Python takes patterns"),
        ("https://a.example b.example", "is not an origin"),
        ("null", "is not an origin"),
        ("https://example.com/", "an origin has no path: write https://example.com$"),
        ("https://example.com:8443/app?x=1", "write https://example.com:8443$"),
        ("*,https://example.com", r"\* allows any origin"),
    ],
)
def test_what_is_no_origin_is_refused_with_the_fix(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse_origins(text)


# -- what cannot be meant --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--port", "65536"], "65536"),
        (["--port", "web"], "web"),
        (["--allowed-origins", "example.com"], "not an origin"),
        (["--max-peers", "0"], "--max-peers"),
        (["--turn-ttl", "0"], "--turn-ttl"),
        (["--drain-seconds", "-1"], "--drain-seconds"),
        (["--log-level", "loud"], "--log-level"),
        (["--turn-host", "turn.example.com"], "--turn-host needs --turn-secret (or TURN_SECRET)"),
        (["--turn-secret", "north"], "--turn-secret needs --turn-host (or TURN_HOSTS)"),
        (["--turn-secret", "north", "--turn-host", "turn://t.example"], "no TURN server"),
        (["--stun", "s.example/path"], "no STUN server"),
        (["--unknown"], "--unknown"),
        (["surplus"], "surplus"),
        (["--app", "app"], "write module:attribute"),
        (["--app", "app:"], "write module:attribute"),
        (["--app", "app:app", "--max-peers", "4"], "--max-peers is the public server's"),
        (["--app", "app:app", "--stun", "s.example"], "--stun is the public server's"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_exit_code_2(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 2
    assert message in one_line(capsys)


def test_a_bad_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ALLOWED_ORIGINS", "example.com")
    assert run([]) == 2
    assert "ALLOWED_ORIGINS" in one_line(capsys)


def test_a_port_in_use_is_one_line_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run(["--host", "127.0.0.1", "--port", str(port)]) == 1
    said = one_line(capsys)
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in said


def test_a_host_that_cannot_be_meant_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--host", "http://localhost", "--port", "0"]) == 2
    assert "host='http://localhost'" in one_line(capsys)


def test_a_host_that_is_none_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--host", "no host", "--port", "0"]) == 1
    assert "cannot listen on no host:0: " in one_line(capsys)


def test_help_and_version_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert __version__ in capsys.readouterr().out
    assert run(["--help"]) == 0
    said = capsys.readouterr().out
    for variable in ("HOST", "PORT", "ALLOWED_ORIGINS", "TURN_SECRET", "TURN_HOSTS", "MAX_PEERS"):
        assert variable in said


def test_the_command_line_imports_nothing_that_gevent_would_have_to_replace_first() -> None:
    program = """
        import sys
        before = set(sys.modules)
        import rtcio_sync.cli.command, rtcio_sync.__main__
        late = {"ssl", "threading", "queue", "selectors", "concurrent.futures"} & set(sys.modules)
        if sys.version_info < (3, 11):  # click has it, by way of uuid; gevent patches inside it
            late.discard("selectors")
        ours = {"socketio", "engineio", "flask", "werkzeug", "gevent", "rtcio_sync.server"}
        print(sorted((late - before - {"threading"}) | (ours & set(sys.modules))))
    """
    said = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"


# -- --app -----------------------------------------------------------------------------------------


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current directory, which is not on the path yet."""
    name = f"app_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(
        textwrap.dedent(
            """
            import flask
            from rtcio_sync import Server

            plain = flask.Flask(__name__)
            wrapped = flask.Flask(__name__)
            server = Server(app=wrapped)
            number = 7

            class Holder:
                app = plain

            def create_app(name="made", *, wrap=False):
                made = flask.Flask(name)
                if wrap:
                    Server(app=made)
                return made
            """
        )
    )
    (tmp_path / f"{name}_broken.py").write_text("import a_module_that_is_nowhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    return name


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


@pytest.mark.parametrize(
    ("attribute", "message"),
    [
        ("nothing", "has no 'nothing'"),
        ("Holder.nothing", "has no 'Holder.nothing'"),
        ("number", "is a int, neither a Flask app nor a Server"),
        ("create_app", "a factory is called"),
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
    with pytest.raises(OptionError, match="no module"):
        load(f"{module}.py:app")
    with pytest.raises(OptionError, match="is no module's name"):
        load(f"./{module}:app")


def test_a_module_that_misses_another_fails_with_its_own_error(module: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_nowhere"):
        load(f"{module}_broken:app")


@pytest.mark.parametrize("option", ["--allowed-origins=*", "--drain-seconds=2"])
def test_an_app_that_brings_its_server_brings_its_options(
    module: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--app", f"{module}:wrapped", option]) == 2
    assert "brings its own" in one_line(capsys)


# -- the public app --------------------------------------------------------------------------------


def test_health_tells_figures_and_no_name_or_id() -> None:
    app, server, _ = public_app()
    ann, bob = server.test_client(), server.test_client()
    for peer, name in ((ann, "Ann Example"), (bob, "Bob Example")):
        peer.emit("join-room", {"roomId": "the-room", "name": name})
    ann.emit("#rtcio:message", {"source": ann.sid, "target": bob.sid, "data": {}})
    ann.emit("#rtcio:message", {"source": "forged", "target": bob.sid, "data": {}})
    answer = app.test_client().get("/health")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    figures = answer.get_json()
    assert isinstance(figures.pop("uptime"), float)
    assert figures == {
        "status": "ok",
        "version": __version__,
        "sockets": 2,
        "rooms": 1,
        "relayed": 1,
        "dropped": 1,
    }


def test_there_is_a_page_at_the_root() -> None:
    app, _, _ = public_app()
    answer = app.test_client().get("/")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"


def test_rooms_of_the_public_app_have_the_cap_that_was_asked_for() -> None:
    _, server, _ = public_app(max_peers=1)
    first, second = server.test_client(), server.test_client()
    for peer in (first, second):
        peer.emit("join-room", {"roomId": "r"})
    assert second.received("join-error") == [{"reason": "room-full", "roomId": "r"}]


def test_ask_ice_of_the_public_app_gives_each_caller_credentials_of_its_secret() -> None:
    _, server, _ = public_app(stun=["s.example"], turn=["t.example"], turn_secret="north")
    stun, turn = server.test_client().call("ask-ice")["iceServers"]
    assert stun == {"urls": ["stun:s.example"]}
    assert turn["urls"] == ["turn:t.example?transport=udp", "turn:t.example?transport=tcp"]
    expected = hmac.new(b"north", turn["username"].encode(), hashlib.sha1).digest()
    assert base64.b64decode(turn["credential"]) == expected


def test_ice_servers_that_cannot_be_meant_are_refused_at_the_start() -> None:
    with pytest.raises(OptionError, match="secret="):
        public_app(turn=["t.example"])
