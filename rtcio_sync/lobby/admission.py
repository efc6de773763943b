"""Who may sit in which room of a lobby: its cap and its password.

Pure rules and a table of seats, without sockets, locks or clocks. A caller that shares a `Seating`
between threads has to hold a lock around each call; no call blocks.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Obstacle", "Seating"]

H = TypeVar("H")


class Obstacle:
    """Why a client may not join a room: the reasons in ``join-error``."""

    INVALID_ROOM = (
        "invalid-room"  #: the id is not text of 1 to `payloads.MAX_ROOM_ID` characters, or is a sid
    )
    PASSWORD_REQUIRED = "password-required"  #: the room has a password and none was sent
    WRONG_PASSWORD = "wrong-password"  #: a wrong one was sent, or an invalid value
    ROOM_FULL = "room-full"  #: every seat is taken
    TOO_MANY_ROOMS = "too-many-rooms"  #: the socket is in `Limits.max_rooms_per_socket` already
    TRY_AGAIN = "try-again"  #: the worker that keeps the rooms stands still
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

    def rank(self, room: str, sid: str, since: Callable[[H | None], int]) -> list[str]:
        """Put a seat that was known late where it belongs; the sids that come after it.

        ``since(holder)``: the larger, the later was the seat taken.
        """
        seats = self._seats[room]
        own = since(seats[sid])
        last = next((each for each in reversed(seats) if each != sid), sid)
        if since(seats[last]) <= own:  # nearly always
            return []
        later = [each for each, holder in seats.items() if since(holder) > own]
        for each in later:
            seats[each] = seats.pop(each)
        return later

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
