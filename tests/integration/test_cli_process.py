"""The command as a process: what it prints, what it serves, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.integration.clients import Client, Driver
from tests.integration.servers import BIN, complaints, running
from tests.timing import wait_until

MODULE = [sys.executable, "-m", "rtcio_sync"]
SCRIPT = [str(BIN / "rtcio-sync")]

#: Seconds within which a process has started or ended; bounds for failures.
START, END = 60, 30

#: The variables that the command reads; those of the machine are none of the test's.
VARIABLES = {
    *("HOST", "PORT", "ALLOWED_ORIGINS", "STUN_HOSTS", "TURN_HOSTS", "TURN_SECRET", "TURN_TTL"),
    *("MAX_PEERS", "LOG_LEVEL", "DRAIN_SECONDS", "RTCIO_APP"),
}


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    return {**kept, **variables}


class Command:
    """The command, started, and what it has printed until now."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._reader = threading.Thread(target=self._read_errors, daemon=True)
        self._reader.start()

    def start(self) -> str:
        """Read on until it says where it listens."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if found := re.search(r"listening on (https?://\S+)$", line):
                return found[1]
        self._reader.join(END)
        raise AssertionError(f"it never listened: {self.lines} {self.errors}")

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(END)

    def rest(self) -> list[str]:
        """All that it printed, once it has ended."""
        assert self.process.stdout is not None
        self.lines += [line.rstrip("\n") for line in self.process.stdout]
        self._reader.join(END)
        return self.lines

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        self.errors += self.process.stderr


@contextmanager
def started(
    *args: str, command: list[str] | None = None, cwd: Path | None = None, **variables: str
) -> Iterator[Command]:
    process = subprocess.Popen(
        [*(command or MODULE), "--host", "127.0.0.1", "--port", "0", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**variables),
        cwd=cwd,
    )
    try:
        yield Command(process)
    finally:
        process.kill()
        process.wait()


def get(url: str, *, context: ssl.SSLContext | None = None, **headers: str) -> tuple[int, Any]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=START, context=context) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


HANDSHAKE = "/socket.io/?EIO=4&transport=polling"


# -- starting and stopping -------------------------------------------------------------------------


@pytest.mark.parametrize("command", [MODULE, SCRIPT], ids=["module", "script"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_the_public_server_starts_says_what_it_allows_and_ends_cleanly(
    command: list[str], number: int
) -> None:
    with started(command=command) as server:
        url = server.start()
        status, body = get(f"{url}/health")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        assert get(f"{url}/")[0] == 200
        assert get(url + HANDSHAKE, Origin="https://anybody.example")[0] == 200
        assert server.end(number) == 0
        said = "\n".join(server.rest())
        assert "ANY page may connect" in said and "ALLOWED_ORIGINS" in said
        assert "any number" in said
        port = url.rpartition(":")[2]
        assert f"  open http://localhost:{port}/?room=demo" in server.lines
        assert "rtcio-sync --stun " in said
        assert server.errors == []


def test_no_module_was_there_before_gevent_replaced_what_it_uses() -> None:
    strict = [sys.executable, "-W", "error", "-m", "rtcio_sync"]
    with started(command=strict) as server:
        assert get(f"{server.start()}/health")[0] == 200
        assert server.end() == 0
        server.rest()
        assert server.errors == []


def test_a_port_in_use_is_said_in_one_line_and_not_that_it_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = subprocess.run(
            [*MODULE, "--host", "127.0.0.1"],
            capture_output=True,
            text=True,
            env=environment(PORT=str(port)),
            timeout=START,
        )
    assert said.returncode == 1
    assert said.stdout == ""
    assert said.stderr == (
        f"rtcio-sync: cannot listen on 127.0.0.1:{port}: Address already in use; "
        "stop the program that uses it, or choose another --port\n"
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--app", "not_there:app"], "there is no module 'not_there'"),
        (["--app", "json:app"], "json has no 'app'"),
        (["--app", "json:dumps"], "not a Flask app or a Server"),
        (["--allowed-origins", "example.com"], "is not an origin"),
    ],
)
def test_what_cannot_be_meant_is_said_in_one_line(args: list[str], message: str) -> None:
    said = subprocess.run(
        [*SCRIPT, *args], capture_output=True, text=True, env=environment(), timeout=START
    )
    assert said.returncode == 2
    assert said.stdout == ""
    assert message in said.stderr and said.stderr.count("\n") == 1


# -- who may connect, and what it tells ------------------------------------------------------------


def test_only_the_origins_in_the_variable_may_connect() -> None:
    origins = "https://one.example, http://localhost:5173"
    with started(ALLOWED_ORIGINS=origins) as server:
        url = server.start()
        assert get(url + HANDSHAKE, Origin="https://one.example")[0] == 200
        assert get(url + HANDSHAKE, Origin="http://localhost:5173")[0] == 200
        assert get(url + HANDSHAKE, Origin="https://two.example")[0] in (400, 403)
        server.end()
        assert "  origins: https://one.example, http://localhost:5173" in server.rest()


def test_an_option_goes_before_its_variable() -> None:
    option = "--allowed-origins=https://two.example"
    with started(option, ALLOWED_ORIGINS="https://one.example") as server:
        url = server.start()
        assert get(url + HANDSHAKE, Origin="https://two.example")[0] == 200
        assert get(url + HANDSHAKE, Origin="https://one.example")[0] in (400, 403)


def test_the_variables_for_turn_and_for_rooms_reach_the_clients(node: Driver) -> None:
    with started(
        TURN_SECRET="north",
        TURN_HOSTS="t.example,turns:t.example:443",
        TURN_TTL="60",
        STUN_HOSTS="s.example",
        MAX_PEERS="1",
    ) as server:
        url = server.start()
        first, second = node.connect(url), node.connect(url)
        stun, turn = first.call("ask-ice")["iceServers"]
        assert stun == {"urls": ["stun:s.example"]}
        assert turn["urls"][-1] == "turns:t.example:443?transport=tcp"
        assert turn.keys() == {"urls", "username", "credential"}
        first.emit("join-room", {"roomId": "r"})
        first.wait_for("join-ok")
        second.emit("join-room", {"roomId": "r"})
        assert second.wait_for("join-error") == [{"reason": "room-full", "roomId": "r"}]
        server.end()
        said = "\n".join([*server.rest(), *server.errors])
        assert "peers in a room: 1" in said
        assert "t.example" in said
        assert "north" not in said, "it printed the secret"


# -- a call through the public server --------------------------------------------------------------


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_two_browsers_meet_in_a_room_talk_and_part(node: Driver, transport: str) -> None:
    with running("public-server", environ=environment()) as server:
        ann = node.connect(server.url, transports=[transport])
        bob = node.connect(server.url, transports=[transport])
        ann.sequence(
            ("join-room", {"roomId": "r", "name": "Ann", "password": "sesame"}),
            ("media-state", {"roomId": "r", "mic": True, "cam": False}),
        )
        ann.wait_for("join-ok")
        bob.emit("join-room", {"roomId": "r", "name": "Bob", "password": "tahini"})
        assert bob.wait_for("join-error") == [{"reason": "wrong-password", "roomId": "r"}]
        bob.emit("join-room", {"roomId": "r", "name": "Bob", "password": "sesame"})
        bob.wait_for("join-ok")
        assert bob.received()[1:] == [
            ("user-connected", [{"id": ann.id, "name": "Ann"}]),
            ("media-state", [{"id": ann.id, "roomId": "r", "mic": True, "cam": False}]),
            ("join-ok", [{"roomId": "r"}]),
        ]
        assert ann.wait_for("#rtcio:init-offer") == [{"source": bob.id}, {"polite": True}]
        ann.relay(bob, {"description": {"type": "offer", "sdp": "v=0"}})
        bob.wait_for("#rtcio:message")
        bob.emit("chat-message", {"roomId": "r", "text": "hi"})
        assert ann.wait_for("chat-message") == [{"roomId": "r", "text": "hi", "id": bob.id}]
        health = server.get_json("/health")
        assert (health["sockets"], health["rooms"], health["relayed"]) == (2, 1, 1)
        gone = bob.id
        bob.disconnect()
        ann.wait_for("user-disconnected")
        heard = [event for event in ann.received() if "left" in event[0] or "disco" in event[0]]
        assert heard == [
            ("#rtcio:peer-left", [{"id": gone}]),
            ("user-disconnected", [{"id": gone}]),
        ]


def answers(client: Client) -> list[Any]:
    return client.received("join-ok") + client.received("join-error")


def test_a_room_is_exact_when_many_browsers_rush_in_and_some_are_cut_off(node: Driver) -> None:
    with running("public-server", environ=environment(MAX_PEERS="8")) as server:
        # Fewer on polling than there are seats less two: two that can be cut off are always inside.
        ways = [["websocket"], ["websocket"], ["polling"]]
        clients = [node.open(server.url, transports=ways[number % 3]) for number in range(20)]
        for client in clients:
            client.wait("connect")
        for client in clients:
            client.emit("join-room", {"roomId": "r"})
        for client in clients:
            client.wait_until(partial(answers, client), "answer to its join")
        inside = [client for client in clients if client.received("join-ok")]
        refused = [client for client in clients if client.received("join-error")]
        assert (len(inside), len(refused)) == (8, 12)
        for client in refused:
            assert client.received("join-error") == [[{"reason": "room-full", "roomId": "r"}]]
        others = {client.name: {other.id for other in inside} - {client.id} for client in inside}
        for client in inside:
            client.wait_for("user-connected", count=7)
            assert {args[0]["id"] for args in client.received("user-connected")} == (
                others[client.name]
            )

        def offers() -> int:
            return sum(len(client.received("#rtcio:init-offer")) for client in inside)

        wait_until(lambda: offers() >= 8 * 7 / 2)
        assert offers() == 8 * 7 / 2, "each pair is told once to begin"
        cut = [client for client in inside if client.transport == "websocket"][:2]
        rest = [client for client in inside if client not in cut]
        for client in cut:
            client.kill(reset=True)
        for client in rest:
            client.wait_for("user-disconnected", count=2)
            gone = [args[0]["id"] for args in client.received("user-disconnected")]
            assert sorted(gone) == sorted(each.id for each in cut)
        # Who was cut off may come back, and is waited for: there is no seat for another yet.
        refused[0].emit("join-room", {"roomId": "r"})
        refused[0].wait_for("join-error", count=2)
        for client in cut:
            client.connect()
            assert client.wait("connect", count=2)["recovered"]
            client.disconnect()
        for client in rest:
            client.wait_for("user-disconnected", count=4)
        for client in refused[:2]:
            client.emit("join-room", {"roomId": "r"})
            client.wait_for("join-ok")
        refused[2].emit("join-room", {"roomId": "r"})
        refused[2].wait_for("join-error", count=2)


def test_with_a_certificate_that_is_made_on_the_spot_it_serves_https() -> None:
    with started("--self-signed") as server:
        url = server.start()
        assert url.startswith("https://")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        assert get(f"{url}/health", context=context)[0] == 200
        assert server.end() == 0
        assert any("self-signed" in line for line in server.rest())
        assert server.errors == []


# -- an app of one's own ---------------------------------------------------------------------------

APP = """
    import logging

    import flask
    from gevent import monkey

    from rtcio_sync import Server

    plain = flask.Flask(__name__)
    wrapped = flask.Flask(__name__)
    late = flask.Flask(__name__)
    bare = Server(cors_allowed_origins="https://app.example")
    Server(app=wrapped, cors_allowed_origins="*")
    Server().init_app(late)

    def create_app(word="made"):
        app = flask.Flask(__name__)
        app.get("/word")(lambda: word)
        return app

    def word():
        return "mine"

    def patched():
        return str(monkey.is_module_patched("threading"))

    for app in (plain, wrapped, late):
        app.get("/word")(word)
        app.get("/patched")(patched)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "myapp.py").write_text(textwrap.dedent(APP))
    return tmp_path


@pytest.mark.parametrize(
    ("target", "word"),
    [
        ("myapp:plain", "mine"),
        ("myapp:wrapped", "mine"),
        ("myapp:late", "mine"),
        ("myapp:create_app()", "made"),
        ("myapp:create_app('other')", "other"),
        ("myapp:bare", None),
    ],
)
def test_an_app_of_ones_own_is_served_with_signaling(
    node: Driver, folder: Path, target: str, word: str | None
) -> None:
    with started("--app", target, command=SCRIPT, cwd=folder) as server:
        url = server.start()
        if word is not None:
            assert get(f"{url}/word") == (200, word)
            assert get(f"{url}/health")[0] == 404, "the public server's page on somebody's app"
        one, two = node.connect(url), node.connect(url)
        one.relay(two, {"mid": "0"})
        two.wait_for("#rtcio:message")
        assert two.relayed() == [{"mid": "0"}]
        assert server.end() == 0
        assert f"  app: {target}" in server.rest()
        assert complaints("".join(server.errors)) == []


def test_an_app_is_imported_into_a_process_that_gevent_has_patched(folder: Path) -> None:
    with started("--app", "myapp:plain", cwd=folder) as server:
        assert get(f"{server.start()}/patched") == (200, "True")


def test_who_may_connect_to_an_app_is_the_apps_to_say(folder: Path) -> None:
    stranger = "https://stranger.example"
    told = {
        "myapp:plain": "  origins: the server's own (--allowed-origins",
        "myapp:wrapped": "  origins: ANY page may connect (--allowed-origins",
        "myapp:bare": "  origins: https://app.example",
    }
    for target, line in told.items():
        with started("--app", target, cwd=folder, RTCIO_APP="unused:app") as server:
            status = get(server.start() + HANDSHAKE, Origin=stranger)[0]
            assert (status == 200) == (target == "myapp:wrapped")
            server.end()
            assert any(each.startswith(line) for each in server.rest()), server.lines


def test_the_variables_of_the_public_server_are_no_matter_of_an_apps(folder: Path) -> None:
    with started("--app", "myapp:wrapped", cwd=folder, MAX_PEERS="4", DRAIN_SECONDS="2") as server:
        assert get(f"{server.start()}/word") == (200, "mine")


def test_a_changed_app_is_served_anew_and_its_clients_come_back(node: Driver, folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])  # the same one after the change
    with started("--app", "myapp:plain", "--reload", "--port", port, cwd=folder) as server:
        url = server.start()
        client = node.connect(url, reconnection=True)
        assert get(f"{url}/word") == (200, "mine")
        (folder / "myapp.py").write_text(textwrap.dedent(APP).replace('"mine"', '"another"'))
        server.start()
        client.wait("connect", count=2)
        assert get(f"{url}/word") == (200, "another")
        assert server.end() == 0
        assert "myapp.py has changed" in "".join(server.errors)
        assert complaints("".join(server.errors)) == []


def test_flask_debug_reloads_shows_errors_and_logs_requests(folder: Path) -> None:
    write = (folder / "myapp.py").write_text
    write(textwrap.dedent(APP).replace('return "mine"', 'raise RuntimeError("of the view")'))
    command = [sys.executable, "-m", "flask", "--app", "myapp:wrapped", "--debug", "rtcio", "run"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    with started("--port", port, command=command, cwd=folder) as server:
        url = f"http://localhost:{port}"

        def served() -> None:
            assert server.process.stdout is not None
            lines = iter(server.process.stdout.readline, "")
            assert any(f"Running on {url}\n" in line for line in lines)  # it has no page

        served()
        status, page = get(f"{url}/word")
        assert status == 500
        assert "of the view" in page and "Werkzeug" in page
        assert get(f"{url}{HANDSHAKE}")[0] == 200
        write(textwrap.dedent(APP))
        served()
        assert get(f"{url}/word") == (200, "mine")
        assert server.end() == 0
        server.rest()
        said = "".join(server.errors)
        assert '"GET /word HTTP/1.1" 500 -' in said and '"GET /word HTTP/1.1" 200 -' in said
        assert "/socket.io" not in said


def test_listen_says_where_it_listens_and_a_page_says_what_runs_there(folder: Path) -> None:
    program = """
        from gevent import monkey
        monkey.patch_all()
        from rtcio_sync import Server
        Server(cors_allowed_origins="*").listen(0, "127.0.0.1")
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with started(command=command) as server:
        wait_until(lambda: server.errors)
        (line,) = server.errors
        found = re.search(r"listening on (http://127\.0\.0\.1:\d+) ", line)
        assert found and "ANY page" in line
        status, page = get(f"{found[1]}/")
        assert (status, "signaling server" in page) == (200, True)
        assert get(f"{found[1]}/other")[0] == 404
        assert server.end() == 0


SLOW = """
    import threading

    import flask

    from rtcio_sync import Lobby, Server

    app = flask.Flask(__name__)
    server = Server(app=app, cors_allowed_origins="*")
    released = threading.Event()

    def authorize(socket, room, name, password):
        return name != "slow" or released.wait(60)

    lobby = Lobby(server, authorize=authorize, max_peers=2)

    @app.get("/release")
    def release():
        released.set()
        return "ok"

    @app.get("/here")
    def here():
        return {"connected": sorted(server.sockets), "in the room": lobby.peers("r")}
"""


@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_who_is_cut_off_while_authorize_blocks_leaves_no_ghost_and_holds_up_nobody(
    node: Driver, tmp_path: Path, transport: str
) -> None:
    (tmp_path / "slowapp.py").write_text(textwrap.dedent(SLOW))
    with started("--app", "slowapp:app", cwd=tmp_path) as server:
        url = server.start()
        present, slow = node.connect(url), node.connect(url, transports=[transport])
        present.emit("join-room", {"roomId": "r"})
        present.wait_for("join-ok")
        slow.sequence(
            ("join-room", {"roomId": "r", "name": "slow"}), ("media-state", {"roomId": "r"})
        )
        slow.fence(present)
        passing = node.connect(url)
        passing.emit("join-room", {"roomId": "r"})
        passing.wait_for("join-ok")
        passing.emit("leave-room", {"roomId": "r"})
        present.wait_for("user-disconnected")
        slow.disconnect()
        end = time.monotonic() + START
        while slow.id in json.loads(get(f"{url}/here")[1])["connected"]:
            assert time.monotonic() < end, "it is still connected"
            time.sleep(0.05)
        assert get(f"{url}/release")[0] == 200
        late = node.connect(url)
        late.emit("join-room", {"roomId": "r"})
        late.wait_for("join-ok")
        late.fence(present)
        there = json.loads(get(f"{url}/here")[1])["in the room"]
        assert there == [present.id, late.id]
        met = [args[0]["id"] for args in present.received("user-connected")]
        assert met == [passing.id, late.id]


def test_an_app_that_fails_to_import_shows_its_own_error(folder: Path) -> None:
    name = f"broken_{uuid.uuid4().hex}"
    (folder / f"{name}.py").write_text("raise RuntimeError('of the app')\n")
    with started("--app", f"{name}:app", cwd=folder) as server:
        assert server.process.wait(START) == 1
        server.rest()
        assert "RuntimeError: of the app\n" in server.errors
