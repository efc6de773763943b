"""An app whose handlers start other processes, and note who ran them."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flask

from rtcio_sync import Limits, Server

logging.basicConfig(
    level=logging.INFO, stream=sys.stderr, format="LOG %(levelname)s %(name)s %(message)s"
)

options = json.loads(os.environ.get("RTCIO_TEST_OPTIONS", "{}"))
if options.get("limits"):
    options["limits"] = Limits(**options["limits"])
app = flask.Flask(__name__)
server = Server(app=app, cors_allowed_origins="*", **options)
#: Where a child waits: it lives until there is a file of this name.
END = Path(os.environ["RTCIO_TEST_END"])


def linger() -> None:
    while not END.exists():
        time.sleep(0.05)


def by_fork() -> int:
    pid = os.fork()
    if pid == 0:
        try:
            linger()
        finally:
            os._exit(0)
    return pid


def by_multiprocessing() -> int:
    process = multiprocessing.get_context("fork").Process(target=linger)
    process.start()
    assert process.pid is not None
    return process.pid


def by_subprocess() -> int:
    return subprocess.Popen([sys.executable, "-c", WAIT], close_fds=False).pid


def by_preexec() -> int:
    command = [sys.executable, "-c", WAIT]
    return subprocess.Popen(command, close_fds=False, preexec_fn=lambda: None).pid


WAIT = f"import os, time\nwhile not os.path.exists({str(END)!r}): time.sleep(0.05)"
WAYS: dict[str, Callable[[], int]] = {
    "fork": by_fork,
    "multiprocessing": by_multiprocessing,
    "subprocess": by_subprocess,
    "preexec": by_preexec,
}


@app.get("/health")
def health() -> str:
    return "ok"


@app.get("/pid")
def pid() -> str:
    return str(os.getpid())


@app.get("/start/<way>")
def start(way: str) -> str:
    return str(WAYS[way]())


@server.on("start")
def start_in_handler(sid: str, way: str) -> int:
    return WAYS[way]()


@server.on("disconnect")
def disconnect(sid: str, reason: Any) -> None:
    logging.info("disconnect in %d", os.getpid())


@server.on("echo")
def echo(sid: str, *args: Any) -> Any:
    return args
