"""What an attacker does, attack by attack, to whatever server speaks Engine.IO 4.

The tests look at what becomes of ours; the benchmark does the same to others for comparison, and
the soak some of it every second. Each attack is a function of a `Scene` that returns the attacker's
`Fate`; whoever attacks stays connected until the scene ends. `ATTACKS` are all of them.
"""

from __future__ import annotations

import json
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat
from types import SimpleNamespace

from tests.frames import masked, upgrade_request
from tests.integration import attacks_in_msgpack as packed
from tests.integration import attacks_on_bounds as bounds
from tests.integration import attacks_on_handlers as handlers
from tests.integration import attacks_over_redis as channel
from tests.integration.bystanders import HALL
from tests.integration.hostile import PATH, STAYS, Fate, announced
from tests.integration.raw import RawPolling
from tests.integration.scene import MB, Scene, and_stays, end_of, envelope

RESERVED = (
    *("connect", "connection", "connect_error", "disconnect", "disconnecting"),
    *("newListener", "removeListener", "__disconnect_final", "*"),
)


# -- too large ------------------------------------------------------------------------------------


def frame_of_200_mb(scene: Scene) -> Fate:
    size = 200 * MB
    whole, rest = divmod(size, 65536)
    return scene.push(scene.joined(), [announced(size), *repeat(bytes(65536), whole), bytes(rest)])


def frame_of_a_tebibyte(scene: Scene) -> Fate:
    hostile = scene.hostile()
    hostile.sock.sendall(announced(1 << 40, opcode=2) + b"the first of them")
    return hostile.fate(scene.notice)


def fragments_of_300_mb(scene: Scene) -> Fate:
    fragment = masked(0, bytes(60_000), fin=False)
    return scene.push(scene.joined(), [masked(1, b"4", fin=False), *repeat(fragment, 5000)])


def deflate_bomb(scene: Scene) -> Fate:
    """100 MB of zeros in 100 kB, offered and sent as RFC 7692 has it."""
    hostile = scene.joined(more="Sec-WebSocket-Extensions: permessage-deflate\r\n")
    deflate = zlib.compressobj(9, wbits=-15)
    bomb = b"".join(deflate.compress(bytes(MB)) for _ in range(100))
    bomb += deflate.flush(zlib.Z_SYNC_FLUSH)[:-4]
    return scene.push(hostile, [masked(1, bomb, rsv=4)])


def ten_billion_attachments(scene: Scene, namespace: str = "") -> Fate:
    hostile = scene.joined()
    hostile.say(f'459999999999-{namespace}["x",{{"_placeholder":true,"num":0}}]')
    fate = hostile.fate(scene.notice / 2)
    # A server that believes it keeps what comes next.
    return scene.push(hostile, repeat(masked(2, bytes(500_000)), 80)) if fate is STAYS else fate


def deep_json(
    scene: Scene, opening: str = "[", closing: str = "]", *, relayed: bool = True
) -> Fate:
    deep = opening * 100_000 + "1" + closing * 100_000
    hostile = scene.joined()
    if relayed:
        envelope = f'{{"source":"{scene.sid}","target":"{scene.victims[0]}","data":{deep}}}'
        hostile.say(f'42["#rtcio:message",{envelope}]')
    else:
        hostile.say(f'42["count",{deep}]')
    return and_stays(scene, hostile)


def poll_of_16_000_packets(scene: Scene) -> Fate:
    hostile = scene.enter_context(RawPolling(SimpleNamespace(port=scene.port)))  # type: ignore[arg-type]
    hostile.join()
    status = hostile.post(*repeat('42["count","polled",1]', 16_000))
    return STAYS if status == 200 and hostile.post("3") == 200 else Fate("refused", status)


# -- slow and silent ------------------------------------------------------------------------------


def reads_nothing(scene: Scene, messages: int = 120) -> Fate:
    """Has 100 kB relayed to it that many times, and reads none of it."""
    deaf, talker = scene.joined(window=4096), scene.hostile()
    deaf_sid, scene.sid = scene.sid, talker.join()
    packet = envelope(scene.sid, deaf_sid, {"description": "x" * 100_000})
    scene.sent, _ = talker.push(repeat(masked(1, packet.encode()), messages), scene.patience)
    and_stays(scene, talker)
    time.sleep(scene.quiet)
    # What a server has given up on still ends with all that the kernel holds for it.
    return deaf.fate(scene.notice)


def silent_connections(scene: Scene, number: int = 5000) -> Fate:
    """So many WebSockets that say nothing after their 101."""
    request = upgrade_request(PATH)
    for _ in range(number // 50):
        batch = []
        for _ in range(50):
            sock = scene.enter_context(socket.create_connection(("127.0.0.1", scene.port)))
            sock.settimeout(scene.patience)
            sock.sendall(request)
            batch.append(sock)
        for sock in batch:
            if not sock.recv(4096).startswith(b"HTTP/1.1 101"):
                return Fate("refused")
    return STAYS


# -- in another's name ----------------------------------------------------------------------------


def forged_source(scene: Scene) -> Fate:
    a, b = scene.victims
    hostile = scene.joined()
    hostile.say(envelope(a, b), envelope(b, b))
    hostile.say("42" + json.dumps(["#rtcio:message", {"target": b, "data": {}}]))
    return and_stays(scene, hostile)


def room_as_target(scene: Scene) -> Fate:
    hostile = scene.joined()
    hostile.say(*(envelope(scene.sid, target) for target in (HALL, [HALL], None)))
    return and_stays(scene, hostile)


def reserved_events(scene: Scene) -> Fate:
    """From within the victims' room, so that a handler of the app's that runs is heard there."""
    hostile = scene.joined()
    hostile.say(f'4298["join","{HALL}"]')
    hostile.until("4398[")
    for name in RESERVED:
        hostile.say("42" + json.dumps([name, "transport close"]))
    hostile.say("42[7]", '42[{"a":1}]', "42[null]", "42[]")
    return and_stays(scene, hostile)


# -- floods ---------------------------------------------------------------------------------------


def frames_that_say_nothing(scene: Scene, frame: bytes = masked(9, b"p" * 125)) -> Fate:
    pieces = iter([masked(1, fin=False), *repeat(frame * 1000, 10_000)])
    hostile = scene.joined()
    scene.sent, hung_up = hostile.push(pieces, scene.seconds)
    return end_of(hostile) if hung_up else STAYS


def empty_fragments(scene: Scene) -> Fate:
    return frames_that_say_nothing(scene, masked(0, fin=False))


def pings_whose_pongs_nobody_reads(scene: Scene) -> Fate:
    hostile = scene.hostile(window=4096)
    hostile.sock.settimeout(1)
    flood = masked(9, b"p" * 125) * 1000
    end = time.monotonic() + scene.seconds
    try:
        while time.monotonic() < end:
            hostile.sock.sendall(flood)
    except TimeoutError:  # the server reads no more
        return STAYS
    except OSError:
        return Fate("closed")
    return STAYS


def packets_of_an_unknown_type(scene: Scene, packet: str = "9") -> Fate:
    return scene.push(scene.joined(), repeat(masked(1, packet.encode()), 10_000))


def connect_repeated(scene: Scene) -> Fate:
    hostile = scene.joined()
    scene.sent, hung_up = hostile.push(repeat(masked(1, b"40"), 900), 5)
    return end_of(hostile) if hung_up else and_stays(scene, hostile)


def namespaces_without_end(scene: Scene) -> Fate:
    hostile = scene.joined()
    packets = [masked(1, f"40/n{number},".encode()) for number in range(900)]
    scene.sent, hung_up = hostile.push(packets, 5)
    return end_of(hostile) if hung_up else and_stays(scene, hostile)


def events_without_end(scene: Scene) -> Fate:
    def events() -> Iterator[bytes]:
        for start in range(0, 10**9, 100):
            yield b"".join(
                masked(1, f'42["count","flood",{number}]'.encode())
                for number in range(start, start + 100)
            )

    hostile = scene.joined()
    scene.sent, hung_up = hostile.push(events(), scene.flood)
    return end_of(hostile) if hung_up else STAYS


@dataclass(frozen=True)
class Attack:
    """``needs``: what a server must have for it, of "recovery", "lobby", "msgpack" and "redis".

    ``descriptors``: the limit of open files that its server has.
    """

    title: str
    run: Callable[[Scene], Fate]
    needs: frozenset[str] = frozenset()
    descriptors: int | None = None


#: In the order of the benchmark's table.
ATTACKS = {
    attack.run.__name__: attack
    for attack in (
        Attack("a frame of 200 MB", frame_of_200_mb),
        Attack("a frame that declares 2^40 bytes", frame_of_a_tebibyte),
        Attack("300 MB of fragments", fragments_of_300_mb),
        Attack("a deflate bomb of 100 MB", deflate_bomb),
        Attack("9,999,999,999 attachments announced, 40 MB sent", ten_billion_attachments),
        Attack("2,000 placeholders of one attachment, forwarded", bounds.one_attachment_many_times),
        Attack("20 CONNECTs with 950 kB of `[],` as `auth`", bounds.auth_of_many_lists),
        Attack("20 events of 950 kB of `[],`", bounds.event_of_many_lists),
        Attack("20 relays of 950 kB of `[],`", bounds.relay_of_many_lists),
        Attack(
            "10 CONNECTs in msgpack with 950 kB of lists as `auth`",
            packed.connects_of_lists_in_msgpack,
            frozenset({"msgpack"}),
        ),
        Attack(
            "20 events in msgpack of 950 kB of lists",
            packed.events_of_lists_in_msgpack,
            frozenset({"msgpack"}),
        ),
        Attack("JSON 500 levels deep, forwarded 100 times", bounds.deep_json_forwarded),
        Attack(
            "msgpack 600 levels deep, forwarded 100 times",
            packed.deep_msgpack_forwarded,
            frozenset({"msgpack"}),
        ),
        Attack("JSON 100,000 levels deep, to be relayed", deep_json),
        Attack("16,000 packets in a poll", poll_of_16_000_packets),
        Attack("10 forms of JSONP with 316,000 fields", bounds.jsonp_of_many_fields),
        Attack("JSONP's index in 4,301 digits", bounds.jsonp_of_many_digits),
        Attack("80 requests of 1 GB whose body never comes", bounds.bodies_that_never_come),
        Attack(
            "896 handshakes pipelined, with 1,024 descriptors",
            bounds.pipelined_handshakes,
            descriptors=1024,
        ),
        Attack("a peer that reads nothing of 12 MB", reads_nothing),
        Attack("an answer of 10 MB that is not read", bounds.large_answer_nobody_reads),
        Attack("24 who read nothing of 25 MB each", bounds.many_who_read_nothing),
        Attack("3 who read 500 bytes a second of 6 MB", bounds.slow_readers),
        Attack("5 polls of 2 MB that are not read", bounds.polling_answers_nobody_reads),
        Attack("a tab on polling that is closed", bounds.polling_tab_closed),
        Attack(
            "800 lost, 0.9 MB to each, with recovery", bounds.away_sessions, frozenset({"recovery"})
        ),
        Attack("5,000 connections silent after their 101", silent_connections),
        Attack("junk on the Redis channel", channel.junk_on_the_channel, frozenset({"redis"})),
        Attack(
            "300 relays of 0.9 MB while Redis hangs",
            channel.relays_while_redis_hangs,
            frozenset({"redis"}),
        ),
        Attack("handlers that raise BaseExceptions", handlers.handlers_that_raise),
        Attack("1,000 events whose handler computes 5 ms", handlers.burst_of_handlers),
        Attack("20 leave whose handlers never return", handlers.handlers_that_never_return),
        Attack("disconnected by the app while it connects", handlers.put_out_while_let_in),
        Attack("a list as the name of a room", handlers.list_as_room),
        Attack("1,000 rooms of a lobby squatted", handlers.rooms_squatted, frozenset({"lobby"})),
        Attack("a forged source", forged_source),
        Attack("a room as target", room_as_target),
        Attack("reserved events", reserved_events),
        Attack("packets of an unknown type", packets_of_an_unknown_type),
        Attack("CONNECT repeated 900 times", connect_repeated),
        Attack("900 namespaces", namespaces_without_end),
        Attack("a flood of PINGs whose PONGs nobody reads", pings_whose_pongs_nobody_reads),
        Attack("a flood of empty fragments", empty_fragments),
        Attack("a flood of events", events_without_end),
    )
}
