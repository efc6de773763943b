"""A ring of real socket.io-clients over four workers: each relay arrives once and in order.

`RING=full` runs 200 clients with 1,000 relays each in every way to serve, with the oldest and the
newest supported gunicorn (`make rings`). Otherwise it is a small ring in two of them.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.integration.clients import NODE_DIR
from tests.integration.many_workers import WORKERS as COUNT
from tests.integration.many_workers import nginx, workers
from tests.integration.servers import APPS, Running
from tests.timing import DEADLINE

FULL = os.environ.get("RING") == "full"
CLIENTS, RELAYS = (200, 1000) if FULL else (24, 100)
DIRECTLY, BEHIND_NGINX = "directly", "nginx"
NEWEST = "newest"
ROOT = Path(__file__).parents[2]
(OLDEST,) = re.findall(r"gunicorn\[gevent\]>=([0-9.]+)", (ROOT / "setup.cfg").read_text())


class Cell(NamedTuple):
    """A way to serve, a release of gunicorn, and how the clients get there."""

    way: str
    gunicorn: str
    through: str


SHORT = [Cell("gevent-preload", NEWEST, BEHIND_NGINX), Cell("rtcio-sync", NEWEST, DIRECTLY)]
ALL = [
    *(
        Cell(way, gunicorn, through)
        for way in ("gevent", "gevent-preload", "gevent_pywsgi", "geventwebsocket")
        for gunicorn in (OLDEST, NEWEST)
        for through in (DIRECTLY, BEHIND_NGINX)
    ),
    *(Cell("rtcio-sync", NEWEST, through) for through in (DIRECTLY, BEHIND_NGINX)),
]


@pytest.fixture(scope="session")
def oldest_gunicorn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with it."""
    folder = tmp_path_factory.mktemp("gunicorn")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*command, folder, f"gunicorn=={OLDEST}.*"], check=True)
    return folder


@pytest.mark.timeout(900)
@pytest.mark.parametrize("cell", ALL if FULL else SHORT, ids="-".join)
def test_each_relay_of_a_ring_arrives_once_in_order(
    cell: Cell, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    environ = {"GUNICORN_CMD_ARGS": "--keep-alive 60"}
    if cell.gunicorn == OLDEST:
        folder = request.getfixturevalue("oldest_gunicorn")
        environ["PYTHONPATH"] = os.pathsep.join(map(str, (folder, APPS, ROOT)))
    with workers(cell.way, environ=environ) as server:
        if cell.gunicorn == OLDEST:
            assert f"Starting gunicorn {OLDEST}" in server.log()
        with _reached(server, cell.through, tmp_path) as url:
            # On a busy machine, one worker may have taken all clients before the others ran.
            end = time.monotonic() + DEADLINE
            while (found := _relayed(url))["workers"] == 1:
                assert time.monotonic() < end, "one worker takes all connections"
    assert found["workers"] <= COUNT
    print(f"{'-'.join(cell)}: {json.dumps(found)}")


def _relayed(url: str) -> dict[str, Any]:
    command = ["node", NODE_DIR / "ring.js", url, str(CLIENTS), str(RELAYS)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    assert found["faults"] == []
    polling = len(range(1, CLIENTS, 3))
    assert found["transports"] == {"polling": polling, "websocket": CLIENTS - polling}
    assert found["relays"] == CLIENTS * RELAYS
    return found


@contextmanager
def _reached(server: Running, through: str, folder: Path) -> Iterator[str]:
    if through == DIRECTLY:
        yield server.url
    else:
        with nginx(server, folder) as url:
            yield url
