"""A lobby of several workers does what a model does, whatever happens to the workers.

`LOBBY_SEED` and `LOBBY_ROUNDS` make it another, or a longer, run.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import gevent
import pytest

from rtcio_sync.lobby import keeper as keeping
from rtcio_sync.lobby import keeper_watch
from tests.lobby.many_lobbies import Network, Peer, Worker, assert_same, settle, side_by_side
from tests.timing import until

SEED = int(os.environ.get("LOBBY_SEED", "1313"))
ROUNDS = int(os.environ.get("LOBBY_ROUNDS", "12"))
RUNS = 6
SEATS = 5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_watch, "SILENT_AFTER", 0.15)
    monkeypatch.setattr(keeping, "COPIED_WITHIN", 0.2)


class Run:
    """One run: rounds in which clients do things while something happens to a worker."""

    def __init__(self, network: Network, seed: int) -> None:
        self.network = network
        self.chance = random.Random(seed)
        self.elder, self.younger = 500, 600
        self.workers: list[Worker] = []
        self.peers: list[Peer] = []
        self.inside: list[Peer] = []
        self.said: dict[Peer, int] = {}
        self.log: list[str] = []
        for _ in range(3):
            self.young()

    def young(self) -> None:
        self.younger += 1
        self.log.append(f"n{self.younger} appears")
        self.add(self.younger)

    def old(self) -> None:
        self.elder -= 1
        self.log.append(f"n{self.elder}, an elder one, appears")
        self.add(self.elder)

    def add(self, number: int) -> None:
        worker = self.network.add(number, max_peers=SEATS)
        self.workers.append(worker)
        self.peers += [worker.client() for _ in range(3)]

    def kill(self) -> Worker | None:
        if len(self.workers) < 4:
            self.young()
            return None
        dead = self.choose(self.workers)
        self.log.append(f"{dead.node} is killed")
        self.network.kill(dead)
        self.workers.remove(dead)
        self.peers = [each for each in self.peers if each.worker is not dead]
        return dead

    def choose(self, workers: list[Worker]) -> Worker:
        """As a rule the keeper."""
        keeper = [each for each in workers if each.keeps == each.node]
        return self.chance.choice(keeper if keeper and self.chance.random() < 0.6 else workers)

    def stop(self) -> None:
        free = [each for each in self.workers if each.node not in self.network.stopped]
        if len(free) < len(self.workers):
            return
        worker = self.choose(free)
        self.log.append(f"{worker.node} is stopped")
        self.network.stop(worker)

    def go_on(self) -> None:
        for worker in self.workers:
            if worker.node in self.network.stopped:
                self.log.append(f"{worker.node} goes on")
                self.network.go_on(worker)

    def round(self) -> None:
        before, starts = list(self.inside), {each: len(each.events) for each in self.peers}
        moving = self.chance.sample(self.peers, self.chance.randint(1, 6))
        talking = [each for each in before if self.chance.random() < 0.7]
        chats: dict[Peer, list[str]] = {each: [] for each in talking}
        happens = self.chance.choice(
            [self.young, self.old, self.kill, self.kill, self.stop, self.stop, None]
        )
        when = self.chance.randint(0, 12)
        moves = set(self.chance.sample(range(20), len(moving)))
        waiting = list(moving)
        dead: Worker | None = None
        for step in range(20):
            if step == when and happens is not None:
                dead = happens() or dead
                waiting = [each for each in waiting if each.worker is not dead]
            if step == 16:
                if self.network.stopped and self.chance.random() < 0.7:
                    gevent.sleep(0.7)  # another one takes over
                if self.chance.random() < 0.7:
                    self.go_on()
                elif self.network.stopped:
                    happens = self.chance.choice([self.old, self.young])
                    happens()
            if step in moves and waiting:
                peer = waiting.pop()
                if peer in before:
                    self.log.append(f"{peer.sid} leaves")
                    peer.emit("leave-room")
                else:
                    self.log.append(f"{peer.sid} joins")
                    peer.join()
                chats.pop(peer, None) if peer not in before else None
            for peer in self.chance.sample(talking, min(2, len(talking))):
                gone = peer in moving and peer not in waiting
                if gone or peer.worker is dead:
                    continue
                self.said[peer] = self.said.get(peer, 0) + 1
                chats[peer].append(f"{self.said[peer]}")
                if self.chance.random() < 0.3:
                    peer.emit("media-state", mic=chats[peer][-1])
                peer.emit("chat-message", text=chats[peer][-1])
            gevent.sleep(self.chance.choice([0, 0.001, 0.003, 0.05]))
        self.go_on()
        self.settle()
        self.check(before, moving, chats, starts, dead)

    def settle(self) -> None:
        def same() -> bool:
            keepers = {each.keeps for each in self.workers}
            return len(keepers) == 1 and all(each.keeper._settled for each in self.workers)

        until(same)
        for _ in range(3):
            settle(self.network)
            gevent.sleep(0.06)
        until(lambda: not any(len(each.keeper._changes) for each in self.workers))
        settle(self.network)

    def check(
        self,
        before: list[Peer],
        moving: list[Peer],
        chats: dict[Peer, list[str]],
        starts: dict[Peer, int],
        dead: Worker | None,
    ) -> None:
        stayed = [each for each in before if each not in moving and each.worker is not dead]
        joined = [each for each in moving if each not in before and each.worker is not dead]
        for peer in joined:
            answers = [name for name, _ in peer.events[starts[peer] :] if name.startswith("join-")]
            assert len(answers) == 1, (peer.sid, answers)
            if answers == ["join-ok"]:
                stayed.append(peer)
        (sids,) = {tuple(each.lobby.peers("r")) for each in self.workers}
        assert len(sids) <= SEATS
        assert sorted(sids) == sorted(each.sid for each in stayed)
        self.inside = sorted(stayed, key=lambda each: sids.index(each.sid))
        for peer in self.peers:
            if peer not in self.inside:
                peer.events.append(("left", None))
        assert_same(*self.workers, peers=self.inside)
        for peer in self.inside:
            if peer not in before:
                continue
            for sender, said in chats.items():
                if sender is peer:
                    continue
                heard = [
                    fields["text"]
                    for name, fields in peer.events[starts[peer] :]
                    if name == "chat-message" and fields["id"] == sender.sid
                ]
                if sender.worker is dead:
                    assert heard == said[: len(heard)], (peer.sid, sender.sid)
                else:
                    assert heard == said, (peer.sid, sender.sid)


def test_workers_come_go_and_stop_while_clients_talk(tmp_path: Path) -> None:
    side_by_side(tmp_path, range(SEED, SEED + RUNS), do)


def do(network: Network, seed: int) -> None:
    run = Run(network, seed)
    settle(network)
    try:
        for each in range(ROUNDS):
            run.log.append(f"-- round {each}; {[w.keeps for w in run.workers]} keep the rooms")
            run.round()
    except BaseException:
        print(f"seed {seed}:", *run.log[-60:], sep="\n")
        raise
