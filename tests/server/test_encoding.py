"""One set of types on every way out, and a plain error for what cannot be sent."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import logging
import math
import uuid
from collections import OrderedDict, namedtuple
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from socketio.msgpack_packet import MsgPackPacket
from socketio.packet import ACK, CONNECT_ERROR, EVENT

from rtcio_sync import ConnectionRefusedError, Limits, ProtocolError, Server
from rtcio_sync.parser.encoding import parted, write
from rtcio_sync.parser.packet import TextPacket, event_pieces, packet_class
from tests.bus import Bus
from tests.spelling import values, wide
from tests.timing import until
from tests.values import nested
from tests.wire import WebSocket, event, joined

NOW = datetime.datetime(2026, 11, 25, 22, 5, 7, 123000, tzinfo=datetime.timezone.utc)
ID = uuid.UUID("12345678123456781234567812345678")
MSGPACK = packet_class(MsgPackPacket, None)


class Colour(enum.Enum):
    RED = "red"
    AT = NOW


class Level(enum.IntEnum):
    HIGH = 7


class Word(str):
    pass


class Share(float):
    pass


class Number(int):
    pass


@dataclasses.dataclass
class Peer:
    name: str
    since: Any
    _secret: str = "hidden"


Point = namedtuple("Point", "x y")

#: What an app may send, and what arrives.
TYPES: dict[str, tuple[Any, Any]] = {
    "datetime": (NOW, "2026-11-25T22:05:07.123000+00:00"),
    "naive datetime": (datetime.datetime(2026, 1, 2), "2026-01-02T00:00:00"),
    "date": (NOW.date(), "2026-11-25"),
    "time": (datetime.time(1, 2, 3), "01:02:03"),
    "time with a zone": (datetime.time(1, tzinfo=datetime.timezone.utc), "01:00:00+00:00"),
    "UUID": (ID, str(ID)),
    "Enum": (Colour.RED, "red"),
    "Enum of a datetime": (Colour.AT, "2026-11-25T22:05:07.123000+00:00"),
    "IntEnum": (Level.HIGH, 7),
    "Decimal": (decimal.Decimal("1.10"), "1.10"),
    "dataclass": (Peer("Ada", NOW.date()), {"name": "Ada", "since": "2026-11-25"}),
    "tuple": ((1, (2,)), [1, [2]]),
    "namedtuple": (Point(1, NOW.date()), [1, "2026-11-25"]),
    "a str of one's own": (Word("w"), "w"),
    "a float of one's own": (Share(0.5), 0.5),
    "an int of one's own": (Number(5), 5),
    "a dict of one's own": (OrderedDict(a=(1,)), {"a": [1]}),
    "int keys": ({7: 1, -1: 2}, {"7": 1, "-1": 2}),
    "a datetime under an int key": ({7: NOW.date()}, {"7": "2026-11-25"}),
    "other keys": (
        {None: 1, True: 2, 0.5: 3, NOW.date(): 4, ID: 5, Colour.RED: 6, Word("w"): 7},
        {"null": 1, "true": 2, "0.5": 3, "2026-11-25": 4, str(ID): 5, "red": 6, "w": 7},
    ),
}

#: What is set beside a value, so that another way of encoding is taken.
BESIDE: dict[str, Any] = {
    "nothing": None,
    "70 bits": 2**70,
    "a lone surrogate": "\ud800",
    "300 levels": nested(300),
    "a Decimal key": {decimal.Decimal("1.5"): 1},
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("name", TYPES)
def test_a_type_is_spelt_alike_whatever_stands_beside_it(name: str, beside: str) -> None:
    value, arrives = TYPES[name]
    assert json.loads(write([value, BESIDE[beside]]))[0] == arrives
    assert json.loads(write(parted([value, BESIDE[beside]])[0]))[0] == arrives
    holes: list[bytes] = []
    text = write([value, b"x", BESIDE[beside], bytearray(b"y")], holes)
    assert json.loads(text)[:2] == [arrives, {"_placeholder": True, "num": 0}]
    assert holes == [b"x", b"y"]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("beside", [None, b"x", math.inf], ids=str)
def test_messagepack_has_the_same_types(name: str, beside: Any) -> None:
    value, arrives = TYPES[name]
    pkt = MSGPACK(EVENT, data=["e", value, beside], namespace="/")
    assert msgpack.loads(pkt.encode())["data"] == ["e", arrives, beside]


@settings(max_examples=50)
@given(values)
def test_what_was_read_is_written_as_it_was(value: Any) -> None:
    assert wide(json.loads(write(value))) == wide(value)
    assert wide(json.loads(write([value, 2**80]))[0]) == wide(value)


# -- on a whole server -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", TYPES)
def test_events_answers_and_refusals_carry_every_type(name: str) -> None:
    value, arrives = TYPES[name]
    server = Server()
    server.on("ask", lambda sid: value)
    server.on("ask with bytes", lambda sid: {"it": value, "blob": b"x"})

    @server.on("connect")
    def connect(sid: str, environ: Any, auth: Any) -> None:
        if auth:
            raise ConnectionRefusedError("no", {"it": value})

    a = WebSocket(server).join()
    server.emit("told", {"it": value, "n": 2**64}, to=a.sid)
    (told,) = a.heard("told")
    assert told["it"] == arrives
    server.emit("told", (value, b"x"), to=a.sid)
    sent = a.next(lambda packet: packet[0] == "5")
    assert json.loads(sent[3:])[1] == arrives
    assert a.next() == "beA=="
    a.send(event("ask", number=1))
    answer = a.next(lambda packet: packet[:2] == "31")
    assert json.loads(answer[2:]) == (arrives if isinstance(value, tuple) else [arrives])
    a.send(event("ask with bytes", number=2))
    answer = a.next(lambda packet: packet[:4] == "61-2")
    assert json.loads(answer[4:])[0]["it"] == arrives
    other = WebSocket(server)
    other.ask_to_join("/", {"refuse": True})
    assert json.loads(other.next()[1:]) == {"message": "no", "data": {"it": arrives}}


#: What cannot be sent, where it is, and a part of what the error says.
REFUSED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "an object": ({"at": [0, object()]}, ("<object object at", "['at'][1]")),
    "a set": ({"a": {1}}, ("{1}", "['a']")),
    "a class": ({"a": Peer}, ("Peer", "['a']")),
    "a long one": ({"a": {"x" * 5000}}, ("...", "['a']")),
    "a key": ({"a": {(1, 2): 3}}, ("(1, 2)", "key")),
    "a key of bytes": ({"a": {b"k": 3}}, ("b'k'", "key")),
    "one beside 70 bits": ([2**70, object()], ("<object object", "[1]")),
    "one beside bytes": ([b"x", object()], ("<object object", "[1]")),
    "no repr": ([type("Bad", (), {"__repr__": lambda self: 1 / 0})()], ("a Bad",)),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("kind", [TextPacket, MSGPACK], ids=["text", "msgpack"])
def test_an_error_names_the_value_and_the_event(kind: Any, what: str) -> None:
    value, parts = REFUSED[what]
    if kind is MSGPACK and "70 bits" in what:
        parts = ("64 bits",)
    with pytest.raises(TypeError) as caught:
        event_pieces(kind, "/", ["chat", value])
    for part in (*parts, "'chat'"):
        assert part in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", [TextPacket, MSGPACK], ids=["text", "msgpack"])
def test_messagepack_and_refusals_say_what_they_cannot_hold(kind: Any) -> None:
    with pytest.raises(TypeError, match="an acknowledgement"):
        kind(ACK, data=[object()], namespace="/", id=1).encode()
    if kind is MSGPACK:
        for value, word in ((2**64, "64 bits"), ("\ud800", "surrogate")):
            with pytest.raises(TypeError, match=word):
                kind(EVENT, data=["chat", value], namespace="/").encode()
    else:
        with pytest.raises(TypeError, match="binary"):
            kind(CONNECT_ERROR, data={"data": b"x"}, namespace="/").encode()


@pytest.mark.parametrize("data", [object(), b"x", nested(3000)], ids=["object", "bytes", "deep"])
def test_a_refusal_that_cannot_be_sent_refuses_all_the_same(
    data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        raise ConnectionRefusedError("no", data)

    a = WebSocket(server)
    a.ask_to_join()
    assert a.next() == '4{"message":"Connection rejected by server"}'
    assert server.counters.handler_errors == 1
    assert a.member is None
    assert "a refusal cannot be sent" in caplog.text


def circular() -> Any:
    made: list[Any] = []
    made.append(made)
    return made


@pytest.mark.parametrize("data", [nested(3000), circular(), [b"x", nested(3000)]], ids=range(3))
@pytest.mark.parametrize(
    "kind",
    [TextPacket, MSGPACK, packet_class(TextPacket.__mro__[1], json)],
    ids=["text", "msgpack", "a json module"],
)
def test_what_is_too_deep_to_be_sent_is_refused_in_few_words(kind: Any, data: Any) -> None:
    with pytest.raises(ValueError) as caught:
        event_pieces(kind, "/", ["chat", data])
    assert "'chat'" in str(caught.value)
    assert "level" in str(caught.value) or "Circular" in str(caught.value)
    assert caught.value.__cause__ is None
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("levels", [63, 200, 250, 300])
@pytest.mark.parametrize("options", [{}, {"json": json}], ids=["usual", "a json module"])
@pytest.mark.parametrize("blob", [False, True])
def test_what_was_accepted_can_be_sent_on(options: Any, levels: int, blob: bool) -> None:
    server = Server(limits=Limits(max_depth=400), **options)

    @server.on("chat")
    def chat(sid: str, data: Any) -> Any:
        server.emit("chat", data)
        return data

    a, b = WebSocket(server).join(), WebSocket(server).join()
    inside = {"_placeholder": True, "num": 0} if blob else 0
    text = json.dumps(nested(levels, inside), separators=(",", ":"))
    a.send(f'{"51-" if blob else "2"}7["chat",{text}]', *[b"x"] * blob)
    assert b.next(lambda packet: packet[0] in "25") == f'{"51-" if blob else "2"}["chat",{text}]'
    answer = a.next(lambda packet: packet[0] in "36")
    assert answer == f"{'61-' if blob else '3'}7[{text}]"
    assert server.counters.handler_errors == 0


@pytest.mark.parametrize("options", [{}, {"json": json}], ids=["usual", "a json module"])
def test_what_no_bound_keeps_out_fills_no_log(
    options: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(limits=Limits(max_depth=None), **options)
    heard: list[Any] = []

    @server.on("chat")
    def chat(sid: str, data: Any) -> None:
        heard.append(1)
        server.emit("chat", data)

    a = WebSocket(server).join()
    for levels in (400, 700, 900, 1000):
        a.send(f'2["chat",{"[" * levels}{"]" * levels}]')
        if a.link is None or a.link.closed:
            break
        a.send(event("chat", "fine"))
    until(lambda: heard)
    for record in caplog.records:
        assert len(logging.Formatter().format(record)) < 5000


@pytest.mark.parametrize(
    "text",
    ['{"n":18446744073709551616}', '"\\ud800"', '{"a":1,"a":2}', "[1e400]", "1.0", str(2**63)],
)
def test_odd_json_means_the_same_when_it_is_sent_on(text: str) -> None:
    server = Server()
    server.on("chat", lambda sid, data: server.emit("chat", data))
    a = WebSocket(server).join()
    a.send(f'2["chat",{text}]')
    sent = json.loads(a.next()[1:])[1]
    meant = json.loads(text)
    assert sent == (meant if meant != [math.inf] else [None])  # as a browser writes it


def test_what_a_receiver_would_take_for_an_attachment_is_not_sent_beside_one() -> None:
    forged = {"_placeholder": True, "num": 0}
    assert json.loads(event_pieces(TextPacket, "/", ["a", forged])[0][1:]) == ["a", forged]
    for kind in (TextPacket, packet_class(TextPacket.__mro__[1], json)):
        with pytest.raises(ProtocolError):
            event_pieces(kind, "/", ["a", [forged] * 2000, b"x" * 1000])
    with pytest.raises(ProtocolError):
        parted([[forged], b"x"])
    words = '"_placeholder":true'
    assert len(event_pieces(TextPacket, "/", ["a", words, b"x"])) == 2


# -- between processes -----------------------------------------------------------------------------


def two(serializer: str = "default") -> tuple[Bus, Server, Server]:
    bus = Bus()
    return bus, *(Server(client_manager=bus.manager(), serializer=serializer) for _ in range(2))


@pytest.mark.parametrize("beside", ["nothing", "70 bits", "a lone surrogate"])
@pytest.mark.parametrize("name", TYPES)
def test_every_type_crosses_to_another_process(name: str, beside: str) -> None:
    value, arrives = TYPES[name]
    bus, here, there = two()
    a, b = WebSocket(here).join(), WebSocket(there).join()
    here.emit("told", [value, BESIDE[beside]])
    here.emit("told", ([value], b"x"))
    for client in (a, b):
        told = client.next(lambda packet: packet[0] == "2")
        assert json.loads(told[1:])[1][0] == arrives
        told = client.next(lambda packet: packet[0] == "5")
        assert json.loads(told[3:])[1][0] == arrives
        assert client.next() == "beA=="
    bus.close()


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_cross_is_refused_where_it_is_emitted(what: str) -> None:
    value, parts = REFUSED[what]
    bus, here, _ = two()
    with pytest.raises(TypeError) as caught:
        here.emit("chat", value)  # nobody is here to whom it would be encoded
    for part in (*parts, "'chat'"):
        assert part in str(caught.value)
    bus.close()


FORGED = {"_placeholder": True, "num": 0}


@pytest.mark.parametrize("way", ["an event", "a relay"])
def test_a_forged_placeholder_is_not_multiplied_on_its_way_to_another_process(way: str) -> None:
    bus, here, there = two("msgpack")
    heard: list[Any] = []
    here.on("chat", lambda sid, data: here.emit("chat", data))
    here.on("fine", lambda sid: heard.append(1))
    a, b = joined(here), joined(there)
    data = [[FORGED] * 2000, b"x" * 1000]
    if way == "an event":
        say_packed(a, ["chat", data])
    else:
        say_packed(a, ["#rtcio:message", {"source": a.sid, "target": b.sid, "data": data}])
    say_packed(a, ["fine"])
    until(lambda: heard)
    assert dict(here.counters.dropped) == {"placeholder" if way == "an event" else "malformed": 1}
    assert here.counters.handler_errors == 0
    assert all(len(json.dumps(each)) < 1000 for each in bus.published)
    bus.close()


def say_packed(client: Any, data: Any) -> None:
    client.send(msgpack.packb({"type": 2, "nsp": "/", "data": data}))
