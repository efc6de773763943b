"""What clients of a lobby send: ids of rooms, names, passwords, media states. Pure."""

from __future__ import annotations

from typing import Any, TypeAlias

from ..protocol.json_hooks import is_unicode

__all__ = ["Name", "name_in", "object_in", "password_in", "room_in", "state_in"]

#: What a client may call itself.
Name: TypeAlias = "str | int | float"

#: Characters that the id of a room may have.
MAX_ROOM_ID = 256
#: Characters of a peer's name that the others get; the rest is cut off.
MAX_NAME = 256
#: The largest number that may be a peer's name: JavaScript's larger integers are not exact.
MAX_NUMBER = 2**53
#: Characters that a password may have.
MAX_PASSWORD = 1024
#: Characters of a media state that is kept for peers that join later.
MAX_STATE = 1024
#: Characters that each value counts for, beside its own.
VALUE = 32


def object_in(payload: Any) -> dict[str, Any]:
    """The payload, or an empty object if it is none."""
    return payload if type(payload) is dict else {}


def room_in(fields: dict[str, Any]) -> str | None:
    """The id of a room; `None`: there is none, or it is invalid."""
    room = fields.get("roomId")
    if type(room) is not str or not 0 < len(room) <= MAX_ROOM_ID or not is_unicode(room):
        return None
    return room


def name_in(fields: dict[str, Any]) -> Name | None:
    """The name, a number or text, cut to `MAX_NAME`; `None` for anything else."""
    name = fields.get("name")
    if type(name) is str:
        return name[:MAX_NAME] if is_unicode(name) else None
    if type(name) in (int, float) and -MAX_NUMBER <= (name or 0) <= MAX_NUMBER:
        return name
    return None


def state_in(fields: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a media state for peers that join later.

    All that the client sent, if that is small and can be sent again; else ``mic`` and ``cam``
    alone. One of these two that the client did not send stays as it was ``before``.
    """
    said = {key: value for key, value in fields.items() if key not in ("id", "roomId")}
    if not _may_be_kept(said):
        said = {key: said[key] for key in ("mic", "cam") if type(said.get(key)) is bool}
    return {**{key: before[key] for key in ("mic", "cam") if key in before}, **said}


def _may_be_kept(value: Any) -> bool:
    """Whether it is small, and can be sent together with what was kept before."""
    left, waiting = MAX_STATE, [value]
    while waiting:
        each = waiting.pop()
        left -= VALUE
        if type(each) is dict:
            left -= sum(map(len, each)) + VALUE * len(each)
            if left > 0 and not all(map(is_unicode, each)):
                return False
            if "_placeholder" in each:  # beside bytes of another state nobody could send it
                return False
            waiting += each.values() if left > 0 else ()
        elif type(each) in (list, tuple):
            left -= VALUE * len(each)
            waiting += each if left > 0 else ()
        elif isinstance(each, (str, bytes, bytearray)):
            left -= len(each)
            if left > 0 and type(each) is str and not is_unicode(each):
                return False
        elif type(each) is int:
            if not -(2**63) <= each < 2**64:  # no MessagePack has it
                return False
        elif not (each is None or type(each) in (bool, float)):
            return False  # an extension of MessagePack, of any size, which JSON does not have
        if left < 0:
            return False
    return True


def password_in(fields: dict[str, Any]) -> str | None:
    """The password without the white space around it; ``""``: none; `None`: an invalid one.

    An invalid one is refused rather than ignored, because its sender wants the room to be closed.
    """
    password = fields.get("password")
    if password is None:
        return ""
    if type(password) is not str or len(password) > MAX_PASSWORD:
        return None
    return password.strip()
