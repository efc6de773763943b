"""Bytes that no client would send, at each layer, against a real server process.

The worker lives and logs no error, its memory stays flat, two bystanders go on relaying, and a
connected peer hears nothing but well-formed messages of those who sent them. `FUZZ_SECONDS` says
for how long, over both servers (60 by default); before that `corpus.txt` is replayed: a line holds
a layer of `layers.LAYERS` and what is sent.
"""

from __future__ import annotations

import ast
import json
import math
import os
import queue
import re
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.layers import LAYERS, Frame, send, text
from tests.integration.hostile import Hostile
from tests.integration.target import Target, target_of
from tests.timing import DEADLINE

SECONDS = float(os.environ.get("FUZZ_SECONDS", "60")) / 2

#: What gunicorn says of a request that is none, before our code has seen it.
UNREADABLE = r"\[WARNING\] Invalid request from ip="

pytestmark = pytest.mark.timeout(SECONDS + 180)


def corpus() -> list[tuple[str, list[Frame]]]:
    found = []
    for line in (Path(__file__).parent / "corpus.txt").read_text().splitlines():
        layer, _, literal = line.partition(" ")
        sent = ast.literal_eval(literal)
        opcode = -1 if layer == "tcp" else 1
        pieces = [
            Frame(*each) if isinstance(each, tuple) else Frame(opcode, each)
            for each in (sent if isinstance(sent, list) else [sent])
        ]
        found.append((layer, pieces))
    return found


class Sink:
    """A connected peer, to whom anybody may send what is right.

    A thread reads what comes and answers pings, so that an example that takes long on a loaded
    machine does not end its connection.
    """

    def __init__(self, port: int) -> None:
        self.hostile = Hostile(port)
        self.sid = self.hostile.join()
        self.hostile.sock.settimeout(None)
        self._frames: queue.SimpleQueue[tuple[int, bytes]] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()
        self.relayed = 0
        self.attachments = 0  # that have not come yet
        self.senders: set[str] = set()

    def check(self) -> None:
        """All that has come is from one of the senders and well-formed to its last byte."""
        time.sleep(0.02)  # on a fast machine it would be closed for a flood of its own
        self.hostile.say('4299["join","lair"]')
        while True:
            opcode, payload = self._frames.get(timeout=DEADLINE)
            assert opcode in (1, 2), f"the peer's connection ended: {payload!r}"
            if opcode == 2:  # whatever is in it
                self.attachments -= 1
            elif payload.startswith(b"4399["):
                return
            else:
                assert self.attachments == 0, payload
                self._check(payload.decode())

    def _read(self) -> None:
        opcode = 1
        while opcode in (1, 2):
            opcode, payload = self.hostile.frame()
            if (opcode, payload) != (1, b"2"):
                self._frames.put((opcode, payload))
                continue
            with suppress(OSError):  # it has ended: the next frame says so
                self.hostile.say("3")

    def _check(self, message: str) -> None:
        start = re.match(r'4(?:2|5(10|[1-9])-)(?=\["#rtcio:message",\{)', message)
        assert start, message
        arguments = json.loads(message[start.end() :], parse_constant=_none, parse_int=float)
        assert len(arguments) == 2, message
        envelope = arguments[1]
        # Its connection may have been closed, and others opened, before it came.
        assert envelope["source"] in self.senders and envelope["target"] == self.sid, message
        self.attachments = int(start[1] or 0)
        if self.attachments:  # without any, a client takes a placeholder for what it is
            assert all(0 <= slot < self.attachments for slot in _slots(envelope)), message
        self.relayed += 1


def _slots(value: Any) -> Iterator[float]:
    """The attachments that a decoded value is to hold: a client drops its connection for others."""
    if isinstance(value, dict) and value.get("_placeholder") is True:
        yield value["num"]
    elif isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _slots(inner)


def _none(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


class Fuzz:
    """Sends messages to one server, and what it sent last, for whoever has to find the fault."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.sink = Sink(target.port)
        self.layers: Counter[str] = Counter()
        self.last: deque[tuple[str, list[Frame]]] = deque(maxlen=10)

    def send(self, layer: str, pieces: list[Frame]) -> None:
        self.layers[layer] += 1
        self.last.append((layer, pieces))
        send(self.target.port, layer, pieces, self.sink.sid, self.sink.senders)
        self.sink.check()


def fuzz(way: str, seed: int) -> None:
    with target_of(way, ping_interval=2, ping_timeout=8, clean_log=False) as target:
        fuzzed = Fuzz(target)
        for layer in LAYERS:  # what a process loads with its first connections
            for _ in range(5):
                fuzzed.send(layer, [text(b"9")])
        try:
            with target.unharmed(allowed=UNREADABLE, log_bound=math.inf):
                for layer, pieces in corpus():
                    fuzzed.send(layer, pieces)
                end = time.monotonic() + SECONDS

                batch = settings(
                    max_examples=25,
                    deadline=None,
                    database=None,
                    derandomize=False,
                    suppress_health_check=list(HealthCheck),
                )
                chosen = st.sampled_from(sorted(LAYERS)).flatmap(
                    lambda layer: st.tuples(st.just(layer), LAYERS[layer])
                )

                def some(example: tuple[str, list[Frame]]) -> None:
                    fuzzed.send(*example)

                while time.monotonic() < end:
                    print(f"seed {seed}")
                    hypothesis.seed(seed)(batch(given(chosen)(some)))()
                    seed += 1
                assert target.server.process.poll() is None
        except BaseException:
            print("sent last:", *fuzzed.last, sep="\n")
            raise
        finally:
            print(f"{way}: {dict(fuzzed.layers)}, {fuzzed.sink.relayed} relayed to the peer")
        assert set(fuzzed.layers) == set(LAYERS)
        assert fuzzed.sink.relayed > 0


# Two classes, because xdist gives each to a process of its own.


class TestUnderListen:
    def test_whatever_bytes_come_harm_nobody_else(self, seed: int) -> None:
        fuzz("listen", seed)


class TestUnderGunicorn:
    def test_whatever_bytes_come_harm_nobody_else(self, seed: int) -> None:
        fuzz("gunicorn-gevent", seed)
