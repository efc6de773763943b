"""What clients do in a lobby is told once and in order, whoever keeps its rooms meanwhile."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import gevent
import msgpack
import pytest

from rtcio_sync.cluster.messages import Ask, Kind, decoded, encoded
from rtcio_sync.errors import CannotMove
from rtcio_sync.lobby import keeper as keeping
from rtcio_sync.lobby import keeper_watch
from rtcio_sync.lobby.keeper_messages import Op
from tests.lobby.many_lobbies import Network, Peer, Worker, assert_same, settle, side_by_side
from tests.timing import until


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_watch, "SILENT_AFTER", 0.3)
    monkeypatch.setattr(keeping, "COPIED_WITHIN", 0.2)


def texts(peer: Peer, *of: Peer) -> list[str]:
    senders = {each.sid for each in of}
    return [said["text"] for said in peer.of("chat-message") if not of or said["id"] in senders]


@pytest.mark.parametrize("pause", range(8))
def test_what_is_said_while_an_elder_worker_appears_is_heard_once(
    network: Network, pause: int
) -> None:
    k, w, v = (network.add(number) for number in (11, 12, 13))
    ck, cw, cv = (each.client().joins() for each in (k, w, v))
    settle(network)
    said = [str(number) for number in range(20)]
    for number, text in enumerate(said):
        ck.emit("chat-message", text=f"k{text}")
        cw.emit("chat-message", text=f"w{text}")
        cw.emit("media-state", count=number)
        if number == 10:
            gevent.sleep(0.001 * pause)
            elder = network.add(1)
    settle(network)
    assert {each.keeps for each in (k, w, v, elder)} == {elder.node}
    assert texts(cv, cw) == [f"w{text}" for text in said]
    assert texts(cv, ck) == texts(cw, ck) == [f"k{text}" for text in said]
    for peer in (ck, cv):
        assert [each["count"] for each in peer.of("media-state")] == list(range(20))
    assert_same(k, w, v, elder, peers=[ck, cw, cv])


@pytest.mark.parametrize("pause", range(4))
def test_the_order_of_one_worker_outlives_the_keeper(network: Network, pause: int) -> None:
    k, w, v = (network.add(number) for number in (1, 2, 3))
    cv, a, b, c = (each.client().joins() for each in (w, v, v, v))
    settle(network)
    network.stop(k)  # what it is told waits, and is told to the next one
    said = []
    for number in range(30):
        sender = (a, b, c)[number * number % 3 - pause % 3]
        said.append(f"{number}")
        sender.emit("chat-message", text=said[-1])
        gevent.sleep(0)
    network.kill(k)
    cv.wait("chat-message", 30)
    settle(network)
    assert texts(cv) == said
    assert_same(w, v, peers=[cv, a, b, c])


def test_a_keeper_confirms_to_whom_has_told_it_when_the_client_is_elsewhere_by_then(
    network: Network,
) -> None:
    k, w, v = (network.add(number) for number in (1, 2, 3))
    cw, cv = (each.client().joins() for each in (w, v))
    settle(network)
    network.stop(k)
    cw.emit("chat-message", text="hello")
    until(lambda: len(w.keeper._changes) == 1)
    for each in (k, v):
        each.exchange.heirs.moved([cw.sid], v.node)
    network.go_on(k)
    cv.wait("chat-message")
    settle(network)
    assert len(w.keeper._changes) == 0
    network.kill(k)
    settle(network)
    assert texts(cv) == ["hello"]


def test_a_client_does_not_move_while_its_room_is_not_told_what_it_did(network: Network) -> None:
    k, w, _ = (network.add(number) for number in (1, 2, 3))
    cw = w.client().joins()
    settle(network)
    member = w.server.manager.member(cw.sid, "/")
    part = w.server.departing.parts["lobby /"]
    assert part.pack(member)
    network.stop(k)
    cw.emit("chat-message", text="hello")
    until(lambda: len(w.keeper._changes) == 1)
    with pytest.raises(CannotMove) as caught:
        part.pack(member)
    assert caught.value.later
    network.go_on(k)
    settle(network)
    assert part.pack(member)


@pytest.mark.parametrize("pause", range(6))
def test_who_leaves_while_an_elder_worker_appears_is_gone_once(
    network: Network, pause: int
) -> None:
    k, w, v = (network.add(number) for number in (11, 12, 13))
    stay = [each.client().joins() for each in (k, w, v)]
    go = [each.client().joins() for each in (k, w, v)]
    settle(network)
    new = v.client()
    new.join()  # its steps wait for its worker: those of the others wait behind them
    gevent.sleep(0.0005 * pause)
    for each in go:
        each.emit("chat-message", text="bye")
        each.leave()
    gevent.sleep(0.0005 * pause)
    elder = network.add(1)
    new.wait("join-ok")
    for each in stay:
        each.wait("user-disconnected", 3)
    settle(network)
    assert_same(k, w, v, elder, peers=[*stay, new])
    for each in stay:
        assert sorted(said["id"] for said in each.of("chat-message")) == sorted(
            each.sid for each in go
        )
    assert len(new.of("join-ok")) == 1


def pass_by(worker: Worker) -> None:
    """Makes a worker one of the release before: it knows nothing of numbers and takeovers."""
    keeper = worker.keeper
    del worker.exchange.inline["lobby / numbers"]
    keeper._releases.joined = lambda node: None
    keeper._releases.unsure = keeper._releases.knows = lambda node: False
    keeper._releases._old.add("all")
    heard = keeper._heard

    def old(node: str, number: int, body: bytes) -> None:
        op = decoded(Op, body)
        assert op.what not in ("notes", "again", "copy", "copied", "runs", "takes over"), op
        op.number = 0
        heard(node, number, encoded(op))

    worker.exchange.inline["lobby /"] = old


def test_beside_a_worker_of_the_release_before_nobody_takes_over_and_nothing_piles_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcio_sync.lobby.keeper_releases.SAID_WITHIN", 0.05)

    def case(network: Network, which: int) -> None:
        workers = [Worker(network, number) for number in (1, 2, 3)]
        pass_by(workers[which - 1])
        for each in workers:
            network.link(each)
        k = workers[0]
        until(lambda: all(each.keeps == k.node and each.keeper._settled for each in workers))
        asked: list[str] = []

        def note(source: str, target: str, kind: int, body: bytes) -> None:
            if kind == Kind.ASK:
                ask = decoded(Ask, body)
                asked.append(decoded(Op, ask.body).what if ask.what == "lobby /" else ask.what)

        network.after = note
        ck, cw, cv = (each.client().joins() for each in workers)
        for number in range(20):
            for each in (ck, cw, cv):
                each.emit("chat-message", text=f"{number}")
        settle(network)
        for each in (ck, cw, cv):
            for other in {ck, cw, cv} - {each}:
                assert texts(each, other) == [f"{number}" for number in range(20)]
        network.stop(k)
        gevent.sleep(1)
        assert {each.keeps for each in workers} == {k.node}
        network.go_on(k)
        cw.leave()
        cv.wait("user-disconnected")
        settle(network)
        assert_same(*workers, peers=[ck, cv])
        assert not {"copied", "takes over"} & {*asked}
        assert [len(each.keeper._changes) for each in workers] == [0, 0, 0]
        network.kill(workers[which - 1])
        left = [each for each in workers if each is not workers[which - 1]]
        settle(network)
        until(lambda: left[0].keeper.has_deputy)

    side_by_side(tmp_path, [1, 2, 3], case)


def test_what_cannot_be_sent_is_dropped_and_counted(network: Network) -> None:
    k, w, _ = (network.add(number) for number in (1, 2, 3))
    ck, cw = (each.client().joins() for each in (k, w))
    deep: Any = 1
    for _ in range(150):
        deep = [deep]
    odd = [{"id": "\ud800", "mic": 1 - 2**64}, {"note": "\ud800"}, {"x": 2**64}, {"deep": deep}]
    for fields in odd:
        for peer in (ck, cw):
            peer.emit("media-state", **fields)
            peer.emit("chat-message", **fields)
    cw.emit("chat-message", text="hello")
    ck.wait("chat-message")
    assert w.server.stats()["dropped"]["malformed"] >= len(odd)
    settle(network)
    elder = network.add(0)
    settle(network)
    assert {each.keeps for each in (k, w, elder)} == {elder.node}
    assert_same(k, w, elder, peers=[ck, cw])


def test_a_room_named_by_half_a_surrogate_pair_is_its_clients_fault(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    here, _ = (network.add(number).server for number in (1, 2))
    operate = here.in_("r")
    handlers: dict[str, Any] = {
        "join": here.enter_room,
        "say": lambda sid, name: here.emit("said", to=[sid, "r", name]),
        "say to others": lambda sid, name: here.emit("said", to="r", skip_sid=[name]),
        "fetch": lambda sid, name: operate.to(name).fetch_sockets(),
        "ask": lambda sid, name: operate.to(name).timeout(1).call("asked"),
        "move": lambda sid, name: operate.to(name).sockets_join("elsewhere"),
    }
    for event, handler in handlers.items():
        here.on(event, handler)
    for worker in network.workers.values():
        worker.client().joins()
    settle(network)
    client = here.test_client()
    for event in handlers:
        client.emit(event, "\ud800")
    assert here.stats()["dropped"] == {"room-name": len(handlers)}
    assert here.stats()["handler_errors"] == 0
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert client.connected


def test_what_json_does_not_have_reaches_the_clients_of_every_worker_and_keeps_nobody_out(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    """socket.io-msgpack-parser writes a ``Date`` as a timestamp."""
    workers = [network.add(number, serializer="msgpack") for number in (1, 2, 3)]
    until(lambda: workers[1].keeper._watch.copy is not None)
    ck, cw = (each.client().joins() for each in workers[::2])
    at, text = msgpack.Timestamp(5), "1970-01-01T00:00:05+00:00"
    for speaker, hearer in ((ck, cw), (cw, ck)):
        for event in ("media-state", "chat-message"):
            speaker.emit(event, mic=True, at=at)
            hearer.wait(event)
            assert [each["at"] for each in hearer.of(event)] == [text]
    late = workers[2].client().joins()
    kept = {"roomId": "r", "mic": True}  # and what has come over from another worker
    states = [{"id": ck.sid, **kept}, {"id": cw.sid, **kept, "at": text}]
    assert late.of("media-state") == states
    odd = {"mark": {"_placeholder": True}, "bytes": b"x"}  # no JSON tells one from the other
    for speaker in (ck, cw):
        speaker.emit("chat-message", **odd)
        speaker.emit("chat-message", text="hello")
    for hearer in (ck, cw):
        hearer.wait("chat-message", 2)
    assert workers[0].server.stats()["dropped"] == {"placeholder": 2}
    settle(network)
    assert not [each for each in caplog.records if each.levelno >= logging.ERROR]
