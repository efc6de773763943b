"""The files for a deployment: each is started, or read by the very tool that it is for."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from tests.examples.launch import EXAMPLES, program
from tests.integration.clients import Client, Driver
from tests.integration.servers import APPS, BIN, Running, free_port
from tests.timing import DEADLINE, wait_until

ROOT = EXAMPLES.parent
#: Debian keeps nginx where a user's own PATH may not look.
PATH = os.pathsep.join([str(BIN), os.environ["PATH"], "/usr/sbin", "/sbin"])
TRANSPORTS = (["websocket"], ["polling"], ["polling", "websocket"])


def relay_in_a_ring(clients: list[Client]) -> None:
    for sender, target in zip(clients, [*clients[1:], clients[0]], strict=True):
        sender.fence(target)


# -- gunicorn.conf.py ------------------------------------------------------------------------------


@contextmanager
def gunicorn(app: str, folder: Path, allowed: str = "", *options: str) -> Iterator[Running]:
    command = [str(BIN / "gunicorn"), "-c", str(EXAMPLES / "gunicorn.conf.py"), *options, app]
    with program(command, cwd=folder, allowed=allowed) as server:
        yield server


def test_gunicorn_conf(node: Driver) -> None:
    # More patience than the file has, to tell that none was needed.
    with gunicorn("turn_credentials:app", EXAMPLES, "", "--graceful-timeout", "90") as server:
        assert "Using worker: gevent" in server.log()
        clients = [node.connect(server.url, transports=each) for each in TRANSPORTS]
        relay_in_a_ring(clients)
        # Before graceful_timeout is over, although there are open connections.
        assert server.terminate(timeout=60) == 0
        for client in clients:
            # They would come back. A poll that ends with the server is an error to its client.
            reason = client.wait("disconnect")["reason"]
            assert reason in ("transport close", "transport error")
        assert "polling" not in server.log() and "sid=" not in server.log()


COUNTS = """
import gc

from flask import Flask

from rtcio_sync import Server

app = Flask(__name__)
server = Server(app=app)


@app.get("/frozen")
def frozen():
    return str(gc.get_freeze_count())
"""


def test_gunicorn_conf_keeps_the_garbage_collector_from_what_the_app_is_made_of(
    tmp_path: Path,
) -> None:
    (tmp_path / "counts.py").write_text(COUNTS)
    with gunicorn("counts:app", tmp_path) as server:
        with urllib.request.urlopen(f"{server.url}/frozen", timeout=DEADLINE) as answer:
            assert int(answer.read()) > 10_000
        assert server.terminate() == 0


VERSION = """
import os

from flask import Flask

from rtcio_sync import Server

app = Flask(__name__)
server = Server(app=app)


@app.get("/worker")
def worker():
    return {"version": 1, "pid": os.getpid(), "master": os.getppid()}
"""


def test_gunicorn_conf_has_workers_share_memory_and_sighup_load_the_app_anew(
    tmp_path: Path,
) -> None:
    def ask() -> dict[str, int]:
        with urllib.request.urlopen(f"{server.url}/worker", timeout=DEADLINE) as answer:
            return dict(json.load(answer))

    def is_new() -> bool:
        with suppress(OSError):  # the worker that got it has been killed
            return ask()["version"] == 2
        return False

    app = tmp_path / "versions.py"
    app.write_text(VERSION)
    with gunicorn("versions:app", tmp_path, "was sent SIGKILL", "-w", "2") as server:
        first = ask()
        sizes = Path(f"/proc/{first['pid']}/smaps_rollup").read_text()
        (shared,) = re.findall(r"Shared_Dirty: +(\d+) kB", sizes)
        assert int(shared) > 15_000
        app.write_text(VERSION.replace('"version": 1', '"version": 2 '))
        os.kill(first["master"], signal.SIGHUP)
        wait_until(is_new)
        os.kill(ask()["pid"], signal.SIGKILL)
        wait_until(is_new)
        assert server.terminate() == 0


# -- nginx.conf ------------------------------------------------------------------------------------


@contextmanager
def nginx(backend: Running, folder: Path) -> Iterator[tuple[str, str]]:
    """nginx with the example's file in front of `backend`: its URL and the authority it trusts.

    What a machine has once (its ports 80 and 443, its certificate) is replaced by the test's own.
    """
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "chain.pem")
    port = free_port()
    text = (EXAMPLES / "nginx.conf").read_text()
    for pattern, replacement in {
        r"listen 80;": f"listen 127.0.0.1:{free_port()};",
        r"listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        r"listen \[::\].*;": "",
        r"/etc/letsencrypt/\S+/fullchain.pem": str(folder / "chain.pem"),
        r"/etc/letsencrypt/\S+/privkey.pem": str(folder / "key.pem"),
        r"127.0.0.1:8000": f"127.0.0.1:{backend.port}",
        # Neither root's rights nor root's folders.
        r"^http \{": "http {\n access_log off;\n"
        + "".join(
            f"{name}_temp_path {folder}/{name};\n"
            for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        ),
        r"worker_rlimit_nofile 65536;|worker_processes auto;": "",
        r"worker_connections 32768;": "worker_connections 512;",
    }.items():
        text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
        assert count, f"nginx.conf has no {pattern}"
    (folder / "nginx.conf").write_text(text)
    errors = folder / "errors.log"
    user = "user root; " if os.geteuid() == 0 else ""  # one that may enter pytest's folder
    command = [
        shutil.which("nginx", path=PATH) or "nginx", "-c", str(folder / "nginx.conf"),
        "-e", str(errors), "-g", f"{user}daemon off; pid {folder}/pid; error_log {errors} notice;",
    ]  # fmt: skip
    subprocess.run([*command, "-t"], check=True)
    process = subprocess.Popen(command)
    try:
        end = time.monotonic() + DEADLINE
        while socket.socket().connect_ex(("127.0.0.1", port)):
            assert process.poll() is None and time.monotonic() < end, errors.read_text()
            time.sleep(0.05)
        yield f"https://127.0.0.1:{port}", authority.cert_pem.bytes().decode()
        assert not re.search(r"\[(error|crit|alert|emerg)\]", errors.read_text())
    finally:
        process.terminate()
        process.wait()


def test_nginx_conf(node: Driver, tmp_path: Path) -> None:
    told = "a page of https://elsewhere.example may not connect"
    with gunicorn("bare:app", APPS, told) as server, nginx(server, tmp_path) as (url, authority):
        # The server allows its own origin alone, which behind the proxy is the proxy's.
        options = {"ca": authority, "extraHeaders": {"Origin": url}}
        clients = [node.connect(url, transports=each, **options) for each in TRANSPORTS]
        assert [client.transport for client in clients] == ["websocket", "polling", "websocket"]
        relay_in_a_ring(clients)
        # More than a buffer of nginx's, both ways.
        data = {"description": {"sdp": "x" * 100_000}}
        for sender, target in zip(clients, [*clients[1:], clients[0]], strict=True):
            sender.relay(target, data)
        for client in clients:
            client.wait_for("#rtcio:message", count=2)
            assert client.relayed() == [data]
        for transport in ("websocket", "polling"):
            elsewhere = {"ca": authority, "extraHeaders": {"Origin": "https://elsewhere.example"}}
            node.open(url, transports=[transport], **elsewhere).wait("connect_error")
        for client in clients:
            client.disconnect()


# -- Dockerfile, compose.yaml ----------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    text = (EXAMPLES / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in lines)]


def in_context(source: str) -> bool:
    """Whether the build may see a file, by Dockerfile.dockerignore."""
    listed = (EXAMPLES / "Dockerfile.dockerignore").read_text().splitlines()
    allowed = [line[1:] for line in listed if line.startswith("!")]
    return "*" in listed and source in allowed and (ROOT / source).exists()


def test_dockerfile(node: Driver, tmp_path: Path) -> None:
    """Its instructions one by one, in a folder instead of an image."""
    work, environ, health = tmp_path, {}, []
    for word, rest in instructions():
        if word == "WORKDIR":
            work = tmp_path / rest.lstrip("/")
            work.mkdir()
        elif word == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                assert in_context(source), source
                into = work / target
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, into)
                else:
                    into.mkdir(parents=True, exist_ok=True)
                    shutil.copy(ROOT / source, into)
        elif word == "RUN":
            # What is installed already satisfies it; the package itself is built and looked at.
            pip = f"{shlex.quote(sys.executable)} -m pip "
            command = re.sub(r"^pip ", pip, rest) + " --dry-run --no-index --no-build-isolation"
            done = subprocess.run(command, shell=True, cwd=work, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            assert "Would install rtcio-sync" in done.stdout
        elif word == "ENV":
            environ |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif word == "HEALTHCHECK":
            health = json.loads(rest.partition("CMD ")[2])
        elif word == "CMD":
            command = json.loads(rest)
    assert environ["HOST"] == "0.0.0.0"
    # The copied package, not the checkout's; and the test's machine serves itself alone.
    environ |= {"PYTHONPATH": str(work / "rtcio-sync"), "HOST": "127.0.0.1", "PATH": PATH}
    environ["PORT"] = str(port := free_port())
    with program([str(BIN / command[0]), *command[1:]], environ=environ, cwd=work, port=port) as up:
        a, b = (node.connect(up.url, transports=["websocket"]) for _ in range(2))
        a.fence(b)
        command = [sys.executable, *health[1:]]
        assert health[0] == "python"
        subprocess.run(command, check=True, env={**os.environ, **environ}, timeout=DEADLINE)
        up.terminate()
        assert (
            subprocess.run(
                command, env={**os.environ, **environ}, stderr=subprocess.DEVNULL
            ).returncode
            != 0
        )


def test_compose_yaml() -> None:
    services: dict[str, Any] = yaml.safe_load((EXAMPLES / "compose.yaml").read_text())["services"]
    signaling, coturn = services["signaling"], services["coturn"]
    build = signaling["build"]
    context = (EXAMPLES / build["context"]).resolve()
    assert (context, context / build["dockerfile"]) == (ROOT, EXAMPLES / "Dockerfile")
    # What it sets is what the app in the image reads.
    source = (EXAMPLES / "turn_credentials.py").read_text()
    assert {name for name in signaling["environment"] if f'"{name}"' in source} == {
        "TURN_SECRET",
        "TURN_HOST",
        "ALLOWED_ORIGINS",
    }
    exposed = next(rest for word, rest in instructions() if word == "EXPOSE")
    assert signaling["ports"] == [f"127.0.0.1:8000:{exposed}"]
    assert "--use-auth-secret" in coturn["command"]
    assert "--static-auth-secret=${TURN_SECRET}" in coturn["command"]


# -- systemd.service -------------------------------------------------------------------------------


def test_systemd_service(tmp_path: Path) -> None:
    text = (EXAMPLES / "systemd.service").read_text()
    start = re.search(r"^ExecStart=(\S+) (.*)$", text, re.MULTILINE)
    assert start is not None
    # The program of the test's machine, which `verify` looks for; the arguments as they are.
    unit = tmp_path / "calls.service"
    unit.write_text(text.replace(start[1], str(BIN / "gunicorn")))
    verify = ["systemd-analyze", "verify", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    with program([str(BIN / "gunicorn"), *start[2].split()], cwd=EXAMPLES) as server:
        assert server.get_json("/health")["status"] == "ok"


def test_systemd_is_told_when_it_is_ready(tmp_path: Path) -> None:
    """`Type=notify`: without a word from gunicorn systemd would end it after a while."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(DEADLINE)
        command = [str(BIN / "gunicorn"), "-c", "gunicorn.conf.py", "turn_credentials:app"]
        environ = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with program(command, environ=environ, cwd=EXAMPLES):
            assert b"READY=1" in systemd.recv(4096)


@pytest.mark.parametrize("name", ["Dockerfile", "compose.yaml", "nginx.conf", "systemd.service"])
def test_what_a_file_names_exists(name: str) -> None:
    text = (EXAMPLES / name).read_text()
    for named in re.findall(r"\b([\w.]+\.(?:py|conf|yaml|service))\b", text):
        assert (EXAMPLES / named).exists() or named in ("calls.service", "nginx.conf"), named
