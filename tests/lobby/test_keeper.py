"""What a worker does when another one, which keeps the rooms, gives no answer in time."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from socketio import exceptions

from rtcio_sync.lobby import keeper_asking
from rtcio_sync.lobby.joining import Joining, Peer, State
from rtcio_sync.lobby.keeper import Keeper
from rtcio_sync.lobby.keeper_messages import Seat
from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.options import Limits
from rtcio_sync.server import Server
from tests.lobby.clients import client, refused


class Links:
    """As much of an `Exchange` as a keeper needs that hears of no other worker."""

    def __init__(self) -> None:
        self.inline: dict[str, Any] = {}
        self.on_met: list[Any] = []
        self.on_joined: list[Any] = []
        self.on_died: list[Any] = []
        self.bus = self
        self.neighbours: list[str] = []
        self.nodes: list[str] = []
        #: Of the workers: not all have said how old they are.
        self.eldest: str | None = None
        self.node = "this one"


class Table:
    copies = None

    def restore(self, seats: Any, gone: Any) -> None:
        """There are none."""


class Silent(Keeper):
    """Says that a seat is free, and then stands still. It goes on at the very end.

    Then it has the client enter.
    """

    #: The seat of the client.
    late: Seat
    asked = 0

    def call(self, here: Any, there: Any) -> Any:
        self.asked += 1
        if self.asked == 1:
            return here()
        self.late.entered = True
        self.add(self.late)
        raise exceptions.TimeoutError()


class Generous(Keeper):
    """Another worker keeps the rooms, and a seat could always be had there."""

    def call(self, here: Any, there: Any) -> Any:
        return there(lambda op: [None, False])


def test_a_check_elsewhere_knows_how_many_rooms_the_client_is_in() -> None:
    server = Server(limits=Limits(max_rooms_per_socket=1))
    links: Any = Links()
    table: Any = Table()
    tab = client(server)
    peer = Peer(server.of("/").sockets[tab.sid or ""])
    keeper = Generous(server, links, "lobby", table)
    joining = Joining(server, server.of("/"), State(server.of("/")), Lobby(server), keeper)
    server.enter_room(peer.sid, "app")
    joining.check(peer, {"roomId": "r"})
    assert tab.received() == refused("too-many-rooms")
    server.leave_room(peer.sid, "app")
    joining.check(peer, {"roomId": "r"})
    assert [name for name, _ in tab.received()] == ["room-check-ok"]


def test_a_seat_of_a_keeper_that_goes_on_late_has_its_place_in_the_order_of_joining(
    server: Server,
) -> None:
    links: Any = Links()
    table: Any = Table()
    tab = client(server)
    peer = Peer(server.of("/").sockets[tab.sid or ""])
    keeper = Silent(server, links, "lobby", table)
    state = State(server.of("/"))
    joining = Joining(server, server.of("/"), state, Lobby(server), keeper)
    before = time.time_ns()
    seat = keeper.late = Seat("r", peer.sid, None, b"")
    joining.join(peer, {"roomId": "r"})
    assert before <= seat.since <= time.time_ns()


def test_a_wait_for_the_keeper_that_has_timed_out_leaves_nothing_behind(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[threading.Event] = []

    def create_event() -> threading.Event:
        events.append(threading.Event())
        return events[-1]

    monkeypatch.setattr(keeper_asking, "ANSWER_WITHIN", 0.01)
    monkeypatch.setattr(server.eio, "create_event", create_event)
    links: Any = Links()
    table: Any = Table()
    keeper = Keeper(server, links, "lobby", table)
    links.on_met[0]("another")  # it is not known yet which worker is the eldest
    with pytest.raises(exceptions.TimeoutError):
        keeper.call(lambda: None, lambda ask: None)
    links.eldest = links.node
    links.on_met[0]("another")
    assert keeper.call(lambda: "here", lambda ask: "there") == "here"
    assert [event.is_set() for event in events] == [False], "nobody waits for it any more"
