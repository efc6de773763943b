"""What the fuzzer sends, layer by layer, and how a message of each layer gets to the server.

A message is bytes or a list of pieces, made without knowing anybody: ``SELF`` in them becomes the
attacker's own sid and ``SINK`` that of a connected peer, when they are sent.
"""

from __future__ import annotations

import base64
import json
import socket
from contextlib import suppress
from http.client import HTTPException
from types import SimpleNamespace
from typing import Any, NamedTuple

from hypothesis import strategies as st

from tests.frames import masked, upgrade_request
from tests.integration.hostile import PATH, Hostile
from tests.integration.raw import SEPARATOR, RawPolling

POLLING = "/socket.io/?EIO=4&transport=polling"
SECONDS = 5.0  # that one message may take to be sent


class Frame(NamedTuple):
    """One WebSocket frame, or where `opcode` is negative bytes that need be none."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0

    def bytes_for(self, names: dict[bytes, bytes]) -> bytes:
        payload = named(self.payload, names)
        if self.opcode < 0:
            return payload
        return masked(self.opcode, payload, fin=self.fin, rsv=self.rsv)


def text(payload: bytes) -> Frame:
    return Frame(1, payload)


def named(payload: bytes, names: dict[bytes, bytes]) -> bytes:
    for name, sid in names.items():
        payload = payload.replace(name, sid)
    return payload


# -- what is said ---------------------------------------------------------------------------------

finite = st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Those bytes, with up to three faults in them; now and then with none."""
    found = draw(whole)
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(found)))
        end = min(len(found), start + draw(st.integers(0, 12)))
        put = draw(
            st.sampled_from([b"", b'"', b"\\", b",", b"}", b"]", b"\x1e", b"\x00", b"0", b" "])
            | st.just(found[start:end] * 2)
            | st.binary(max_size=4)
        )
        found = found[:start] + put + found[end:]
    return found


def _spelt(source: Any, target: Any, data: Any, spaces: bool, ascii_only: bool) -> bytes:
    envelope = {"source": source, "target": target, "data": data}
    separators = None if spaces else (",", ":")
    return json.dumps(envelope, separators=separators, ensure_ascii=ascii_only).encode(
        errors="replace"
    )


def mostly(usual: Any, others: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """The usual one five times of six, so that what depends on several is still met."""
    return st.integers(0, 5).flatmap(lambda throw: others if throw == 5 else st.just(usual))


envelope = st.builds(
    _spelt,
    mostly("SELF", st.sampled_from(["SINK", "hall", None]) | json_values),
    mostly("SINK", st.sampled_from(["SELF", "hall", None]) | json_values),
    json_values,
    st.booleans(),
    st.booleans(),
)
#: Relays as clients send them; then longer, acknowledged or spelt ones, which go the ordinary way.
relayed = st.builds(
    lambda kind, ack, name, payload, more: (
        f"4{kind}{ack}[{name},".encode() + payload + more.encode() + b"]"
    ),
    mostly("2", st.sampled_from(["2/calls,", "2/,", "50-"])),
    mostly("", st.sampled_from(["0", "17"])),
    mostly('"#rtcio:message"', st.sampled_from(['"\\u0023rtcio:message"', ' "#rtcio:message" '])),
    envelope,
    mostly("", st.sampled_from([",1", ",null,{}", ", [] "])),
)
packet = st.builds(
    lambda kind, number, where, ack, data: f"4{kind}{number}{where}{ack}{data}".encode(
        errors="replace"
    ),
    st.sampled_from("0123456789"),
    st.sampled_from(["", "0-", "1-", "10-", "11-", "-", "99999999999-"]),
    st.sampled_from(["", "/,", "/calls,", "/calls", "/a?b=c,"]),
    st.sampled_from(["", "0", "7", "99999999999999999999"]),
    json_values.map(json.dumps) | st.text(max_size=30),
)
message = st.builds(
    lambda kind, rest: (kind + rest).encode(errors="replace"),
    st.sampled_from("0123456789b"),
    st.text(),
)

# -- the layers -----------------------------------------------------------------------------------

#: One that announces attachments, and what may follow it.
with_attachments = st.builds(
    lambda number, target, slot, attachments: [
        text(
            f'45{number}-["#rtcio:message",{{"source":"SELF","target":"{target}","data":'
            f'{{"_placeholder":true,"num":{slot}}}}}]'.encode()
        ),
        *(Frame(2, each) for each in attachments),
    ],
    st.sampled_from([1, 1, 1, 2, 0, 10, 11]),
    st.sampled_from(["SINK"] * 4 + ["SELF", "hall"]),
    st.sampled_from(["0"] * 4 + ["1", "-1", "0.5", "true", '"0"', "1e400"]),
    st.lists(st.binary(max_size=50), max_size=3),
)
raw_frames = st.lists(
    st.builds(
        Frame,
        st.integers(0, 15) | st.sampled_from([0, 1, 2, 8, 9]),
        st.binary(max_size=200) | relayed,
        st.booleans(),
        st.sampled_from([0, 0, 0, 1, 2, 4]),
    )
    | st.binary(max_size=60).map(lambda piece: Frame(-1, piece)),
    min_size=1,
    max_size=20,
)
request = st.one_of(
    st.builds(upgrade_request, st.just(PATH), st.sampled_from(["", "Origin: null\r\n"])),
    st.builds(
        lambda method, path, body: (
            f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        ),
        st.sampled_from(["GET", "POST", "OPTIONS", "PUT"]),
        st.sampled_from([POLLING, POLLING + "&sid=nobody", POLLING + "&j=0", "/socket.io/?EIO=3"]),
        st.binary(max_size=30),
    ),
)

LAYERS: dict[str, st.SearchStrategy[list[Frame]]] = {
    "tcp": mutated(request).map(lambda piece: [Frame(-1, piece)])
    | st.binary(max_size=100).map(lambda piece: [Frame(-1, piece)]),
    "frames": raw_frames,
    "engine": st.lists(message.map(text) | st.binary(max_size=60).map(lambda b: Frame(2, b)),
                       min_size=1, max_size=20),
    "socket": st.lists((packet | mutated(packet)).map(text), min_size=1, max_size=20),
    "attachments": st.lists(with_attachments, min_size=1, max_size=6).map(
        lambda groups: [frame for group in groups for frame in group]
    ),
    "envelopes": st.lists((relayed | mutated(relayed)).map(text), min_size=1, max_size=20),
    "polling": st.lists(
        mutated(
            st.lists(
                message | packet | relayed
                | st.binary(max_size=30).map(lambda data: b"b" + base64.b64encode(data)),
                min_size=1, max_size=5,
            ).map(SEPARATOR.encode().join)
        ).map(text),
        min_size=1,
        max_size=3,
    ),
    "upgrade": st.lists(
        st.sampled_from([b"2probe", b"5", b"2", b"6", b"3probe"]).map(text)
        | mutated(st.sampled_from([b"2probe", b"5"])).map(text)
        | relayed.map(text),
        min_size=1,
        max_size=6,
    ),
}  # fmt: skip


def send(port: int, layer: str, pieces: list[Frame], sink: str, senders: set[str]) -> None:
    """One connection that sends the pieces as its layer has it; its sid joins the senders."""
    names = {b"SINK": sink.encode()}
    with suppress(ConnectionError, TimeoutError, HTTPException):
        if layer == "tcp":
            _to_tcp(port, pieces)
        elif layer in ("polling", "upgrade"):
            server: Any = SimpleNamespace(port=port)
            with RawPolling(server) as session:
                session.join()
                senders.add(session.sid)
                names[b"SELF"] = session.sid.encode()
                if layer == "polling":
                    _to_polling(session, pieces, names)
                else:
                    with Hostile(port, sid=session.handshake["sid"]) as probe:
                        _push(probe, pieces, names)
        else:
            with Hostile(port) as hostile:
                if layer != "frames":
                    senders.add(hostile.join())
                names[b"SELF"] = hostile.sid.encode()
                _push(hostile, pieces, names)


def _push(hostile: Hostile, pieces: list[Frame], names: dict[bytes, bytes]) -> None:
    """Sends them and waits for the end, before which the server reads them all."""
    hostile.push([piece.bytes_for(names) for piece in pieces], SECONDS)
    with suppress(OSError):  # it has hung up before
        hostile.sock.shutdown(socket.SHUT_WR)
    hostile.fate(SECONDS)


def _to_tcp(port: int, pieces: list[Frame]) -> None:
    with socket.create_connection(("127.0.0.1", port), SECONDS) as sock:
        for piece in pieces:
            sock.sendall(piece.payload)
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(65536):
            pass


def _to_polling(session: RawPolling, pieces: list[Frame], names: dict[bytes, bytes]) -> None:
    for piece in pieces:
        if session.post_bytes(named(piece.payload, names)) != 200:
            return
