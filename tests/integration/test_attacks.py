"""One hostile client costs nothing but its own connection.

Each attack runs against a real server process while two bystanders relay to each other: every
message of theirs arrives, the process keeps its memory, its greenlets and its life, and nobody has
to read about it in the log.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import pytest

from tests.frames import masked
from tests.integration import attacks
from tests.integration.hostile import STAYS, Fate, Hostile
from tests.integration.raw import RawPolling
from tests.integration.scene import MB
from tests.integration.target import BOUND, WAYS, Target, target_of

#: Bytes of one idle WebSocket in the server, far above what is measured (4 to 7 kB).
IDLE = 10_000

# -- too large ------------------------------------------------------------------------------------


def test_a_frame_of_200_mb_is_refused_by_its_header(target: Target) -> None:
    with target.unharmed(), target.scene() as scene:
        fate = attacks.frame_of_200_mb(scene)
        assert fate in (Fate("closed", 1009), Fate("closed")) and scene.sent < 20 * MB


def test_a_frame_of_a_tebibyte_is_refused_by_its_header(target: Target) -> None:
    with target.unharmed(), target.scene() as scene:
        assert attacks.frame_of_a_tebibyte(scene) == Fate("closed", 1009)


def test_fragments_of_300_mb_are_refused_by_their_sum(target: Target) -> None:
    with target.unharmed(), target.scene() as scene:
        fate = attacks.fragments_of_300_mb(scene)
        assert fate in (Fate("closed", 1009), Fate("closed")) and scene.sent < 20 * MB


def test_a_deflate_bomb_is_not_inflated(target: Target) -> None:
    with target.unharmed(), target.scene() as scene:
        assert attacks.deflate_bomb(scene) in (Fate("closed", 1002), Fate("closed"))
    with target.unharmed(), Hostile(target.port) as hostile:
        hostile.sock.sendall(masked(1, b"\xec\xc1\x01\x01\x00\x00\x00\x80", rsv=4))
        assert hostile.closed_with() == 1002


@pytest.mark.parametrize("namespace", ["", "/calls,"])
def test_ten_billion_attachments_are_not_awaited(target: Target, namespace: str) -> None:
    with target.unharmed(), target.scene() as scene:
        assert attacks.ten_billion_attachments(scene, namespace) == Fate("closed", 1002)


@pytest.mark.parametrize("opening, closing", ["[]", ('{"a":', "}")], ids=["lists", "objects"])
@pytest.mark.parametrize("relayed", [True, False], ids=["relayed", "to a handler"])
def test_json_100_000_levels_deep_reaches_nobody(
    target: Target, relayed: bool, opening: str, closing: str
) -> None:
    with target.unharmed(), target.scene() as scene:
        assert attacks.deep_json(scene, opening, closing, relayed=relayed) is STAYS


def test_a_poll_of_16_000_packets_is_refused(target: Target) -> None:
    with target.unharmed(), target.scene() as scene:
        assert attacks.poll_of_16_000_packets(scene) == Fate("refused", 400)
        assert target.server.get_json("/counted/polled") == []


# -- slow and silent ------------------------------------------------------------------------------


def test_a_peer_that_makes_no_progress_is_closed(target: Target) -> None:
    closed = target.counts("closed")
    with target.unharmed(), target.scene() as scene:
        assert attacks.reads_nothing(scene).end == "closed"
        assert closed("slow-reader") == 1


# -- in another's name ----------------------------------------------------------------------------


def test_forged_sources_and_rooms_as_targets_reach_nobody(target: Target) -> None:
    dropped = target.counts("dropped")
    with target.unharmed():
        for attack in (attacks.forged_source, attacks.room_as_target):
            with target.scene() as scene:
                assert attack(scene) is STAYS
        assert sum(map(dropped, target.server.get_json("/stats")["dropped"])) == 6


def test_reserved_events_reach_no_handler(target: Target) -> None:
    with target.scene() as scene, target.unharmed():
        dropped = target.counts("dropped")
        # A connection's events are handled in order: what it said last was answered.
        assert attacks.reserved_events(scene) is STAYS
        for key in (scene.sid, *(f"any:{name}" for name in attacks.RESERVED)):
            assert target.server.get_json(f"/counted/{key}") == []
        assert dropped("reserved-event") == 13
    # It was in their room, so now they hear of it.
    heard: list[str] = []
    while len(heard) < 2:
        heard += target.bystanders.report()["strange"]
    assert heard == [f'42["#rtcio:peer-left",{{"id":"{scene.sid}"}}]'] * 2


# -- floods ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [masked(9, b"p" * 125), masked(10), masked(0, fin=False)],
    ids=["PING", "PONG", "empty fragments"],
)
def test_a_flood_of_frames_that_say_nothing_is_survived(target: Target, frame: bytes) -> None:
    with target.unharmed(), target.scene() as scene:
        attacks.frames_that_say_nothing(scene, frame)


def test_a_flood_of_pings_whose_pongs_nobody_reads_is_survived(target: Target) -> None:
    with target.unharmed(), target.scene() as scene:
        attacks.pings_whose_pongs_nobody_reads(scene)


@pytest.mark.parametrize("packet", ["", "9", "7x", "2", "5", "47", "49[]", "4x", "4", "⊥"])
def test_packets_of_unknown_types_end_their_own_connection(target: Target, packet: str) -> None:
    with target.unharmed(), target.scene() as scene:
        fate = attacks.packets_of_an_unknown_type(scene, packet)
        assert fate in (Fate("closed", 1002), Fate("closed"))


@pytest.mark.parametrize("way", WAYS)
def test_polling_sessions_that_are_abandoned_are_forgotten(way: str) -> None:
    with target_of(way, ping_interval=2, ping_timeout=10) as target:
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
    with target.unharmed(), target.scene() as scene:
        assert attacks.connect_repeated(scene) is STAYS
        assert target.server.get_json("/stats")["connected"] == before + 1


def test_thousands_of_namespaces_are_refused(target: Target) -> None:
    before = target.server.get_json("/stats")["connected"]
    with target.unharmed(), target.scene() as scene:
        assert attacks.namespaces_without_end(scene) is STAYS
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
    closed = target.counts("closed")
    with target.unharmed(), target.scene() as scene:
        began = time.monotonic()
        assert attacks.events_without_end(scene).end == "closed"
        lasted = time.monotonic() - began
        assert lasted > 8
        assert closed("flood") == 1
    counted = target.server.eventually("/counted/flood", lambda counted: len(counted) > 1000)
    assert counted == list(range(len(counted)))
    assert len(counted) < 1000 + 100 * (lasted + 1)  # on a starved machine ten seconds last longer
    assert scene.sent < 8 * MB  # the rest waits with the sender: in its kernel's buffers, and ours


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
        hostile.push([b"", *sending], seconds=60)
        counted = target.server.eventually("/counted/patient", lambda counted: 89 in counted)
        assert counted == sorted(counted)


# The last one: the memory that it leaves free would cover up for others.
def test_5000_connections_that_never_speak_cost_their_idle_memory(target: Target) -> None:
    number = 5000
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > number + 500, "raise `ulimit -n`"
    with target.unharmed(bound=BOUND + number * IDLE), target.scene() as scene:
        assert attacks.silent_connections(scene, number) is STAYS
        assert target.server.get_json("/stats")["connections"] == number + 2
    target.server.eventually("/stats", lambda stats: stats["connections"] == 2)
