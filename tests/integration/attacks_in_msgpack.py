"""Attacks in MessagePack, on a server that understands it at ``/packed``. See `attacks`."""

from __future__ import annotations

import struct
from itertools import repeat
from typing import Any

import msgpack

from tests.frames import masked
from tests.integration.hostile import STAYS, Fate, Hostile
from tests.integration.scene import DEAF, Scene, end_of

PATH = "/packed/?EIO=4&transport=websocket"

#: 950 kB of the smallest values there are.
LISTS = struct.pack("!BI", 0xDD, 950_000) + b"\x90" * 950_000

#: Socket.IO's types of packets.
CONNECT, EVENT, ACK, CONNECT_ERROR = 0, 2, 3, 4


def packet(kind: int, data: bytes, number: int | None = None) -> bytes:
    """A frame with a packet, whose data are packed already."""
    fields = {"type": kind, "nsp": "/", **({} if number is None else {"id": number})}
    head = bytes([0x80 | len(fields) + 1]) + msgpack.packb(fields)[1:]
    return masked(2, head + msgpack.packb("data") + data)


def say(payload: bytes) -> bytes:
    """A frame with an event for an app that forwards its packed payload to the room "lair"."""
    return packet(EVENT, b"\x93" + msgpack.packb("say") + msgpack.packb("lair") + payload)


def answer(hostile: Hostile) -> Any:
    """The next packet that is not an event; `None` at the connection's end."""
    while True:
        opcode, payload = hostile.frame()
        if opcode in (-1, 8):
            return None
        if payload == b"2":
            hostile.say("3")
        elif opcode == 2:
            found = msgpack.unpackb(payload, strict_map_key=False)
            if found["type"] != EVENT:
                return found


def joined(scene: Scene) -> Hostile:
    """One in the room "lair"; it reads nothing but answers."""
    hostile = scene.hostile(window=DEAF, path=PATH)
    hostile.sock.sendall(packet(CONNECT, msgpack.packb({})))
    connected = answer(hostile)
    assert connected is not None and connected["type"] == CONNECT, connected
    scene.sid = connected["data"]["sid"]
    assert and_stays(hostile) is STAYS
    return hostile


def and_stays(hostile: Hostile) -> Fate:
    """Whether the server still listens to it: what it said before has been dealt with then."""
    try:
        hostile.sock.sendall(packet(EVENT, msgpack.packb(["join", "lair"]), 99))
        found = answer(hostile)
    except TimeoutError:
        return Fate("is not answered")
    except ConnectionError:
        return end_of(hostile)
    return Fate("closed") if found is None else STAYS


def connects_of_lists_in_msgpack(scene: Scene, number: int = 10) -> Fate:
    """CONNECTs with 950 kB of lists, kept for as long as their clients are there."""
    connect = packet(CONNECT, b"\x81" + msgpack.packb("lists") + LISTS)
    connections = [scene.hostile(window=DEAF, path=PATH) for _ in range(number)]
    for hostile in connections:
        hostile.push([connect], scene.patience, reads=False)
    for hostile in connections:
        hostile.sock.settimeout(scene.patience)
        found = answer(hostile)
        if found is None:
            return Fate("closed")
        if found["type"] == CONNECT:
            return STAYS
    return Fate("refused")


def events_of_lists_in_msgpack(scene: Scene, number: int = 20) -> Fate:
    """Events of 950 kB of lists, to an app that would forward them."""
    return _forwarded(scene, LISTS, number)


def deep_msgpack_forwarded(scene: Scene, levels: int = 600, number: int = 100) -> Fate:
    """What can be read and not be written, perhaps, to an app that forwards it."""
    return _forwarded(scene, b"\x91" * (levels - 1) + b"\x90", number)


def _forwarded(scene: Scene, payload: bytes, number: int) -> Fate:
    joined(scene)
    hostile = joined(scene)
    hostile.push(repeat(say(payload), number), scene.patience, reads=False)
    hostile.sock.settimeout(scene.patience)
    return and_stays(hostile)
