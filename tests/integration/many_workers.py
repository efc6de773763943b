"""Several workers that are one server, with clients on each of them."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.integration.clients import Client, Driver
from tests.integration.servers import Running, free_port, running
from tests.timing import DEADLINE

WORKERS = 4


@contextmanager
def workers(
    way: str = "gevent",
    *,
    module: str = "many_workers",
    clean_log: bool = True,
    environ: dict[str, str] | None = None,
    **options: Any,
) -> Iterator[Running]:
    """A server of four workers that all know each other."""
    environ = {**({"RTCIO_TEST_PATCH": "1"} if "preload" in way else {}), **(environ or {})}
    with running(way, module, environ=environ, clean_log=clean_log, **options) as server:
        await_workers(server)
        yield server


def await_workers(server: Running, count: int = WORKERS) -> set[int]:
    """Waits until ``count`` workers answer that they are so many; their process ids."""
    end = time.monotonic() + DEADLINE
    ready: set[int] = set()
    while len(ready) < count:
        assert time.monotonic() < end, f"only {ready} know of {count} workers"
        # One connection, so that both answers are of one worker.
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
        with suppress(OSError, http.client.HTTPException):
            if _get(connection, "/stats")["workers"] == count:
                ready.add(_get(connection, "/pid"))
        connection.close()
    return ready


def _get(connection: http.client.HTTPConnection, path: str) -> Any:
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())


def everywhere(driver: Driver, server: Running, each: int = 1, **options: Any) -> list[Client]:
    """Connected clients, ``each`` on every one of the four workers; those of one side by side."""
    options.setdefault("transports", ["websocket"])
    found: dict[str, list[Client]] = {}
    end = time.monotonic() + DEADLINE
    while sum(len(some[:each]) for some in found.values()) < each * WORKERS:
        assert time.monotonic() < end, {node: len(some) for node, some in found.items()}
        client = driver.connect(server.url, **options)
        some = found.setdefault(client.id[:4], [])
        some.append(client)
        if len(some) > each:
            client.disconnect()
    return [client for some in found.values() for client in some[:each]]


def ask(server: Running, action: str, *args: Any) -> Any:
    """Has a view of some worker do something."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps(args)
    connection.request("POST", f"/do/{action}", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    assert response.status == 200, (response.status, text)
    return json.loads(text)


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    os.kill(pid, number)


#: Debian keeps nginx where a user's own PATH may not look.
PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])

NGINX = """
worker_processes 1;
daemon off;
error_log stderr crit;
pid {folder}/nginx.pid;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    # No files: started by root, its worker is another user, who may not write them.
    client_body_buffer_size 2m;
    proxy_max_temp_file_size 0;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" ""; }}
    upstream workers {{ {servers} keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://workers;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_read_timeout 60s;
            proxy_next_upstream error timeout http_503;
        }}
    }}
}}
"""


@contextmanager
def nginx(server: Running, folder: Path, *others: Running) -> Iterator[str]:
    """nginx in front of servers, in turn, with connections that are kept alive: its URL."""
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{each.port} max_fails=0;" for each in (server, *others))
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, servers=servers, port=port))
    program = shutil.which("nginx", path=PATH) or "nginx"
    process = subprocess.Popen([program, "-c", str(config), "-p", str(folder)])
    try:
        end = time.monotonic() + DEADLINE
        while True:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            assert time.monotonic() < end and process.poll() is None, "nginx does not listen"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
