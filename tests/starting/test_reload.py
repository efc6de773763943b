"""Reloading: which files are watched, and how a child is started anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest

from rtcio_sync.starting import reload
from rtcio_sync.starting.reload import CHANGED, Changes, is_reloaded, reload_on_changes
from tests.timing import wait_until


def write(path: Path, text: str) -> None:
    """Writes a file with a later time than before, however coarse the clock of the disk is."""
    before = path.stat().st_mtime if path.exists() else 0.0
    path.write_text(textwrap.dedent(text))
    if path.stat().st_mtime == before:
        os.utime(path, (before + 1, before + 1))


def test_a_module_of_the_app_that_has_changed_is_found_and_installed_ones_are_not_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "watched_module.py"
    write(module, "a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import watched_module  # noqa: F401

    changes = Changes()
    assert changes.look() is None
    assert pytest.__file__ not in changes.watched
    write(module, "a = 2\n")
    assert changes.look() == str(module)


def test_a_module_that_is_imported_later_is_watched_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = Changes()
    module = tmp_path / "late_module.py"
    write(module, "a = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import late_module  # noqa: F401

    assert changes.look() is None
    write(module, "a = 2\n")
    assert changes.look() == str(module)


@pytest.mark.parametrize("fault", ["1 / 0\n", "this is no Python\n", "import nothing_at_all\n"])
def test_a_module_that_cannot_be_imported_is_waited_for_until_it_is_mended(
    tmp_path: Path, fault: str
) -> None:
    write(tmp_path / "broken.py", fault)
    program = """
        import sys
        from rtcio_sync.starting.reload import Changes
        sys.path.insert(0, sys.argv[1])
        with Changes().mended():
            import broken
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        while "Error" not in process.stderr.readline():
            assert process.poll() is None
        written = 0

        def ended() -> bool:
            nonlocal written
            written += 1  # it may have looked for the first time after the error was printed
            write(tmp_path / "broken.py", f"a = {written}\n")
            return process.poll() is not None

        wait_until(ended)
        assert process.returncode == CHANGED
        assert "broken.py has changed" in process.stderr.read()


def test_a_child_that_asks_for_it_is_started_anew_and_the_last_exit_code_is_the_parents(
    tmp_path: Path,
) -> None:
    program = f"""
        import os, sys
        from pathlib import Path
        from rtcio_sync.starting.reload import is_first, is_reloaded
        assert is_reloaded()
        assert "_RTCIO_RELOADED" not in os.environ, "what the app starts is no child"
        assert is_reloaded()
        with Path({str(tmp_path / "starts")!r}).open("a") as file:
            print(is_first(), file=file)
        sys.exit(7 if not is_first() else {CHANGED})
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    assert not is_reloaded()
    assert reload_on_changes(command) == 7
    assert (tmp_path / "starts").read_text().split() == ["True", "False"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_parent_ends_the_child_as_well(tmp_path: Path, number: int) -> None:
    child = "import signal, time; print('ready', flush=True); signal.sigwait([signal.SIGTERM])"
    child = f"import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM]); {child}"
    program = f"""
        import sys
        from rtcio_sync.starting.reload import reload_on_changes
        sys.exit(reload_on_changes([sys.executable, "-c", {child!r}]))
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(60) == 0
        assert process.stdout.read() == "", "the child has ended: nobody else holds the pipe"


def test_a_signal_that_comes_while_the_child_is_made_ends_it_as_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[subprocess.Popen[bytes]] = []

    def popen(*args: Any, **named: Any) -> subprocess.Popen[bytes]:
        made.append(subprocess.Popen(*args, **named))
        os.kill(os.getpid(), signal.SIGTERM)  # its handler runs before this returns
        return made[-1]

    monkeypatch.setattr(reload, "subprocess", SimpleNamespace(Popen=popen))
    try:
        assert reload_on_changes([sys.executable, "-c", "import time; time.sleep(600)"]) == 0
        assert made[0].returncode == -signal.SIGTERM
    finally:
        made[0].kill()
        made[0].wait()


def test_a_wrong_command_line_ends_the_first_child() -> None:
    with pytest.raises(click.UsageError, match="no such app"), Changes().mended():
        raise click.UsageError("no such app")
