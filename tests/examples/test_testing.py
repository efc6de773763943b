"""The tests of docs/testing.md are a program too: they pass, and find what they are to find."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.launch import EXAMPLES

NAMES = ("rooms_app.py", "test_rooms_app.py")


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    # A folder of its own: no configuration and no plug-in of this repository's tests.
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    environ = {name: os.environ[name] for name in os.environ if not name.startswith("PYTEST")}
    done = subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, timeout=110
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        shutil.copy(EXAMPLES / name, tmp_path)
    return tmp_path


def test_the_tests_of_the_example_pass(folder: Path) -> None:
    code, output = run(folder)
    assert code == 0, output


def test_they_fail_where_the_app_is_wrong(folder: Path) -> None:
    app = folder / "rooms_app.py"
    source = app.read_text()
    for right, wrong in (
        ("socket.to(room).emit(", "server.emit("),  # to everybody
        ('if "user" not in session', "if False"),
        ("connection_state_recovery=True", ""),
    ):
        assert right in source
        source = source.replace(right, wrong)
    app.write_text(source)
    code, output = run(folder, "-k", "not real_clients")
    assert code == 1
    for name in (
        "test_a_newcomer_is_announced_to_the_room_alone",
        "test_nobody_connects_without_a_login",
        "test_a_peer_that_comes_back_gets_what_it_missed",
    ):
        assert f"test_rooms_app.py::{name}" in output, output
