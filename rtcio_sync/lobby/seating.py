"""Who may sit in which room of a lobby: ids, names, passwords, caps.

Pure rules and a book of seats. Nothing here knows a socket, a lock or a clock; whoever shares one
`Seating` between threads holds a lock around each call, and none of them blocks.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, TypeAlias

__all__ = [
    "Name", "Obstacle", "Seating", "name_in", "object_in", "password_in", "room_in", "state_in",
]  # fmt: skip

#: What a client may call itself.
Name: TypeAlias = "str | int | float"

#: Characters that the id of a room may have.
MAX_ROOM_ID = 256
#: Characters of a peer's name that the others get; the rest is cut off.
MAX_NAME = 256
#: What a number may be to name a peer: beyond it JavaScript's own are not exact.
MAX_NUMBER = 2**53
#: Characters that a password may have.
MAX_PASSWORD = 1024
#: Characters that the fields of a media state may have, to be kept for those who come later.
MAX_STATE = 1024
#: How many of them each value counts for, beside the characters that it has.
VALUE = 32


class Obstacle:
    """Why a client is not let into a room: the reasons in ``join-error``."""

    INVALID_ROOM = "invalid-room"  #: the id is no text of 1 to `MAX_ROOM_ID` characters, or a sid
    PASSWORD_REQUIRED = "password-required"  #: the room has a password and none was sent
    WRONG_PASSWORD = "wrong-password"  #: another one was sent, or what can be no password
    ROOM_FULL = "room-full"  #: every seat is taken
    TOO_MANY_ROOMS = "too-many-rooms"  #: the socket is in `Limits.max_rooms_per_socket` already
    FORBIDDEN = "forbidden"  #: the app's `Lobby.authorize` did not say yes


class Seating:
    """The seats of all rooms, by sid. A room exists while somebody sits in it.

    ``key``: random bytes. Passwords are kept as digests keyed with it, all of one length, so that
    comparing them tells nothing and the memory of the process holds none.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._seats: dict[str, dict[str, Any]] = {}
        self._secrets: dict[str, bytes] = {}
        self._rooms: dict[str, dict[str, None]] = {}

    def digest(self, password: str | None) -> bytes | None:
        """What `obstacle` and `sit` take; ``b""`` for no password, `None` for what can be none."""
        if not password:
            return None if password is None else b""
        text = password.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def obstacle(self, room: str, sid: str, secret: bytes | None, limit: int | None) -> str | None:
        """Why ``sid`` may not sit down now, `None` if it may or does already.

        ``limit``: seats in the room; `None`: any number.
        """
        seats = self._seats.get(room, {})
        if sid in seats:
            return None
        if secret is None:
            return Obstacle.WRONG_PASSWORD
        owned = self._secrets.get(room)
        if owned is not None and not hmac.compare_digest(owned, secret):
            return Obstacle.WRONG_PASSWORD if secret else Obstacle.PASSWORD_REQUIRED
        if limit is not None and len(seats) >= limit:
            return Obstacle.ROOM_FULL
        return None

    def sit(self, room: str, sid: str, secret: bytes | None, holder: Any = None) -> None:
        """Take a seat; the password of the first one to do so owns the room until it empties.

        ``holder``: anything that `holder` gives back; one who sits already changes it.
        """
        seats = self._seats.setdefault(room, {})
        if not seats and secret:
            self._secrets[room] = secret
        seats[sid] = holder
        self._rooms.setdefault(sid, {})[room] = None

    def holder(self, room: str, sid: str) -> Any:
        """What `sit` was given with the seat of ``sid``; `None`: it has none."""
        return self._seats.get(room, {}).get(sid)

    def vacate(self, room: str, sid: str, holder: Any = None) -> bool:
        """Give a seat back; `False` if there was none, or another than ``holder``'s."""
        seats = self._seats.get(room, {})
        if sid not in seats or (holder is not None and seats[sid] is not holder):
            return False
        del seats[sid]
        if not seats:
            del self._seats[room]
            self._secrets.pop(room, None)
        del self._rooms[sid][room]
        if not self._rooms[sid]:
            del self._rooms[sid]
        return True

    def sits(self, room: Any, sid: str) -> bool:
        """Whether ``sid`` has a seat in ``room``, which may be anything a client sent."""
        return type(room) is str and sid in self._seats.get(room, {})

    def sids(self, room: str) -> list[str]:
        """Who sits in ``room``, in the order in which they sat down."""
        return list(self._seats.get(room, {}))

    def rooms(self, sid: str) -> list[str]:
        """The rooms that ``sid`` sits in, in the order in which it sat down."""
        return list(self._rooms.get(sid, ()))

    def closed(self, room: str) -> bool:
        """Whether ``room`` has a password."""
        return room in self._secrets

    def counts(self) -> tuple[int, int]:
        """Rooms with somebody in them, and seats taken in all."""
        return len(self._seats), sum(len(seats) for seats in self._seats.values())


# -- what a client sent ---------------------------------------------------------------------------


def object_in(payload: Any) -> dict[str, Any]:
    """The payload's keys; none where it is no object."""
    return payload if type(payload) is dict else {}


def room_in(fields: dict[str, Any]) -> str | None:
    """The id of a room, or `None` for what can be none."""
    room = fields.get("roomId")
    return room if type(room) is str and 0 < len(room) <= MAX_ROOM_ID else None


def name_in(fields: dict[str, Any]) -> Name | None:
    """The name, a text cut to its bound or a number; `None` for anything else."""
    name = fields.get("name")
    if type(name) is str:
        return name[:MAX_NAME]
    if type(name) in (int, float) and -MAX_NUMBER <= (name or 0) <= MAX_NUMBER:
        return name
    return None


def state_in(fields: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a media state for those who come later.

    All that the client said, where that is small; of more, ``mic`` and ``cam`` alone. Which of the
    two it did not say, is as it was ``before``.
    """
    said = {key: value for key, value in fields.items() if key not in ("id", "roomId")}
    if not _is_small(said):
        said = {key: said[key] for key in ("mic", "cam") if type(said.get(key)) is bool}
    return {**{key: before[key] for key in ("mic", "cam") if key in before}, **said}


def _is_small(value: Any) -> bool:
    left, waiting = MAX_STATE, [value]
    while waiting:
        each = waiting.pop()
        left -= VALUE
        if type(each) is dict:
            left -= sum(map(len, each)) + VALUE * len(each)
            waiting += each.values() if left > 0 else ()
        elif type(each) in (list, tuple):
            left -= VALUE * len(each)
            waiting += each if left > 0 else ()
        elif isinstance(each, (str, bytes, bytearray)):
            left -= len(each)
        elif type(each) is int and each.bit_length() > 64:
            return False
        if left < 0:
            return False
    return True


def password_in(fields: dict[str, Any]) -> str | None:
    """The password without the white space around it; ``""`` for none.

    `None` for what can be no password: it is refused rather than taken for none, because whoever
    sends it means to close the room.
    """
    password = fields.get("password")
    if password is None:
        return ""
    if type(password) is not str or len(password) > MAX_PASSWORD:
        return None
    return password.strip()
