"""Sessions that lose their connection all at once and come back, with a check of each event.

Each event names its session and has a number, so that an event is noticed that reaches another
session, or arrives twice, out of order or not at all. `Void` tells how many sessions had such a
fault: one faulty session of 5,000 makes the server's figure void.
"""

from __future__ import annotations

import json
import time
from itertools import islice
from typing import Any

from benchmarks import wire
from benchmarks.clients import BATCH, PATIENCE, Client, Pool, Void
from benchmarks.traffic import SILENCE

ROOM = 4  # members
MISSED = 2  # relays to each session, and events to each room, while it is away
PER_SPEAKER = 400  # messages that one socket sends: within the burst that Limits grants
FILLER = "x" * 120

Event = list[Any]


class Sessions:
    """Clients in rooms of four, and speakers who stay while the clients are away."""

    def __init__(self, pool: Pool, count: int) -> None:
        self._pool = pool
        self._first = pool.groups
        self._rooms = pool.open_groups(count // ROOM, ROOM, join=True)
        self._sids = [[client.sid for client in room] for room in self._rooms]
        messages = len(self._rooms) * (MISSED * (ROOM + 1) + 1)
        self._speakers = pool.open(1 + messages // PER_SPEAKER)
        self._faults: list[str] = []

    @property
    def members(self) -> list[Client]:
        return [client for room in self._rooms for client in room]

    def talk(self) -> None:
        """Each client relays to the next in its room, and sends one event to all in it."""
        owed: dict[int, list[Event]] = {client.fd: [] for client in self.members}
        for number, room in enumerate(self._rooms):
            for place, client in enumerate(room):
                following = room[(place + 1) % ROOM]
                relay, said = _relay(client.sid, following.sid, "before"), ["say", _said(place)]
                self._say(client, number, said)
                client.socket.send(wire.client_frame(wire.event(*relay)))
                owed[following.fd].append(relay)
                for other in room:
                    if other is not client:
                        owed[other.fd].append(said)
        self._hear(owed)

    def cut(self) -> None:
        """Closes all connections of the sessions at once, without a close frame."""
        self._pool.close(self.members)

    def speak(self) -> int:
        """Sends what the sessions miss; returns how much, when the server has handled it."""
        for number, sids in enumerate(self._sids):
            speaker = self._speaker(number)
            for turn in range(MISSED):
                self._say(speaker, number, ["say", _said(f"missed {turn}")])
                for sid in sids:
                    relay = wire.event(*_relay(speaker.sid, sid, f"missed {turn}"))
                    speaker.socket.send(wire.client_frame(relay))
        self._fence()
        return len(self._sids) * MISSED * (ROOM + 1)

    def come_back(self) -> None:
        """All reconnect with their pid and offset, and read what they missed."""
        places = ((number, place) for number in range(len(self._rooms)) for place in range(ROOM))
        while batch := list(islice(places, BATCH)):
            before = [self._rooms[number][place] for number, place in batch]
            again = self._pool.open_websockets([wire.reconnect(c.pid, c.offset) for c in before])
            for (number, place), old, new in zip(batch, before, again, strict=True):
                self._rooms[number][place] = new
                if (new.sid, new.pid) != (old.sid, old.pid):
                    self._faults.append(f"{old.sid} came back as {new.sid}")
                else:
                    self._catch_up(number, new)
            self._pool.adopt(again)
            self._pool.serve(0)
        if self._faults:
            count = f"{len(self._faults)} of {len(self.members)} sessions got what is not theirs"
            raise Void(f"{count}: {self._faults[0]}")

    def greet(self) -> None:
        """Sends one more event to each room and reads only that: nothing came twice."""
        said = ["say", _said("new")]
        for number in range(len(self._rooms)):
            self._say(self._speaker(number), number, said)
        self._hear({client.fd: [said] for client in self.members})
        self._fence()
        self._pool.serve(0)

    def leave(self) -> None:
        """All leave on purpose, so that the server keeps nothing of them."""
        for client in [*self.members, *self._speakers]:
            client.socket.send(wire.DISCONNECT)
        self._pool.close([*self.members, *self._speakers])

    def _say(self, client: Client, number: int, said: Event) -> None:
        name, payload = said
        event = wire.event(name, f"room-{self._first + number}", payload)
        client.socket.send(wire.client_frame(event))

    def _speaker(self, number: int) -> Client:
        return self._speakers[number % len(self._speakers)]

    def _fence(self) -> None:
        """Waits until the server has handled all that the speakers have sent."""
        for speaker in self._speakers:
            speaker.socket.settimeout(PATIENCE)
        self._pool.join(self._speakers, [b"there"] * len(self._speakers))
        for speaker in self._speakers:
            speaker.socket.setblocking(False)

    def _catch_up(self, number: int, client: Client) -> None:
        """Reads as much as it has missed. Relays need not wait for other events, so each kind is
        in order by itself; when and in which order the others of its room were lost, nobody can
        say.
        """
        speaker = self._speaker(number)
        left = [["#rtcio:peer-left", {"id": sid}] for sid in self._sids[number]]
        left.remove(["#rtcio:peer-left", {"id": client.sid}])
        relays = [_relay(speaker.sid, client.sid, f"missed {turn}") for turn in range(MISSED)]
        says = [["say", _said(f"missed {turn}")] for turn in range(MISSED)]
        owed = [*left, *relays, *says]
        later = [client.text() for _ in owed[len(client.early) :]]
        heard = [_take(client, message) for message in client.early + later]
        in_order = all(
            [event for event in heard if event[0] == kind[0][0]] == kind for kind in (relays, says)
        )
        if len(heard) > len(owed) or not in_order or any(event not in heard for event in left):
            self._faults.append(f"{client.sid} caught up with {json.dumps(heard)[:300]}")

    def _hear(self, owed: dict[int, list[Event]]) -> None:
        """Reads the events of all, in any order, and no others."""
        left = sum(map(len, owed.values()))
        heard = time.monotonic()
        while left:
            events = self._pool.epoll.poll(1)
            if events:
                heard = time.monotonic()
            elif time.monotonic() > heard + SILENCE:
                raise Void(f"{left} messages were lost")
            for fd, _ in events:
                for message in self._pool.messages(fd):
                    event = _take(self._pool.clients[fd], message)
                    if event not in owed.get(fd, ()):
                        raise Void(f"an unexpected {message[:120]!r}")
                    owed[fd].remove(event)
                    left -= 1


def _relay(source: str, target: str, data: str) -> Event:
    return ["#rtcio:message", {"source": source, "target": target, "data": [data, FILLER]}]


def _said(what: object) -> Event:
    return [what, FILLER]


def _take(client: Client, message: bytes) -> Event:
    """The event without its offset; the client remembers the offset."""
    if not message.startswith(b"42"):
        raise Void(f"an unexpected {message[:120]!r}")
    event: Event
    *event, client.offset = json.loads(message[2:])
    if not isinstance(client.offset, str):
        raise Void(f"an event without an offset: {message[:120]!r}")
    return event
