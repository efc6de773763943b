"""`SocketIO.run(app, debug=True)`: the reloader and the debugger, in a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
import socketio

from tests.integration.servers import free_port
from tests.timing import DEADLINE, wait_until

ROOT = Path(__file__).parents[2]

APP = """
{patch}
import os, time
import flask
from rtcio_sync.flask_socketio import SocketIO

app = flask.Flask(__name__)
app.secret_key = "of the tests"
socketio = SocketIO(app, drain_seconds=30)

@app.get("/fail")
def fail():
    raise RuntimeError("on purpose")

@app.get("/version")
@socketio.on("version")
def version():
    return "{version}"

@socketio.on("long")
def long():
    print("the handler has begun", flush=True)
    time.sleep(1.5)
    print("the handler has ended", flush=True)

options = {{"interval": 0.2, "reloader_type": "stat"}}
socketio.run(app, port={port}, debug=True, reloader_options=options)
"""
PATCHES = {"patched": "from gevent import monkey; monkey.patch_all()", "not patched": ""}


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
def test_a_changed_file_is_loaded_an_error_is_shown_and_handlers_end_before_the_process(
    patch: str, tmp_path: Path
) -> None:
    port, program = free_port(), tmp_path / "program.py"
    program.write_text(APP.format(patch=patch, port=port, version=1))
    url = f"http://127.0.0.1:{port}"
    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [sys.executable, str(program)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )

    def answers(version: str) -> bool:
        assert process.poll() is None
        try:
            return urllib.request.urlopen(f"{url}/version").read().decode() == version
        except OSError:
            return False

    try:
        wait_until(lambda: answers("1"))
        with pytest.raises(urllib.error.HTTPError) as found:
            urllib.request.urlopen(f"{url}/fail")
        assert found.value.code == 500
        assert "Werkzeug Debugger" in found.value.read().decode()
        program.write_text(APP.format(patch=patch, port=port, version=2))
        wait_until(lambda: answers("2"))
        with socketio.SimpleClient() as client:
            client.connect(url)
            assert client.call("version", timeout=DEADLINE) == "2"
            client.emit("long")
            wait_until(lambda: "the handler has begun" in (tmp_path / "log").read_text())
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
        assert "the handler has ended" in (tmp_path / "log").read_text()
    except BaseException:
        sys.stderr.write((tmp_path / "log").read_text())
        raise
    finally:
        with suppress(ProcessLookupError):  # it has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        log.close()
