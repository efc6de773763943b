"""A forked child has none of its parent's clients: what the server closes, or leaves, is closed."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.redis_nodes import RedisNode
from tests.integration.clients import Driver
from tests.integration.raw import RawPolling, RawWebSocket
from tests.integration.redis_server import redis_server
from tests.integration.servers import Running, running
from tests.timing import DEADLINE, until

CHILDREN = ["fork", "multiprocessing", "subprocess", "preexec"]
BOTH = ["websocket", "polling"]
WAYS = ["listen", "pywsgi", "gunicorn-gevent", "gunicorn-geventwebsocket"]


def inodes(pid: int) -> set[str]:
    """The sockets that a process has; none if it has ended."""
    found: set[str] = set()
    folder = Path(f"/proc/{pid}/fd")
    for each in folder.iterdir() if folder.is_dir() else ():
        try:
            target = os.readlink(each)
        except OSError:
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


def tcp_of(port: int) -> set[str]:
    """All TCP sockets whose local port is the server's: its clients', and where it listens."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if int(row[1].split(":")[1], 16) == port}


def kept(server: Running, child: int) -> set[str]:
    return inodes(child) & tcp_of(server.port)


@pytest.mark.parametrize("child", CHILDREN)
@pytest.mark.parametrize("way", WAYS)
def test_a_child_keeps_no_connection_and_no_port(tmp_path: Path, way: str, child: str) -> None:
    end = tmp_path / "end"
    with (
        running(way, "forking", environ={"RTCIO_TEST_END": str(end)}) as server,
        RawWebSocket(server) as websocket,
        RawPolling(server) as polling,
        socket.create_connection(("127.0.0.1", server.port)) as idle,
        ThreadPoolExecutor() as pool,
    ):
        websocket.join()
        polling.join()
        idle.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(65536).startswith(b"HTTP/1.1 200 ")
        poll = pool.submit(polling.poll)
        worker = int(server.get("/pid").read())
        pid = int(server.get(f"/start/{child}").read())
        try:
            if child in ("subprocess", "preexec") and "gunicorn" in way:
                # gunicorn lets its listening socket pass to what it starts, to replace itself.
                listening = tcp_of(server.port) & inodes(server.process.pid)
            else:
                listening = set()
            deadline = time.monotonic() + DEADLINE
            while kept(server, pid) - listening:
                assert time.monotonic() < deadline, kept(server, pid)
                time.sleep(0.05)
            assert inodes(worker) & tcp_of(server.port), "the server has them"
            # And it serves them: nothing was shut down.
            websocket.send('421["echo",1]')
            assert websocket.receive() == "431[1]"
            polling.send('421["echo",2]')
            assert poll.result(DEADLINE) == ["431[2]"]
            # The child's end is no news to anybody.
            end.touch()
            while Path(f"/proc/{pid}").exists() and "Z" not in _state(pid):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            websocket.send('422["echo",3]')
            assert websocket.receive() == "432[3]"
            assert "disconnect in" not in server.log()
        finally:
            end.touch()


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def may_listen(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
            sock.listen()
        except OSError:
            return False
        return True


@pytest.mark.parametrize("child", ["fork", "multiprocessing"])
@pytest.mark.parametrize("way", ["listen", "gunicorn-gevent"])
def test_clients_of_a_killed_server_notice_while_its_child_lives(
    node: Driver, tmp_path: Path, way: str, child: str
) -> None:
    end = tmp_path / "end"
    with running(way, "forking", environ={"RTCIO_TEST_END": str(end)}, clean_log=False) as server:
        try:
            clients = [node.connect(server.url, transports=[each]) for each in BOTH]
            clients[0].call("start", child)
            worker = int(server.get("/pid").read())
            os.kill(server.process.pid, signal.SIGKILL)
            if worker != server.process.pid:
                os.kill(worker, signal.SIGKILL)
            for client in clients:
                assert client.wait("disconnect")["reason"] in (
                    "transport close", "transport error",
                )  # fmt: skip
            deadline = time.monotonic() + DEADLINE
            while not may_listen(server.port):  # the child may only just be one
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            end.touch()


@pytest.mark.parametrize("child", ["fork", "multiprocessing"])
@pytest.mark.parametrize("mode", ["gevent", "threading"])
def test_a_child_of_listen_ends_on_sigterm(tmp_path: Path, mode: str, child: str) -> None:
    end = tmp_path / "end"
    options = json.dumps({"async_mode": mode})
    environ = {"RTCIO_TEST_END": str(end), "RTCIO_TEST_OPTIONS": options}
    with running("listen", "forking", environ=environ) as server:
        with RawWebSocket(server) as websocket:
            websocket.join()
            pid = int(server.get(f"/start/{child}").read())
            deadline = time.monotonic() + DEADLINE
            while kept(server, pid):  # until it is a child of its own
                assert time.monotonic() < deadline
                time.sleep(0.05)
            os.kill(pid, signal.SIGTERM)
            while _state(pid) != "Z":
                assert time.monotonic() < deadline
                time.sleep(0.05)
            websocket.send('421["echo",1]')
            assert websocket.receive() == "431[1]"
            assert "disconnect in" not in server.log()
        end.touch()


def test_a_child_does_not_keep_the_node_of_its_parent_alive(tmp_path: Path) -> None:
    end = tmp_path / "end"
    with redis_server() as url:
        options = json.dumps({"cluster": url})
        environ = {"RTCIO_TEST_END": str(end), "RTCIO_TEST_OPTIONS": options}
        other = RedisNode(url)
        try:
            with running("listen", "forking", environ=environ, clean_log=False) as server:
                until(lambda: other.bus.nodes)
                server.get("/start/fork").read()
                server.process.kill()
                until(lambda: not other.bus.nodes)
        finally:
            end.touch()
            other.bus.stop()
