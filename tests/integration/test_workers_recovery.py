"""A client that comes back to any worker gets its session, which is in one of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.clients import SEQ, Client, Driver
from tests.integration.line import Line
from tests.integration.many_workers import await_workers, everywhere, kill, workers
from tests.integration.servers import Running

BACK = {"reconnection": True, "reconnectionDelay": 50, "reconnectionDelayMax": 100}


@pytest.fixture(scope="module", params=["gevent", "gevent_pywsgi", "geventwebsocket", "rtcio-sync"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with workers(request.param, connection_state_recovery=True) as server:
        yield server


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"]], ids="-".join)
def test_clients_come_back_to_their_sessions_and_miss_nothing(
    driver: Driver, server: Running, transports: list[str]
) -> None:
    clients = everywhere(driver, server, each=3, transports=transports, **BACK)
    sids = [client.id for client in clients]
    pids = [client.call("pid") for client in clients]
    for client in clients:
        client.call("join", "tea")
        client.call("join", f"own-{client.id}")
    for number in range(3):
        for client in clients:
            if "polling" in transports:  # `kill` needs a WebSocket
                client.wait("upgrade", count=number + 1)
            client.kill()
        for client in clients:
            client.wait("connect", count=number + 2)
    sender = clients[0]
    sender.burst("to", "tea", "number", SEQ, count=20)
    for client in clients[1:]:
        client.wait_for("number", 20)
        assert client.received("number") == [[number] for number in range(20)]
    assert [client.id for client in clients] == sids
    for client, pid in zip(clients, pids, strict=True):
        back = [report["recovered"] for report in client.reports if report["type"] == "connect"]
        assert back == [False, True, True, True]
        assert client.call("pid") == pid
        assert set(client.call("do", "rooms", client.id)) == {client.id, "tea", f"own-{client.id}"}


def test_clients_that_stay_on_polling_come_back_to_their_sessions(
    driver: Driver, server: Running
) -> None:
    with Line(server.port) as line:
        clients = everywhere(driver, line, each=3, transports=["polling"], **BACK)
        other = driver.connect(server.url, transports=["websocket"])
        sids = [client.id for client in clients]
        pids = [client.call("pid") for client in clients]
        for client in clients:
            client.call("join", "tea")
        for number in range(3):
            line.cut()
            for client in clients:
                client.wait("disconnect", count=number + 1)
            other.burst("to", "tea", "number", SEQ, count=20, start=20 * number)
            line.mend()
            for client in clients:
                client.wait("connect", count=number + 2)
        for client, pid in zip(clients, pids, strict=True):
            client.wait_for("number", 60)
            assert client.received("number") == [[each] for each in range(60)]
            back = [report["recovered"] for report in client.reports if report["type"] == "connect"]
            assert back == [False, True, True, True]
            assert {client.call("pid") for _ in range(10)} == {pid}
            other.fence(client)
        assert [client.id for client in clients] == sids
        for client in clients:
            client.disconnect()
        server.eventually("/all-stats", lambda found: found["connected"] == 1)


def test_what_was_sent_meanwhile_arrives_once_in_order(driver: Driver, server: Running) -> None:
    a, *others = everywhere(driver, server, transports=["websocket"], **BACK)
    for client in others:
        client.call("join", "tea")
        client.relay(client.id, "nobody")  # refused: it only makes sure that it was heard
    a.call("to", "tea", "first")
    for client in others:
        client.wait_for("first")
        client.kill()
    a.burst("to", "tea", "number", SEQ, count=50)
    for client in others:
        a.burst("#rtcio:message", a.envelope(client, {"n": SEQ}), count=50)
    for client in others:
        client.wait("connect", count=2)
        client.wait_for("number", 50)
        client.wait_for("#rtcio:message", 50)
        assert client.received("number") == [[number] for number in range(50)]
        assert [data["n"] for data in client.relayed()] == list(range(50))


def test_a_session_of_a_dead_worker_is_gone(driver: Driver) -> None:
    with workers(connection_state_recovery=True, clean_log=False) as server:
        a, *others = everywhere(driver, server, **BACK)
        before = a.id
        kill(a.call("pid"))
        assert a.wait("connect", count=2)["recovered"] is False
        assert a.id != before
        assert_alive(a, others)
        await_workers(server)


def assert_alive(client: Client, others: list[Client]) -> None:
    for other in others:
        client.fence(other)
        other.fence(client)
