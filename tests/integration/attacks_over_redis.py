"""Attacks on a server with a Redis: by who may publish there, or while it hangs. See `attacks`."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from typing import Any

import msgpack
import redis
import socketio

from tests.frames import masked
from tests.integration.hostile import STAYS, Fate, Hostile
from tests.integration.redis_server import hung
from tests.integration.scene import Scene, and_stays, end_of, envelope
from tests.timing import DEADLINE

#: What no server publishes.
JUNK = [
    b"5",
    b'["method"]',
    b"\xff\xfe",
    b"[" * 100_000,
    pickle.dumps({"method": "emit"}),
    b'{"method": "disconnect", "sid": ["a"], "namespace": "/"}',
    b'{"method": "emit"}',
    b'{"method": "emit", "event": "x", "rtcio_relay": {"target": []}}',
    b'{"method": "close_room", "room": {}}',
]

#: The channel of python-socketio's servers, and those of Node's.
CHANNELS = ("socketio", "socket.io#/#", "socket.io-request#/#", "socket.io-response#/#")


class _Colleague:
    """Another process of the server, whether that is written in Python or for Node."""

    def __init__(self, scene: Scene) -> None:
        assert scene.redis is not None
        self.client = scene.enter_context(redis.Redis.from_url(scene.redis))
        self._python = socketio.RedisManager(scene.redis, write_only=True)

    def say(self, word: Any) -> None:
        """Emits an event to the room "lair"."""
        self._python.emit("said", word, room="lair")
        event = {"type": 2, "data": ["said", word], "nsp": "/"}
        options = {"rooms": ["lair"], "except": [], "flags": {}}
        self.client.publish("socket.io#/#lair#", msgpack.packb(["colleague", event, options]))


@contextmanager
def until_published(url: str, event: str) -> Iterator[None]:
    """At its end, waits until a server has published an event, once this has begun."""
    with redis.Redis.from_url(url) as client:
        heard = client.pubsub(ignore_subscribe_messages=True)
        heard.subscribe(CHANNELS[0])
        yield
        end = time.monotonic() + DEADLINE
        while event.encode() not in ((heard.get_message(timeout=1) or {}).get("data") or b""):
            assert time.monotonic() < end, f"nobody publishes {event}"


def junk_on_the_channel(scene: Scene, number: int = 20) -> Fate:
    """Junk between messages of another process: whether these still reach a client."""
    colleague, witness = _Colleague(scene), scene.joined()
    witness.say('4299["join","lair"]')
    witness.until("4399[")
    _until_heard(witness, colleague, "begin")
    try:
        for each in range(number):
            for junk in JUNK:
                for channel in CHANNELS:
                    colleague.client.publish(channel, junk)
            colleague.say(each)
        heard = _until_heard(witness, colleague, "end")
    except TimeoutError:
        return Fate("others are not heard any more")
    except (AssertionError, ConnectionError):
        return end_of(witness)
    lost = number - len(set(heard) & set(range(number)))
    return Fate(f"{lost} of {number} messages of others are lost") if lost else STAYS


def relays_while_redis_hangs(scene: Scene, number: int = 300, size: int = 900_000) -> Fate:
    """Messages to nobody of this process, while Redis takes connections and answers nothing."""
    assert scene.redis is not None
    talker = scene.deaf()
    relay = masked(1, envelope(scene.sid, "A" * 20, "x" * size).encode())
    with hung(scene.redis):
        scene.sent, hung_up = talker.push(repeat(relay, number), scene.patience, reads=False)
        talker.sock.settimeout(scene.patience)
        return end_of(talker) if hung_up else and_stays(scene, talker)


def _until_heard(witness: Hostile, colleague: _Colleague, last: str) -> list[Any]:
    """What is heard before that; it is said again and again, until somebody listens."""
    witness.sock.settimeout(1)
    heard: list[Any] = []
    for _ in range(20):
        colleague.say(last)
        try:
            while (word := json.loads(witness.until('42["said"')[2:])[1]) != last:
                heard.append(word)
            return heard
        except TimeoutError:
            pass
    raise TimeoutError(last)
