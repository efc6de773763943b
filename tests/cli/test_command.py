"""The command: its options, and what it says and answers when it cannot serve; no process."""

from __future__ import annotations

import socket
import subprocess
import sys
import textwrap

import pytest

from rtcio_sync._version import __version__
from rtcio_sync.cli.command import command, run
from rtcio_sync.cli.worker_variables import supervises


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said on stderr, which is one line, while stdout is empty."""
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and said.err.startswith("rtcio-sync: "), said.err
    return said.err


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
        (["--turn-secret", "north", "--turn-host", "turn://t.example"], "not a TURN server"),
        (["--stun", "s.example/path"], "not a STUN server"),
        (["--unknown"], "--unknown"),
        (["surplus"], "surplus"),
        (["app:app"], "Write --app app:app"),
        (["app.py"], "Write --app app:app"),
        (["app:create_app()", "--port", "1"], "Write --app app:create_app()"),
        (["3001"], "Write --port 3001"),
        (["run"], "Write rtcio-sync alone"),
        (["-p", "3001"], "Write --port"),
        (["-w", "4"], "Write --workers"),
        (["--bind", ":3001"], "Write --host and --port"),
        (["--cluster", "http://h"], "--cluster"),
        (["--cluster", "localhost:6379"], "not an address of Redis; give one like 'redis://"),
        (["cluster", "status", "nowhere"], "cannot be read"),
        (["--app", "app"], "write module:attribute"),
        (["--app", "app:"], "write module:attribute"),
        (["--app", "app:app", "--max-peers", "4"], "--max-peers is for the public server"),
        (["--app", "app:app", "--stun", "s.example"], "--stun is for the public server"),
    ],
)
def test_an_invalid_option_is_one_line_and_exit_code_2(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(args) == 2
    assert message in one_line(capsys)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--turn-secret", "north"], "--turn-secret needs --turn-host"),
        (["--app", "app:app", "--max-peers", "4"], "--max-peers is for the public server"),
        (["--app", "app_that_is_nowhere:app"], "there is no module 'app_that_is_nowhere'"),
        (["--app", "json:nothing"], "json has no 'nothing'"),
    ],
)
def test_an_invalid_option_ends_a_process_that_is_reloaded_as_well(
    args: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rtcio_sync.cli.launch.is_reloaded", lambda: True)
    monkeypatch.setattr("rtcio_sync.starting.reload.LOOK_EACH", None)  # waiting fails
    assert run(["--reload", *args]) == 2
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


def test_an_invalid_host_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["--host", "http://localhost", "--port", "0"]) == 2
    assert "host='http://localhost'" in one_line(capsys)


def test_an_unknown_host_is_one_line_and_exit_code_1(
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


@pytest.mark.parametrize("option", ["--allowed-origins=*", "--drain-seconds=2"])
def test_an_app_that_brings_its_server_brings_its_options(
    module: str, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["--app", f"{module}:wrapped", option]) == 2
    assert "has made its own" in one_line(capsys)


@pytest.mark.parametrize(
    ("args", "environ", "expected"),
    [
        ([], {}, False),
        (["--workers", "2"], {}, True),
        (["--port", "0", "--workers=2"], {}, True),
        ([], {"RTCIO_WORKERS": "2"}, True),
        ([], {"RTCIO_WORKERS": ""}, False),
        (["--workers", "2"], {"RTCIO_SYNC_LISTENER": "3"}, False),
        (["cluster", "status"], {"RTCIO_WORKERS": "2"}, False),
    ],
)
def test_only_a_supervisor_does_without_gevent(
    args: list[str], environ: dict[str, str], expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert supervises(args, command.commands) is expected


def test_a_supervisor_imports_neither_the_server_nor_what_serves_alone() -> None:
    script = textwrap.dedent(
        """
        import sys
        from rtcio_sync.cli import command, workers
        unused = {"gevent", "flask", "rtcio_sync.server"}
        unused |= {"rtcio_sync.starting.certificate", "rtcio_sync.starting.reload"}
        print(sorted(unused & set(sys.modules)))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr
