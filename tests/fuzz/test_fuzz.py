"""Bytes that no client would send, at each layer, against a real server process.

The worker lives, its log stays clean, its memory stays flat, and two bystanders go on relaying.
`FUZZ_SECONDS` says for how long (20 by default); `corpus.txt` is replayed first, a line a message.
"""

from __future__ import annotations

import ast
import json
import os
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.frames import masked
from tests.integration.hostile import Hostile
from tests.integration.test_attacks import Target, target_of

SECONDS = float(os.environ.get("FUZZ_SECONDS", "20"))
CORPUS = [
    ast.literal_eval(line)
    for line in (Path(__file__).parent / "corpus.txt").read_text().splitlines()
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
frames = st.builds(
    masked,
    st.integers(0, 15),
    st.binary(max_size=200),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 1, 2, 4]),
)
engine = st.builds(
    lambda kind, rest: (kind + rest).encode(), st.sampled_from("0123456789b"), st.text()
)
socket = st.builds(
    lambda kind, number, where, ack, data: f"4{kind}{number}{where}{ack}{data}".encode(),
    st.sampled_from("0123456789"),
    st.sampled_from(["", "0-", "1-", "10-", "11-", "-", "99999999999-"]),
    st.sampled_from(["", "/,", "/calls,", "/calls", "/a?b=c,"]),
    st.sampled_from(["", "0", "7", "99999999999999999999"]),
    json_values.map(json.dumps) | st.text(max_size=30),
)
envelopes = st.builds(
    lambda source, target, data, more: (
        b'42["#rtcio:message",'
        + json.dumps([{"source": source, "target": target, "data": data}, *more])[1:].encode()
    ),
    st.just("SELF") | json_values,
    st.just("OTHER") | st.just("hall") | json_values,
    json_values,
    st.lists(json_values, max_size=2),
)
packets = (engine | socket | envelopes).map(lambda payload: masked(1, payload))
streams = st.lists(packets | frames | st.binary(max_size=60), min_size=1, max_size=20)


def attack(target: Target, pieces: list[bytes], *, joined: bool) -> None:
    with Hostile(target.port) as hostile:
        if joined:
            hostile.join()
        hostile.push(pieces, seconds=5)


def test_whatever_bytes_come_harm_nobody_else() -> None:
    with target_of("listen") as target:
        for _ in range(20):  # what a process loads with its first connections
            attack(target, [masked(1, b"9")], joined=True)
        # A joined stranger may relay to the bystanders only what bears their sids: none does.
        with target.unharmed():
            for message in CORPUS:
                attack(target, [masked(1, message)], joined=True)
                attack(target, [message], joined=False)
            end = time.monotonic() + SECONDS

            @settings(
                max_examples=25,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
            @given(streams, st.booleans())
            def fuzz(pieces: list[bytes], joined: bool) -> None:
                attack(target, pieces, joined=joined)

            while time.monotonic() < end:
                fuzz()
            assert target.server.process.poll() is None
