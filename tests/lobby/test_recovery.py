"""A peer that lost its connection and comes back to its seat."""

from __future__ import annotations

from typing import Any

import pytest
from gevent.event import Event
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync.adapter.member import Stage
from rtcio_sync.lobby.lobby import Lobby
from rtcio_sync.server import Server
from tests.lobby.clients import announced, client, join, refused
from tests.reconnecting import SHORT, Line, Phone, end_all
from tests.timing import DEADLINE, settle, until


@pytest.fixture
def recovering() -> Server:
    return Server(connection_state_recovery=True)


def seated(server: Server, room: str = "r", **fields: Any) -> Phone:
    """A client that is in the room, has taken note of it, and may lose its connection."""
    phone = Phone(server)
    join(phone, room, **fields)
    assert phone.received()[-1] == ("join-ok", [{"roomId": room}])
    return phone


def connected_again(phone: Phone, **fields: Any) -> Any:
    return ("user-connected", [{"id": phone.sid, **fields}])


def polite(offer: Any) -> Any:
    name, args = offer
    return (name, [*args, {"polite": True}]) if name == "#rtcio:init-offer" else offer


def test_the_room_hears_that_one_is_lost_and_that_it_is_back_and_makes_no_new_offer(
    recovering: Server,
) -> None:
    lobby = Lobby(recovering)
    ann, bob = seated(recovering, name="Ann"), seated(recovering, name="Bob")
    bob.emit("media-state", {"roomId": "r", "mic": True})
    ann.received()
    sid = bob.sid
    bob.lose()
    assert ann.received() == [
        ("#rtcio:peer-left", [{"id": sid}]),
        ("user-disconnected", [{"id": sid}]),
    ]
    assert lobby.peers("r") == [ann.sid, sid]
    bob.come_back()
    assert ann.received() == [
        connected_again(bob, name="Bob"),
        ("media-state", [{"id": sid, "roomId": "r", "mic": True}]),
    ]
    assert bob.received() == []
    assert lobby.peers("r") == [ann.sid, sid]
    bob.emit("chat-message", {"roomId": "r", "text": "still in"})
    assert ann.received() == [("chat-message", [{"roomId": "r", "text": "still in", "id": sid}])]
    end_all(recovering, ann, bob)
    assert not lobby._rooms


HANGS = ["event", "use", "disconnecting"]


class Hung:
    """A server whose lobby has a peer with a handler that does not return."""

    def __init__(self, place: str) -> None:
        self.server = Server(connection_state_recovery=True)
        self.lobby = Lobby(self.server)
        self.place, self.sid = place, ""
        self.entered, self.release = Event(), Event()
        self.server.on("work", lambda sid: self.at("event", sid))
        self.server.on("disconnecting", lambda sid, reason: self.at("disconnecting", sid))
        self.server.on("connection", self.connection)
        self.line = Line(self.server).connected()
        self.line.emit("join-room", {"roomId": "r", "name": "Bob"})
        self.line.read_until(lambda: self.line.events[-1:] and self.line.events[-1][0] == "join-ok")
        self.sid = self.line.sid
        self.member = self.server.manager.member(self.sid, "/")

    def connection(self, socket: Any) -> None:
        socket.use(lambda event, args: self.at("use", socket.id))

    def at(self, place: str, sid: str) -> None:
        if place == self.place and sid == self.sid:
            self.entered.set()
            assert self.release.wait(DEADLINE)

    def work(self) -> None:
        self.line.emit("work")
        if self.place != "disconnecting":
            assert self.entered.wait(DEADLINE)

    def lose(self) -> None:
        self.line.close()
        until(lambda: self.member.stage in (Stage.LEAVING, Stage.GONE))
        if self.place == "disconnecting":
            assert self.entered.wait(DEADLINE)


@pytest.mark.parametrize("place", HANGS)
def test_one_whose_handler_does_not_return_is_gone_for_the_others_at_once(place: str) -> None:
    hung = Hung(place)
    ann = seated(hung.server, name="Ann")
    hung.work()
    hung.lose()
    gone = [("#rtcio:peer-left", [{"id": hung.sid}]), ("user-disconnected", [{"id": hung.sid}])]
    assert ann.received() == gone
    cid = Phone(hung.server)
    join(cid, name="Cid")
    assert cid.received() == [
        ("user-connected", [{"id": ann.sid, "name": "Ann"}]),
        ("join-ok", [{"roomId": "r"}]),
    ]
    ann.received()
    hung.release.set()
    until(lambda: hung.member.stage is Stage.AWAY)
    settle()
    assert ann.received() == []
    again = Line(hung.server, hung.line.key()).connected()
    back = ("user-connected", [{"id": hung.sid, "name": "Bob"}])
    until(lambda: back in ann.received())
    assert cid.received() == [back]
    again.close()
    until(lambda: hung.server.stats()["away"] == 1)
    hung.server.disconnect(hung.sid)
    end_all(hung.server, ann, cid)
    assert not hung.lobby._rooms


def test_what_it_had_sent_before_its_loss_is_done_though_it_is_gone_for_the_others() -> None:
    hung = Hung("event")
    ann = seated(hung.server)
    hung.work()
    hung.line.emit("media-state", {"roomId": "r", "mic": True})
    hung.line.emit("chat-message", {"roomId": "r", "text": "one moment"})
    hung.line.emit("join-room", {"roomId": "r", "name": "Rob"})
    until(lambda: len(hung.line.link.inbox) == 3)
    hung.lose()
    ann.received()
    hung.release.set()
    until(lambda: hung.member.stage is Stage.AWAY)
    heard = ann.received()
    assert ("chat-message", [{"roomId": "r", "text": "one moment", "id": hung.sid}]) in heard
    assert heard[-1] == ("user-disconnected", [{"id": hung.sid}])
    assert "#rtcio:init-offer" not in dict(heard), "its calls go on when it is back"
    again = Line(hung.server, hung.line.key()).connected()
    until(lambda: hung.member.ready)
    settle()
    assert ann.received() == [
        ("user-connected", [{"id": hung.sid, "name": "Rob"}]),
        ("media-state", [{"id": hung.sid, "roomId": "r", "mic": True}]),
    ]
    again.close()
    until(lambda: hung.server.stats()["away"] == 1)
    hung.server.disconnect(hung.sid)
    end_all(hung.server, ann)


def test_a_loss_that_nobody_noticed_is_told_to_nobody(recovering: Server) -> None:
    Lobby(recovering)
    ann, bob = seated(recovering, name="Ann"), seated(recovering, name="Bob")
    ann.received()
    bob.forsake()
    bob.come_back()
    assert ann.received() == []
    bob.emit("chat-message", {"roomId": "r"})
    assert ann.received("chat-message") == [{"roomId": "r", "id": bob.sid}]
    end_all(recovering, ann, bob)


def test_who_came_meanwhile_and_the_one_who_is_back_are_brought_together(
    recovering: Server,
) -> None:
    Lobby(recovering)
    ann, bob = seated(recovering, name="Ann"), seated(recovering, name="Bob")
    bob.emit("media-state", {"roomId": "r", "cam": False})
    sid = bob.sid
    bob.lose()
    cid = Phone(recovering)
    join(cid, name="Cid")
    assert cid.received() == [
        ("user-connected", [{"id": ann.sid, "name": "Ann"}]),
        ("join-ok", [{"roomId": "r"}]),
    ], "of the one who is away it hears when that is back"
    bob.come_back()
    assert bob.received() == [polite(each) for each in announced(cid, name="Cid")]
    assert cid.received() == [
        connected_again(bob, name="Bob"),
        ("media-state", [{"id": sid, "roomId": "r", "cam": False}]),
    ]
    bob.relay(cid.sid or "", {"description": {"type": "offer"}})
    assert cid.received("#rtcio:message") == [
        {"source": sid, "target": cid.sid, "data": {"description": {"type": "offer"}}}
    ]
    end_all(recovering, ann, bob, cid)


def test_an_offer_is_asked_for_once_however_often_the_connection_is_lost(
    recovering: Server,
) -> None:
    Lobby(recovering)
    bob = seated(recovering)
    bob.lose()
    cid = seated(recovering)
    for way in (Phone.lose, Phone.forsake, Phone.lose):
        bob.come_back()
        way(bob)
    bob.come_back()
    assert len(bob.received("#rtcio:init-offer")) == 1
    assert cid.received("#rtcio:init-offer") == []
    end_all(recovering, bob, cid)


def test_an_offer_that_got_lost_in_flight_is_asked_for_again(recovering: Server) -> None:
    Lobby(recovering)
    bob = seated(recovering)
    bob.go_deaf()
    cid = seated(recovering)
    bob.lose()
    bob.come_back()
    assert bob.received("#rtcio:init-offer") == [[{"source": cid.sid}, {"polite": True}]]
    end_all(recovering, bob, cid)


def test_two_who_are_away_at_once_find_each_other_again(recovering: Server) -> None:
    Lobby(recovering)
    ann, bob = seated(recovering), seated(recovering)
    ann.received()
    sids = (ann.sid, bob.sid)
    ann.lose(), bob.lose()
    bob.come_back(), ann.come_back()
    heard = [each for each in ann.received() if each[0].startswith("user-")]
    assert heard == [("user-disconnected", [{"id": sids[1]}]), connected_again(bob)]
    heard = [each for each in bob.received() if each[0].startswith("user-")]
    assert heard == [("user-disconnected", [{"id": sids[0]}]), connected_again(ann)]
    end_all(recovering, ann, bob)


def test_newcomers_hear_of_all_in_the_order_of_joining_though_some_were_away(
    recovering: Server,
) -> None:
    lobby = Lobby(recovering)
    phones = [seated(recovering, name=str(number)) for number in range(5)]
    for number in (3, 0):
        phones[number].lose()
    for number in (0, 3):
        phones[number].come_back()
    newcomer = client(recovering)
    join(newcomer)
    heard = [card["id"] for card in newcomer.received("user-connected")]
    assert heard == [phone.sid for phone in phones] == lobby.peers("r")[:5]
    end_all(recovering, *phones)


def test_the_seat_of_one_who_may_come_back_is_kept(recovering: Server) -> None:
    lobby = Lobby(recovering, max_peers=2)
    ann, bob = seated(recovering), seated(recovering)
    bob.lose()
    late = Phone(recovering)
    join(late)
    assert late.received() == refused("room-full")
    assert lobby.stats() == {"rooms": 1, "peers": 2}
    bob.come_back()
    bob.emit("leave-room", {"roomId": "r"})
    join(late)
    assert late.received()[-1] == ("join-ok", [{"roomId": "r"}])
    end_all(recovering, ann, bob, late)
    assert lobby.stats() == {"rooms": 0, "peers": 0}


def test_the_password_of_a_room_is_kept_while_somebody_may_come_back(recovering: Server) -> None:
    lobby = Lobby(recovering)
    bob = seated(recovering, password="sesame")
    bob.lose()
    late = Phone(recovering)
    join(late)
    assert late.received() == refused("password-required")
    join(late, password="sesame")
    assert late.received() == [("join-ok", [{"roomId": "r"}])]
    bob.come_back()
    assert late.received() == [connected_again(bob)]
    end_all(recovering, bob, late)
    assert not lobby._rooms


@pytest.mark.parametrize("how", ["too long away", "put out", "removed from the room"])
def test_the_seat_is_free_when_nobody_comes_back_to_it(how: str) -> None:
    short = {"max_disconnection_duration": SHORT if how == "too long away" else 120}
    server = Server(connection_state_recovery=short)
    lobby = Lobby(server, max_peers=2)
    ann, bob = seated(server), seated(server, password="ignored")
    sid = bob.sid or ""
    bob.lose()
    ann.received()
    if how == "put out":
        server.disconnect(sid)
    elif how == "removed from the room":
        assert lobby.remove(sid, "r")
    until(lambda: lobby.peers("r") == [ann.sid])
    assert ann.received() == [], "it had heard already"
    late = seated(server)
    bob.come_back()
    assert ann.received() == [polite(each) for each in announced(late)]
    assert late.received() == []
    assert bob.received() == []
    assert lobby.peers("r") == [ann.sid, late.sid]
    end_all(server, ann, bob, late)
    until(lambda: lobby.stats() == {"rooms": 0, "peers": 0})
    assert not lobby._rooms


def test_who_leaves_on_purpose_keeps_no_seat(recovering: Server) -> None:
    lobby = Lobby(recovering)
    bob = seated(recovering, password="old")
    bob.leave()
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    end_all(recovering, seated(recovering, password="new"))


@pytest.mark.parametrize("how", ["sockets_leave", "close_room"])
def test_a_room_that_the_app_took_from_one_who_was_away_is_no_seat_any_more(
    recovering: Server, how: str
) -> None:
    lobby = Lobby(recovering)
    ann, bob = seated(recovering), seated(recovering)
    sid = bob.sid or ""
    bob.lose()
    if how == "sockets_leave":
        recovering.in_(sid).sockets_leave("r")
    else:
        recovering.close_room("r")
    ann.received()
    bob.come_back()
    assert ann.received() == []
    assert sid not in lobby.peers("r")
    end_all(recovering, ann, bob)
    assert not lobby._rooms


def test_the_sid_of_one_who_is_away_is_an_invalid_room(recovering: Server) -> None:
    Lobby(recovering)
    bob, other = Phone(recovering), Phone(recovering)
    sid = bob.sid
    bob.lose()
    for event in ("join-room", "check-room"):
        other.emit(event, {"roomId": sid})
        assert other.received() == refused("invalid-room", sid)
    end_all(recovering, bob, other)


def test_a_join_that_the_loss_overtakes_counts_and_is_answered_on_return(
    recovering: Server,
) -> None:
    def authorize(socket: Any, room: str, name: str | None, password: str | None) -> bool:
        if name == "Bob":
            bob.lose()
        return True

    lobby = Lobby(recovering, authorize=authorize)
    ann, bob = seated(recovering), Phone(recovering)
    sid = bob.sid
    join(bob, name="Bob")
    assert lobby.peers("r") == [ann.sid, sid]
    assert [name for name, _ in ann.received()] == [
        "user-connected", "#rtcio:init-offer", "#rtcio:peer-left", "user-disconnected",
    ]  # fmt: skip
    bob.come_back()
    assert bob.received() == [
        ("user-connected", [{"id": ann.sid}]),
        ("join-ok", [{"roomId": "r"}]),
    ]
    assert ann.received() == [connected_again(bob, name="Bob")]
    end_all(recovering, ann, bob)
    assert not lobby._rooms


def test_who_joins_again_on_its_return_is_answered_and_nobody_hears_of_it(
    recovering: Server,
) -> None:
    Lobby(recovering)
    ann, bob = seated(recovering), seated(recovering)
    bob.lose()
    ann.received()
    bob.come_back()
    join(bob)
    assert bob.received() == [
        ("user-connected", [{"id": ann.sid}]),
        ("join-ok", [{"roomId": "r"}]),
    ]
    assert ann.received() == [connected_again(bob)]
    end_all(recovering, ann, bob)


def test_each_of_several_rooms_hears_of_loss_and_return(recovering: Server) -> None:
    lobby = Lobby(recovering)
    bob = seated(recovering, "a")
    join(bob, "b", name="Bob in b")
    friends = [seated(recovering, room) for room in "ab"]
    bob.received()
    bob.lose()
    bob.come_back()
    for friend, fields in zip(friends, ({}, {"name": "Bob in b"}), strict=True):
        heard = [each for each in friend.received() if each[0].startswith("user-")]
        assert heard == [
            ("user-disconnected", [{"id": bob.sid}]),
            connected_again(bob, **fields),
        ]
    end_all(recovering, bob, *friends)
    assert not lobby._rooms


LIVES = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "lose", "forsake", "return", "end", "go"]),
        st.integers(0, 3),
    ),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(lives=LIVES)
def test_what_each_peer_heard_is_who_is_there_whoever_was_lost_and_came_back(
    lives: list[tuple[str, int]],
) -> None:
    server = Server(connection_state_recovery=True)
    lobby = Lobby(server)
    people = [Phone(server) for _ in range(4)]
    views: list[dict[str, set[str]]] = [{} for _ in people]

    def note(who: int) -> None:
        phone, inside = people[who], views[who].setdefault("r", set())
        for name, (fields, *_) in phone.received():
            if name == "user-connected":
                inside.add(fields["id"])
            elif name == "user-disconnected":
                assert fields["id"] in inside
                inside.discard(fields["id"])

    for what, who in lives:
        phone = people[who]
        if what == "join" and phone.connected:
            join(phone)
        elif what == "leave" and phone.connected:
            phone.emit("leave-room", {"roomId": "r"})
            note(who)
            views[who].clear()
        elif what in ("lose", "forsake") and phone.connected:
            note(who)
            getattr(phone, what)()
        elif what == "return" and not phone.connected:
            phone.come_back()
            if not phone.recovered:
                views[who].clear()
        elif what == "end" and not phone.connected:
            for session in list(server.recovery._sessions.values()):  # type: ignore[union-attr]
                if session.pid == phone.pid:
                    server.disconnect(session.member.sid)
        elif what == "go" and phone.connected:
            note(who)
            phone.leave()
            views[who].clear()
        settle()
    for who, phone in enumerate(people):
        if not phone.connected:
            phone.come_back()
            if not phone.recovered:
                views[who].clear()
    seats = set(lobby.peers("r"))
    for who, phone in enumerate(people):
        note(who)
        if phone.sid in seats:
            assert views[who]["r"] == seats - {phone.sid}
    end_all(server, *people)
    assert lobby.stats() == {"rooms": 0, "peers": 0}
    assert not lobby._rooms
