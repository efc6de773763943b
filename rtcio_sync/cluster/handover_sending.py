"""Takes sessions out of a node that leaves, and sends them to its heir. # greenlet"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

from ..adapter.emit import RoomIndex
from ..errors import CannotMove, OptionError
from . import handover_messages
from .messages import Kind, Struct
from .ports import Packed, Sessions
from .remote_rooms import Replica

__all__ = ["Sending"]

log = logging.getLogger(__name__)

T = TypeVar("T")


class Sending:
    """The sessions that have left, and those that cannot.

    ``lives(heir)``: whether it lives, and is the heir still.
    """

    def __init__(
        self,
        manager: RoomIndex,
        replica: Replica,
        post: Callable[[str, int, Struct], bool],
        lives: Callable[[str], bool],
    ) -> None:
        self._manager = manager
        self._replica = replica
        self._post = post
        self._lives = lives
        #: The sids and the connections that have moved.
        self.gone: set[str] = set()
        self.gone_links: set[str] = set()
        #: How many sessions have moved.
        self.moved = 0
        #: The connections and the waiting sessions that cannot move, for good.
        self.stays: set[str | tuple[str, str]] = set()
        self._reasons: set[str] = set()  # why; each is said once

    def pack(
        self, sessions: Sessions, heir: str, descriptors: list[tuple[str, int]], eio_sid: str
    ) -> bool:
        """Sends one connection's sessions; `False`: it stays, for now or for good.

        Its descriptor is added to ``descriptors``.
        """
        ghosts = self._rooms_of(self._members_of(eio_sid))
        packed = self._taken(heir, eio_sid, lambda: sessions.pack(eio_sid))
        if packed is None:
            return False
        if self._send(heir, packed, ghosts):
            self.gone_links.add(eio_sid)
            if packed.fd >= 0:
                descriptors.append((eio_sid, packed.fd))
        elif packed.fd >= 0:
            os.close(packed.fd)
        return True

    def pack_away(self, sessions: Sessions, heir: str, eio_sid: str) -> bool:
        """The same for a connection whose client was told to connect to another host."""
        ghosts = self._rooms_of(self._members_of(eio_sid))
        parts = self._taken(heir, eio_sid, lambda: sessions.pack_away(eio_sid))
        for each, ghost in zip(parts or (), ghosts, strict=False):
            self._send(heir, each, [ghost])
        return parts is not None

    def _taken(self, heir: str, key: str | tuple[str, str], take: Callable[[], T]) -> T | None:
        """`None`: it stays, for now or for good."""
        if not self._lives(heir):
            return None
        try:
            return take()
        except CannotMove as error:
            if not error.later:
                self.stays.add(key)
                self._say_why(error.reason)
        except Exception:
            log.exception("a session could not be taken out of this worker")
            self.stays.add(key)
        return None

    def _say_why(self, reason: str) -> None:
        if reason not in self._reasons:
            self._reasons.add(reason)
            log.warning("a client cannot move to another worker, and has to reconnect: %s", reason)

    def pack_waiting(self, sessions: Sessions, heir: str, which: tuple[str, str]) -> None:
        """Sends the session of a client that is away: its namespace and sid."""
        ghosts = self._rooms_of([which])
        packed = self._taken(heir, which, lambda: sessions.pack_waiting(*which))
        if packed is not None:
            self._send(heir, packed, ghosts)

    def _send(self, heir: str, packed: Packed, ghosts: list[Any]) -> bool:
        """`False`: it is over, since it is too long or the heir has just died."""
        coming = handover_messages.Coming(packed.state, packed.fd >= 0)
        try:
            sent = self._post(heir, Kind.COMING, coming)
        except OptionError:
            sent = False
        if not sent:
            log.warning("a session could not be sent to another worker and has ended")
            return False
        self.moved += 1
        for namespace, sid, rooms, relays in ghosts:
            self.gone.add(sid)
            if rooms:
                self._replica.join(heir, namespace, sid, rooms, relays=relays)
        return True

    def _members_of(self, eio_sid: str) -> list[tuple[str, str]]:
        return [(each.namespace, each.sid) for each in self._manager.members_of(eio_sid)]

    def _rooms_of(self, members: list[tuple[str, str]]) -> list[Any]:
        found = []
        for namespace, sid in members:
            member = self._manager.member(sid, namespace)
            if member is not None:
                found.append((namespace, sid, list(member.rooms or ()), member.relays))
        return found
