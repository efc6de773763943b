"""Who may sit in which room of a lobby: ids, names, passwords, caps.

Pure rules and a book of seats. Nothing here knows a socket, a lock or a clock; whoever shares one
`Seating` between threads holds a lock around each call, and none of them blocks.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

__all__ = ["Obstacle", "Seating", "name_in", "object_in", "password_in", "room_in"]

#: Characters that the id of a room may have.
MAX_ROOM_ID = 256
#: Characters of a peer's name that the others get; the rest is cut off.
MAX_NAME = 256
#: Characters that a password may have.
MAX_PASSWORD = 1024


class Obstacle:
    """Why a client is not let into a room: the reasons in ``join-error``."""

    INVALID_ROOM = "invalid-room"  #: the id is no text of 1 to `MAX_ROOM_ID` characters, or a sid
    PASSWORD_REQUIRED = "password-required"  #: the room has a password and none was sent
    WRONG_PASSWORD = "wrong-password"  #: another one was sent, or what can be no password
    ROOM_FULL = "room-full"  #: every seat is taken
    FORBIDDEN = "forbidden"  #: the app's `Lobby.authorize` did not say yes


class Seating:
    """The seats of all rooms, by sid. A room exists while somebody sits in it.

    ``key``: random bytes. Passwords are kept as digests keyed with it, all of one length, so that
    comparing them tells nothing and the memory of the process holds none.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._seats: dict[str, dict[str, None]] = {}
        self._secrets: dict[str, bytes] = {}
        self._rooms: dict[str, set[str]] = {}

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

    def sit(self, room: str, sid: str, secret: bytes | None) -> None:
        """Take a seat; the password of the first one to do so owns the room until it empties."""
        seats = self._seats.setdefault(room, {})
        if not seats and secret:
            self._secrets[room] = secret
        seats[sid] = None
        self._rooms.setdefault(sid, set()).add(room)

    def vacate(self, room: str, sid: str) -> bool:
        """Give a seat back; `False` if there was none."""
        seats = self._seats.get(room, {})
        if sid not in seats:
            return False
        del seats[sid]
        if not seats:
            del self._seats[room]
            self._secrets.pop(room, None)
        self._rooms[sid].discard(room)
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
        """The rooms that ``sid`` sits in."""
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


def name_in(fields: dict[str, Any]) -> str | None:
    """The name, cut to its bound; `None` where there is no text."""
    name = fields.get("name")
    return name[:MAX_NAME] if type(name) is str else None


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
