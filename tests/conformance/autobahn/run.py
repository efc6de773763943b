"""Runs the Autobahn test suite against our WebSockets: `python tests/conformance/autobahn/run.py`.

Writes `report.json` beside this file, and exits with 1 unless every case is OK or INFORMATIONAL.
See the README beside it.
"""

from __future__ import annotations

import collections
import datetime
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
REPORT = HERE / "report.json"

#: The suite needs Python 2.7, and this is the last release of it.
SUITE = "autobahntestsuite==25.10.1"

#: Compression, which is not offered: the suite calls these cases UNIMPLEMENTED.
COMPRESSION = ("12.", "13.")

#: The suite's largest message is 16 MiB.
LARGEST = 32 << 20

#: Seconds that the whole run may take; it takes about half a minute.
LONGEST = 600

# The suite's dependencies share namespace packages, which only a site directory resolves.
START = """
import site, sys
site.addsitedir(sys.argv[1])
sys.path.insert(0, sys.argv[1])
sys.argv[:] = ["wstest"] + sys.argv[2:]
from autobahntestsuite.wstest import run
run()
"""


def main() -> int:
    python = find_python()
    with tempfile.TemporaryDirectory() as folder:
        suite = Path(folder, "suite")
        print(f"installing {SUITE}", flush=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--target", str(suite), SUITE], check=True)
        with echo_server(Path(folder)) as port:
            results = run_suite(python, suite, Path(folder), port)
    report = summary(results)
    REPORT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))
    return 1 if report["failed"] else 0


def find_python() -> str:
    """The Python 2.7 to use: $PYTHON27, or pyenv's, or the one in the path."""
    if named := os.environ.get("PYTHON27"):
        return named
    # Before the path, where pyenv has a python2.7 that only tells how to choose one.
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted(map(str, home.glob("versions/2.7*/bin/python2.7")))
    python = found[-1] if found else shutil.which("python2.7")
    if python is None:
        raise SystemExit("no Python 2.7 found: name one in $PYTHON27")
    return python


@contextmanager
def echo_server(folder: Path) -> Iterator[int]:
    """The echo app of the take-over's tests, under gevent's pywsgi."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    log = Path(folder, "server.log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.integration.echo_app", str(port)],
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_for(port)
        yield port
        if process.poll() is not None or b"Traceback" in log.read_bytes():
            raise SystemExit(f"the server failed:\n{log.read_text()[-4000:]}")
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def run_suite(python: str, suite: Path, folder: Path, port: int) -> dict[str, Any]:
    reports = folder / "reports"
    specification = {
        "outdir": str(reports),
        "servers": [{"agent": "ours", "url": f"ws://127.0.0.1:{port}/?max_size={LARGEST}"}],
        "cases": ["*"],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "specification.json").write_text(json.dumps(specification))
    print("running the cases", flush=True)
    with (folder / "suite.log").open("wb") as log:
        subprocess.run(
            [
                *(python, "-W", "ignore", "-c", START, str(suite)),
                *("-m", "fuzzingclient", "-s", str(folder / "specification.json")),
            ],
            cwd=folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=LONGEST,
            check=True,
        )
    results: dict[str, Any] = json.loads((reports / "index.json").read_text())["ours"]
    return results


def summary(results: dict[str, Any]) -> dict[str, Any]:
    """What is worth keeping: the counts, and each case that is not simply OK."""

    def behaviour(case: str) -> str:
        # How the messages were handled, and how the connection was closed.
        found = results[case]
        closed = found["behaviorClose"]
        return found["behavior"] + ("" if closed in ("OK", found["behavior"]) else f", {closed}")

    cases = sorted(results, key=lambda case: [int(part) for part in case.split(".")])
    judged = {case: behaviour(case) for case in cases}

    def fine(case: str) -> bool:
        if case.startswith(COMPRESSION):
            return judged[case] == "UNIMPLEMENTED"
        return judged[case] in ("OK", "INFORMATIONAL")

    return {
        "suite": SUITE,
        "date": datetime.date.today().isoformat(),
        "cases": len(cases),
        "counts": dict(sorted(collections.Counter(judged.values()).items())),
        "informational": [case for case in cases if judged[case] == "INFORMATIONAL"],
        "failed": {case: judged[case] for case in cases if not fine(case)},
    }


if __name__ == "__main__":
    sys.exit(main())
