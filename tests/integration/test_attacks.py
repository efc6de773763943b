"""One hostile client costs nothing but its own connection.

Each attack runs against a real server process while two bystanders relay to each other: every
message of theirs arrives, the process keeps its memory, its greenlets and its life, and nobody has
to read about it in the log.
"""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest

from tests.frames import masked, upgrade_request
from tests.integration.bystanders import Bystanders
from tests.integration.hostile import PATH, Hostile, announced
from tests.integration.raw import RawPolling
from tests.integration.servers import Running, assert_clean, running

MB = 1_000_000

#: Bytes that an attack may cost the server while it lasts.
BOUND = 16 * MB

#: Bytes of one idle WebSocket in the server, far above what is measured (4 to 7 kB).
IDLE = 10_000

WAYS = ("listen", "gunicorn-gevent")


class Target:
    """A server under attack and the two bystanders on it."""

    def __init__(self, server: Running, bystanders: Bystanders) -> None:
        self.server = server
        self.port = server.port
        self.bystanders = bystanders
        self.pid: int = server.get_json("/census")["pid"]

    def memory(self, figure: str) -> int:
        """Bytes of the process: ``VmRSS``, or ``VmHWM``, the highest since `unharmed` began."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(figure):
                return int(line.split()[1]) * 1024
        raise AssertionError(f"no {figure}")

    @contextmanager
    def unharmed(self, *, bound: int = BOUND) -> Iterator[None]:
        """What is done inside must harm nobody else."""
        mark = self.server.log_mark()
        before = self.server.get_json("/census")
        self.bystanders.report()
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")
        started_with = self.memory("VmRSS")
        yield
        rise = self.memory("VmHWM") - started_with
        report = self.bystanders.report()
        print(f"memory +{rise / MB:.1f} MB, {report}")
        assert report["strange"] == []
        assert report["relayed"] > 0
        assert rise < bound, f"{rise / MB:.1f} MB more"
        self.server.eventually(
            "/census", lambda census: census["greenlets"] <= before["greenlets"] + 2
        )
        assert self.server.get_json("/census")["pid"] == before["pid"]
        assert_clean(self.server.log(mark))

    def counts(self, kind: str) -> Callable[[str], int]:
        """How much more was counted since now, by name, in `closed` or `dropped`."""
        before = self.server.get_json("/stats")[kind]

        def more(name: str) -> int:
            now = self.server.get_json("/stats")[kind]
            return int(now.get(name, 0) - before.get(name, 0))

        return more


@contextmanager
def target_of(way: str, **options: Any) -> Iterator[Target]:
    with running(way, "attacked", **options) as server, ExitStack() as stack:
        bystanders = Bystanders(server.port)
        stack.callback(bystanders.stop)
        yield Target(server, bystanders)


@pytest.fixture(scope="module", params=WAYS)
def target(request: pytest.FixtureRequest) -> Iterator[Target]:
    with target_of(request.param) as target:
        with Hostile(target.port) as warming_up:  # what a process loads with its first messages
            warming_up.join()
            for number in range(3):
                warming_up.say(f'42["count","warm",{number},"{"x" * 900_000}"]')
            target.server.eventually("/counted/warm", lambda counted: len(counted) == 3)
        yield target


# -- too large ------------------------------------------------------------------------------------


def test_a_frame_of_200_mb_is_refused_by_its_header(target: Target) -> None:
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.join()
        sent, hung_up = hostile.push([announced(200 * MB), *repeat(bytes(65536), 3000)])
        assert hung_up and sent < 20 * MB
        assert hostile.closed_with() in (1009, None)


def test_a_frame_of_a_tebibyte_is_refused_by_its_header(target: Target) -> None:
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.sock.sendall(announced(1 << 40, opcode=2) + b"the first of them")
        assert hostile.closed_with() == 1009


def test_fragments_of_300_mb_are_refused_by_their_sum(target: Target) -> None:
    fragment = masked(0, bytes(60_000), fin=False)
    with target.unharmed(), Hostile(target.port) as hostile:
        sent, hung_up = hostile.push([masked(1, b"4", fin=False), *repeat(fragment, 5000)])
        assert hung_up and sent < 20 * MB
        assert hostile.closed_with() in (1009, None)


def test_a_deflate_bomb_is_not_inflated(target: Target) -> None:
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.sock.sendall(masked(1, b"\xec\xc1\x01\x01\x00\x00\x00\x80", rsv=4))
        assert hostile.closed_with() == 1002


@pytest.mark.parametrize("namespace", ["", "/calls,"])
def test_ten_billion_attachments_are_not_awaited(target: Target, namespace: str) -> None:
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.join()
        hostile.say(f'459999999999-{namespace}["x",{{"_placeholder":true,"num":0}}]')
        assert hostile.closed_with() == 1002


@pytest.mark.parametrize("opening, closing", ["[]", ('{"a":', "}")], ids=["lists", "objects"])
@pytest.mark.parametrize("relayed", [True, False], ids=["relayed", "to a handler"])
def test_json_100_000_levels_deep_ends_its_own_connection(
    target: Target, relayed: bool, opening: str, closing: str
) -> None:
    deep = opening * 100_000 + "1" + closing * 100_000
    with target.unharmed(), Hostile(target.port) as hostile:
        sid = hostile.join()
        if relayed:
            envelope = f'{{"source":"{sid}","target":"{target.bystanders.sids[0]}","data":{deep}}}'
            hostile.say(f'42["#rtcio:message",{envelope}]')
        else:
            hostile.say(f'42["count",{deep}]')
        assert hostile.closed_with() == 1002


def test_a_poll_of_16_000_packets_is_refused(target: Target) -> None:
    with target.unharmed(), RawPolling(target.server) as hostile:
        hostile.join()
        assert hostile.post(*repeat('42["count","polled",1]', 16_000)) == 400
        assert hostile.post("3") == 400
        assert target.server.get_json("/counted/polled") == []


# -- slow and silent ------------------------------------------------------------------------------


def test_a_peer_that_reads_nothing_is_closed_at_the_bound(target: Target) -> None:
    closed = target.counts("closed")
    with (
        target.unharmed(),
        Hostile(target.port, window=4096) as deaf,
        Hostile(target.port) as talker,
    ):
        sid, source = deaf.join(), talker.join()
        envelope = {"source": source, "target": sid, "data": {"description": "x" * 100_000}}
        for _ in range(120):
            talker.say("42" + json.dumps(["#rtcio:message", envelope]))
        # The last of them are for nobody, which is no fault of whoever sends them.
        target.server.eventually("/stats", lambda _: closed("slow-reader") == 1)
        talker.say('42["count","talker",1]')
        target.server.eventually("/counted/talker", lambda counted: counted != [])


# -- in another's name ----------------------------------------------------------------------------


def test_forged_sources_and_rooms_as_targets_reach_nobody(target: Target) -> None:
    dropped = target.counts("dropped")
    a, b = target.bystanders.sids
    with target.unharmed(), Hostile(target.port) as hostile:
        sid = hostile.join()
        for envelope in (
            {"source": a, "target": b, "data": {}},
            {"source": b, "target": b, "data": {}},
            {"target": b, "data": {}},
            {"source": sid, "target": "hall", "data": {}},
            {"source": sid, "target": ["hall"], "data": {}},
            {"source": sid, "target": None, "data": {}},
        ):
            hostile.say("42" + json.dumps(["#rtcio:message", envelope]))
        hostile.say('42["count","forger",1]')
        target.server.eventually("/counted/forger", lambda counted: counted == [1])
        assert sum(map(dropped, target.server.get_json("/stats")["dropped"])) == 6


def test_reserved_events_reach_no_handler(target: Target) -> None:
    names = "connect connection connect_error disconnect disconnecting newListener removeListener"
    with target.unharmed(), Hostile(target.port) as hostile:
        dropped = target.counts("dropped")
        sid = hostile.join()
        for name in (*names.split(), "__disconnect_final", "*"):
            hostile.say("42" + json.dumps([name, "transport close"]))
        # Shown to have been handled below: a connection's events are handled in order.
        hostile.say("42[7]", '42[{"a":1}]', "42[null]", "42[]", '42["count","reserver",1]')
        target.server.eventually("/counted/reserver", lambda counted: counted == [1])
        for key in (sid, *(f"any:{name}" for name in (*names.split(), "__disconnect_final", "*"))):
            assert target.server.get_json(f"/counted/{key}") == []
        assert dropped("reserved-event") == 13


# -- floods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [masked(9, b"p" * 125), masked(10), masked(0, fin=False)],
    ids=["PING", "PONG", "empty fragments"],
)
def test_a_flood_of_frames_that_say_nothing_is_survived(target: Target, frame: bytes) -> None:
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.join()
        hostile.push([masked(1, fin=False), *repeat(frame * 1000, 10_000)], seconds=1.5)


def test_a_flood_of_pings_whose_pongs_nobody_reads_is_survived(target: Target) -> None:
    flood = masked(9, b"p" * 125) * 1000
    with target.unharmed(), Hostile(target.port, window=4096) as hostile:
        hostile.sock.settimeout(1)
        end = time.monotonic() + 1.5
        try:
            while time.monotonic() < end:
                hostile.sock.sendall(flood)
        except OSError:  # the server reads no more, or has hung up
            pass


@pytest.mark.parametrize("packet", ["", "9", "7x", "2", "5", "47", "49[]", "4x", "4", "⊥"])
def test_packets_of_unknown_types_end_their_own_connection(target: Target, packet: str) -> None:
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.join()
        hostile.push(repeat(masked(1, packet.encode()), 10_000))
        assert hostile.closed_with() in (1002, None)


@pytest.mark.parametrize("way", WAYS)
def test_polling_sessions_that_are_abandoned_are_forgotten(way: str) -> None:
    with target_of(way, ping_interval=2, ping_timeout=2) as target:
        with target.unharmed():
            for _ in range(400):
                assert target.server.get("/socket.io/?EIO=4&transport=polling").status == 200
        target.server.eventually("/stats", lambda stats: stats["connections"] == 2)


def test_probes_that_are_repeated_change_nothing(target: Target) -> None:
    with target.unharmed(), RawPolling(target.server) as hostile:
        hostile.join()
        for number in range(60):
            with Hostile(target.port, sid=hostile.handshake["sid"]) as probe:
                if number % 2:
                    probe.say("2probe")
                    assert probe.frame() == (1, b"3probe")
                probe.say("6")
                assert probe.closed_with() == 1002
        hostile.send('42["count","prober",1]')
        target.server.eventually("/counted/prober", lambda counted: counted == [1])


def test_connect_that_is_repeated_makes_one_socket(target: Target) -> None:
    before = target.server.get_json("/stats")["connected"]
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.join()
        hostile.push(repeat(masked(1, b"40"), 900), seconds=5)
        assert target.server.get_json("/stats")["connected"] == before + 1
        hostile.say('42["count","connecter",1]')
        target.server.eventually("/counted/connecter", lambda counted: counted == [1])


def test_thousands_of_namespaces_are_refused(target: Target) -> None:
    before = target.server.get_json("/stats")["connected"]
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.join()
        packets = [masked(1, f"40/n{number},".encode()) for number in range(900)]
        hostile.push([*packets, masked(1, b'42["count","joiner",1]')], seconds=5)
        target.server.eventually("/counted/joiner", lambda counted: counted == [1])
        assert target.server.get_json("/stats")["connected"] == before + 8


def test_rooms_without_end_are_refused(target: Target) -> None:
    before = target.server.get_json("/stats")["rooms"]
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.join()
        for number in range(500):
            hostile.say(f'42["join-room","room {number}"]')
        hostile.say('42["count","roomer",1]')
        target.server.eventually("/counted/roomer", lambda counted: counted == [1])
        assert target.server.get_json("/stats")["rooms"] == before + 64


def test_a_burst_of_1300_is_only_delayed(target: Target) -> None:
    with target.unharmed(), Hostile(target.port) as hostile, Hostile(target.port) as friend:
        source, sid = hostile.join(), friend.join()
        packets = [
            f'42["#rtcio:message",{{"source":"{source}","target":"{sid}","data":{number}}}]'
            for number in range(1300)
        ]
        hostile.sock.sendall(b"".join(masked(1, each.encode()) for each in packets))
        for packet in packets:
            assert friend.until("42") == packet
        hostile.say('42["count","burst",1]')
        target.server.eventually("/counted/burst", lambda counted: counted == [1])


def test_a_flood_of_events_is_slowed_down_and_ended_after_ten_seconds(target: Target) -> None:
    def events() -> Iterator[bytes]:
        for start in range(0, 10**9, 100):
            yield b"".join(
                masked(1, f'42["count","flood",{number}]'.encode())
                for number in range(start, start + 100)
            )

    closed = target.counts("closed")
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.join()
        began = time.monotonic()
        sent, hung_up = hostile.push(events(), seconds=40)
        lasted = time.monotonic() - began
        assert hung_up and lasted > 8
        assert closed("flood") == 1
    counted = target.server.eventually("/counted/flood", lambda counted: len(counted) > 1000)
    assert counted == list(range(len(counted)))
    assert len(counted) < 1000 + 100 * (lasted + 1)  # on a starved machine ten seconds last longer
    assert sent < 8 * MB  # the rest waits with the sender: in its kernel's buffers, and ours


def test_what_waits_for_a_handler_is_bounded_and_not_lost(target: Target) -> None:
    def packets() -> Iterator[bytes]:
        yield masked(1, b'42["block"]')
        for number in range(90):
            yield masked(1, f'42["count","patient",{number},"{"x" * 400_000}"]'.encode())

    with target.unharmed(), Hostile(target.port) as hostile:
        target.server.get("/hold").read()
        hostile.join()
        sending = packets()
        sent, _ = hostile.push(sending, seconds=3)
        assert sent < 20 * MB
        target.server.release()
        hostile.push([b"", *sending], seconds=20)
        counted = target.server.eventually("/counted/patient", lambda counted: 89 in counted)
        assert counted == sorted(counted)


# The last one: the memory that it leaves free would cover up for others.
def test_5000_connections_that_never_speak_cost_their_idle_memory(target: Target) -> None:
    number = 5000
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > number + 500, "raise `ulimit -n`"
    request = upgrade_request(PATH)
    with ExitStack() as stack, target.unharmed(bound=BOUND + number * IDLE):
        for _ in range(number // 50):
            batch = []
            for _ in range(50):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", target.port)))
                sock.settimeout(20)
                sock.sendall(request)
                batch.append(sock)
            for sock in batch:
                assert sock.recv(4096).startswith(b"HTTP/1.1 101")
        assert target.server.get_json("/stats")["connections"] == number + 2
    target.server.eventually("/stats", lambda stats: stats["connections"] == 2)
