"""Who may sit in which room of a lobby: ids, names, passwords, caps.

Pure rules and a table of seats, without sockets, locks or clocks. A caller that shares a `Seating`
between threads has to hold a lock around each call; no call blocks.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any, Generic, TypeAlias, TypeVar

__all__ = [
    "Name", "Obstacle", "Seating", "name_in", "object_in", "password_in", "room_in", "state_in",
]  # fmt: skip

#: What a client may call itself.
Name: TypeAlias = "str | int | float"

H = TypeVar("H")

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


class Obstacle:
    """Why a client may not join a room: the reasons in ``join-error``."""

    INVALID_ROOM = (
        "invalid-room"  #: the id is not text of 1 to `MAX_ROOM_ID` characters, or is a sid
    )
    PASSWORD_REQUIRED = "password-required"  #: the room has a password and none was sent
    WRONG_PASSWORD = "wrong-password"  #: a wrong one was sent, or an invalid value
    ROOM_FULL = "room-full"  #: every seat is taken
    TOO_MANY_ROOMS = "too-many-rooms"  #: the socket is in `Limits.max_rooms_per_socket` already
    FORBIDDEN = "forbidden"  #: the app's `Lobby.authorize` returned something false


class Seating(Generic[H]):
    """The seats of all rooms, by sid. A room exists while at least one seat is taken.

    ``H``: what the caller keeps with a seat.

    ``key``: random bytes. Passwords are kept as digests keyed with it, all of one length: the time
    of a comparison tells nothing, and the process keeps no password in memory.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._seats: dict[str, dict[str, H | None]] = {}
        self._secrets: dict[str, bytes] = {}
        self._rooms: dict[str, dict[str, None]] = {}

    def rekey(self, key: bytes) -> None:
        """Takes another key, before anybody has a seat."""
        self._key = key

    def all(self) -> list[tuple[str, str, bytes]]:
        """Each seat: its room, its sid, and the room's digest; in the order of sitting."""
        found = []
        for room, seats in self._seats.items():
            found += [(room, sid, self._secrets.get(room, b"")) for sid in seats]
        return found

    def clear(self) -> None:
        """Takes all seats away."""
        self._seats.clear()
        self._secrets.clear()
        self._rooms.clear()

    def digest(self, password: str | None) -> bytes | None:
        """What `obstacle` and `sit` take; ``b""`` for no password, `None` for an invalid one."""
        if not password:
            return None if password is None else b""
        text = password.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=32).digest()

    def obstacle(self, room: str, sid: str, secret: bytes | None, limit: int | None) -> str | None:
        """Why ``sid`` may not take a seat now; `None`: it may, or it has one.

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

    def sit(self, room: str, sid: str, secret: bytes | None, holder: H | None = None) -> None:
        """Take a seat. The first peer's password is the room's until the room is empty.

        ``holder``: any object, which `holder` returns; for a sid with a seat it is replaced.
        """
        seats = self._seats.setdefault(room, {})
        if not seats and secret:
            self._secrets[room] = secret
        seats[sid] = holder
        self._rooms.setdefault(sid, {})[room] = None

    def holder(self, room: str, sid: str) -> H | None:
        """What `sit` was given with the seat of ``sid``; `None`: it has none."""
        return self._seats.get(room, {}).get(sid)

    def vacate(self, room: str, sid: str, holder: H | None = None) -> bool:
        """Give a seat back; `False` if there was none, or if its holder is not ``holder``."""
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
        """Whether ``sid`` has a seat in ``room``; that may be any value that a client sent."""
        return type(room) is str and sid in self._seats.get(room, {})

    def sids(self, room: str) -> list[str]:
        """The sids with a seat in ``room``, in the order in which they took it."""
        return list(self._seats.get(room, {}))

    def rooms(self, sid: str) -> list[str]:
        """The rooms in which ``sid`` has a seat, in the order in which it took them."""
        return list(self._rooms.get(sid, ()))

    def secret(self, room: str) -> bytes:
        """The digest of a room's password; empty: it has none."""
        return self._secrets.get(room, b"")

    def closed(self, room: str) -> bool:
        """Whether ``room`` has a password."""
        return room in self._secrets

    def counts(self) -> tuple[int, int]:
        """How many rooms have a seat taken, and how many seats are taken in all."""
        return len(self._seats), sum(len(seats) for seats in self._seats.values())


# -- what a client sent ---------------------------------------------------------------------------


def object_in(payload: Any) -> dict[str, Any]:
    """The payload, or an empty object if it is none."""
    return payload if type(payload) is dict else {}


def room_in(fields: dict[str, Any]) -> str | None:
    """The id of a room; `None`: there is none, or it is invalid."""
    room = fields.get("roomId")
    if type(room) is not str or not 0 < len(room) <= MAX_ROOM_ID or not _is_unicode(room):
        return None
    return room


def name_in(fields: dict[str, Any]) -> Name | None:
    """The name, a number or text, cut to `MAX_NAME`; `None` for anything else."""
    name = fields.get("name")
    if type(name) is str:
        return name[:MAX_NAME] if _is_unicode(name) else None
    if type(name) in (int, float) and -MAX_NUMBER <= (name or 0) <= MAX_NUMBER:
        return name
    return None


def state_in(fields: dict[str, Any], before: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a media state for peers that join later.

    All that the client sent, if that is small; else ``mic`` and ``cam`` alone. One of these two
    that the client did not send stays as it was ``before``.
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
            if left > 0 and not all(map(_is_unicode, each)):
                return False
            waiting += each.values() if left > 0 else ()
        elif type(each) in (list, tuple):
            left -= VALUE * len(each)
            waiting += each if left > 0 else ()
        elif isinstance(each, (str, bytes, bytearray)):
            left -= len(each)
            if left > 0 and type(each) is str and not _is_unicode(each):
                return False
        elif type(each) is int and each.bit_length() > 64:
            return False
        if left < 0:
            return False
    return True


def _is_unicode(text: str) -> bool:
    """Whether it can be sent as UTF-8. Half of a surrogate pair, which JSON may have, cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
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
