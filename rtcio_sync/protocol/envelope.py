"""The rules of the relay: an envelope in, a decision out. Pure.

`judge` applies the rules to a decoded payload. `read` finds a relayed event in the text of a
Socket.IO packet, with the span of its envelope, so that the envelope is forwarded unchanged.
Protocol: Socket.IO v5, "Packet encoding".
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate, chain
from typing import Any, NamedTuple

from ..errors import ProtocolError
from ..events import RtcioEvents
from .json_hooks import refuse_constant

__all__ = ["Drop", "Envelope", "filled", "head", "judge", "named_in", "placeholders_fit", "read"]


class Drop:
    """Why a message was dropped: the labels in `Server.stats`."""

    MALFORMED = "malformed"  #: the payload is missing, not an object, or has no ``data``
    FORGED_SOURCE = "forged-source"  #: ``source`` is absent or not the sender's own sid
    BAD_TARGET = "bad-target"  #: ``target`` is not a string, empty, or the sender itself
    UNKNOWN_TARGET = "unknown-target"  #: no connected socket has that sid: peers leave
    OTHER_ROOM = "other-room"  #: ``relay_scope="room"`` and the two share no room
    RESERVED_EVENT = "reserved-event"  #: an event whose name a client may not use
    NOT_CONNECTED = "not-connected"  #: an event for a namespace that the client is not in
    MIDDLEWARE = "middleware"  #: the app's ``socket.use`` raised
    PUBLISH = "publish-overflow"  #: the client manager's back end did not keep up
    UNPUBLISHED = "unpublished"  #: the client manager's back end did not take it
    CHANNEL = "channel"  #: an invalid message came over the client manager's back end


class Envelope(NamedTuple):
    """A relayed event as it is in a packet's text."""

    namespace: str
    payload: Any  #: the first argument, decoded; `None` when there was none
    raw: str  #: the first argument as it was written; ``""`` when there was none
    attachments: int


def judge(payload: Any, sid: str, *, recovered: bool = False) -> str | None:
    """Why ``payload`` of the sender ``sid`` is not relayed (a `Drop` label); `None`: it is.

    ``recovered``: the sender came back to an earlier session; socket.io-client forgets its id
    while it is away, so there (and only there) an absent ``source`` is allowed.
    """
    if type(payload) is not dict or "data" not in payload:
        return Drop.MALFORMED
    if payload.get("source") != sid and not (recovered and "source" not in payload):
        return Drop.FORGED_SOURCE
    target = payload.get("target")
    if type(target) is not str or not target or target == sid:
        return Drop.BAD_TARGET
    return None


# <type>[<attachments>-][/<namespace>[?query],][<ack id>][<JSON>]; the packet types that matter
# here are EVENT (2) and BINARY_EVENT (5).
_PACKET = re.compile(
    r"(?P<type>[25])(?:(?P<attachments>[0-9]{1,10})-)?(?:(?P<nsp>/[^,]*),)?(?P<id>[0-9]{0,100})"
    r"[ \t\n\r]*\[[ \t\n\r]*(?P<name>\"(?:[^\"\\]|\\.)*\")[ \t\n\r]*(?P<next>[,\]])"
)
_GAP = re.compile(r"[ \t\n\r]*")  # JSON's white space (RFC 8259 2), not Unicode's


def _number(digits: str) -> int | float:
    # Numbers as a browser reads them, of any length; the number of a placeholder stays an integer.
    return int(digits) if len(digits) <= 15 else float(digits)


_DECODER = json.JSONDecoder(parse_constant=refuse_constant, parse_int=_number)
_CHECKER = json.JSONDecoder(parse_constant=refuse_constant, parse_int=float)  # for no values


def read(
    text: str,
    event: str = RtcioEvents.MESSAGE,
    check: Callable[[Envelope, str], None] | None = None,
) -> Envelope | None:
    """The envelope in a Socket.IO packet's text; `None` if the packet is not an ``event``.

    ``check``: called with the part before the payload, and the text, before the text is decoded.

    Raises `ProtocolError` when the text begins as an event and is not well-formed to its last
    character: forwarded, it would make the receiver drop its own connection.
    """
    match = _PACKET.match(text)
    if match is None:
        return None
    name = match["name"]
    if _spelt(name) != event:
        return None
    namespace = (match["nsp"] or "/").partition("?")[0]
    attachments = int(match["attachments"] or 0) if match["type"] == "5" else 0
    payload, raw, position = None, "", match.end()
    if check is not None:
        check(Envelope(namespace, None, "", attachments), text)
    try:
        if match["next"] == ",":
            start = _skip(text, position)
            payload, position = _DECODER.raw_decode(text, start)
            raw = text[start:position]
            position = _rest(text, _skip(text, position))
    except (ValueError, RecursionError):
        raise ProtocolError("json") from None
    if _skip(text, position) != len(text):
        raise ProtocolError("json")
    return Envelope(namespace, payload, raw, attachments)


def _spelt(name: str) -> str | None:
    if "\\" not in name:
        return name[1:-1]
    try:
        return str(json.loads(name))
    except ValueError:
        return None


def _skip(text: str, position: int) -> int:
    match = _GAP.match(text, position)
    return match.end() if match else position


def _rest(text: str, position: int) -> int:
    # The arguments after the first are not forwarded, but they must be JSON all the same.
    if text[position : position + 1] == ",":
        # As one list, without Python's steps for each: there may be 100,000.
        _, end = _CHECKER.raw_decode(f"[0{text[position:]}")
        return position + end - len("[0")
    if text[position : position + 1] != "]":
        raise ProtocolError("json")
    return position + 1


def placeholders_fit(payload: Any, attachments: int) -> bool:
    """Whether the placeholders in ``payload`` match the packet's attachments one to one.

    For socket.io-parser, an invalid index is a fault of the sender of the packet (here:
    of the server), and it closes the receiver's connection. An attachment that many placeholders
    name would be copied as often when an app, or a client manager, sends it on.
    """
    named = named_in(payload, attachments)
    return named is not None and len(named) == attachments


def named_in(payload: Any, attachments: int) -> set[int] | None:
    """The attachments that ``payload`` names; `None` if it names one twice, or an invalid one."""
    try:
        return set(_places([payload], attachments))
    except ValueError:
        return None


def filled(payload: Any, attachments: list[Any]) -> Any:
    """``payload``, in place, with the attachments where its placeholders name them.

    Raises `ValueError` if they do not match one to one, as `placeholders_fit` says.
    """
    root = [payload]
    places = _places(root, len(attachments))
    if len(places) != len(attachments):
        raise _unfit()
    for number, (parent, key) in places.items():
        parent[key] = attachments[number]
    return root[0]


def _places(root: list[Any], attachments: int) -> dict[int, tuple[Any, Any]]:
    """Where each placeholder is, by its number: its list or object, and its place or key there.

    Raises `ValueError` if one number is there twice, or is invalid.
    """
    found: dict[int, tuple[Any, Any]] = {}
    lists: list[list[Any]] = [root]
    dicts: list[dict[str, Any]] = []
    while lists or dicts:  # by levels, without Python's steps for each value: there may be many
        values = [*chain.from_iterable(lists), *chain.from_iterable(map(dict.values, dicts))]
        marked = [
            at for at, each in enumerate(values) if type(each) is dict and each.get("_placeholder")
        ]
        parents = [*lists, *dicts] if marked else []
        ends = list(accumulate(map(len, parents)))
        for at in marked:
            mark, number = values[at]["_placeholder"], values[at].get("num")
            if mark is True:
                if type(number) is not int or not 0 <= number < attachments or number in found:
                    raise _unfit()
                which = bisect_right(ends, at)
                parent = parents[which]
                inside = at - ends[which] + len(parent)
                found[number] = parent, inside if type(parent) is list else list(parent)[inside]
                values[at] = None  # what else is in it does not count
            elif attachments:  # a placeholder for python-socketio only
                raise _unfit()
        lists = [each for each in values if type(each) is list]
        dicts = [each for each in values if type(each) is dict]
    return found


def _unfit() -> ValueError:
    return ValueError("placeholders and attachments do not match")


def head(namespace: str, attachments: int = 0, event: str = RtcioEvents.MESSAGE) -> str:
    """The part before the envelope in a forwarded packet: ``2/nsp,["#rtcio:message",``."""
    kind = f"5{attachments}-" if attachments else "2"
    where = "" if namespace == "/" else f"{namespace},"
    return f'{kind}{where}["{event}",'
