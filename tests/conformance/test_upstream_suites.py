"""python-socketio's and Flask-SocketIO's own tests pass with our class instead of theirs.

They come from the packages' source distributions (see `sdists`), and each suite runs in a process
of its own, with a plugin that puts our class in the place of `socketio.Server`, or
`rtcio_sync.flask_socketio` in that of Flask-SocketIO, and names every test that is left out and
what it pins (``*/suite_conftest.py``).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.conformance.python_socketio.left_out import DIFFERENCES
from tests.conformance.sdists import ROOT, sdist

HERE = Path(__file__).parent

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


class Suite(NamedTuple):
    """A package's own tests, and how many of them there are at least and are left out."""

    package: str
    tests: list[str]
    passing: int
    left_out: int
    #: The folder of the plugin; `None`: as the package is named.
    plugin: str | None = None

    @property
    def folder(self) -> str:
        return self.plugin or self.package.replace("-", "_").lower()


#: What of python-socketio's tests is about servers, managers and packets; the rest is about its
#: clients and its asyncio twins.
PYTHON_SOCKETIO = Suite(
    "python-socketio",
    [
        f"tests/common/test_{name}.py"
        for name in (
            "server",
            "namespace",
            "manager",
            "pubsub_manager",
            "packet",
            "msgpack_packet",
            "middleware",
            "admin",
        )
    ],
    passing=206,
    left_out=31,
)
FLASK_SOCKETIO = Suite("Flask-SocketIO", ["test_socketio.py"], passing=42, left_out=1)
#: The same tests with our package imported in the place of Flask-SocketIO.
IMPORTED = Suite(
    "Flask-SocketIO", ["test_socketio.py"], passing=43, left_out=0, plugin="flask_socketio_import"
)


def run(suite: Suite, *options: str, async_mode: str = "gevent", **how: Any) -> Any:
    """Run a suite against our class; `how` goes to `subprocess.run`."""
    plugin = HERE / suite.folder
    command = [sys.executable, "-m", "pytest", "-p", "deselecting", "-p", "suite_conftest"]
    command += ["-c", os.devnull, "--rootdir", ".", "-p", "no:cacheprovider", "-q", "--tb=short"]
    return subprocess.run(
        [*command, *options, *suite.tests],
        cwd=sdist(suite.package),
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (plugin, HERE / "common", ROOT))),
            "RTCIO_ASYNC_MODE": async_mode,
        },
        text=True,
        timeout=300,
        **how,
    )


def counts(suite: Suite, *options: str, async_mode: str = "gevent") -> tuple[dict[str, int], str]:
    """How many tests of a suite passed, failed and so on, and what the run printed."""
    done = run(suite, *options, async_mode=async_mode, capture_output=True)
    output = str(done.stdout + done.stderr)
    summary = output.rstrip().rpartition("\n")[2]
    return {name: int(count) for count, name in re.findall(r"(\d+) ([a-z]+)", summary)}, output


@pytest.mark.parametrize(
    ("suite", "async_mode"),
    [
        pytest.param(PYTHON_SOCKETIO, "gevent", id="python-socketio"),
        pytest.param(FLASK_SOCKETIO, "gevent", id="flask-socketio-on-gevent"),
        pytest.param(FLASK_SOCKETIO, "threading", id="flask-socketio-on-threads"),
        pytest.param(IMPORTED, "gevent", id="flask-socketio-by-import-on-gevent"),
        pytest.param(IMPORTED, "threading", id="flask-socketio-by-import-on-threads"),
    ],
)
def test_the_packages_own_tests_pass_with_our_server(suite: Suite, async_mode: str) -> None:
    found, output = counts(suite, async_mode=async_mode)
    passed = found.pop("passed", 0)
    found.pop("warning", None)
    found.pop("warnings", None)
    assert found == ({"deselected": suite.left_out} if suite.left_out else {}), output
    assert passed >= suite.passing, output


def test_the_guide_lists_what_is_left_out_of_python_socketios_tests() -> None:
    page = (ROOT / "docs/coming-from-python-socketio.md").read_text()
    for each in DIFFERENCES:
        names = ", ".join(f"`{test.rpartition('::test_')[2]}`" for test in each.tests)
        assert f"| {each.theirs} | {each.ours} | {names} |" in page
    rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert len(rows) == 1 + len(DIFFERENCES)


@pytest.mark.parametrize("suite", [PYTHON_SOCKETIO, FLASK_SOCKETIO], ids=lambda each: each.package)
def test_no_test_is_left_out_that_would_pass(suite: Suite) -> None:
    found, output = counts(suite, "--only-deselected")
    assert found.get("failed") == suite.left_out, output
    assert "passed" not in found, output


if __name__ == "__main__":
    suites = {suite.folder: suite for suite in (PYTHON_SOCKETIO, FLASK_SOCKETIO, IMPORTED)}
    sys.exit(run(suites[sys.argv[1]], *sys.argv[2:]).returncode)
