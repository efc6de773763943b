"""Attacks on bounds of the memory, by clients that do not read what comes back. See `attacks`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat

from tests.frames import masked
from tests.integration.hostile import STAYS, Fate, Hostile
from tests.integration.scene import DEAF, MB, Scene, and_stays, still_open

ENDPOINT = "/socket.io/?EIO=4&transport=polling"

#: 950 kB of the smallest values there are.
LISTS = b"[" + b"[]," * 316_000 + b"[]]"


# -- on the way in --------------------------------------------------------------------------------


def one_attachment_many_times(scene: Scene, number: int = 2000, size: int = 800_000) -> Fate:
    """One attachment that so many placeholders name, to an app that forwards it."""
    scene.accomplice()
    hostile = scene.deaf()
    slots = ",".join(repeat('{"_placeholder":true,"num":0}', number))
    hostile.say(f'451-["say","lair",[{slots}]]')
    hostile.sock.sendall(masked(2, bytes(size)))
    hostile.sock.settimeout(scene.patience)
    return and_stays(scene, hostile)


def auth_of_many_lists(scene: Scene, number: int = 20) -> Fate:
    """CONNECTs with 950 kB of lists, kept for as long as their clients are there."""
    connect = masked(1, b'40{"lists":' + LISTS + b"}")
    connections = [scene.hostile(window=DEAF) for _ in range(number)]
    for hostile in connections:
        hostile.push([connect], scene.patience, reads=False)
    for hostile in connections:
        hostile.sock.settimeout(scene.patience)
        while True:
            opcode, payload = hostile.frame()
            if opcode in (-1, 8):
                return Fate("closed")
            if payload.startswith(b"44"):
                break
            if payload.startswith(b"40"):
                return STAYS
    return Fate("refused")


def deep_json_forwarded(scene: Scene, levels: int = 500, number: int = 100) -> Fate:
    """JSON that can be read and not be written, perhaps, to an app that forwards it."""
    scene.accomplice()
    hostile = scene.deaf()
    event = f'42["say","lair",{"[" * levels}{"]" * levels}]'
    hostile.push(repeat(masked(1, event.encode()), number), scene.patience, reads=False)
    return and_stays(scene, hostile)


def event_of_many_lists(scene: Scene, number: int = 20) -> Fate:
    """Events of 950 kB of lists, to an app that would forward them."""
    scene.accomplice()
    hostile = scene.deaf()
    event = masked(1, b'42["say","lair",' + LISTS + b"]")
    hostile.push(repeat(event, number), scene.patience, reads=False)
    hostile.sock.settimeout(scene.patience)
    return and_stays(scene, hostile)


def relay_of_many_lists(scene: Scene, number: int = 20) -> Fate:
    """Relays of 950 kB of lists, which nobody has to write again."""
    accomplice, hostile = scene.accomplice(), scene.deaf()
    head = f'42["#rtcio:message",{{"source":"{scene.sid}","target":"{accomplice.sid}","data":'
    relay = masked(1, head.encode() + LISTS + b"}]")
    hostile.push(repeat(relay, number), scene.patience, reads=False)
    hostile.sock.settimeout(scene.patience)
    return and_stays(scene, hostile)


def jsonp_of_many_fields(scene: Scene, number: int = 10) -> Fate:
    """Forms of 950 kB of empty fields, to an endpoint that looks for one of them."""
    sid = _session(scene)
    body = b"d=&a=" * 158_000
    status = 0
    for _ in range(number):
        status = _post(
            scene, f"{ENDPOINT}&sid={sid}&j=0", body, "application/x-www-form-urlencoded"
        )
        if status != 200:
            break
    return STAYS if status == 200 else Fate("refused", status)


def jsonp_of_many_digits(scene: Scene, number: int = 20) -> Fate:
    """An index of 4,301 digits, which Python turns into no number."""
    status = 0
    for _ in range(number):
        status = _status(scene, _get(f"{ENDPOINT}&j={'9' * 4301}"))
    return STAYS if status == 200 else Fate("refused", status)


# -- on the way out -------------------------------------------------------------------------------


def large_answer_nobody_reads(scene: Scene, size: int = 10 * MB) -> Fate:
    """One answer, asked for and not read."""
    hostile = scene.deaf()
    hostile.say(f'421["answer",{size}]')
    time.sleep(scene.quiet)
    return hostile.fate(scene.notice)


def slow_readers(scene: Scene, number: int = 3) -> Fate:
    """So many who have 6 MB coming and read 500 bytes a second of it."""
    slow = [scene.deaf() for _ in range(number)]
    for hostile in slow:
        hostile.say('42["send-much",60,100000]')
    end = time.monotonic() + scene.quiet
    while time.monotonic() < end:
        time.sleep(1)
        for hostile in slow:
            hostile.sock.settimeout(0.01)
            with suppress(OSError):
                hostile.sock.recv(500)
    fates = [hostile.fate(scene.notice / number) for hostile in slow]
    return max(set(fates), key=fates.count)


def many_who_read_nothing(scene: Scene, number: int = 24, messages: int = 250) -> Fate:
    """So many who ask for 100 kB that often, each less than one connection may have waiting."""
    deaf = [scene.deaf() for _ in range(number)]
    for hostile in deaf:
        hostile.say(f'42["send-much",{messages},100000]')
    time.sleep(scene.quiet)
    fates = [hostile.fate(scene.notice / number) for hostile in deaf]
    return max(set(fates), key=fates.count)


def polling_answers_nobody_reads(scene: Scene, number: int = 5) -> Fate:
    """Polls that are answered with 2 MB and not read, by sessions that answer no ping either."""
    paths = [f"{ENDPOINT}&sid={_session(scene)}" for _ in range(number)]
    for path in paths:
        _post(scene, path, b"40")
        _post(scene, path, b'42["send-much",20,100000]')
    time.sleep(0.5)  # for what is to be in the answers
    # Whoever got a short one, and has read that, is not kept for the next request.
    polls = [scene.dial(_get(path, "Connection: close\r\n"), window=DEAF) for path in paths]
    time.sleep(scene.silence)
    # Whoever was given up on gets what the kernel has, and the end of TCP.
    left = still_open(polls, scene.notice / 2)
    return Fate(f"{left} of {number} stay") if left else Fate("closed")


def bodies_that_never_come(scene: Scene, each: int = 10, wait: float = 15.0) -> Fate:
    """Requests that announce 1 GB, are refused at once, and stay."""
    sid = _session(scene)
    starts = (
        f"POST {ENDPOINT}",  # without a session
        f"POST {ENDPOINT}&sid={sid}",  # too large
        "POST /nowhere",
        f"GET {ENDPOINT.replace('polling', 'websocket')}",  # no upgrade
    )
    lengths = ("Content-Length: 1000000000", "Transfer-Encoding: chunked")
    socks = [
        scene.dial(f"{start} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n\r\n".encode())
        for start in starts
        for length in lengths
        for _ in range(each)
    ]
    left = still_open(socks, wait)
    return Fate(f"{left} of {len(socks)} stay") if left else Fate("closed")


def pipelined_handshakes(scene: Scene, number: int = 896) -> Fate:
    """Handshakes of polling on one TCP connection: whether a newcomer still finds a place."""
    sock = scene.dial(_get(ENDPOINT) * number)
    sock.settimeout(scene.patience)
    seen = b""
    with suppress(OSError):
        while seen.count(b"HTTP/1.1 ") < number and (more := sock.recv(1 << 20)):
            seen += more
    try:
        with Hostile(scene.port) as newcomer:
            newcomer.join()
    except (AssertionError, OSError):
        return Fate("shuts others out")
    return STAYS


def away_sessions(scene: Scene, number: int = 800, size: int = 900_000) -> Fate:
    """So many who were lost, and for each of whom a message of that size is kept."""
    sids = []
    for _ in range(number):
        with Hostile(scene.port) as hostile:
            sids.append(hostile.join())
    talker = scene.deaf()
    source, ballast = scene.sid, "x" * size

    def messages() -> Iterator[bytes]:
        for sid in sids:
            envelope = {"source": source, "target": sid, "data": ballast}
            yield masked(1, f'42["#rtcio:message",{json.dumps(envelope)}]'.encode())

    scene.sent, hung_up = talker.push(messages(), 3 * scene.patience, reads=False)
    return Fate("closed") if hung_up else and_stays(scene, talker)


def polling_tab_closed(scene: Scene) -> Fate:
    """A client on polling closes its tab; how long it takes until its room hears of that."""
    witness = scene.joined()
    witness.say('4299["join","lair"]')
    witness.until("4399[")
    path = f"{ENDPOINT}&sid={_session(scene)}"
    _post(scene, path, b"40")
    _post(scene, path, b'42["join","lair"]')
    for _ in range(2):  # CONNECT's answer, and what else there is, so that the next one waits
        tab = scene.dial(_get(path))
        tab.settimeout(1)
        with suppress(TimeoutError):
            while (more := tab.recv(65536)) and b"40{" not in more:
                pass
    time.sleep(0.2)
    tab.close()
    began = time.monotonic()
    witness.sock.settimeout(scene.silence)
    witness.until('42["#rtcio:peer-left"')
    took = time.monotonic() - began
    return Fate("gone at once") if took < scene.notice / 2 else Fate(f"gone after {took:.0f} s")


# -- over HTTP ------------------------------------------------------------------------------------


def _get(path: str, more: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}\r\n".encode()


def _status(scene: Scene, request: bytes) -> int:
    sock = scene.dial(request)
    answer = b""
    while b"\r\n" not in answer:
        more = sock.recv(4096)
        if not more:
            return 0
        answer += more
    sock.close()
    return int(answer.split()[1])


def _post(scene: Scene, path: str, body: bytes, kind: str = "text/plain") -> int:
    head = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    request = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode() + body
    return _status(scene, request)


def _session(scene: Scene) -> str:
    """A new session on polling; its Engine.IO sid."""
    sock = scene.dial(_get(ENDPOINT, "Connection: close\r\n"))
    answer = b""
    while more := sock.recv(4096):
        answer += more
    sock.close()
    return answer.partition(b'"sid":"')[2].partition(b'"')[0].decode()
