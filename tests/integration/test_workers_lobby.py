"""A lobby is exact whichever workers its peers are on."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.clients import NODE_DIR, Client, Driver
from tests.integration.many_workers import await_workers, everywhere, kill, workers
from tests.integration.raw import RawWebSocket
from tests.integration.servers import Running
from tests.timing import DEADLINE, wait_until

SEATS = 8


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with workers(module="lobby_workers") as server:
        yield server


def join(client: Client, room: str, **fields: Any) -> None:
    client.emit("join-room", {"roomId": room, **fields})
    client.wait_for("join-ok")


def connected(client: Client) -> list[Any]:
    return [args[0] for args in client.received("user-connected")]


def test_sixty_that_join_at_once_get_exactly_the_seats(driver: Driver, server: Running) -> None:
    clients = everywhere(driver, server, each=15)
    for client in clients:
        client.emit("join-room", {"roomId": "full"})
    for client in clients:
        client.wait_until(
            lambda client=client: client.received("join-ok") or client.received("join-error"),
            "answer",
        )
    inside = [client for client in clients if client.received("join-ok")]
    refused = [client for client in clients if client.received("join-error")]
    assert (len(inside), len(refused)) == (SEATS, 60 - SEATS)
    for client in refused:
        assert client.received("join-error") == [[{"reason": "room-full", "roomId": "full"}]]
    for client in clients[:4]:
        assert sorted(client.call("peers", "full")) == sorted(each.id for each in inside)
    for client in inside:
        others = {each.id for each in inside if each is not client}
        client.wait_until(
            lambda client=client, others=others: {c["id"] for c in connected(client)} == others,
            "others",
        )
        assert len(connected(client)) == SEATS - 1


def test_peers_of_all_workers_see_each_other_in_the_order_of_joining(
    driver: Driver, server: Running
) -> None:
    a, b, c, d = everywhere(driver, server)
    for number, client in enumerate((a, b, c)):
        join(client, "tea", name=f"n{number}")
    b.emit("media-state", {"roomId": "tea", "mic": False, "cam": True})
    a.wait_for("media-state")
    join(d, "tea")
    events = [(name, args[0]) for name, args in d.received()]
    assert events == [
        ("user-connected", {"id": a.id, "name": "n0"}),
        ("user-connected", {"id": b.id, "name": "n1"}),
        ("media-state", {"id": b.id, "roomId": "tea", "mic": False, "cam": True}),
        ("user-connected", {"id": c.id, "name": "n2"}),
        ("join-ok", {"roomId": "tea"}),
    ]
    a.wait_for("#rtcio:init-offer", 3)
    sources = [args[0]["source"] for args in a.received("#rtcio:init-offer")]
    assert sources == [b.id, c.id, d.id]
    c.emit("chat-message", {"roomId": "tea", "text": "hello"})
    for client in (a, b, d):
        assert client.wait_for("chat-message") == [{"roomId": "tea", "text": "hello", "id": c.id}]
    assert d.call("peers", "tea") == [a.id, b.id, c.id, d.id]


def test_an_offer_comes_after_the_announcement_of_its_peer(server: Running) -> None:
    """The keeper announces peers, and their own workers relay the offers."""
    rooms, peers = 80, 4
    command = ["node", NODE_DIR / "calls.js", server.url, str(rooms), str(peers)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert said == {"calls": rooms * peers * (peers - 1) / 2, "faults": []}


def test_a_password_holds_on_all_workers(driver: Driver, server: Running) -> None:
    a, b, c, d = everywhere(driver, server)
    join(a, "closed", password="secret")
    b.emit("join-room", {"roomId": "closed"})
    assert b.wait_for("join-error")[0]["reason"] == "password-required"
    c.emit("join-room", {"roomId": "closed", "password": "wrong"})
    assert c.wait_for("join-error")[0]["reason"] == "wrong-password"
    c.emit("check-room", {"roomId": "closed", "password": "secret"})
    assert c.wait_for("room-check-ok") == [{"roomId": "closed", "passwordRequired": True}]
    join(d, "closed", password="secret")
    join(c, "closed", password="secret")


def test_a_call_that_waits_for_another_worker_is_refused_in_the_hub(
    driver: Driver, server: Running
) -> None:
    clients = everywhere(driver, server)
    keeper = clients[0].call("keeper")
    kept_here, elsewhere = sorted(clients, key=lambda each: each.id[:4] != keeper)[:2]
    join(elsewhere, "hub")
    for name in ("stats", "fetch", "fetch-namespace", "side-call"):
        for client in (kept_here, elsewhere):
            kind, said = client.call("in-hub", name)
            assert (kind, "gevent.spawn" in said) == ("NotServing", True), (name, said)
    assert kept_here.call("in-hub", "call", elsewhere.id)[0] == "NotServing"
    for name, *args in (("peers", "hub"), ("lobby-stats",), ("remove", kept_here.id, "hub")):
        kind, said = elsewhere.call("in-hub", name, *args)
        assert (kind, "gevent.spawn" in said) == ("NotServing", True), (name, said)
    # The worker that keeps the rooms waits for nobody, nor does one for a client of its own.
    assert kept_here.call("in-hub", "peers", "hub") == ["answer", [elsewhere.id]]
    for client in (kept_here, elsewhere):
        assert client.call("in-hub", "remove", elsewhere.id, "hub") == ["answer", True]
        wait_until(lambda: elsewhere.call("peers", "hub") == [])
        elsewhere.emit("join-room", {"roomId": "hub"})
        wait_until(lambda: elsewhere.call("peers", "hub") == [elsewhere.id])


def test_what_is_no_room_has_no_peers(driver: Driver, server: Running) -> None:
    for client in everywhere(driver, server):
        for odd in (5, None, ["a"], {}, "", "x" * 1000):
            assert client.call("peers", odd) == []
            assert client.call("remove", client.id, odd) is False
        assert client.call("remove", ["a"], "tea") is False


def test_who_leaves_or_is_removed_frees_a_seat_and_the_others_are_told(
    driver: Driver, server: Running
) -> None:
    a, b, c, d = clients = everywhere(driver, server)
    for client in clients:
        join(client, "tea")
    a.emit("leave-room", {"roomId": "tea"})
    assert d.wait_for("user-disconnected") == [{"id": a.id}]
    wait_until(lambda: d.call("peers", "tea") == [b.id, c.id, d.id])
    assert d.call("remove", b.id, "tea") is True
    assert d.call("remove", b.id, "tea") is False
    wait_until(lambda: a.call("peers", "tea") == [c.id, d.id])
    b.call("take-out", c.id, "tea")
    wait_until(lambda: a.call("peers", "tea") == [d.id])
    d.disconnect()
    wait_until(lambda: a.call("peers", "tea") == [])
    a.emit("join-room", {"roomId": "tea"})
    a.wait_for("join-ok", 2)
    assert connected(a)[3:] == []
    assert a.call("peers", "tea") == [a.id]


def test_a_client_in_as_many_rooms_as_it_may_be_is_refused(driver: Driver, server: Running) -> None:
    for client in everywhere(driver, server):
        join(client, "one")
        client.emit("join-room", {"roomId": "two"})
        client.wait_for("join-ok", 2)
        client.emit("join-room", {"roomId": "three"})
        assert client.wait_for("join-error") == [{"reason": "too-many-rooms", "roomId": "three"}]
        assert client.id not in client.call("peers", "three")


def test_text_that_cannot_be_sent_to_the_keeper_is_refused_or_dropped(
    driver: Driver, server: Running
) -> None:
    clients = everywhere(driver, server)
    peers = [RawWebSocket(server) for _ in range(8)]  # on any worker
    for peer in peers:
        peer.join()
        peer.send(r'42["join-room",{"roomId":"odd","name":"\ud800"}]')
        peer.send(r'42["media-state",{"roomId":"odd","mic":true,"note":"\ud800"}]')
        peer.send(r'42["chat-message",{"roomId":"odd","text":"\ud800"}]')
        peer.send(r'42["join-room",{"roomId":"\ud800"}]')
        while "join-error" not in (said := str(peer.receive())):
            pass
        assert "invalid-room" in said
    wait_until(lambda: len(clients[0].call("peers", "odd")) == len(peers))
    for peer in peers:
        peer.send("1")
    wait_until(lambda: clients[0].call("peers", "odd") == [])


def keeper_first(clients: list[Client]) -> list[Client]:
    """The clients of the worker that keeps the rooms before the others; then its deputy's."""
    keeper = clients[0].call("keeper")
    found = sorted(clients, key=lambda each: each.id[:4] != keeper)
    deputy = found[0].call("deputy")
    return sorted(found, key=lambda each: (each.id[:4] != keeper, each.id[:4] != deputy))


def test_who_is_removed_and_joins_again_at_once_has_its_seat(driver: Driver) -> None:
    with workers(module="lobby_workers", environ={"RTCIO_TEST_SLOW_STEPS": "1"}) as server:
        x, y, *_, a, b = keeper_first(everywhere(driver, server, each=2))
        for client in (a, b):
            join(client, "tea")
        token = x.ask("remove", a.id, "tea")
        wait_until(lambda: y.call("peers", "tea") == [b.id])
        a.emit("join-room", {"roomId": "tea"})  # while the room is told of its leaving
        assert x.answer(token) == [True]
        a.wait_for("join-ok", 2)
        b.wait_for("user-connected", 2)
        b.emit("leave-room", {"roomId": "tea"})
        b.emit("join-room", {"roomId": "tea"})
        b.wait_for("join-ok", 2)
        a.wait_for("user-disconnected")
        assert y.call("peers", "tea") == [a.id, b.id]
        for client in (a, b):
            assert set(client.call("rooms")) == {client.id, "tea"}
        said = [(name, args[0]["id"]) for name, args in b.received() if name.startswith("user")]
        assert said[:3] == [
            ("user-connected", a.id), ("user-disconnected", a.id), ("user-connected", a.id)
        ]  # fmt: skip


def test_while_the_keeper_and_its_deputy_stand_still_who_joins_is_told_to_try_again(
    driver: Driver,
) -> None:
    with workers(module="lobby_workers", clean_log=False) as server:
        # The last three are on one worker.
        k, *rest, c, a, b, d = keeper_first(everywhere(driver, server, each=3))
        deputy = rest[2]
        inside = [*rest[: SEATS - 2], c]
        for client in inside:
            join(client, "full")
        a.emit("join-room", {"roomId": "full", "name": "judge me"})
        a.wait_for("judging")  # it may have the last seat, and asks for it later
        pids = [k.call("pid"), deputy.call("pid")]
        for pid in pids:
            kill(pid, signal.SIGSTOP)
        try:
            d.call("judge")
            b.emit("join-room", {"roomId": "full"})
            d.emit("check-room", {"roomId": "full"})
            c.emit("leave-room", {"roomId": "full"})
            assert c.call("rooms") == [c.id]
            for client in (a, b, d):
                refused = client.wait_for("join-error")
                assert refused == [{"reason": "try-again", "roomId": "full"}]
        finally:
            for pid in pids:
                kill(pid, signal.SIGCONT)
        left = {each.id for each in inside if each is not c}
        wait_until(lambda: set(k.call("peers", "full")) == left)
        for client in (a, b):
            assert client.received("join-ok") == [] and client.call("rooms") == [client.id]
            join(client, "full")
        c.emit("join-room", {"roomId": "full"})
        assert c.wait_for("join-error") == [{"reason": "room-full", "roomId": "full"}]
        assert set(d.call("peers", "full")) == {*left, a.id, b.id}
        await_workers(server)


def test_who_leaves_while_the_keeper_dies_is_gone_for_the_others(driver: Driver) -> None:
    with workers(module="lobby_workers", clean_log=False) as server:
        k, *_, a, b, c, d, e = keeper_first(everywhere(driver, server, each=2))
        for client in (a, b, c, d, e):
            join(client, "tea")
        pid = k.call("pid")
        kill(pid, signal.SIGSTOP)
        try:
            # Nothing of this reaches the keeper before it dies.
            a.call("take-out", a.id, "tea")
            b.disconnect()
            c.emit("leave-room", {"roomId": "tea"})
            d.call("take-out", d.id, "tea")
            d.emit("join-room", {"roomId": "tea"})
        finally:
            kill(pid)
        d.wait_for("join-ok", 2)
        wait_until(lambda: e.call("peers", "tea") == [e.id, d.id])
        e.wait_for("user-disconnected", 4)
        gone = [args[0]["id"] for args in e.received("user-disconnected")]
        assert sorted(gone) == sorted(each.id for each in (a, b, c, d))
        assert {"id": d.id} == connected(e)[-1]
        assert set(a.call("rooms")) == {a.id}
        assert set(c.call("rooms")) == {c.id}
        a.emit("join-room", {"roomId": "tea"})
        a.wait_for("join-ok", 2)
        assert [each["id"] for each in connected(a)[-2:]] == [e.id, d.id]
        await_workers(server)


def test_rooms_survive_the_death_of_whoever_keeps_them(driver: Driver) -> None:
    with workers(module="lobby_workers", clean_log=False) as server:
        clients = everywhere(driver, server, each=2)
        for number, client in enumerate(clients):
            join(client, "tea", name=f"n{number}", password="secret")
            client.emit("media-state", {"roomId": "tea", "mic": True})
        clients[0].wait_for("media-state", len(clients) - 1)
        left = list(clients)
        for _ in range(2):
            keeper = left[0].call("keeper")
            victim = next(each for each in left if each.id[:4] == keeper)
            pid = victim.call("pid")
            dead = [each for each in left if each.id[:4] == victim.id[:4]]
            left = [each for each in left if each not in dead]
            kill(pid)
            gone = {each.id for each in dead}
            for client in left:
                client.wait_until(
                    lambda client=client, gone=gone: (
                        gone <= {args[0]["id"] for args in client.received("user-disconnected")}
                    ),
                    "departures",
                )
            seated = [each.id for each in left]
            wait_until(lambda asked=left[0], seated=seated: asked.call("peers", "tea") == seated)
        for client in left:
            told = [args[0]["id"] for args in client.received("user-disconnected")]
            assert len(told) == len(set(told)) == len(clients) - len(left)
        await_workers(server)
        late = everywhere(driver, server, each=4)
        for client in late:
            client.emit("join-room", {"roomId": "tea", "password": "wrong"})
            assert client.wait_for("join-error")[0]["reason"] == "wrong-password"
        for client in late:
            client.emit("join-room", {"roomId": "tea", "password": "secret"})
        for client in late:
            client.wait_until(
                lambda client=client: (
                    client.received("join-ok") or len(client.received("join-error")) > 1
                ),
                "answer",
            )
        inside = [client for client in late if client.received("join-ok")]
        assert len(inside) == SEATS - len(left)
        assert connected(inside[0])[0] == {"id": left[0].id, "name": f"n{clients.index(left[0])}"}
        assert left[-1].call("lobby-stats") == {"rooms": 1, "peers": SEATS}


def present(client: Client, start: int = 0) -> set[str]:
    """Who is in the room, as this peer was told; each once."""
    found: set[str] = set()
    for name, args in client.received()[start:]:
        if name == "user-connected":
            assert args[0]["id"] not in found, f"{args[0]['id']} was announced twice"
            found.add(args[0]["id"])
        elif name == "user-disconnected":
            found.discard(args[0]["id"])
    return found


def agree(askers: list[Client], room: str, inside: list[Client], told: dict[Client, int]) -> None:
    """All workers know the same peers of a room, and these peers were told of each other one.

    ``told``: from which event on.
    """
    expected = sorted(each.id for each in inside)
    for client in askers:
        wait_until(lambda client=client: sorted(client.call("peers", room)) == expected)
    for client, start in told.items():
        others = {*expected} - {client.id}
        client.wait_until(
            lambda client=client, others=others, start=start: present(client, start) == others,
            "others",
        )


def answered(client: Client, seconds: float = DEADLINE, before: int = 0) -> str:
    """What has come in answer to a join: ``ok``, or why not."""

    def answers() -> list[str]:
        return [
            args[0].get("reason", "ok")
            for name, args in client.received()
            if name in ("join-ok", "join-error")
        ][before:]

    client.wait_until(answers, "answer", seconds)
    return answers()[0]


#: Seconds for which a worker is stopped.
STOPPED = float(os.environ.get("KEEPER_STOPPED", "8"))


def test_a_keeper_that_is_stopped_delays_only_its_own_clients(driver: Driver) -> None:
    environ = {"RTCIO_TEST_OPTIONS": json.dumps({"ping_timeout": 60})}  # its clients wait for it
    with workers(module="lobby_workers", clean_log=False, environ=environ) as server:
        k, k2, k3, k4, *others = keeper_first(everywhere(driver, server, each=4))
        leaver, stayer = others.pop(0), others.pop(4)
        join(k, "closed", password="secret")
        for client in (k2, k3, leaver, stayer):
            join(client, "full")
        pid = k.call("pid")
        kill(pid, signal.SIGSTOP)
        end = time.monotonic() + STOPPED
        try:
            *late, wrong, right = others[:9]
            for client in late:
                client.emit("join-room", {"roomId": "full"})
            wrong.emit("join-room", {"roomId": "closed", "password": "wrong"})
            right.emit("join-room", {"roomId": "closed", "password": "secret"})
            said = [answered(client, 5) for client in (*late, wrong, right)]
            assert sorted(said[:-2]) == ["ok"] * 4 + ["room-full"] * 3
            assert said[-2:] == ["wrong-password", "ok"]
            joined = [each for each in late if each.received("join-ok")]
            assert connected(right) == [{"id": k.id}]
            leaver.emit("leave-room", {"roomId": "full"})
            assert stayer.wait_for("user-disconnected") == [{"id": leaver.id}]
            stayer.emit("chat-message", {"roomId": "full", "text": "hello"})
            joined[0].wait_for("chat-message")
            leaver.emit("join-room", {"roomId": "full"})
            leaver.wait_for("join-ok", 2)
            assert stayer.call("keeper") != k.id[:4]
            time.sleep(max(0.0, end - time.monotonic()))
        finally:
            kill(pid, signal.SIGCONT)
        k4.emit("join-room", {"roomId": "full"})
        assert answered(k4) == "room-full"
        for client in (k2, k3):
            assert client.wait_for("chat-message")[0]["text"] == "hello"
        assert k.call("keeper") == stayer.call("keeper")
        askers, told = [k, stayer, *others], dict.fromkeys([k2, k3, stayer, *joined], 0)
        agree(askers, "full", [*told, leaver], told)
        k2.emit("leave-room", {"roomId": "full"})
        stayer.wait_for("user-disconnected", 2)
        k4.emit("join-room", {"roomId": "full"})
        assert answered(k4, before=1) == "ok"
        told[k4] = told.pop(k2)
        agree(askers, "full", [*told, leaver], told)
        await_workers(server)


def test_caps_are_exact_whenever_the_keeper_is_stopped(driver: Driver) -> None:
    chance = random.Random(int(os.environ.get("KEEPER_SEED", "13")))
    with workers(module="lobby_workers", clean_log=False) as server:
        clients = everywhere(driver, server, each=3)
        for number in range(10):
            room = f"room {number}"
            keeper = clients[0].call("keeper")
            pid = next(each for each in clients if each.id[:4] == keeper).call("pid")
            starts = {client: len(client.received()) for client in clients}
            before = {
                client: len(client.received("join-ok")) + len(client.received("join-error"))
                for client in clients
            }
            chance.shuffle(clients)
            for client in clients:
                client.emit("join-room", {"roomId": room})
            time.sleep(chance.uniform(0, 0.1))
            kill(pid, signal.SIGSTOP)
            time.sleep(2)
            kill(pid, signal.SIGCONT)
            said = {client: answered(client, before=before[client]) for client in clients}
            inside = [client for client in clients if said[client] == "ok"]
            assert sorted(said.values()) == ["ok"] * SEATS + ["room-full"] * 4
            agree(clients, room, inside, {client: starts[client] for client in inside})
            for client in inside:
                client.emit("leave-room", {"roomId": room})
            for client in clients:
                wait_until(lambda client=client, room=room: client.call("peers", room) == [])
            for client in inside:
                client.fence(inside[0] if client is not inside[0] else inside[1])
        await_workers(server)
