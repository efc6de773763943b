"""The messages between nodes: their kinds, and the structure of each. Pure.

The body of a relay is the client's packet as it came. Every other body is MessagePack and is
decoded into the structure of its kind, so that each field has the type that it is declared with.
Rooms are what an app may call one: text, bytes, numbers and tuples of them.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from ..errors import NotUnicode, OptionError, ProtocolError
from ..parser.encoding import is_timestamp, simple
from ..protocol.envelope import Drop
from ..protocol.names import text_of
from ..protocol.packing import Struct

__all__ = [
    "DROPPABLE", "STRUCTURES", "VERSION", "Answer", "Ask", "Close", "Described", "Done", "Emit",
    "Enter", "Event", "Forward", "Gather", "Gathered", "Going", "Hello", "Joined", "Kind", "Leave",
    "Left", "Lost", "Many", "Member", "Reply", "Struct", "Which", "can_be_sent", "check_plain",
    "check_room", "decoded", "encoded", "room_of", "rooms_of", "sockets_in", "sockets_sent",
]  # fmt: skip

VERSION = 2  #: of the protocol; nodes of other versions are not spoken to


class Kind:
    """The kinds of messages."""

    HELLO = 1
    RELAY = 2
    FORWARD = 3
    EMIT = 4
    JOINED = 5
    LEFT = 6
    TOLD = 7
    BACK = 8
    ANSWER = 9
    LOST = 10
    ENTER = 11
    LEAVE = 12
    CLOSE = 13
    DISCONNECT = 14
    MANY = 15
    ASK = 16
    REPLY = 17
    DONE = 18
    GOING = 19
    # Sessions that move to another node: `handover_messages`.
    MOVING = 20
    FIN = 21
    SWITCHED = 22
    PREPARE = 23
    READY = 24
    BARRIER = 25
    ECHO = 26
    COMING = 27
    RELEASE = 28
    FOR = 29
    FAREWELL = 30
    INHERITED = 31
    PARTED = 32
    AFTER = 33


#: What may be dropped, and is counted then, if too much waits for a node. All other kinds change
#: what a node knows of another: they are never lost while both live.
DROPPABLE = frozenset({Kind.RELAY, Kind.FORWARD, Kind.EMIT, Kind.ANSWER})


class Hello(Struct):
    """The first frame on each stream. ``purpose``: messages, or descriptors.

    ``born``: when the node claimed its id; ``pid``: of its process.
    """

    node: str
    version: int
    purpose: str
    born: int
    pid: int


class Going(Struct):
    """The node takes no sessions of others any more: it stops. ``stays``: it does not, after all.

    ``serves``: until an heir has its sessions, their clients may still come back to them.
    """

    stays: bool = False
    serves: bool = False


class Forward(Struct):
    """A relay that did not take the short way."""

    namespace: str
    target: str
    rooms: list[Any] | None
    raw: str
    attachments: list[str]


class Emit(Struct):
    """An event to sockets of the receiving node. ``rooms``: `None` for all.

    ``body``: the JSON of its name and arguments; ``number``: of the callback, if it has one.
    ``waits``: `Server.call` waits for the answer, so the sender hears of sockets that leave.
    ``volatile``: it is only for those for which nothing waits.
    """

    namespace: str
    rooms: list[Any] | None
    skip: list[Any]
    body: str
    attachments: list[bytes]
    number: int | None = None
    waits: bool = False
    volatile: bool = False


class Joined(Struct):
    """A member of the sending node is in these rooms. ``relays``: its peers hear of its end."""

    namespace: str
    sid: str
    rooms: list[Any]
    relays: bool


class Left(Struct):
    """A member of the sending node is no longer in these rooms."""

    namespace: str
    sid: str
    rooms: list[Any]


class Member(Struct):
    """A member of the sending node: it is lost (TOLD), it has come back (BACK); or one of the
    receiving node that is to be disconnected (DISCONNECT)."""

    namespace: str
    sid: str


class Answer(Struct):
    """A client has acknowledged the event with this number."""

    number: int
    body: str
    attachments: list[bytes]


class Lost(Struct):
    """Nobody will (any more) acknowledge the event with this number at the sending node.

    ``of``: none of those of another node, or of one socket, that have moved to the sending one.
    """

    number: int
    of: str = ""


class Enter(Struct):
    """A member of the receiving node is to join a room; ``number``: of the DONE that follows."""

    namespace: str
    sid: str
    room: Any
    number: int


class Leave(Struct):
    """A member of the receiving node is to leave a room."""

    namespace: str
    sid: str
    room: Any


class Close(Struct):
    """All members of a room are to leave it."""

    namespace: str
    room: Any


class Many(Struct):
    """Members of the receiving node in ``rooms`` are to do something: join, leave, disconnect.

    ``number``: of the DONE that follows.
    """

    namespace: str
    rooms: list[Any] | None
    skip: list[Any]
    what: str
    named: list[Any]
    number: int


class Done(Struct):
    """What was asked for with this number is done; what came of it has been told before."""

    number: int


class Ask(Struct):
    """A question. ``what``: its name; ``body``: what it is about. ``number`` 0: without reply."""

    number: int
    what: str
    body: bytes


class Reply(Struct):
    """The answer to a question; ``failed``: there is none."""

    number: int
    body: bytes
    failed: bool = False


class Described(Struct):
    """A socket, for `RemoteSocket`. ``environ``: the texts in that of its handshake."""

    sid: str
    rooms: list[Any]
    data: Any
    environ: dict[str, str]
    auth: Any
    issued: float = 0


class Which(Struct):
    """The sockets that a question is about; ``rooms``: `None` for all."""

    namespace: str
    rooms: list[Any] | None
    skip: list[Any]


class Gather(Struct):
    """An event whose acknowledgements the receiving node gathers for some seconds."""

    event: Emit
    seconds: float


class Gathered(Struct):
    """The answers: of whom, and a list of arguments for each. ``silent``: who did not answer."""

    sids: list[str]
    body: str
    attachments: list[bytes]
    silent: list[str]


class Event(Struct):
    """A server-side event, with the JSON of its arguments."""

    namespace: str
    event: str
    body: str
    attachments: list[bytes]


#: The structure of each kind, but for those of `handover_messages`, and for RELAY, which has none.
STRUCTURES: dict[int, type[Struct]] = {
    Kind.GOING: Going,
    Kind.FORWARD: Forward,
    Kind.EMIT: Emit,
    Kind.JOINED: Joined,
    Kind.LEFT: Left,
    Kind.TOLD: Member,
    Kind.BACK: Member,
    Kind.ANSWER: Answer,
    Kind.LOST: Lost,
    Kind.ENTER: Enter,
    Kind.LEAVE: Leave,
    Kind.CLOSE: Close,
    Kind.DISCONNECT: Member,
    Kind.MANY: Many,
    Kind.ASK: Ask,
    Kind.REPLY: Reply,
    Kind.DONE: Done,
}

T = TypeVar("T", bound=Struct)


def _known(value: Any) -> Any:
    """What stands for a value of a class that the encoder does not know.

    A `str` of a class of its own counts as its text. A client may have sent a timestamp.
    """
    if isinstance(value, str):
        return text_of(value)
    if is_timestamp(value):
        return simple(value)
    raise TypeError(f"Encoding objects of type {type(value).__name__} is unsupported")


_encode = msgspec.msgpack.Encoder(enc_hook=_known).encode
_decoders: dict[type, Any] = {}


def encoded(message: Struct) -> bytes:
    """The body of a message. Raises `OptionError` for a room that cannot be sent."""
    try:
        return _encode(message)
    except UnicodeEncodeError:
        raise NotUnicode from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise OptionError(_ROOM.format(error)) from None


_ROOM = (
    "several workers know a room by its name: give text, a number, bytes or a tuple of them ({})"
)


def check_room(room: Any) -> None:
    """Raises `OptionError` for a room that another node would know by another name, or by none."""
    check_plain(room)
    encoded(Leave("/", "", room))


def check_plain(room: Any) -> None:
    """The same, without trying to encode it."""
    if type(room) is not str and not _is_plain(room):
        raise OptionError(_ROOM.format(f"{type(room).__name__} has another type"))


def can_be_sent(room: Any) -> bool:
    """Whether `check_room` takes it."""
    try:
        check_room(room)
    except OptionError:
        return False
    return True


def _is_plain(room: Any) -> bool:
    if isinstance(room, tuple):
        return all(map(_is_plain, room))
    return room is None or isinstance(room, (str, int, float, bytes))


def decoded(kind: type[T], body: bytes) -> T:
    """Raises `ProtocolError` for a body that is not of this kind."""
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.msgpack.Decoder(kind)
    try:
        return decoder.decode(body)  # type: ignore[no-any-return]
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ProtocolError(Drop.CHANNEL) from None


def sockets_sent(found: list[Described]) -> bytes:
    """The reply with these sockets, without what cannot be sent.

    An app may keep anything in ``data``, and JSON of a client may have text that UTF-8 has not.
    """
    for each in found:
        each.rooms = [room for room in each.rooms if can_be_sent(room)]
        each.data = _encodable(each.data)
        each.auth = _encodable(each.auth)
        each.environ = {key: text for key, text in each.environ.items() if _is_encodable(text)}
    return _encode(found)


def _encodable(value: Any) -> Any:
    """The value, without those of its keys that cannot be sent; `None` if it has none."""
    if _is_encodable(value):
        return value
    if not isinstance(value, dict):
        return None
    return {key: each for key, each in list(value.items()) if _is_encodable({key: each})}


def _is_encodable(value: Any) -> bool:
    try:
        _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        return False
    return True


def sockets_in(body: bytes) -> list[Described]:
    """Raises `ProtocolError`."""
    try:
        found: list[Described] = msgspec.msgpack.decode(body, type=list[Described])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise ProtocolError(Drop.CHANNEL) from None
    return found


def room_of(sent: Any) -> Any:
    """A room's name as it was before it was sent: an array was a tuple.

    Raises `ProtocolError` for what cannot be a name.
    """
    if type(sent) is str:
        return sent
    if type(sent) is list:
        return tuple(room_of(each) for each in sent)
    if sent is None or isinstance(sent, (str, int, float, bytes)):
        return sent
    raise ProtocolError(Drop.CHANNEL)


def rooms_of(sent: list[Any]) -> list[Any]:
    """`room_of` for each."""
    return [each if type(each) is str else room_of(each) for each in sent]
