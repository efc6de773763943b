"""Sessions that are in the middle of something while their worker leaves: they go on with it."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator

import pytest

from tests.frames import masked, upgrade_request
from tests.integration.clients import Client, Driver
from tests.integration.many_workers import await_workers
from tests.integration.servers import Running, running
from tests.timing import DEADLINE, wait_until

TEXT, CONTINUATION, BINARY = 1, 0, 2


class Bytes:
    """A client whose every byte is the test's; it answers no PINGs."""

    def __init__(self, server: Running) -> None:
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE)
        self.sock.sendall(upgrade_request("/socket.io/?EIO=4&transport=websocket"))
        self.read = b""
        self.send(masked(TEXT, b"40"))
        self.await_bytes(b'"greeted"')

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def await_bytes(self, expected: bytes) -> None:
        while expected not in self.read:
            more = self.sock.recv(65536)
            assert more, self.read[-200:]
            self.read += more


def await_others(server: Running, before: set[int]) -> None:
    """Waits until the worker is none of those ``before``."""
    end = time.monotonic() + 4 * DEADLINE
    while await_workers(server, 1) & before:
        assert time.monotonic() < end, "the old worker stays"
        time.sleep(0.2)


class Scene:
    """Clients that have begun something, and a reload meanwhile."""

    def __init__(self, server: Running, driver: Driver) -> None:
        connect = driver.connect
        options = {"transports": ["websocket"]}
        self.server = server
        self.slow: Client = connect(server.url, **options)
        self.late: Client = connect(server.url, **options)
        self.one: Client = connect(server.url, **options)
        self.odd: Client = connect(server.url, **options)
        self.polling: Client = connect(server.url, transports=["polling"])
        for client in (self.one, self.polling):
            assert client.call("count") == [1, 1]
        assert self.odd.call("keep", None) == "kept"
        self.half, self.fragments, self.binary, self.asking = (Bytes(server) for _ in range(4))
        self.frame = masked(TEXT, b'427["echo","' + b"h" * 300 + b'"]')
        self.half.send(self.frame[:120])
        self.fragments.send(masked(TEXT, '425["echo","a €'.encode()[:-1], fin=False))
        holes = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
        self.binary.send(masked(TEXT, f'452-9["echo",{holes}]'.encode()))
        self.binary.send(masked(BINARY, b"one"))
        self.asking.send(masked(TEXT, b'423["ask"]'))
        self.asking.await_bytes(b'421["question"]')
        self.late.pause()
        self.late.emit("flood", 1500, 4000)
        self.slept = self.slow.ask("slow", 1.5)

    def reload(self) -> None:
        before = await_workers(self.server, 1)
        mark = self.server.log_mark()
        self.server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "Booting worker" in self.server.log(mark))
        self.asking.send(masked(TEXT, b'431["yes"]'))
        self.late.unpause()
        await_others(self.server, before)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    options = {"drain_seconds": 10, "ping_interval": 120}
    with (
        Driver() as driver,
        running("gunicorn-gevent", "moving", clean_log=False, **options) as server,
    ):
        made = Scene(server, driver)
        made.reload()
        yield made


def test_a_handler_ends_in_the_old_worker_and_its_client_gets_the_answer(scene: Scene) -> None:
    (pid,) = scene.slow.answer(scene.slept)
    assert pid == scene.slow.received("greeted")[0][0]


def test_a_session_whose_handlers_run_moves_when_they_have_ended(scene: Scene) -> None:
    for client in (scene.slow, scene.one, scene.polling, scene.late):
        client.wait_for("greeted", 2)
        greeted = client.received("greeted")
        assert [each[1:] for each in greeted] == [[False, False], [True, True]]
        assert greeted[0][0] != greeted[1][0]


def test_a_call_that_waits_gets_its_answer(scene: Scene) -> None:
    scene.asking.await_bytes(b'433["yes"]')


def test_a_client_that_reads_slowly_gets_all_in_order(scene: Scene) -> None:
    scene.late.wait_for("flooded", 1500)
    assert [number for number, _ in scene.late.received("flooded")] == list(range(1500))


def test_the_rest_of_a_frame_is_read_by_the_new_worker(scene: Scene) -> None:
    scene.half.send(scene.frame[120:])
    scene.half.await_bytes(b'437["' + b"h" * 300 + b'"]')


def test_the_rest_of_a_fragmented_message_is_read_by_the_new_worker(scene: Scene) -> None:
    scene.fragments.send(masked(CONTINUATION, "€".encode()[-1:] + b'"]'))
    scene.fragments.await_bytes('435["a €"]'.encode())


def test_the_second_attachment_comes_to_the_new_worker(scene: Scene) -> None:
    scene.binary.send(masked(BINARY, b"two"))
    scene.binary.await_bytes(b"462-9[")
    scene.binary.await_bytes(b"\x82\x03one\x82\x03two")


def test_data_and_flasks_session_go_along(scene: Scene) -> None:
    for client in (scene.one, scene.polling):
        assert client.call("count") == [2, 2]


def test_a_client_that_cannot_move_is_closed_and_the_log_says_why(scene: Scene) -> None:
    assert scene.odd.wait("disconnect")["code"] == 1001  # so it reconnects
    assert "socket.data has a value of type object" in scene.server.log()


def test_a_lobby_tells_nobody_of_a_reload_and_stays_exact() -> None:
    with Driver() as driver, running("gunicorn-gevent", "lobby_workers") as server:
        clients = [driver.connect(server.url, transports=["websocket"]) for _ in range(3)]
        for number, client in enumerate(clients):
            client.emit("join-room", {"roomId": "tea", "name": number, "password": "secret"})
            client.wait_for("join-ok")
        clients[1].emit("media-state", {"roomId": "tea", "mic": False})
        for client in (clients[0], clients[2]):
            client.wait_for("media-state")
        for client in clients:
            client.fence()
        heard = [client.received() for client in clients]
        before = await_workers(server, 1)
        server.process.send_signal(signal.SIGHUP)
        await_others(server, before)
        wrong, newest = (driver.connect(server.url, transports=["websocket"]) for _ in range(2))
        assert [client.received() for client in clients] == heard
        wrong.emit("join-room", {"roomId": "tea", "password": "another"})
        assert wrong.wait_for("join-error") == [{"roomId": "tea", "reason": "wrong-password"}]
        newest.emit("join-room", {"roomId": "tea", "name": 3, "password": "secret"})
        newest.wait_for("join-ok")
        cards = [{"id": client.id, "name": number} for number, client in enumerate(clients)]
        assert [args[0] for args in newest.received("user-connected")] == cards
        assert newest.received("media-state")[0][0]["mic"] is False
        clients[0].emit("leave-room", {"roomId": "tea"})
        assert newest.wait_for("user-disconnected") == [{"id": clients[0].id}]
