"""Another worker keeps the rooms of a lobby while the one that kept them stands still."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gevent
import msgspec
import pytest

from rtcio_sync.cluster.messages import Ask, Kind, decoded, encoded
from rtcio_sync.lobby import keeper as keeping
from rtcio_sync.lobby import keeper_asking, keeper_watch
from rtcio_sync.lobby.keeper_fence import Fence
from rtcio_sync.lobby.keeper_messages import Op
from tests.lobby.many_lobbies import Network, Peer, Worker, assert_same, settle, side_by_side
from tests.timing import until

SEATS = 4


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_watch, "SILENT_AFTER", 0.15)
    monkeypatch.setattr(keeping, "COPIED_WITHIN", 0.6)


def three(network: Network) -> list[Worker]:
    """The keeper, its deputy, and another one."""
    k, d, w = (network.add(number, max_peers=SEATS) for number in (1, 2, 3))
    until(lambda: d.keeper._watch.copy is not None)
    return [k, d, w]


def test_others_join_leave_and_talk_while_the_keeper_stands_still(network: Network) -> None:
    k, d, w = three(network)
    ck = k.client().joins(name="k", password="secret")
    ck.emit("media-state", mic=True)
    cd, cw = (each.client().joins(password="secret") for each in (d, w))
    network.stop(k)
    wrong = w.client()
    wrong.join(password="wrong")
    wrong.wait("join-error")
    cx = w.client().joins(password="secret")
    assert cx.events[:2] == [
        ("user-connected", {"id": ck.sid, "name": "k"}),
        ("media-state", {"id": ck.sid, "roomId": "r", "mic": True}),
    ]
    late = d.client()
    late.join(password="secret")
    late.wait("join-error")
    assert wrong.events + late.events == [
        ("join-error", {"reason": "wrong-password", "roomId": "r"}),
        ("join-error", {"reason": "room-full", "roomId": "r"}),
    ]
    cw.leave()
    cd.wait("user-disconnected")
    cx.emit("chat-message", text="hello")
    cd.wait("chat-message")
    assert d.keeps == w.keeps == d.node
    network.go_on(k)
    ck.wait("chat-message")
    settle(network)
    assert k.keeps == d.node
    assert_same(k, d, w, peers=[ck, cd, cx])
    ck.leave()
    cd.wait("user-disconnected", 2)
    ck.joins(password="secret")
    assert_same(k, d, w, peers=[cd, cx, ck])


def test_who_talks_alone_has_the_keeper_found_out(network: Network) -> None:
    k, d, w = three(network)
    cd, cw = (each.client().joins() for each in (d, w))
    network.stop(k)
    cw.emit("chat-message", text="hello")
    cd.wait("chat-message")
    network.go_on(k)
    settle(network)
    assert len(cd.of("chat-message")) == 1
    assert_same(k, d, w, peers=[cd, cw])


def test_nobody_takes_over_from_a_keeper_that_computes(network: Network) -> None:
    k, d, w = three(network)
    ck, cd, cw = (each.client().joins() for each in (k, d, w))
    settle(network)
    network.stop(k, computes=True)
    x, y = (each.client() for each in (d, w))
    for each in (x, y):
        each.join()
    cd.emit("chat-message", text="hello")
    gevent.sleep(1.2)  # three times as long as it takes with one that is stopped
    assert (k.keeps, d.keeps, w.keeps) == (k.node,) * 3
    network.go_on(k)
    until(lambda: len(x.of("join-ok") + y.of("join-ok")) == 1)
    until(lambda: len(x.of("join-error") + y.of("join-error")) == 1)
    settle(network)
    assert len(cw.of("chat-message")) == 1
    inside = x if x.of("join-ok") else y
    assert_same(k, d, w, peers=[ck, cd, cw, inside])
    network.stop(k)
    until(lambda: d.keeps == w.keeps == d.node)
    network.go_on(k)


def stopped_before_all_is_sent(network: Network) -> tuple[list[Worker], list[Peer]]:
    """As `three`, with a client each; the first has not sent all that it did, and is stopped."""
    workers = three(network)
    peers = [each.client().joins() for each in workers]
    settle(network)
    network.full.add(workers[0].node)
    peers[2].emit("chat-message", text="hello")
    peers[1].wait("chat-message")
    network.stop(workers[0])
    return workers, peers


def test_nobody_takes_over_from_a_keeper_that_was_stopped_before_all_was_sent(
    network: Network,
) -> None:
    (k, d, w), (ck, cd, cw) = stopped_before_all_is_sent(network)
    x = w.client()
    x.join()
    gevent.sleep(1.2)
    assert (k.keeps, d.keeps, w.keeps) == (k.node,) * 3
    network.go_on(k)
    x.wait("join-ok")
    network.full.clear()
    until(lambda: not k.keeper._work.goes_on)
    network.stop(k)
    until(lambda: d.keeps == w.keeps == d.node)
    network.go_on(k)
    settle(network)
    assert_same(k, d, w, peers=[ck, cd, cw, x])


def test_somebody_takes_over_from_a_keeper_that_does_not_get_to_send_all(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_watch, "FORCED_AFTER", 0.5)
    (k, d, w), (ck, cd, cw) = stopped_before_all_is_sent(network)
    x = w.client().joins()
    assert d.keeps == w.keeps == d.node
    network.go_on(k)
    network.full.clear()
    settle(network)
    assert_same(k, d, w, peers=[ck, cd, cw, x])
    assert [len(each.of("chat-message")) for each in (ck, cd)] == [1, 1]


class Waiting:
    """A bus over which nothing goes."""

    def __init__(self) -> None:
        self.posted: list[Op] = []

    def post(self, node: str, op: Op) -> None:
        self.posted.append(op)

    def waiting(self, node: str) -> int:
        return sum(len(encoded(each)) for each in self.posted)

    def born(self, node: str) -> int:
        return 1

    @property
    def told(self) -> list[str]:
        return [each.what for each in self.posted]


def test_a_large_copy_is_made_once_though_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_watch, "MOST_WAITING", 1_000)
    bus: Any = Waiting()
    deputy = keeper_watch.Deputy(lambda: bus, bus.post, lambda: ["x" * 5_000, []])
    deputy.appoint(["d"])
    for number in range(8):
        deputy.copy("r", f"sid {number}", b"")
        deputy.appoint(["d"])
    assert bus.told == ["copy", *["copied"] * 8]
    for number in range(50):  # it reads nothing
        deputy.copy("r", f"sid {number}", b"x" * 100)
    assert bus.told[-1] == "no copy" and bus.told.count("copied") < 20


def test_a_worker_that_stands_still_during_two_takeovers_keeps_its_seats(tmp_path: Path) -> None:
    def case(network: Network, wakes: str) -> None:
        k, d, w = three(network)
        ck, cd, cw = (each.client().joins() for each in (k, d, w))
        settle(network)
        network.stop(w)
        network.stop(k)
        until(lambda: d.keeps == d.node and d.keeper._settled)
        settle(network)
        network.go_on(k)
        until(lambda: k.keeps == d.node)
        if wakes == "in between":
            network.go_on(w)
            until(lambda: cw.sid in d.lobby.peers("r"))
        until(lambda: k.keeper._watch.copy is not None)
        settle(network)
        network.stop(d)
        until(lambda: k.keeps == k.node and k.keeper._settled)
        settle(network)
        network.go_on(d)
        network.go_on(w)
        settle(network)
        cw.emit("chat-message", text="hello")
        for each in (ck, cd):
            each.wait("chat-message")
        assert_same(k, d, w, peers=[ck, cd, cw])
        x = d.client().joins()
        settle(network)
        assert_same(k, d, w, peers=[ck, cd, cw, x])

    side_by_side(tmp_path, ["in between", "afterwards"], case)


@pytest.mark.parametrize("far", [(), ("n002", "n003")])
def test_who_joins_before_a_worker_has_sent_its_seats_is_told_of_them_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, far: tuple[str, ...]
) -> None:
    """``far``: nobody has a copy of the table of a keeper that dies."""
    monkeypatch.setattr(keeping, "CLAIMS_WITHIN", 0.6)

    def case(network: Network, end: str) -> None:
        network.far = far if end == "dies" else ()
        k, d, w, v = (network.add(number, max_peers=SEATS + 3) for number in (1, 2, 3, 4))
        until(lambda: bool(network.far) or d.keeper._watch.copy is not None)
        ck, cd, cw, gone = (each.client().joins(name="n") for each in (k, d, w, w))
        cw.emit("media-state", mic=True)
        cd.wait("media-state")
        settle(network)
        network.slow.add(w.node)
        network.stop(k) if end == "is stopped" else network.kill(k)
        x, y, left, back = (each.client().joins() for each in (d, v, d, v))
        assert not {cw.sid, gone.sid} & {*x.of("user-connected"), *back.of("user-connected")}
        gone.leave()  # its worker tells of it after it has sent its seat
        for each in (left, back):
            each.leave()
        x.wait("user-disconnected", 2)
        network.slow.clear()
        for each in (x, y):
            each.wait("user-disconnected", 3)
        back.joins()
        network.go_on(k)
        settle(network)
        for each in (x, y):
            heard = [(name, said) for name, said in each.events if said.get("id") == cw.sid]
            assert heard == [
                ("user-connected", {"id": cw.sid, "name": "n"}),
                ("media-state", {"id": cw.sid, "roomId": "r", "mic": True}),
            ]
        assert cw.sid not in left.of("user-connected")
        workers, peers = [d, w, v], [cd, cw, x, y, back]  # in the order of joining
        if end == "is stopped":
            workers, peers = [k, *workers], [ck, *peers]
        assert_same(*workers, peers=peers)
        new = w.client().joins()
        assert new.of("user-connected") == [each.sid for each in peers]

    side_by_side(tmp_path, ["is stopped", "dies"], case)


@pytest.mark.parametrize("where", ["the same worker", "the deputy's", "another"])
def test_a_join_is_told_once_whenever_the_keeper_stops(tmp_path: Path, where: str) -> None:
    def case(network: Network, number: int) -> None:
        k, d, w = three(network)
        cd, cw = (each.client().joins() for each in (d, w))
        settle(network)
        network.stop_at(k, number)
        x = {"the same worker": k, "the deputy's": d, "another": w}[where].client()
        x.join()
        if where == "the same worker":
            gevent.sleep(0.02)
            network.stop(k)
            cw.emit("chat-message", text="are you there?")
            cd.wait("chat-message")
        else:
            x.wait("join-ok")
            for peer in (cd, cw):
                peer.wait("#rtcio:init-offer", 1 + (peer is cd))
        network.go_on(k)
        settle(network)
        x.wait("join-ok")
        settle(network)
        assert_same(k, d, w, peers=[cd, cw, x])
        assert len(x.of("join-ok")) == 1

    side_by_side(tmp_path, range(14), case)


def test_a_join_is_told_once_if_the_keeper_stops_and_the_worker_of_the_joiner_is_late(
    tmp_path: Path,
) -> None:
    def case(network: Network, number: int) -> None:
        k, d, w = three(network)
        cd, cw = (each.client().joins() for each in (d, w))
        settle(network)
        network.stop_at(k, number)
        x = w.client()
        x.join()
        settle(network)
        network.stop(k)
        network.slow.add(w.node)
        until(lambda: d.keeps == d.node and d.keeper._settled)
        network.slow.clear()
        x.wait("join-ok")
        for peer in (cd, cw):
            peer.wait("#rtcio:init-offer", 1 + (peer is cd))
        network.go_on(k)
        settle(network)
        assert_same(k, d, w, peers=[cd, cw, x])
        assert len(x.of("join-ok")) == 1

    side_by_side(tmp_path, range(14), case)


@pytest.mark.parametrize("where", ["the deputy's", "another"])
def test_a_leave_is_told_once_whenever_the_keeper_stops(tmp_path: Path, where: str) -> None:
    def case(network: Network, number: int) -> None:
        k, d, w = three(network)
        ck, cd, cw, x = (each.client().joins() for each in (k, d, w, d if "dep" in where else w))
        settle(network)
        network.stop_at(k, number)
        x.emit("chat-message", text="bye")
        x.leave()
        for peer in (cd, cw):
            peer.wait("user-disconnected")
        network.go_on(k)
        ck.wait("user-disconnected")
        settle(network)
        assert_same(k, d, w, peers=[ck, cd, cw])
        for peer in (ck, cd, cw):
            assert len(peer.of("chat-message")) == 1

    side_by_side(tmp_path, range(6), case)


def test_a_keeper_that_goes_on_gives_no_seat_from_its_old_table(network: Network) -> None:
    k, d, w = three(network)
    inside = [each.client().joins() for each in (k, d, w)]
    network.stop(k)
    inside.append(w.client().joins())
    mine = k.client()
    mine.join()  # it has not read yet that it is no longer the keeper
    gevent.sleep(0.02)
    assert (k.keeps, mine.events) == (d.node, [])
    network.go_on(k)
    mine.wait("join-error")
    settle(network)
    assert mine.events == [("join-error", {"reason": "room-full", "roomId": "r"})]
    assert_same(k, d, w, peers=inside)


def test_a_keeper_that_stops_while_it_gives_a_seat_takes_it_back(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    k, d, w = three(network)
    inside = [each.client().joins() for each in (k, d, w)]
    settle(network)
    seating = k.lobby._events._seating
    sit = seating.sit

    def stop(*args: Any) -> None:
        monkeypatch.setattr(seating, "sit", sit)
        sit(*args)
        lock.release()
        network.stop(k)
        inside.append(w.client().joins())
        lock.acquire()

    lock = k.lobby._events._lock
    monkeypatch.setattr(seating, "sit", stop)
    mine = k.client()
    mine.join()
    until(lambda: k.keeps == d.node)
    assert (len(inside), mine.events) == (SEATS, [])
    network.go_on(k)
    mine.wait("join-error")
    settle(network)
    assert_same(k, d, w, peers=inside)


def test_who_leaves_a_worker_that_goes_on_is_gone_for_the_others(network: Network) -> None:
    k, d, w = three(network)
    ck, cd, cw = (each.client().joins() for each in (k, d, w))
    network.stop(k)
    cx = w.client().joins()
    ck.leave()
    gevent.sleep(0.02)
    network.go_on(k)
    for peer in (cd, cw, cx):
        peer.wait("user-disconnected")
    settle(network)
    assert_same(k, d, w, peers=[cd, cw, cx])


def test_who_is_removed_while_its_worker_stands_still_stays_out(network: Network) -> None:
    k, d, w = three(network)
    ck, cd, cw = (each.client().joins() for each in (k, d, w))
    network.stop(k)
    assert w.lobby.remove(ck.sid, "r") is True
    cd.wait("user-disconnected")
    network.go_on(k)
    settle(network)
    assert_same(k, d, w, peers=[cd, cw])
    assert k.server.rooms(ck.sid) == [ck.sid]


def test_a_stopped_worker_that_dies_is_gone_once(network: Network) -> None:
    k, d, w = three(network)
    ck, cd, cw = (each.client().joins() for each in (k, d, w))
    network.stop(k)
    cx = w.client().joins()
    network.kill(k)
    for peer in (cd, cw, cx):
        peer.wait("user-disconnected")
        assert ck.sid in peer.of("user-connected")
    settle(network)
    assert_same(d, w, peers=[cd, cw, cx])


def test_a_stopped_worker_that_dies_while_its_rooms_are_taken_over_is_gone_once(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "COPIED_WITHIN", 1.0)
    k, d, w = three(network)
    v = network.add(4, max_peers=SEATS)
    ck, cd, cw = (each.client().joins() for each in (k, d, w))
    network.stop(k)
    network.stop(v)
    cw.emit("chat-message", text="hello")
    until(lambda: d.keeper._awaited == {v.node})
    network.kill(k)
    for peer in (cd, cw):
        peer.wait("user-disconnected")
    network.go_on(v)
    settle(network)
    assert_same(d, w, v, peers=[cd, cw])
    assert ck.sid in cw.of("user-disconnected")


def test_the_next_worker_takes_over_from_one_that_has_taken_over(tmp_path: Path) -> None:
    def case(network: Network, first: str) -> None:
        k, d, w = three(network)
        v = network.add(4, max_peers=SEATS)
        ck, cd, cw = (each.client().joins() for each in (k, d, w))
        network.stop(k)
        cx = w.client().joins()
        network.stop(d)
        cx.leave()
        cw.wait("user-disconnected")
        cy = v.client().joins()
        full = w.client()
        full.join()
        full.wait("join-error")
        assert w.keeps == v.keeps == w.node
        for worker in (k, d) if first == "the keeper" else (d, k):
            network.go_on(worker)
            settle(network)
        assert_same(k, d, w, v, peers=[ck, cd, cw, cy])
        ck.leave()
        cd.leave()
        cy.wait("user-disconnected", 2)
        settle(network)
        assert_same(k, d, w, v, peers=[cw, cy])

    side_by_side(tmp_path, ["the keeper", "its deputy"], case)


def test_a_worker_that_has_taken_over_dies(tmp_path: Path) -> None:
    def case(network: Network, goes_on: str) -> None:
        k, d, w = three(network)
        v = network.add(4, max_peers=SEATS)
        ck, cw = (each.client().joins() for each in (k, w))
        network.stop(k)
        cx = v.client().joins()
        if goes_on == "before":
            network.go_on(k)
            settle(network)
        network.kill(d)
        cy = w.client().joins()
        full = v.client()
        full.join()
        full.wait("join-error")
        network.go_on(k)
        settle(network)
        assert_same(k, w, v, peers=[ck, cw, cx, cy])
        assert {k.keeps, v.keeps, w.keeps} == {k.node if goes_on == "before" else w.node}

    side_by_side(tmp_path, ["before", "after"], case)


def test_a_keeper_that_goes_on_when_the_worker_that_took_over_is_dead_asks_all(
    network: Network,
) -> None:
    k, d, w = three(network)
    ck, cw = (each.client().joins() for each in (k, w))
    network.stop(k)
    cw.leave()
    cx, cy = w.client().joins(), w.client().joins()
    assert k.keeper.is_deposed
    for stream in (network.streams[d.node, k.node], network.streams[w.node, k.node]):
        until(lambda stream=stream: bool(stream))
    network.streams[d.node, k.node].clear()  # it has not read that it is no longer the keeper
    network.kill(d)
    network.go_on(k)
    settle(network)
    for worker in (k, w):
        assert worker.lobby.peers("r") == [ck.sid, cx.sid, cy.sid]
        assert worker.keeps == k.node


def test_an_old_announcement_changes_nothing(network: Network) -> None:
    k, d, w = three(network)
    network.stop(k)
    w.client().joins()
    network.stop(d)
    w.client().joins("other")
    assert w.keeps == w.node
    w.keeper._heard(d.node, 0, msgspec.msgpack.encode(Op("takes over", given=1)))
    assert w.keeps == w.node


def test_a_new_worker_learns_who_has_taken_over(tmp_path: Path) -> None:
    network = Network(tmp_path, far=("n009",))
    k, d, w = three(network)
    network.stop(k)
    cw = w.client().joins()
    near, far = (network.add(number, max_peers=SEATS) for number in (8, 9))
    assert near.client().joins().of("user-connected") == [cw.sid]
    assert len(far.client().joins().of("user-connected")) == 2
    assert {each.keeps for each in (d, w, near, far)} == {d.node}
    network.close()


def test_a_worker_of_another_host_has_the_keeper_found_out(tmp_path: Path) -> None:
    network = Network(tmp_path, far=("n003",))
    k, d, w = three(network)
    ck = k.client().joins()
    network.stop(k)
    assert w.client().joins().of("user-connected") == [ck.sid]
    assert w.keeps == d.node
    network.close()


def test_without_a_worker_beside_it_nobody_takes_over_and_nothing_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_asking, "ANSWER_WITHIN", 0.5)
    network = Network(tmp_path, far=("n002", "n003"))
    k, d, w = (network.add(number) for number in (1, 2, 3))
    said = ops(network)
    k.client().joins()
    cw = w.client().joins()
    network.stop(k)
    x = d.client()
    x.join()
    x.wait("join-error")
    assert x.events == [("join-error", {"reason": "try-again", "roomId": "r"})]
    network.go_on(k)
    assert d.client().joins().of("user-connected")[-1] == cw.sid
    assert not {"copy", "copied"} & set(said)
    network.close()


def ops(network: Network) -> list[str]:
    """What workers say to each other about seats from now on."""
    said: list[str] = []

    def note(source: str, target: str, kind: int, body: bytes) -> None:
        if kind == Kind.ASK:
            ask = decoded(Ask, body)
            if ask.what == "lobby /":
                op = decoded(Op, ask.body)
                if not op.what.startswith("runs"):
                    said.append(op.what)

    network.after = note
    return said


def test_a_change_costs_one_message_more(network: Network) -> None:
    k, d, w = three(network)
    cd = d.client().joins()
    settle(network)
    said = ops(network)
    cw = w.client().joins()
    settle(network)
    assert sorted(said) == ["check", "copied", "sit"]
    said.clear()
    cw.leave()
    cd.wait("user-disconnected")
    settle(network)
    assert sorted(said) == ["confirmed", "copied", "depart"]
    said.clear()
    cd.emit("chat-message", text="hello")
    k.server.to("r").emit("news")
    settle(network)
    assert sorted(said) == ["confirmed", "pass on"]
    said.clear()
    cd.emit("media-state", mic=True)
    settle(network)
    assert sorted(said) == ["confirmed", "show"]
    said.clear()
    k.client().joins()
    settle(network)
    assert said == ["copied"]


def test_one_of_two_that_take_over_at_once_is_first(tmp_path: Path) -> None:
    paths = [open(tmp_path / "fence", "a+b") for _ in range(3)]  # noqa: SIM115
    k, d, e = (Fence(file.fileno) for file in paths)
    assert k.read() == d.read() == e.read() == (0, "")
    assert d.append(1, "dddd") and not e.append(1, "eeee")
    assert k.changed and e.changed and not d.changed
    assert k.read() == e.read() == (1, "dddd")
    assert e.append(2, "eeee")
    assert k.changed and k.read() == (2, "eeee")
    for file in paths:
        file.close()


def test_a_keeper_that_stops_tells_its_own_clients_without_the_file(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    k = network.add(1, max_peers=SEATS)
    network.add(2, max_peers=SEATS)
    until(lambda: k.keeper.has_deputy)
    stays, leaves = (k.client().joins() for _ in range(2))
    settle(network)
    monkeypatch.setattr(k.bus, "shared_file", lambda name: None)  # the bus has closed it
    leaves.leave()
    stays.wait("user-disconnected")
    assert not k.keeper.deposed()
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


def test_a_deputy_that_stands_still_gets_no_copies_until_it_goes_on(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper_watch, "MOST_WAITING", 5_000)
    k, d = (network.add(number, max_peers=SEATS) for number in (1, 2))
    until(lambda: k.keeper.has_deputy)
    ck, cd = (each.client().joins() for each in (k, d))
    settle(network)
    network.stop(d)
    said = ops(network)
    for number in range(100):
        ck.emit("media-state", note="x" * 100, number=number)
        gevent.sleep(0.001)
    until(lambda: not k.keeper.has_deputy)
    network.go_on(d)
    network.after = lambda *args: None
    until(lambda: k.keeper.has_deputy)
    settle(network)
    assert said.count("copied") < 60
    network.stop(k)
    until(lambda: d.keeps == d.node)
    late = d.client().joins()
    assert ("media-state", {"id": ck.sid, "roomId": "r", "note": "x" * 100, "number": 99}) in (
        late.events
    )
    network.go_on(k)
    settle(network)
    assert_same(k, d, peers=[ck, cd, late])


def test_words_that_wait_for_a_keeper_are_bounded(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rtcio_sync.lobby.keeper_changes.MOST_BYTES", 20_000)
    k, _, w = three(network)
    ck, cw = (each.client().joins() for each in (k, w))
    settle(network)
    network.stop(k)
    network.stop(network.workers["n002"])
    for _ in range(50):
        cw.emit("chat-message", text="x" * 1000)
    until(lambda: w.server.stats()["dropped"].get("worker-overflow") == 31)
    changes = w.keeper._changes
    assert len(changes) == 19
    cw.leave()  # is told in any case
    network.go_on(k)
    network.go_on(network.workers["n002"])
    ck.wait("user-disconnected")
    settle(network)
    assert len(ck.of("chat-message")) == 19 and len(changes) == 0 and changes._bytes == 0
