"""The real engine.io-client against ours, as against Node's own server: `node/engine_cases.js`."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.clients import NODE_DIR
from tests.integration.servers import START_DEADLINE, free_port, running

WAYS = ["listen", "pywsgi", "gunicorn-gevent"]
CASES: list[str] = json.loads(
    subprocess.run(
        ["node", str(NODE_DIR / "engine_cases.js"), "--names"],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
)
#: Where benchmarks have Node's server, for whom it is there.
NODES_OWN = Path(__file__).parents[2] / "benchmarks/node/node_modules"


def outcomes(url: str, *cases: str) -> dict[str, str | None]:
    """What became of each case: None for one that held."""
    command = ["node", str(NODE_DIR / "engine_cases.js"), url, *cases]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300, check=True)
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    return {row["case"]: row["error"] for row in rows}


@pytest.fixture(scope="module", params=WAYS)
def found(request: pytest.FixtureRequest) -> Iterator[dict[str, str | None]]:
    with running(request.param, "bouncing") as server:
        yield outcomes(server.url)


@pytest.mark.parametrize("case", CASES)
def test_the_case_holds(found: dict[str, str | None], case: str) -> None:
    assert found[case] is None


@contextmanager
def nodes_own() -> Iterator[str]:
    port = free_port()
    script = str(NODE_DIR / "engine_server.js")
    process = subprocess.Popen(["node", script, str(NODES_OWN), str(port)])
    try:
        end = time.monotonic() + START_DEADLINE
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_nodes_own_server_passes_them_too() -> None:
    """Or they would say nothing about ours."""
    if not NODES_OWN.is_dir():
        raise RuntimeError("run `npm ci` in benchmarks/node first")
    with nodes_own() as url:
        assert {case: error for case, error in outcomes(url).items() if error} == {}
