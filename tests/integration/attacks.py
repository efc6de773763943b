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
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import repeat
from types import SimpleNamespace
from typing import Any

from tests.frames import masked, upgrade_request
from tests.integration.bystanders import HALL
from tests.integration.hostile import PATH, STAYS, Fate, Hostile, announced
from tests.integration.raw import RawPolling

MB = 1_000_000

#: Seconds in which a server must take notice of an attacker; more than a starved one of ours takes.
NOTICE = 20.0

RESERVED = (
    *("connect", "connection", "connect_error", "disconnect", "disconnecting"),
    *("newListener", "removeListener", "__disconnect_final", "*"),
)


class Scene(ExitStack):
    """A server's port, the sids of two who have done nothing, and the attacker's connections.

    ``notice``: seconds to wait for an attacker's end; ``patience``: seconds that an attacker sends
    what the server does not take. ``seconds`` is how long a
    flood of frames lasts, ``flood`` how long one of events.
    """

    def __init__(
        self,
        port: int,
        victims: Sequence[str],
        *,
        notice: float = NOTICE,
        patience: float = NOTICE,
        seconds: float = 1.5,
        flood: float = 40.0,
    ) -> None:
        super().__init__()
        self.port = port
        self.victims = victims
        self.notice = notice
        self.patience = patience
        self.seconds = seconds
        self.flood = flood
        #: Bytes that the attacker got rid of.
        self.sent = 0
        #: The attacker's sid, where it has one.
        self.sid = ""

    def hostile(self, **options: Any) -> Hostile:
        return self.enter_context(Hostile(self.port, **options))

    def joined(self, **options: Any) -> Hostile:
        hostile = self.hostile(**options)
        self.sid = hostile.join()
        return hostile

    def push(self, hostile: Hostile, pieces: Iterable[bytes]) -> Fate:
        """Sends them all, or for as long as it has patience, and waits for the end."""
        self.sent, hung_up = hostile.push(pieces, self.patience)
        return _end(hostile) if hung_up else hostile.fate(self.notice)


def _end(hostile: Hostile) -> Fate:
    # What came before TCP's end is in the buffer: the close frame is the last of it, at most.
    fate = hostile.fate(1.0)
    return Fate("closed") if fate is STAYS else fate


def _envelope(source: Any, target: Any, data: Any = None, **more: Any) -> str:
    return "42" + json.dumps(
        ["#rtcio:message", {"source": source, "target": target, "data": data or {}, **more}]
    )


def _and_stays(scene: Scene, hostile: Hostile) -> Fate:
    """Whether the server still listens to it: what it said before has been dealt with then."""
    hostile.say('4299["join","lair"]')
    try:
        hostile.until("4399[")
    except (AssertionError, TimeoutError):
        return _end(hostile)
    return STAYS


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
    return hostile.fate(scene.notice)


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
    packet = _envelope(scene.sid, deaf_sid, {"description": "x" * 100_000})
    scene.sent, _ = talker.push(repeat(masked(1, packet.encode()), messages), scene.patience)
    _and_stays(scene, talker)
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
    hostile.say(_envelope(a, b), _envelope(b, b))
    hostile.say("42" + json.dumps(["#rtcio:message", {"target": b, "data": {}}]))
    return _and_stays(scene, hostile)


def room_as_target(scene: Scene) -> Fate:
    hostile = scene.joined()
    hostile.say(*(_envelope(scene.sid, target) for target in (HALL, [HALL], None)))
    return _and_stays(scene, hostile)


def reserved_events(scene: Scene) -> Fate:
    """From within the victims' room, so that a handler of the app's that runs is heard there."""
    hostile = scene.joined()
    hostile.say(f'4298["join","{HALL}"]')
    hostile.until("4398[")
    for name in RESERVED:
        hostile.say("42" + json.dumps([name, "transport close"]))
    hostile.say("42[7]", '42[{"a":1}]', "42[null]", "42[]")
    return _and_stays(scene, hostile)


# -- floods ---------------------------------------------------------------------------------------


def frames_that_say_nothing(scene: Scene, frame: bytes = masked(9, b"p" * 125)) -> Fate:
    pieces = iter([masked(1, fin=False), *repeat(frame * 1000, 10_000)])
    hostile = scene.joined()
    scene.sent, hung_up = hostile.push(pieces, scene.seconds)
    return _end(hostile) if hung_up else STAYS


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
    return _end(hostile) if hung_up else _and_stays(scene, hostile)


def namespaces_without_end(scene: Scene) -> Fate:
    hostile = scene.joined()
    packets = [masked(1, f"40/n{number},".encode()) for number in range(900)]
    scene.sent, hung_up = hostile.push(packets, 5)
    return _end(hostile) if hung_up else _and_stays(scene, hostile)


def events_without_end(scene: Scene) -> Fate:
    def events() -> Iterator[bytes]:
        for start in range(0, 10**9, 100):
            yield b"".join(
                masked(1, f'42["count","flood",{number}]'.encode())
                for number in range(start, start + 100)
            )

    hostile = scene.joined()
    scene.sent, hung_up = hostile.push(events(), scene.flood)
    return _end(hostile) if hung_up else STAYS


@dataclass(frozen=True)
class Attack:
    title: str
    run: Callable[[Scene], Fate]


#: In the order of the benchmark's table.
ATTACKS = {
    attack.run.__name__: attack
    for attack in (
        Attack("a frame of 200 MB", frame_of_200_mb),
        Attack("a frame that declares 2^40 bytes", frame_of_a_tebibyte),
        Attack("300 MB of fragments", fragments_of_300_mb),
        Attack("a deflate bomb of 100 MB", deflate_bomb),
        Attack("9,999,999,999 attachments announced, 40 MB sent", ten_billion_attachments),
        Attack("JSON 100,000 levels deep, to be relayed", deep_json),
        Attack("16,000 packets in a poll", poll_of_16_000_packets),
        Attack("a peer that reads nothing of 12 MB", reads_nothing),
        Attack("5,000 connections silent after their 101", silent_connections),
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
