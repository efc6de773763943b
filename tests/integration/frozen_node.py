"""A node of the first release that had a cluster, byte by byte, from nothing of this package.

It shows that a release speaks to the one before it. Change nothing here but with a new number of
the protocol, and then keep this file beside its successor until that release is two behind.
"""

from __future__ import annotations

import struct
import threading
import time
from typing import Any

import msgspec
import redis

VERSION = 1
HEADER = struct.Struct(">4sIIQ")  # sender, token, epoch, number
FRAME = struct.Struct(">IBH")  # length, kind, length of the key
TIMES = 1 << 32

RELAY, EMIT, JOINED, LEFT, TOLD, HELLO = 2, 4, 5, 6, 7, 200

pack, unpack = msgspec.msgpack.encode, msgspec.msgpack.decode


def frame(kind: int, body: bytes, key: bytes = b"") -> bytes:
    return FRAME.pack(FRAME.size - 4 + len(key) + len(body), kind, len(key)) + key + body


class FrozenNode:
    """Beats, and notes what arrives: ``heard``, as (sender, kind, key, body)."""

    def __init__(self, url: str, node: str = "Froz", prefix: str = "rtcio") -> None:
        self.node, self.token, self.prefix = node, 4711, prefix
        self._redis = redis.Redis.from_url(url)
        self._born = time.time_ns()
        self._numbers: dict[str, int] = {}
        self.heard: list[tuple[str, int, bytes, bytes]] = []
        self._stopped = threading.Event()
        self._redis.xadd(self._inbox(node), {"b": self.token})
        record = pack([VERSION, self.token, "frozen", self._born, 0, 0])
        self._redis.hset(f"{prefix}:{{nodes}}:records", node, record)
        self._threads = [threading.Thread(target=each) for each in (self._beat, self._read)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _inbox(self, node: str) -> str:
        return f"{self.prefix}:{{n:{node}}}:inbox"

    def _beat(self) -> None:
        beats = f"{self.prefix}:{{nodes}}:beats"
        while not self._stopped.wait(0.5):
            seconds, micros = self._redis.time()
            tenths = (seconds * 10 + micros // 100_000) % TIMES
            self._redis.hset(beats, self.node, self.token * TIMES + tenths)

    def _read(self) -> None:
        at: Any = "0"
        inbox, acks = self._inbox(self.node), f"{self.prefix}:{{n:{self.node}}}:acks"
        while not self._stopped.is_set():
            for _, entries in self._redis.xread({inbox: at}, block=200) or []:
                for where, fields in entries:
                    at = where
                    if b"m" not in fields:
                        continue
                    sender, _, epoch, number = HEADER.unpack_from(fields[b"m"])
                    node = sender.decode()
                    self._hear(node, fields[b"m"][HEADER.size :])
                    self._redis.hset(acks, node, f"{epoch} {number + 1}")

    def _hear(self, node: str, data: bytes) -> None:
        while data:
            length, kind, key = FRAME.unpack_from(data)
            whole, data = data[: 4 + length], data[4 + length :]
            body = whole[FRAME.size :]
            self.heard.append((node, kind, body[:key], body[key:]))

    def post(self, node: str, *frames: bytes) -> None:
        """Sends one entry; the first of all begins with HELLO."""
        number = self._numbers.get(node, 0)
        self._numbers[node] = number + 1
        if not number:
            frames = (frame(HELLO, pack([VERSION, "frozen", self._born])), *frames)
        head = HEADER.pack(self.node.encode(), self.token, 1, number)
        self._redis.xadd(self._inbox(node), {"m": head + b"".join(frames)}, nomkstream=True)
