"""The short way and the ordinary way of an envelope, with connections that only remember."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync.adapter.drops import Drops
from rtcio_sync.adapter.member import Member, Stage
from rtcio_sync.options import Limits
from rtcio_sync.parser.packet import event_pieces
from rtcio_sync.protocol.envelope import Drop
from rtcio_sync.relay.peer_left import send_peer_left
from rtcio_sync.relay.relay import SMALL, Passage, Relay
from tests.json_strategies import WHITE, spelt, values
from tests.members import FakeServer
from tests.values import HOLE, nested


class Scene(FakeServer):
    """Two sockets with the default listeners and an open short way: `a`, who sends, and `b`."""

    def __init__(self, *, scope: str = "namespace", recovery: Any = None) -> None:
        super().__init__(recovery=recovery)
        drop = Drops(self.counters, self.server.eio.spawn)
        self.relay = Relay(self.index, self.counters, drop, scope=scope)
        self.relay.namespaces.add("/")
        self.relay.encode = lambda namespace, arguments: event_pieces(
            self.server.packet_class, namespace, arguments
        )
        #: What the short way left.
        self.left: list[bytes] = []
        self.relay.ordinary = lambda link, message, binary: self.left.append(message)
        self.a, self.b = self.ready(), self.ready()

    def ready(self, namespace: str = "/", *, polling: bool = False) -> Member:
        member = self.joined(namespace, polling=polling)
        member.ready = True
        self.relay.settle(member)
        return member

    def envelope(self, data: Any = 1, **other: Any) -> dict[str, Any]:
        return {"source": self.a.sid, "target": self.b.sid, "data": data, **other}

    def arrive(self, text: str, sender: Member | None = None) -> None:
        """A message of ``a``, or of another, as the engine hands it over."""
        self.relay.arrive((sender or self.a).link, f"4{text}".encode(), False)

    def forward(
        self, payload: Any, raw: str | None = None, attachments: tuple[bytes, ...] = ()
    ) -> None:
        """A message of ``a`` on the ordinary way."""
        written = json.dumps(payload) if raw is None else raw
        self.relay.forward(self.a, Passage(payload, written, list(attachments)))

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self.counters.dropped)


def event(raw: str) -> str:
    return f'2["#rtcio:message",{raw}]'


# -- the short way ---------------------------------------------------------------------------------

SCENE = Scene()


@settings(max_examples=100)
@given(st.data(), values)
def test_a_plain_message_arrives_byte_for_byte(data: st.DataObject, value: Any) -> None:
    SCENE.left.clear()
    raw = data.draw(WHITE) + data.draw(spelt(SCENE.envelope(value, extra=[value])))
    SCENE.arrive(event(raw))
    if SCENE.left:  # JSON that its parsers do not take: the ordinary way reads it
        assert SCENE.left == [f"4{event(raw)}".encode()]
        assert SCENE.b.link.taken() == []
    else:
        assert SCENE.b.link.taken() == [event(raw)]


def test_a_relay_is_counted_with_its_bytes_and_the_sender_hears_nothing() -> None:
    scene = Scene()
    text = event(json.dumps(scene.envelope()))
    for _ in range(3):
        scene.arrive(text)
    assert scene.b.link.taken() == [text] * 3
    assert scene.a.link.taken() == scene.left == []
    assert (scene.counters.relayed, scene.counters.relayed_bytes) == (3, 3 * (len(text) + 1))


@pytest.mark.parametrize("size", [0, SMALL])  # below and above it another parser reads
def test_in_another_namespace_the_sender_is_its_socket_there(size: int) -> None:
    scene = Scene()
    scene.relay.namespaces.add("/calls")
    one, other = scene.ready("/calls"), scene.ready("/calls")
    raw = json.dumps({"source": one.sid, "target": other.sid, "data": "x" * size})
    text = f'2/calls,["#rtcio:message",{raw}]'
    scene.arrive(text, one)
    assert other.link.taken() == [text]
    scene.arrive(f'2/other,["#rtcio:message",{raw}]', one)
    assert other.link.taken() == []
    assert len(scene.left) == 1


LEAVES: dict[str, Callable[[Scene], str]] = {
    "another event": lambda scene: '2["chat",1]',
    "an acknowledgement id": lambda scene: f'27["#rtcio:message",{json.dumps(scene.envelope())}]',
    "a surplus argument": lambda scene: f'2["#rtcio:message",{json.dumps(scene.envelope())},1]',
    "white space at the end": lambda scene: event(json.dumps(scene.envelope())) + " ",
    "white space before": lambda scene: f'2 ["#rtcio:message",{json.dumps(scene.envelope())}]',
    "no payload": lambda scene: '2["#rtcio:message"]',
    "no object": lambda scene: event("[1]"),
    "no data": lambda scene: event(f'{{"source":"{scene.a.sid}","target":"{scene.b.sid}"}}'),
    "no source": lambda scene: event(f'{{"target":"{scene.b.sid}","data":1}}'),
    "a forged source": lambda scene: event(json.dumps(scene.envelope(source=scene.b.sid))),
    "an unknown target": lambda scene: event(json.dumps(scene.envelope(target="nobody"))),
    "itself": lambda scene: event(json.dumps(scene.envelope(target=scene.a.sid))),
    "a target in a list": lambda scene: event(json.dumps(scene.envelope(target=[scene.b.sid]))),
    "no JSON": lambda scene: event(json.dumps(scene.envelope())[:-1]),
    "65 levels": lambda scene: event(json.dumps(scene.envelope(nested(65)))),
    "a megabyte of lists": lambda scene: event(json.dumps(scene.envelope([[]] * 300_000))),
}


@pytest.mark.parametrize("what", LEAVES)
def test_what_is_not_so_plain_is_left_to_the_ordinary_way(what: str) -> None:
    scene = Scene()
    scene.relay.bound([Limits()])
    text = LEAVES[what](scene)
    scene.arrive(text)
    assert scene.left == [f"4{text}".encode()]
    assert scene.b.link.taken() == []
    assert scene.counters.relayed == 0


@pytest.mark.parametrize("size", [0, SMALL])
def test_what_has_no_more_levels_than_may_be_takes_the_short_way(size: int) -> None:
    scene = Scene()
    scene.relay.bound([Limits(max_depth=10)])
    text = event(json.dumps(scene.envelope(nested(8, "x" * size))))
    scene.arrive(text)
    assert scene.b.link.taken() == [text]
    scene.arrive(event(json.dumps(scene.envelope(nested(11, "x" * size)))))
    assert len(scene.left) == 1


def test_attachments_are_left_to_the_ordinary_way() -> None:
    scene = Scene()
    scene.relay.arrive(scene.a.link, b"\x00", True)
    assert scene.left == [b"\x00"]


CLOSES: dict[str, Callable[[Scene], Any]] = {
    "handlers that have not returned": lambda scene: setattr(scene.a, "ready", False),
    "an app that wants to see its relays": lambda scene: setattr(scene.a, "observed", True),
    "an earlier relay that waits": lambda scene: setattr(scene.a, "waiting", 1),
    "one that is leaving": lambda scene: setattr(scene.a, "stage", Stage.LEAVING),
    "the scope of rooms": lambda scene: setattr(scene.relay, "scope", "room"),
    "no default listeners": lambda scene: scene.relay.namespaces.clear(),
}


@pytest.mark.parametrize("what", CLOSES)
def test_the_short_way_is_closed_while_anything_has_to_be_asked_first(what: str) -> None:
    scene = Scene()
    assert scene.a.short
    CLOSES[what](scene)
    scene.relay.settle(scene.a)
    assert not scene.a.short
    scene.arrive(event(json.dumps(scene.envelope())))
    assert len(scene.left) == 1


def test_listeners_of_ones_own_open_the_short_way_too() -> None:
    scene = Scene()
    scene.relay.namespaces.clear()
    scene.a.relays = True
    scene.relay.settle(scene.a)
    assert scene.a.short


@pytest.mark.parametrize("stage", [Stage.CONNECTING, Stage.LEAVING, Stage.GONE])
def test_one_that_is_coming_or_going_is_no_target_of_the_short_way(stage: Stage) -> None:
    scene = Scene()
    scene.b.stage = stage
    scene.arrive(event(json.dumps(scene.envelope())))
    assert scene.b.link.taken() == []
    assert len(scene.left) == 1


# -- the ordinary way ------------------------------------------------------------------------------


@pytest.mark.parametrize("polling", [False, True])
def test_on_the_ordinary_way_the_envelope_arrives_as_it_was_written(polling: bool) -> None:
    scene = Scene()
    scene.b = scene.ready(polling=polling)
    raw = f'{{ "source":"{scene.a.sid}",\t"target" : "{scene.b.sid}", "data":1.0}}'
    scene.forward(json.loads(raw), raw)
    assert scene.b.link.taken() == [event(raw)]
    assert scene.counters.relayed == 1


def test_attachments_follow_their_envelope_and_surplus_ones_go() -> None:
    scene = Scene()
    payload = scene.envelope([{"_placeholder": True, "num": 1}, HOLE])
    scene.forward(payload, attachments=(b"one", b"two", b"of a surplus argument"))
    assert scene.b.link.taken() == [
        f'52-["#rtcio:message",{json.dumps(payload)}]',
        b"one",
        b"two",
    ]


@pytest.mark.parametrize("number", [-1, 1, None, "0", True, 0.0])
def test_a_placeholder_that_names_no_attachment_reaches_nobody(number: Any) -> None:
    scene = Scene()
    scene.forward(scene.envelope({"_placeholder": True, "num": number}), attachments=(b"x",))
    assert scene.b.link.taken() == []
    assert scene.dropped == {Drop.MALFORMED: 1}


def test_without_attachments_a_placeholder_is_data() -> None:
    scene = Scene()
    payload = scene.envelope({"_placeholder": True, "num": 3})
    scene.forward(payload)
    assert scene.b.link.taken() == [event(json.dumps(payload))]


REFUSED: dict[str, tuple[Callable[[Scene], Any], str]] = {
    "nothing": (lambda scene: None, Drop.MALFORMED),
    "a list": (lambda scene: [scene.envelope()], Drop.MALFORMED),
    "no data": (lambda scene: {"source": scene.a.sid, "target": scene.b.sid}, Drop.MALFORMED),
    "no source": (lambda scene: {"target": scene.b.sid, "data": 1}, Drop.FORGED_SOURCE),
    "a forged source": (lambda scene: scene.envelope(source=scene.b.sid), Drop.FORGED_SOURCE),
    "a source of null": (lambda scene: scene.envelope(source=None), Drop.FORGED_SOURCE),
    "itself": (lambda scene: scene.envelope(target=scene.a.sid), Drop.BAD_TARGET),
    "an empty target": (lambda scene: scene.envelope(target=""), Drop.BAD_TARGET),
    "a target in a list": (lambda scene: scene.envelope(target=[scene.b.sid]), Drop.BAD_TARGET),
    "an unknown target": (lambda scene: scene.envelope(target="nobody"), Drop.UNKNOWN_TARGET),
    "a room": (lambda scene: scene.envelope(target="tea"), Drop.UNKNOWN_TARGET),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_may_not_be_relayed_is_counted_and_reaches_nobody(what: str) -> None:
    scene = Scene()
    scene.enter(scene.b, "tea")
    payload, reason = REFUSED[what]
    scene.forward(payload(scene))
    assert scene.dropped == {reason: 1}
    assert scene.b.link.taken() == scene.a.link.taken() == []
    assert scene.counters.relayed == 0


def test_a_target_in_another_namespace_is_unknown() -> None:
    scene = Scene()
    scene.b = scene.ready("/calls")
    scene.forward(scene.envelope())
    assert scene.dropped == {Drop.UNKNOWN_TARGET: 1}


def test_a_socket_that_came_back_may_leave_its_source_out() -> None:
    scene = Scene()
    scene.a.recovered = True
    raw = f'{{ "target" :"{scene.b.sid}","data":1.0}}'
    scene.forward(json.loads(raw), raw)
    expected = f'{{"source":"{scene.a.sid}", "target" :"{scene.b.sid}","data":1.0}}'
    assert scene.b.link.taken() == [event(expected)]
    scene.forward(scene.envelope(source=None))
    assert scene.dropped == {Drop.FORGED_SOURCE: 1}


def test_the_scope_of_rooms_needs_a_shared_one() -> None:
    scene = Scene(scope="room")
    scene.forward(scene.envelope())
    scene.enter(scene.a, "tea")
    scene.enter(scene.b, "coffee")
    scene.forward(scene.envelope())
    assert scene.dropped == {Drop.OTHER_ROOM: 2}
    scene.enter(scene.b, "tea")
    scene.forward(scene.envelope())
    assert len(scene.b.link.taken()) == 1


def test_a_message_without_its_text_is_encoded_anew() -> None:
    scene = Scene()
    scene.relay.forward(scene.a, Passage(scene.envelope({"blob": b"x"}), None, []))
    text, attachment = scene.b.link.taken()
    assert json.loads(text[3:])[1] == scene.envelope({"blob": HOLE})
    assert (text[:3], attachment) == ("51-", b"x")


# -- across processes ------------------------------------------------------------------------------


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What goes to the other processes."""
    found: list[dict[str, Any]] = []

    def publish(self: Any, message: dict[str, Any], done: Callable[[], None]) -> bool:
        found.append(message)
        done()
        return True

    monkeypatch.setattr("rtcio_sync.adapter.emit.RoomIndex.publish_relay", publish)
    return found


def test_a_target_that_is_not_here_is_looked_for_in_the_other_processes(
    published: list[dict[str, Any]],
) -> None:
    scene = Scene()
    payload = scene.envelope(HOLE, target="far")
    scene.forward(payload, attachments=(b"\x01\x02\xff",))
    (message,) = published
    assert message == {
        "event": "#rtcio:message",
        "namespace": "/",
        "target": "far",
        "rooms": None,
        "raw": json.dumps(payload),
        "attachments": [base64.b64encode(b"\x01\x02\xff").decode()],
    }
    assert (scene.counters.relayed, scene.dropped) == (1, {})


def test_the_rules_hold_before_anything_is_published(published: list[dict[str, Any]]) -> None:
    scene = Scene()
    scene.forward(scene.envelope(source="forged", target="far"))
    assert published == []


def test_with_the_scope_of_rooms_the_senders_rooms_go_with_it(
    published: list[dict[str, Any]],
) -> None:
    scene = Scene(scope="room")
    scene.enter(scene.a, "tea", 7)
    scene.forward(scene.envelope(target="far"))
    assert published[0]["rooms"] == ["tea", 7]


def heard(scene: Scene, **fields: Any) -> None:
    """A relay that another process published, its attachments decoded."""
    raw = json.dumps({"source": "far", "target": scene.b.sid, "data": 1})
    relay = {"namespace": "/", "target": scene.b.sid, "rooms": None, "raw": raw, "attachments": []}
    scene.relay.from_elsewhere({**relay, **fields})


def test_a_relay_of_another_process_reaches_its_target_alone() -> None:
    scene = Scene()
    raw = json.dumps({"source": "far", "target": scene.b.sid, "data": 1})
    heard(scene)
    heard(scene, target="in a third process")
    heard(scene, namespace="/calls")
    assert scene.b.link.taken() == [event(raw)]
    assert scene.a.link.taken() == []
    assert (scene.counters.relayed, scene.dropped) == (1, {})
    scene.relay.namespaces.clear()
    heard(scene)
    assert scene.b.link.taken() == []


def test_a_relay_of_another_process_needs_a_shared_room_where_the_scope_is_rooms() -> None:
    scene = Scene(scope="room")
    scene.enter(scene.b, "tea")
    heard(scene, rooms=["coffee"])
    heard(scene, rooms=None)
    assert scene.dropped == {Drop.OTHER_ROOM: 2}
    heard(scene, rooms=["coffee", "tea"])
    assert len(scene.b.link.taken()) == 1


# -- with recovery ---------------------------------------------------------------------------------


@pytest.mark.parametrize("short", [True, False])
def test_with_recovery_a_relay_carries_its_offset_and_is_kept(short: bool) -> None:
    scene = Scene(recovery=True)
    raw = json.dumps(scene.envelope())
    if short:
        scene.arrive(event(raw))
    else:
        scene.forward(scene.envelope())
    offset = scene.recovery.spelt(1)
    assert scene.b.link.taken() == [f'2["#rtcio:message",{raw},"{offset}"]']
    assert len(scene.b.session.missed(None) or ()) == 1
    assert scene.counters.relayed == 1


def test_with_recovery_one_that_is_away_is_a_target_and_gets_it_later() -> None:
    scene = Scene(recovery=True)
    for stage in (Stage.LEAVING, Stage.GONE):
        scene.b.enter(stage)
    scene.recovery.park(scene.b)
    scene.arrive(event(json.dumps(scene.envelope(1))))
    assert scene.b.link.taken() == []
    assert scene.counters.relayed == 1
    (frame,) = scene.b.session.missed(None) or ()
    scene.b.link.send_frames([frame])
    (text,) = scene.b.link.taken()
    assert json.loads(text[1:])[1] == scene.envelope(1)


# -- peer-left -------------------------------------------------------------------------------------


def test_each_peer_of_any_shared_room_hears_once_who_left() -> None:
    scene = Scene()
    c, stranger = scene.ready(), scene.ready(polling=True)
    for member, rooms in ((scene.a, "12"), (scene.b, "12"), (c, "2"), (stranger, "3")):
        scene.enter(member, *rooms)
    send_peer_left(scene.relay, scene.a)
    told = f'2["#rtcio:peer-left",{{"id":"{scene.a.sid}"}}]'
    assert [each.link.taken() for each in (scene.b, c)] == [[told], [told]]
    assert scene.a.link.taken() == stranger.link.taken() == []


def test_a_room_that_was_joined_since_is_told_and_nobody_twice() -> None:
    scene = Scene()
    c = scene.ready()
    scene.enter(scene.a, "tea")
    scene.enter(scene.b, "tea", "late")
    send_peer_left(scene.relay, scene.a)
    scene.enter(scene.a, "late")
    scene.enter(c, "late")
    send_peer_left(scene.relay, scene.a)
    send_peer_left(scene.relay, scene.a)
    assert len(scene.b.link.taken()) == len(c.link.taken()) == 1


def test_peers_of_a_socket_without_the_listeners_are_told_nothing() -> None:
    scene = Scene()
    scene.enter(scene.a, "tea")
    scene.enter(scene.b, "tea")
    scene.relay.namespaces.clear()
    send_peer_left(scene.relay, scene.a)
    assert scene.b.link.taken() == []
