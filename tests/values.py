"""Values that several tests send, and what arrives of them; some that cannot be sent."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import uuid
from collections import OrderedDict, namedtuple
from typing import Any

#: Stands in a packet for its first attachment.
HOLE = {"_placeholder": True, "num": 0}


def nested(levels: int, inside: Any = 0) -> Any:
    """``inside`` in so many lists."""
    for _ in range(levels):
        inside = [inside]
    return inside


NOW = datetime.datetime(2026, 11, 25, 22, 5, 7, 123000, tzinfo=datetime.timezone.utc)

ID = uuid.UUID("12345678123456781234567812345678")


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


@dataclasses.dataclass
class Message:
    text: Any
    kind: str = dataclasses.field(default="chat", init=False)

    def __post_init__(self) -> None:
        self.length = len(str(self.text))  # no field


@dataclasses.dataclass
class Slotted:
    __slots__ = ("size", "text")
    text: str
    size: int


def without_a_value() -> Slotted:
    made = Slotted("hi", 2)
    del made.size
    return made


class Firsts(dict[str, Any]):
    """As werkzeug's ``MultiDict``: more than what it shows is in it."""

    def items(self) -> Any:
        return [(key, value[0]) for key, value in super().items()]


#: Java and zoneinfo have such zones for the time before 1900.
ODD_ZONE = datetime.timezone(datetime.timedelta(hours=5, minutes=30, seconds=15))

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
    "dataclass with a field that is not in its __init__": (
        Message("hi"),
        {"text": "hi", "kind": "chat"},
    ),
    "dataclass with slots": (Slotted("hi", 2), {"text": "hi", "size": 2}),
    "dataclass with int keys": (Message({7: 1}), {"text": {"7": 1}, "kind": "chat"}),
    "datetime with seconds in its offset": (
        NOW.replace(tzinfo=ODD_ZONE),
        "2026-11-25T22:05:07.123000+05:30",
    ),
    "tuple": ((1, (2,)), [1, [2]]),
    "namedtuple": (Point(1, NOW.date()), [1, "2026-11-25"]),
    "a str of one's own": (Word("w"), "w"),
    "a float of one's own": (Share(0.5), 0.5),
    "an int of one's own": (Number(5), 5),
    "a dict of one's own": (OrderedDict(a=(1,)), {"a": [1]}),
    "a dict with items of its own": (Firsts(a=[1, 2]), {"a": 1}),
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
    "no value": ([without_a_value()], ("a Slotted", "[0]", "size")),
    "no repr": ([type("Bad", (), {"__repr__": lambda self: 1 / 0})()], ("a Bad",)),
}


#: Secret, seconds, user, and the name and credential for coturn. Each credential is what this
#: prints: printf %s "$USERNAME" | openssl dgst -sha1 -hmac "$SECRET" -binary | openssl base64 -A
TURN_VECTORS = [
    ("north", 600, None, "1700000600", "pL3AD+pdSi0Td8xk/uSD7cXdsYc="),
    ("north", 86_400, None, "1700086400", "K+RlgFj3QLvB7WAVHfjfgMgyBeA="),
    ("north", 600, "alice", "1700000600:alice", "gthUwOpcRoLI0MMCziCEBOWYnpo="),
    ("north", 600, "a:b", "1700000600:a:b", "RtfizC3fYW4IdwKloc8TFAe513w="),
    (
        "zażółć gęślą",
        1,
        "žluťoučký kůň",
        "1700000001:žluťoučký kůň",
        "ilJskGZ/3orpM8oj3rKH2faoruo=",
    ),
]

#: Origins as browsers send them.
BROWSER_ORIGINS = [
    "https://a.com",
    "http://a.com:443",
    "https://a_b.example:8443",
    "http://localhost:5173",
    "http://[::1]:3000",
    "http://127.0.0.1",
    "https://xn--bcher-kva.example",
    "null",
    "capacitor://localhost",
    "ionic://localhost",
    "tauri://localhost",
    "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
    "moz-extension://12345678-1234-1234-1234-123456789abc",
    "app://.",
    "file://",
]
