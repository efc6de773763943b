"""A broken installation shows its cause, not "cannot import name 'Server'"."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import rtcio_sync

PACKAGE = Path(rtcio_sync.__file__).parent
PROGRAMS = {
    "from": "from rtcio_sync import Server",
    "attribute": "import rtcio_sync; rtcio_sync.Server",
    "Lobby": "from rtcio_sync import Lobby",
}


def last_line(program: str, first_on_path: Path) -> str:
    path = os.pathsep.join([str(first_on_path), str(PACKAGE.parent)])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": path},
        cwd=first_on_path,
        check=False,
    )
    assert done.returncode == 1
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("module", "content", "cause"),
    [
        ("orjson", "raise ImportError('undefined symbol: PyFoo')", "undefined symbol: PyFoo"),
        ("orjson", "", "module 'orjson'"),
        ("socketio", "", "socketio"),
        ("socketio", "import nothing_of_that_name", "nothing_of_that_name"),
        ("engineio", "", "engineio"),
        ("flask", "raise OSError('cannot open shared object file')", "cannot open shared object"),
        ("flask", "", "flask"),
        ("gevent", "raise AttributeError('greenlet is too old')", "greenlet is too old"),
    ],
)
def test_a_broken_dependency_is_named(
    tmp_path: Path, module: str, content: str, cause: str
) -> None:
    (tmp_path / f"{module}.py").write_text(content)
    said = last_line(PROGRAMS["from"], tmp_path)
    assert cause in said
    assert "cannot import name 'Server'" not in said


@pytest.mark.parametrize(
    ("program", "wrong", "cause"),
    [
        ("from", "from ..options import Nothing", "Nothing"),
        ("from", "from . import nothing", "nothing"),
        ("attribute", "import nothing_of_that_name", "nothing_of_that_name"),
        ("Lobby", "None.nothing", "'NoneType' object has no attribute 'nothing'"),
    ],
)
def test_a_mistake_inside_the_package_is_named(
    tmp_path: Path, program: str, wrong: str, cause: str
) -> None:
    shutil.copytree(PACKAGE, tmp_path / "rtcio_sync", ignore=shutil.ignore_patterns("pages"))
    broken = tmp_path / "rtcio_sync/socketio/receive.py"
    broken.write_text(f"{broken.read_text()}\n{wrong}\n")
    said = last_line(PROGRAMS[program], tmp_path)
    assert cause in said
    assert "'Server'" not in said or cause in said.partition("cannot be loaded:")[2]


def test_a_name_that_there_is_not_is_still_an_attribute_error() -> None:
    assert not hasattr(rtcio_sync, "Nothing")
    with pytest.raises(ImportError, match="cannot import name 'Nothing'"):
        from rtcio_sync import Nothing  # type: ignore[attr-defined]  # noqa: F401
