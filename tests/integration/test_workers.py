"""Several gunicorn workers are one server: no Redis, no sticky sessions, real socket.io-clients."""

from __future__ import annotations

import http.client
import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rtcio_sync.cluster.stream import MOST_WAITING
from tests.integration.clients import SEQ, Client, Driver
from tests.integration.many_workers import ask, await_workers, everywhere, kill, nginx, workers
from tests.integration.raw import RawWebSocket
from tests.integration.servers import WORKERS, Running
from tests.timing import DEADLINE

TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgrade": ["polling", "websocket"],
}


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with workers() as server:
        yield server


def open_all(driver: Driver, url: str, count: int = 60) -> list[Client]:
    """Connected clients, on each transport, upgraded where they may be."""
    clients: list[Client] = []
    end = time.monotonic() + DEADLINE
    # On a busy machine, one worker may have taken all of them before the others ran.
    while len({client.id[:4] for client in clients}) < 2:
        assert time.monotonic() < end, "one worker takes all connections"
        clients += _opened(driver, url, count)
        count = len(TRANSPORTS)
    return clients


def _opened(driver: Driver, url: str, count: int) -> list[Client]:
    kinds = list(TRANSPORTS.values())
    clients = [driver.open(url, transports=kinds[n % 3]) for n in range(count)]
    for number, client in enumerate(clients):
        client.wait("connect")
        if number % 3 == 2:
            client.wait("upgrade")
    return clients


def relay_in_a_ring(clients: list[Client], count: int = 50) -> None:
    """Each sends numbered relays to the next; each arrives once, in order."""
    ring = [*clients[1:], clients[0]]
    for client, target in zip(clients, ring, strict=True):
        client.burst("#rtcio:message", client.envelope(target, {"number": SEQ}), count=count)
    for client in clients:
        client.wait_for("#rtcio:message", count)
    for client, target in zip(clients, ring, strict=True):
        client.fence(target)
        assert [data["number"] for data in target.relayed()] == list(range(count))


@pytest.mark.parametrize("way", WORKERS)
def test_every_client_connects_and_every_relay_arrives_once_in_order(
    driver: Driver, way: str
) -> None:
    with workers(way) as server:
        relay_in_a_ring(open_all(driver, server.url))


@pytest.mark.parametrize("way", ["gevent", "gevent_pywsgi", "geventwebsocket"])
def test_the_same_behind_a_proxy_that_keeps_connections_alive(
    driver: Driver, way: str, tmp_path: Path
) -> None:
    kept_alive = {"GUNICORN_CMD_ARGS": "--keep-alive 30"}
    with workers(way, environ=kept_alive) as server, nginx(server, tmp_path) as url:
        clients = open_all(driver, url)
        relay_in_a_ring(clients)
        for client in clients[1::3]:  # on polling
            assert {client.call("pid") for _ in range(5)} == {client.call("pid")}
            assert client.call("address") == "127.0.0.1"


def test_a_relay_arrives_byte_for_byte_with_attachments_too(
    driver: Driver, server: Running
) -> None:
    a, b, *_ = everywhere(driver, server)
    data = {"a": "ä \u2028", "n": 1.0, "deep": [[[{"x": None}]]], "bytes": b"\0\1\2" * 100}
    a.relay(b, data)
    assert b.wait_for("#rtcio:message") == [a.envelope(b, data)]


def test_a_relay_to_a_sid_that_no_worker_knows_is_dropped_and_counted(
    driver: Driver, server: Running
) -> None:
    a, b, *_ = everywhere(driver, server)
    before = server.get_json("/all-stats")["dropped"].get("unknown-target", 0)
    a.relay("x" * 20, "nobody")
    a.relay(b.id[:4] + "y" * 16, "nobody there")
    a.relay(a.id[:4] + "y" * 16, "nobody here")
    a.fence(b)
    assert b.received("#rtcio:message")[:-1] == []
    assert a.call("pid")  # it is still connected
    server.eventually(
        "/all-stats", lambda stats: stats["dropped"].get("unknown-target", 0) == before + 3
    )


def test_what_a_client_sends_to_another_worker_costs_nobody_its_connection(
    driver: Driver, server: Running
) -> None:
    clients = everywhere(driver, server)
    with RawWebSocket(server) as raw:
        raw.join()
        sid = raw.sid
        for node in {client.id[:4] for client in clients}:
            for target in (node, node + "y" * 15, node + "y" * 17, node + "y" * 70_000):
                raw.send(raw.envelope(target, {"candidate": {}}))
        half = r'{"note":"\ud800","number":123456789012345678901234567890}'
        for client in clients:
            text = f'{{"source":"{sid}","target":"{client.id}","data":{half}}}'
            raw.send(f'42["#rtcio:message",{text}]')
            raw.send(raw.envelope(client.id, {"number": 1}))
        for client in clients:
            client.wait_until(lambda client=client: {"number": 1} in client.relayed(), "relay")
    relay_in_a_ring(everywhere(driver, server), count=20)


def test_an_emit_reaches_a_room_of_all_workers_once(driver: Driver, server: Running) -> None:
    clients = everywhere(driver, server, each=2)
    inside, outside = clients[::2], clients[1::2]
    for client in inside:
        assert client.call("join", "tea", "cake") == "ok"
    outside[0].call("do", "emit", ["tea", "cake"], "news", {"n": 1}, "")
    outside[0].call("do", "emit", "tea", "end")
    for client in inside:
        client.wait_for("end")
        assert client.received() == [("news", [{"n": 1}, ""]), ("end", [])]
    for client in outside:
        fence(clients, client)
        assert client.received("news") == []


def test_a_view_of_any_worker_emits_to_all(driver: Driver, server: Running) -> None:
    clients = everywhere(driver, server)
    for client in clients:
        client.call("join", "tea")
    ask(server, "emit", "tea", "news", 1)
    for client in clients:
        assert client.wait_for("news") == [1]


def fence(clients: list[Client], client: Client) -> None:
    """Whatever the workers were to send to ``client`` before has arrived, or never will."""
    for other in clients:
        if other is not client:
            other.fence(client)


def test_to_sids_and_rooms_with_skip_and_except(driver: Driver, server: Running) -> None:
    a, b, c, d = everywhere(driver, server)
    for client in (a, b, c):
        client.call("join", "tea")
    c.call("join", "quiet")
    a.call("to", "tea", "from-a")
    a.call("do", "emit-skip", "tea", [b.id], "not-b")
    d.call("do", "except", "quiet", "not-quiet")
    d.call("do", "emit", [a.id, c.id], "two")
    d.call("do", "emit", [], "nobody")
    d.call("do", "emit", None, "all")
    for client in (a, b, c, d):
        client.wait_for("all")
    names = {client.name: [event for event, _ in client.received()] for client in (a, b, c, d)}
    assert names[a.name] == ["not-b", "not-quiet", "two", "all"]
    assert names[b.name] == ["from-a", "not-quiet", "all"]
    assert names[c.name] == ["from-a", "not-b", "two", "all"]
    assert names[d.name] == ["not-quiet", "all"]


def test_a_binary_event_reaches_other_workers(driver: Driver, server: Running) -> None:
    a, b, c, d = everywhere(driver, server)
    for client in (b, c, d):
        client.call("join", "tea")
    a.call("to", "tea", "picture", {"bytes": b"\0\xff" * 5000, "more": [b"x"]})
    for client in (b, c, d):
        assert client.wait_for("picture") == [{"bytes": b"\0\xff" * 5000, "more": [b"x"]}]


def test_events_of_one_sender_stay_in_order(driver: Driver, server: Running) -> None:
    a, b, c, d = everywhere(driver, server)
    for client in (b, c, d):
        client.call("join", "tea")
    for number in range(200):
        a.emit("to", "tea", "number", number)
    for client in (b, c, d):
        client.wait_for("number", 200)
        assert client.received("number") == [[number] for number in range(200)]


def test_a_call_gets_the_answer_of_a_client_of_another_worker(
    driver: Driver, server: Running
) -> None:
    a, b, *_ = everywhere(driver, server)
    b.answers("question", "answer", {"bytes": b"\1"})
    assert a.call("do", "call", b.id, "question", 1) == ["answer", ["answer", {"bytes": b"\1"}]]


def test_a_call_ends_when_the_client_leaves_or_is_unknown(driver: Driver, server: Running) -> None:
    a, b, c, _ = everywhere(driver, server)
    token = a.ask("do", "call", b.id, "question")
    b.wait_for("question")
    b.disconnect()
    assert a.answer(token)[0][0] == "DisconnectedError"
    unknown = c.id[:4] + "x" * 16
    assert a.call("do", "call", unknown, "question")[0] == "DisconnectedError"


def test_a_callback_runs_for_each_client_of_each_worker(driver: Driver, server: Running) -> None:
    clients = everywhere(driver, server)
    for number, client in enumerate(clients):
        client.call("join", "tea")
        client.answers("question", number)
    clients[0].call("do", "callback", "tea", "question")
    found: list[list[int]] = []
    end = time.monotonic() + DEADLINE
    while len(found) < len(clients) and time.monotonic() < end:
        found = clients[0].call("do", "asked")
    assert sorted(found) == [[0], [1], [2], [3]]


def test_a_call_to_a_room_gathers_the_answers_of_all_workers(
    driver: Driver, server: Running
) -> None:
    clients = everywhere(driver, server, each=2)
    for number, client in enumerate(clients):
        client.call("join", "quorum")
        client.answers("ready?", {"bytes": b"\1", "n": number})
    asking = clients[0]
    answers = {client.id: {"bytes": b"\1", "n": n} for n, client in enumerate(clients)}
    assert asking.call("do", "gather", "quorum", 60, "ready?", 7) == [[], answers]
    for client in clients:
        assert client.received("ready?") == [[7]]
    assert asking.call("do", "gather", "nobody", 60, "ready?") == [[], {}]


def test_a_call_to_a_room_names_who_did_not_answer_in_any_worker(
    driver: Driver, server: Running
) -> None:
    clients = everywhere(driver, server)
    for client in clients:
        client.call("join", "quorum")
    ids = sorted(client.id for client in clients)
    assert clients[0].call("do", "gather", "quorum", 0.2, "ready?") == [ids, {}]
    asking, leaving, *others = clients
    for client in (asking, *others):
        client.answers("again?", "yes")
    gone = leaving.id
    token = asking.ask("do", "gather", "quorum", 3600, "again?")
    leaving.wait_for("again?")
    leaving.disconnect()
    answers = {client.id: "yes" for client in (asking, *others)}
    assert asking.answer(token)[0] == [[gone], answers]


def test_a_callback_of_a_room_runs_once_with_the_answers_of_all_workers(
    driver: Driver, server: Running
) -> None:
    clients = everywhere(driver, server)
    for number, client in enumerate(clients):
        client.call("join", "quorum")
        client.answers("ready?", number)
    asking = clients[0]
    asking.call("do", "gather-later", "quorum", 60, "ready?")
    found: list[Any] = []
    end = time.monotonic() + DEADLINE
    while not found and time.monotonic() < end:
        found = asking.call("do", "asked")
    assert found == [[True, [0, 1, 2, 3]]]


def test_a_remote_socket_is_called_with_a_time_out(driver: Driver, server: Running) -> None:
    a, b, *_ = everywhere(driver, server)
    b.answers("ready?", "yes")
    assert a.call("do", "call-remote", b.id, 60, "ready?") == ["RemoteSocket", "yes"]


def test_a_volatile_event_reaches_all_workers_and_a_local_one_one(
    driver: Driver, server: Running
) -> None:
    clients = everywhere(driver, server)
    for client in clients:
        client.call("join", "tea")
    clients[0].call("do", "local", "tea", "news", "local")
    clients[0].call("do", "volatile", "tea", "news", "volatile")
    clients[0].call("do", "emit", "tea", "end")
    for client in clients:
        client.wait_for("end")
        local = [["local"]] if client is clients[0] else []
        assert client.received("news") == [*local, ["volatile"]]


def test_a_dynamic_namespace_emits_to_its_children_in_all_workers(
    driver: Driver, server: Running
) -> None:
    asking = everywhere(driver, server)[0]
    members: list[Client] = []
    end = time.monotonic() + DEADLINE
    while len({client.id[:4] for client in members} - {asking.id[:4]}) < 2:
        assert time.monotonic() < end
        namespace = f"/dynamic-{len(members) % 3}"
        members.append(driver.connect(server.url, namespace=namespace, transports=["websocket"]))
        members[-1].wait_for("welcome")
    asking.call("do", "dynamic", "news", 1)
    for member in members:
        member.wait_for("news")
        assert member.received("news") == [[1]]
    assert asking.received("news") == []


def test_what_another_worker_sends_is_shown_to_the_handlers_of_its_socket(
    driver: Driver, server: Running
) -> None:
    a, b, *_ = everywhere(driver, server)
    b.call("watch")
    a.call("do", "emit", b.id, "news", {"n": 1})
    b.wait_for("news")
    shown: list[Any] = []
    end = time.monotonic() + DEADLINE
    while [b.id, "news", [{"n": 1}]] not in shown:
        assert time.monotonic() < end, shown
        shown = b.call("do", "seen")


def test_a_socket_tells_its_transport(driver: Driver, server: Running) -> None:
    client = driver.connect(server.url, transports=["polling", "websocket"])
    client.wait("upgrade")
    assert client.call("transport") == "websocket"
    polling = driver.connect(server.url, transports=["polling"])
    assert polling.call("transport") == "polling"


def test_the_apps_header_fields_are_in_answers_and_in_the_handshake_of_a_websocket(
    server: Running,
) -> None:
    for transport, status in (("polling", 200), ("websocket", 101)):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=DEADLINE)
        upgrade = {
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        headers = upgrade if transport == "websocket" else {}
        connection.request("GET", f"/socket.io/?EIO=4&transport={transport}", headers=headers)
        answer = connection.getresponse()
        assert answer.status == status
        assert int(answer.headers["X-Worker"]) > 0
        assert answer.headers["X-Each"] == "1"
        connection.close()


def test_sids_of_other_workers_enter_leave_and_close_rooms(driver: Driver, server: Running) -> None:
    a, b, c, d = everywhere(driver, server)
    for client in (b, c, d):
        a.call("do", "enter", client.id, "tea")
    a.call("do", "emit", "tea", "one")
    a.call("do", "exit", b.id, "tea")
    a.call("do", "emit", "tea", "two")
    for client in (c, d):
        client.wait_for("two")
    wait_for_rooms(a, c, ["tea"])
    assert a.call("do", "rooms", c.id) == [c.id, "tea"]
    c.call("do", "close", "tea")
    wait_for_rooms(a, d, [])
    wait_for_rooms(a, c, [])
    a.call("do", "emit", "tea", "three")
    a.call("do", "emit", None, "end")
    for client, events in ((b, ["one"]), (c, ["one", "two"]), (d, ["one", "two"])):
        client.wait_for("end")
        assert [event for event, _ in client.received()] == [*events, "end"]


def wait_for_rooms(asking: Client, client: Client, rooms: list[str]) -> None:
    """Until ``client`` is in these rooms, as another worker sees it."""
    end = time.monotonic() + DEADLINE
    while (found := [each["rooms"] for each in asking.call("do", "fetch", client.id)]) != [
        [client.id, *rooms]
    ]:
        assert time.monotonic() < end, found


def test_a_client_of_another_worker_is_disconnected(driver: Driver, server: Running) -> None:
    a, b, *_ = everywhere(driver, server)
    a.call("do", "disconnect", b.id)
    assert b.wait("disconnect")["reason"] == "io server disconnect"


def test_many_sockets_join_leave_and_are_disconnected(driver: Driver, server: Running) -> None:
    a, b, c, d = everywhere(driver, server)
    for client in (b, c, d):
        client.call("join", "tea")
    a.call("do", "sockets-join", "tea", "cake")
    a.call("do", "emit", "cake", "one")
    a.call("do", "sockets-leave", "cake", "tea")
    a.call("do", "emit", "tea", "nobody")
    for client in (b, c, d):
        client.wait_for("one")
        fence([a], client)
        assert client.received("nobody") == []
    a.call("do", "disconnect-sockets", "cake")
    for client in (b, c, d):
        assert client.wait("disconnect")["reason"] == "io server disconnect"


def test_fetch_sockets_finds_those_of_all_workers(driver: Driver, server: Running) -> None:
    clients = everywhere(driver, server, auth={"token": 1})
    for client in clients:
        client.call("join", "tea")
    a = clients[0]
    pids = {client.id: client.call("pid") for client in clients}
    found = a.call("do", "fetch", "tea")
    assert {each["id"]: each["pid"] for each in found} == pids
    assert [each["kind"] for each in found] == ["Socket", *["RemoteSocket"] * 3]
    for each in found:
        assert set(each["rooms"]) == {each["id"], "tea"}
        assert each["auth"] == {"token": 1}
        assert each["agent"] == found[0]["agent"]
    assert {each["id"] for each in ask(server, "fetch")} >= set(pids)


def test_another_thread_calls_for_sockets_of_all_workers(driver: Driver, server: Running) -> None:
    clients = everywhere(driver, server)
    a, b, *_ = clients

    def in_thread(*call: Any) -> Any:
        what, found = a.call("do", "in-thread", *call)
        assert what == "answer", found
        return found

    for client in clients:
        in_thread("enter", client.id, "tea")
    in_thread("emit", "tea", "news", 1)
    for client in clients:
        assert client.wait_for("news") == [1]
    assert {each["id"] for each in in_thread("fetch", "tea")} == {each.id for each in clients}
    assert in_thread("rooms", b.id) == [b.id, "tea"]
    assert len(in_thread("side-call", "note", 1)[1]) == 3
    b.answers("question", 5)
    assert in_thread("call", b.id, "question") == ["answer", 5]
    in_thread("sockets-join", "tea", "cake")
    in_thread("exit", b.id, "tea")
    in_thread("close", "tea")
    wait_for_rooms(a, b, ["cake"])
    in_thread("disconnect", b.id)
    assert b.wait("disconnect")["reason"] == "io server disconnect"


def test_a_class_based_namespace_serves_the_clients_of_all_workers(
    driver: Driver, server: Running
) -> None:
    a, b, c, d = clients = everywhere(driver, server, namespace="/classic")
    for client in clients:
        assert client.call("join", "tea") == [client.id, "tea"]
    for call in (("enter_room", b.id, "cake"), ("emit", "news", 1, b.id), ("emit", "news", 2)):
        assert a.call("do", *call) == ["answer", None]
    b.wait_for("news", 2)
    assert [client.wait_for("news") for client in (c, d)] == [[2], [2]]
    assert a.call("do", "rooms", b.id) == ["answer", [b.id, "tea", "cake"]]
    b.answers("question", "yes")
    assert a.call("ask", b.id) == ["answer", "yes"]
    assert a.call("do", "close_room", "cake") == ["answer", None]
    assert a.call("do", "disconnect", d.id) == ["answer", None]
    assert c.wait_for("gone") == [d.id]


def test_data_of_a_client_or_app_that_cannot_be_sent_hides_no_socket(
    driver: Driver, server: Running
) -> None:
    clients = everywhere(driver, server, auth={"name": "ada"})
    with RawWebSocket(server) as raw:
        raw.join(auth={"token": "\ud800"})
        clients[1].call("do", "stain")
        found = {client.id for client in clients}
        for client in clients:
            fetched = client.call("do", "fetch")
            assert len(fetched) == len(clients) + 1
            assert found <= {each["id"] for each in fetched}


def test_misuse_of_a_client_of_another_worker_names_the_fix(
    driver: Driver, server: Running
) -> None:
    a, b, *_ = everywhere(driver, server)
    for kind, said in a.call("do", "session", b.id):
        assert (kind, "fetch_sockets()" in said) == ("KeyError", True)
    b.call("join", "tea")
    for action, given in (("enter-uuid", b.id), ("join-uuid", "tea")):
        kind, said = a.call("do", action, given)
        assert (kind, "UUID has another type" in said) == ("OptionError", True)
    assert set(b.call("do", "rooms", b.id)) == {b.id, "tea"}


def test_the_result_of_a_server_side_handler_that_cannot_be_sent_is_its_error(
    driver: Driver,
) -> None:
    with workers(clean_log=False) as server:
        a, *_ = everywhere(driver, server)
        assert a.call("do", "side-call", "unsendable") == ["answer", [None] * 3]
        server.eventually("/all-stats", lambda stats: stats["handler_errors"] == 3)
        assert server.log().count("the handler of 'unsendable' raised") == 3


def test_server_side_events_reach_all_other_workers(driver: Driver, server: Running) -> None:
    clients = everywhere(driver, server)
    a = clients[0]
    others = {client.call("pid") for client in clients[1:]}
    outcome, answers = a.call("do", "side-call", "note", "x", 1)
    assert outcome == "answer"
    assert {answer[0] for answer in answers} == others
    assert {tuple(answer[1:]) for answer in answers} == {("x", 1)}
    a.call("do", "side-emit", "note", "y")
    heard = set()
    end = time.monotonic() + DEADLINE
    while heard != others:
        assert time.monotonic() < end, heard
        said = server.get_json("/heard")
        if ["y"] in said["heard"]:
            heard.add(said["pid"])


def test_peers_hear_once_that_a_client_left(driver: Driver, server: Running) -> None:
    a, *others = everywhere(driver, server)
    for client in (a, *others):
        client.call("join", "tea", "cake")
    gone = a.id
    a.disconnect()
    for client in others:
        assert client.wait_for("#rtcio:peer-left") == [{"id": gone}]
    for client in others:
        fence(others, client)
        assert client.received("#rtcio:peer-left") == [[{"id": gone}]]


def test_a_polling_client_keeps_its_address_and_its_session(
    driver: Driver, server: Running
) -> None:
    for client in everywhere(driver, server, transports=["polling"]):
        assert client.call("address") == "127.0.0.1"
        pids = {client.call("pid") for _ in range(20)}
        assert len(pids) == 1


def test_a_killed_workers_clients_leave_at_once_and_the_others_lose_nothing(
    driver: Driver,
) -> None:
    with workers(clean_log=False) as server:
        clients = everywhere(driver, server, each=3)
        for client in clients:
            client.call("join", "tea")
        victims, others = clients[:3], clients[3:]
        ring = [*others[1:], others[0]]
        for client, target in zip(others, ring, strict=True):
            client.burst("#rtcio:message", client.envelope(target, {"n": SEQ}), count=100)
        kill(victims[0].call("pid"))
        gone = {client.id for client in victims}
        for client in others:
            client.wait_for("#rtcio:peer-left", 3)
        for client, target in zip(others, ring, strict=True):
            client.burst(
                "#rtcio:message", client.envelope(target, {"n": SEQ}), count=100, start=100
            )
        for client, target in zip(others, ring, strict=True):
            client.fence(target)
            assert [data["n"] for data in target.relayed()] == list(range(200))
            left = [args[0]["id"] for args in target.received("#rtcio:peer-left")]
            assert sorted(left) == sorted(gone)
            assert target.reports[-1]["type"] != "disconnect"
        await_workers(server)  # gunicorn has made another, and all know it
        found = others[0].call("do", "fetch", "tea")
        assert {each["id"] for each in found} == {client.id for client in others}


def test_a_forked_child_does_not_hide_the_death_of_its_worker(driver: Driver) -> None:
    with workers(clean_log=False) as server:
        a, *others = everywhere(driver, server)
        for client in (a, *others):
            client.call("join", "tea")
        gone, pid = a.id, a.call("pid")
        child = a.call("do", "fork")
        try:
            kill(pid)
            for client in others:
                assert client.wait_for("#rtcio:peer-left") == [{"id": gone}]
        finally:
            kill(child)
        await_workers(server)


def test_a_worker_that_stands_still_delays_only_its_own_clients(driver: Driver) -> None:
    with workers() as server:
        clients = everywhere(driver, server, each=2)
        for client in clients:
            client.call("join", "tea")
        stopped, others = clients[:2], clients[2:]
        pid = stopped[0].call("pid")
        kill(pid, signal.SIGSTOP)
        try:
            for number in range(100):
                others[0].relay(stopped[0], {"n": number})
                others[0].relay(others[3], {"n": number})
                others[0].emit("to", "tea", "number", number)
            others[3].wait_for("number", 100)
            assert [data["n"] for data in others[3].relayed()] == list(range(100))
            assert stopped[0].received("number") == []
        finally:
            kill(pid, signal.SIGCONT)
        stopped[0].wait_for("number", 100)
        assert [data["n"] for data in stopped[0].relayed()] == list(range(100))
        assert stopped[0].received("#rtcio:peer-left") == []


def test_rooms_are_right_after_more_than_the_bound_waited_for_a_worker(driver: Driver) -> None:
    with workers(environ={"RTCIO_TEST_WAITING": "3000000"}) as server:
        clients = everywhere(driver, server)
        stopped, a, b, c = clients
        for client in clients:
            client.call("join", "tea")
        pid = stopped.call("pid")
        kill(pid, signal.SIGSTOP)
        try:
            for client in (a, b, c):
                client.call("do", "flood", stopped.id, 500_000, 20)
                client.call("join", "cake")
            a.call("leave", "tea")
            b.call("leave", "tea")
            b.call("join", "tea")
            c.disconnect()
        finally:
            kill(pid, signal.SIGCONT)
        assert stopped.wait_for("#rtcio:peer-left") == [{"id": c.id}]
        assert set(stopped.call("do", "rooms", a.id)) == {a.id, "cake"}
        assert set(stopped.call("do", "rooms", b.id)) == {b.id, "tea", "cake"}
        assert stopped.call("do", "rooms", c.id) == []
        stopped.call("to", "tea", "hello")
        b.wait_for("hello")
        assert server.get_json("/all-stats")["dropped"]["worker-overflow"] > 0
        for client in clients[:3]:
            assert client.received("#rtcio:peer-left") == [[{"id": c.id}]]


def test_a_worker_that_cannot_be_kept_up_to_date_is_dead_and_its_clients_come_back(
    driver: Driver,
) -> None:
    environ = {"RTCIO_TEST_WAITING": "300000"}
    with workers(environ=environ, clean_log=False) as server:
        back = {"reconnection": True, "reconnectionDelay": 100, "reconnectionDelayMax": 200}
        clients = everywhere(driver, server, **back)
        stopped, a, b, c = clients
        for client in clients:
            client.call("join", "tea")
        old, pid = stopped.id, stopped.call("pid")
        kill(pid, signal.SIGSTOP)
        try:
            for _ in range(50):  # in steps that the workers which do read keep up with
                a.call("do", "churn", a.id, 100)
                a.fence(b, c)
            assert a.wait_for("#rtcio:peer-left") == [{"id": old}]
            assert a.call("do", "rooms", old) == []
        finally:
            kill(pid, signal.SIGCONT)
        stopped.wait("connect", count=2)
        assert stopped.id != old
        for _ in range(30):  # nobody comes to the worker that is dead for another
            late = driver.connect(server.url, transports=["websocket"], **back)
            assert late.call("pid") != pid
            late.disconnect()
        for client in (b, c):
            assert client.wait_for("#rtcio:peer-left") == [{"id": old}]
        await_workers(server)
        assert stopped.call("join", "tea") == "ok"
        a.call("to", "tea", "hello")
        for client in (stopped, b, c):
            client.wait_for("hello")
        for client in (a, b, c):
            assert client.received("#rtcio:peer-left") == [[{"id": old}]]


def test_workers_are_one_server_under_the_admin_ui_too(driver: Driver) -> None:
    with workers(environ={"RTCIO_TEST_ADMIN": "1"}) as server:
        a, b, c, d = clients = everywhere(driver, server)
        for client in clients:
            client.call("join", "tea")
        a.call("to", "tea", "hello", 1)
        a.call("do", "emit", b.id, "hello", 2)
        for client in (b, c, d):
            client.wait_for("hello")
        c.answers("question", "answer")
        assert a.call("do", "call", c.id, "question") == ["answer", "answer"]
        a.call("do", "enter", b.id, "cake")
        d.call("leave", "tea")
        assert set(c.call("do", "rooms", b.id)) == {b.id, "tea", "cake"}
        a.disconnect()
        for client in (b, c):
            assert client.wait_for("#rtcio:peer-left") == [{"id": a.id}]
        b.call("to", "tea", "end")
        c.wait_for("end")
        assert [client.received("hello") for client in (b, c, d)] == [[[1], [2]], [[1]], [[1]]]
        for client in (b, c):
            assert client.received("#rtcio:peer-left") == [[{"id": a.id}]]
        assert d.received("#rtcio:peer-left") == []


def test_a_worker_that_stands_still_for_twenty_seconds_costs_a_bounded_amount_of_memory(
    driver: Driver,
) -> None:
    count, size = 2500, 60_000  # 150 MB, of which 64 may wait
    patience = {"GUNICORN_CMD_ARGS": "--timeout 300"}
    with workers(environ=patience, ping_timeout=300) as server:
        a, b, c, d = everywhere(driver, server)
        pid, own = a.call("pid"), b.call("pid")
        before = resident(own)
        kill(pid, signal.SIGSTOP)
        try:
            end = time.monotonic() + 20
            envelope = b.envelope(a, {"n": SEQ, "filler": "x" * size})
            b.burst("#rtcio:message", envelope, count=count)
            while time.monotonic() < end:
                c.fence(d)
                d.fence(c)
            b.fence(c)  # what it has sent before is kept or dropped
            dropped = b.call("do", "stats")["dropped"]["worker-overflow"]
            grown = resident(own) - before
        finally:
            kill(pid, signal.SIGCONT)
        kept = count - dropped
        assert kept * size < MOST_WAITING + 2_000_000  # the kernel holds the rest
        assert grown < MOST_WAITING + 32_000_000
        b.fence(a)
        assert [data["n"] for data in a.relayed()] == list(range(kept))
        assert a.call("pid") == pid


def resident(pid: int) -> int:
    """The bytes of a process that are in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    (kilobytes,) = re.findall(r"^VmRSS:\s+([0-9]+) kB$", status, re.M)
    return int(kilobytes) * 1024


def test_figures_of_all_workers_are_one_sum_that_never_goes_back(driver: Driver) -> None:
    with workers(clean_log=False) as server:
        clients = everywhere(driver, server)
        for client in clients:
            client.call("join", "tea", f"own-{client.name}")
        before = server.eventually("/all-stats", lambda all_: all_["rooms"] == 5)
        assert (before["connected"], before["workers"]) == (4, 4)
        for number in range(40):
            clients[number % 4].relay(clients[(number + 1) % 4], number)
        for client, target in zip(clients, [*clients[1:], clients[0]], strict=True):
            client.fence(target)
        relayed = before["relayed"] + 44
        for _ in range(8):  # whichever worker answers
            assert server.get_json("/all-stats")["relayed"] == relayed
        kill(clients[0].call("pid"))
        for client in clients[1:]:
            client.wait_for("#rtcio:peer-left")
        for _ in range(8):
            found = server.get_json("/all-stats")
            assert (found["relayed"], found["connected"]) == (relayed, 3)
        await_workers(server)
        for _ in range(12):
            found = server.get_json("/all-stats")
            assert (found["relayed"], found["connected"], found["workers"]) == (relayed, 3, 4)


PROXY = b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n"


def exchange(connection: socket.socket, method: str, query: str, body: bytes = b"") -> bytes:
    """One request on a connection that stays open; the body of its answer."""
    head = f"{method} /socket.io/?EIO=4&transport=polling{query} HTTP/1.1\r\nHost: x\r\n"
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer = http.client.HTTPResponse(connection, method=method)
    answer.begin()
    assert answer.status == 200, answer.status
    return answer.read()


@pytest.mark.parametrize("kept_alive", [False, True], ids=["new", "kept-alive"])
def test_the_proxy_protocol_travels_with_a_connection(kept_alive: bool) -> None:
    options = {"GUNICORN_CMD_ARGS": "--proxy-protocol --keep-alive 30"}
    with workers(environ=options) as server:
        workers_seen = set()
        crossed = not kept_alive
        for _ in range(30):
            with socket.create_connection(("127.0.0.1", server.port)) as first:
                first.sendall(PROXY)
                sid = json.loads(exchange(first, "GET", "")[1:])["sid"]
                workers_seen.add(sid[:4])
                exchange(first, "POST", f"&sid={sid}", b"40")
                assert exchange(first, "GET", f"&sid={sid}").startswith(b'40{"sid"')
            with socket.create_connection(("127.0.0.1", server.port)) as second:
                second.sendall(PROXY)
                if kept_alive:  # the sid of another session is known only once it was read
                    other = json.loads(exchange(second, "GET", "")[1:])["sid"]
                    crossed |= other[:4] != sid[:4]
                exchange(second, "POST", f"&sid={sid}", b'420["address"]')
                said = exchange(second, "GET", f"&sid={sid}")
                assert b'["203.0.113.7"]' in said, said
        assert len(workers_seen) > 1 and crossed
