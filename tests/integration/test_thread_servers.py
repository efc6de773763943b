"""WSGI servers that run on threads: what works there, and one line of what does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.clients import Driver
from tests.integration.servers import THREADS, Running, Way, complaints, running
from tests.timing import DEADLINE

OFFER = {"description": {"type": "offer", "sdp": "v=0\r\n" + "a=candidate\r\n" * 500}}


@pytest.fixture(
    scope="module", params=[(way, mode) for way in THREADS for mode in (None, "threading")]
)
def scene(request: pytest.FixtureRequest) -> Iterator[tuple[Running, bool]]:
    way, mode = request.param
    with running(way, async_mode=mode, clean_log=False) as server:
        yield server, THREADS[way][1]
        # waitress says how many requests wait for a thread, on a busy machine also for a moment.
        found = [each for each in complaints(server.log()) if "waitress.queue" not in each]
    assert len(found) == 1, found
    assert "each client occupies one of its threads" in found[0]
    assert ("WebSockets do not work" in found[0]) is not THREADS[way][1]


@pytest.mark.parametrize("transports", [["polling"], ["polling", "websocket"], ["websocket"]])
def test_what_a_client_may_use_works(
    scene: tuple[Running, bool], node: Driver, transports: list[str]
) -> None:
    server, websockets = scene
    if transports == ["polling", "websocket"] and not websockets:
        opened = server.get("/socket.io/?EIO=4&transport=polling").read()
        assert b'"upgrades":[]' in opened
        return
    if transports == ["websocket"] and not websockets:
        answer = server.get("/socket.io/?EIO=4&transport=websocket", {"Origin": "http://a"})
        assert (answer.status, answer.read()[:9]) == (400, b'{"code":0')
        return
    a = node.connect(server.url, transports=transports)
    b = node.connect(server.url, transports=transports)
    used = transports[-1]
    assert (a.transport, b.transport) == (used, used)
    a.relay(b, OFFER)
    b.wait_for("#rtcio:message")
    b.relay(a, {"mid": "0"})
    a.wait_for("#rtcio:message")
    assert (b.relayed(), a.relayed()) == ([OFFER], [{"mid": "0"}])


def test_gunicorns_threads_end_at_once_though_clients_are_connected(node: Driver) -> None:
    with running("gunicorn-threads", async_mode=None, clean_log=False) as server:
        for transports in (["polling"], ["websocket"]):
            node.connect(server.url, transports=transports)
        # Its own patience with requests that nobody ends is 30 s.
        assert server.terminate(timeout=DEADLINE) == 0


def test_a_worker_of_one_request_at_a_time_is_refused_on_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def command(app: str, port: int) -> list[str]:
        threads: Any = THREADS["gunicorn-threads"][0].command(app, port)
        return [each for each in threads if each not in ("--threads", "16")]

    monkeypatch.setitem(THREADS, "gunicorn-sync", (Way(command), False))
    with running("gunicorn-sync", async_mode=None, clean_log=False) as server:
        for _ in range(2):
            assert server.get("/socket.io/?EIO=4&transport=polling").status == 500
        (complaint,) = complaints(server.log())
    assert "one request at a time" in complaint
    assert "gunicorn -k gevent" in complaint
