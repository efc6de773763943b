"""Sends ``#rtcio:peer-left`` to the peers of a socket that leaves.

`cluster.remote_presence` does the same for a socket of another worker.
"""

from __future__ import annotations

from ..adapter.member import Member
from ..events import RtcioEvents
from .relay import Relay

__all__ = ["send_peer_left"]


def send_peer_left(relay: Relay, member: Member) -> None:
    """Sends peer-left to each peer that shares a room with ``member``, once. # hub or greenlet

    Called when the loss is noticed, and again when the last handler has run: a handler may have
    joined the socket to another room meanwhile. No peer gets it twice.
    """
    if not member.rooms or not relay.serves(member):
        return
    with relay.manager.server.eio.gate:  # one thread may notice the loss, and another disconnect it
        told_rooms, told = member.told or (set(), {member.sid})
        rooms = [room for room in member.rooms or () if room not in told_rooms]
        if rooms:
            payload = {"id": member.sid}
            told = relay.manager.announce(
                RtcioEvents.PEER_LEFT, payload, member.namespace, rooms, told, told_rooms
            )
            member.told = (told_rooms.union(rooms), told)
