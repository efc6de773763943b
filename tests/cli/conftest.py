"""A module with apps in it, for ``--app``."""

from __future__ import annotations

import sys
import textwrap
import uuid
from pathlib import Path

import pytest


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module in the current directory, which is not on the path yet."""
    name = f"app_{uuid.uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(
        textwrap.dedent(
            """
            import flask
            import flask_socketio
            import socketio
            from rtcio_sync import Server
            from rtcio_sync.flask_socketio import SocketIO

            plain = flask.Flask(__name__)
            wrapped = flask.Flask(__name__)
            server = Server(app=wrapped)
            ours = SocketIO(flask.Flask(__name__))
            theirs = flask_socketio.SocketIO(flask.Flask(__name__), async_mode="threading")
            bare = socketio.Server(async_mode="threading")
            wsgi = socketio.WSGIApp(bare)
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
