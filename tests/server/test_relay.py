"""The way of an envelope, short and ordinary: one rule, the same bytes, in order."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.hub import get_hub
from hypothesis import given, settings
from hypothesis import strategies as st

from rtcio_sync import Server, add_default_listeners
from rtcio_sync.adapter.member import Stage
from rtcio_sync.protocol.envelope import Drop
from rtcio_sync.relay.peer_left import send_peer_left
from rtcio_sync.relay.relay import SMALL
from tests.clients import TRANSPORTS, Client, Polling
from tests.json_strategies import WHITE, spelt, values
from tests.timing import DEADLINE, settle, until

#: How a client may write its message, and whether that is the short way.
FORMS: dict[str, tuple[str, bool]] = {
    "plain": ('2["#rtcio:message",{raw}]', True),
    "with an id": ('27["#rtcio:message",{raw}]', False),
    "with surplus": ('2["#rtcio:message",{raw},{{"more":[1]}},null]', False),
    "with white space": ('2 [ "#rtcio:message" , {raw} ]', False),
    "with an escaped name": ('2["\\u0023rtcio:message",{raw}]', False),
}


def trio(kind: str) -> tuple[Server, Client, Client, Client]:
    server = Server(ping_timeout=600)  # all examples share it, and not all clients poll in each
    make = TRANSPORTS[kind]
    a, b, c = (make(server).join() for _ in range(3))
    return server, a, b, c


def envelope(source: Any, target: Any, data: Any = 1) -> dict[str, Any]:
    return {"source": source, "target": target, "data": data}


# -- what arrives ----------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(data=st.data(), value=values)
@pytest.mark.parametrize("kind", TRANSPORTS)
def test_the_envelope_arrives_byte_for_byte_in_every_form(
    kind: str, data: st.DataObject, value: Any
) -> None:
    server, a, b, c = SHARED.setdefault(kind, trio(kind))
    payload = {"data": value, "source": a.sid, "extra": [value], "target": b.sid}
    raw = data.draw(WHITE) + data.draw(spelt(payload)) + data.draw(WHITE)
    form, _ = FORMS[data.draw(st.sampled_from(sorted(FORMS)))]
    a.send(form.format(raw=raw))
    until(lambda: server.counters.relayed > COUNTED.get(kind, 0))
    COUNTED[kind] = server.counters.relayed
    (arrived,) = b.packets()
    # White space around it is not the envelope's own; the short way leaves it where it was.
    assert arrived.removeprefix('2["#rtcio:message",').removesuffix("]").strip(" \t\n\r") == (
        raw.strip(" \t\n\r")
    )
    assert a.packets() == c.packets() == []


SHARED: dict[str, tuple[Server, Client, Client, Client]] = {}
COUNTED: dict[str, int] = {}


@pytest.mark.parametrize("form", FORMS)
def test_exactly_one_argument_arrives(form: str) -> None:
    _server, a, b, _ = trio("websocket")
    raw = json.dumps(envelope(a.sid, b.sid))
    a.send(FORMS[form][0].format(raw=raw))
    (arrived,) = [b.next()]
    assert arrived == f'2["#rtcio:message",{raw}]'


@pytest.mark.parametrize("form", FORMS)
def test_only_a_plain_message_takes_the_short_way(form: str) -> None:
    server, a, b, _ = trio("websocket")
    ordinary, took = server.relay.ordinary, []

    def seen(*message: Any) -> None:
        took.append(message)
        ordinary(*message)

    server.relay.ordinary = seen
    a.send(FORMS[form][0].format(raw=json.dumps(envelope(a.sid, b.sid))))
    b.next()
    assert bool(took) is not FORMS[form][1]


@pytest.mark.parametrize("form", FORMS)
def test_no_acknowledgement_is_ever_sent(form: str) -> None:
    _server, a, b, _ = trio("polling")
    a.send(FORMS[form][0].format(raw=json.dumps(envelope(a.sid, b.sid))))
    assert a.packets() == []


@pytest.mark.parametrize("kind", TRANSPORTS)
def test_attachments_arrive_behind_their_event(kind: str) -> None:
    _server, a, b, _ = trio(kind)
    raw = json.dumps(envelope(a.sid, b.sid, [{"_placeholder": True, "num": n} for n in (1, 0)]))
    a.send(f'52-7["#rtcio:message",{raw},"surplus"]', b"\x00one", b"\xfftwo")
    assert [b.next() for _ in range(3)] == [
        f'52-["#rtcio:message",{raw}]',
        "bAG9uZQ==",
        "b/3R3bw==",
    ]


@pytest.mark.parametrize("number", [-1, 1, None, "0", True])
def test_a_placeholder_that_names_no_attachment_reaches_nobody(number: Any) -> None:
    _server, a, b, _ = trio("polling")
    raw = json.dumps(envelope(a.sid, b.sid, {"_placeholder": True, "num": number}))
    assert a.post(f'451-["#rtcio:message",{raw}]', "bAQ==") in (200, 400)
    assert b.packets() == []


@pytest.mark.parametrize("form", FORMS)
def test_in_a_text_event_a_placeholder_is_data(form: str) -> None:
    _server, a, b, _ = trio("polling")
    raw = json.dumps(envelope(a.sid, b.sid, {"_placeholder": True, "num": 3}))
    a.send(FORMS[form][0].format(raw=raw))
    assert b.packets() == [f'2["#rtcio:message",{raw}]']


def test_messages_of_every_form_keep_their_order() -> None:
    server, a, b, _ = trio("websocket")
    forms = [form for form, _ in FORMS.values()]
    sent = []
    for number in range(40):
        raw = json.dumps(envelope(a.sid, b.sid, number))
        if number % 8 == 7:
            a.send(f'51-["#rtcio:message",{raw[:-1]},"x":{{"_placeholder":true,"num":0}}}}]', b"x")
        else:
            a.send(forms[number % len(forms)].format(raw=raw))
        sent.append(number)
    until(lambda: server.counters.relayed == 40)
    arrived = [packet for packet in b.packets() if packet[0] in "25"]
    assert [json.loads(packet[packet.index("[") :])[1]["data"] for packet in arrived] == sent


@pytest.mark.parametrize("sender", TRANSPORTS)
@pytest.mark.parametrize("receiver", TRANSPORTS)
def test_the_two_transports_reach_each_other(sender: str, receiver: str) -> None:
    server = Server()
    a, b = TRANSPORTS[sender](server).join(), TRANSPORTS[receiver](server).join()
    a.relay(b.sid, {"description": "é\u2028"})
    (payload,) = [json.loads(b.next()[1:])[1]]
    assert payload == envelope(a.sid, b.sid, {"description": "é\u2028"})


# -- what does not ---------------------------------------------------------------------------------

SHAPES: dict[str, Callable[[str, str], list[Any]]] = {
    "no payload": lambda a, b: [],
    "null": lambda a, b: [None],
    "a list": lambda a, b: [[envelope(a, b)]],
    "text": lambda a, b: [json.dumps(envelope(a, b))],
    "a number": lambda a, b: [7],
    "no data": lambda a, b: [{"source": a, "target": b}],
    "no source": lambda a, b: [{"target": b, "data": 1}],
    "a forged source": lambda a, b: [envelope(b, b)],
    "a source of null": lambda a, b: [envelope(None, b)],
    "a source in a list": lambda a, b: [envelope([a], b)],
    "no target": lambda a, b: [{"source": a, "data": 1}],
    "itself": lambda a, b: [envelope(a, a)],
    "a room": lambda a, b: [envelope(a, "tea")],
    "an empty target": lambda a, b: [envelope(a, "")],
    "a target of null": lambda a, b: [envelope(a, None)],
    "a target in a list": lambda a, b: [envelope(a, [b])],
    "a target in an object": lambda a, b: [envelope(a, {"sid": b})],
    "a target that is a number": lambda a, b: [envelope(a, 0)],
    "a target that is true": lambda a, b: [envelope(a, True)],
    "an unknown target": lambda a, b: [envelope(a, "x" * 20)],
}


@pytest.mark.parametrize("form", ["plain", "with an id"])
@pytest.mark.parametrize("shape", SHAPES)
def test_nobody_hears_of_a_message_that_may_not_be(
    shape: str, form: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server, a, b, c = trio("websocket")
    for client in (a, b, c):
        server.enter_room(client.sid, "tea")
    caplog.clear()
    arguments = ["#rtcio:message", *SHAPES[shape](a.sid, b.sid)]
    a.send(f"2{'' if form == 'plain' else 7}{json.dumps(arguments)}")
    until(lambda: sum(server.counters.dropped.values()) == 1)
    settle()
    assert [client.packets() for client in (a, b, c)] == [[], [], []]
    assert server.counters.relayed == 0
    told = [record for record in caplog.records if record.name == "rtcio_sync.adapter.drops"]
    assert [record.levelname for record in told] == ["DEBUG"]


@settings(max_examples=40, deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "source": st.sampled_from(["A", "B", "", None, 1]) | values,
            "target": st.sampled_from(["A", "B", "", None, "tea", 1, True]) | values,
            "data": values,
        },
    )
    | values
)
def test_both_ways_decide_alike(payload: Any) -> None:
    server, a, b, _ = SHARED.setdefault("alike", trio("polling"))
    if isinstance(payload, dict):
        names = {"A": a.sid, "B": b.sid}
        payload = {
            key: names.get(value, value) if isinstance(value, str) else value
            for key, value in payload.items()
        }
    outcomes = []
    for form in ("plain", "with an id"):
        server.counters.dropped.clear()
        a.send(FORMS[form][0].format(raw=json.dumps(payload)))
        outcomes.append((b.packets(), dict(server.counters.dropped)))
    assert outcomes[0] == outcomes[1]


# Values that are nearly JSON: each was taken by some parser that is not a browser's.
ALMOST = [
    "01", "1.", ".5", "-", "+1", "1e", "0x1", "NaN", "-Infinity", "tru", "nulll", "'a'", "1 2",
    '"\\x"', '"\\u12"', '"a\nb"', '"\x00"', '"', '"\\"', '""x', "[1,]", "[,]", "[1 2]", "[]]",
    '{"a":1,}', '{"a" 1}', "{1:2}", '{"a":1 "b":2}', "/**/1", "1//", "\u00a01", "\x0b1", "",
    '1,"more":01', '1,"data":tru', '1,"\\x":1', '1}]garbage',
]  # fmt: skip


@pytest.mark.parametrize("length", [0, SMALL])  # below it and above it another parser reads
@pytest.mark.parametrize("data", ALMOST)
def test_what_a_browser_could_not_parse_ends_its_sender_and_reaches_nobody(
    data: str, length: int
) -> None:
    server, a, b, _ = trio("websocket")
    pad = json.dumps("x" * length)
    a.send(f'2["#rtcio:message",{{"source":"{a.sid}","target":"{b.sid}","p":{pad},"data":{data}}}]')
    until(lambda: a.eio_sid not in server.eio.sockets)
    assert b.packets() == []


@pytest.mark.parametrize("length", [0, SMALL])
@pytest.mark.parametrize("name", ["source", "\\u0073ource"])
def test_the_last_of_two_sources_counts_as_in_a_browser(name: str, length: int) -> None:
    server, a, b, _ = trio("websocket")
    sources = f'"source":"{a.sid}","{name}":"forged"'
    rest = f'"target":"{b.sid}","data":{json.dumps("x" * length)}'
    a.send(f'2["#rtcio:message",{{{sources},{rest}}}]')
    until(lambda: server.counters.dropped == {Drop.FORGED_SOURCE: 1})
    assert b.packets() == []


@pytest.mark.parametrize("stage", [Stage.CONNECTING, Stage.LEAVING, Stage.GONE])
@pytest.mark.parametrize("form", ["plain", "with an id"])
def test_a_socket_that_is_coming_or_going_is_no_target(stage: Stage, form: str) -> None:
    server, a, b, _ = trio("websocket")
    b.member.stage = stage
    a.send(FORMS[form][0].format(raw=json.dumps(envelope(a.sid, b.sid))))
    until(lambda: server.counters.dropped)
    assert dict(server.counters.dropped) == {"unknown-target": 1}


def test_a_socket_whose_peers_have_heard_that_it_left_sends_nothing() -> None:
    server = Server()
    release = gevent.event.Event()
    server.on("block", lambda sid: release.wait(DEADLINE))
    a, b = Polling(server).join(), Polling(server).join()
    a.emit("block")
    a.send("1", event_of(a.sid, b.sid))
    assert b.packets() == []
    release.set()
    settle()
    assert b.packets() == []
    assert dict(server.counters.dropped) == {"not-connected": 1}


def event_of(source: str, target: str) -> str:
    return f'2["#rtcio:message",{json.dumps(envelope(source, target))}]'


def test_a_drop_is_logged_outside_the_hub(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "rtcio_sync.adapter.drops")
    where: list[Any] = []
    caplog.handler.addFilter(lambda record: where.append(gevent.getcurrent()) or True)
    _server, a, *_ = trio("websocket")
    a.emit("#rtcio:message")
    until(lambda: where)
    assert get_hub() not in where
    assert "rtcio_sync.adapter.drops" in [record.name for record in caplog.records]


# -- which sockets, which rooms --------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_the_scope_of_a_room_needs_a_shared_one(form: str) -> None:
    server = Server(relay_scope="room")
    a, b = Polling(server).join(), Polling(server).join()
    message = FORMS[form][0].format(raw=json.dumps(envelope(a.sid, b.sid)))
    a.send(message)
    server.enter_room(a.sid, "tea")
    server.enter_room(b.sid, "coffee")
    a.send(message)
    until(lambda: dict(server.counters.dropped) == {"other-room": 2})
    assert b.packets() == []
    server.enter_room(b.sid, "tea")
    a.send(message)
    until(lambda: server.counters.relayed)
    assert len(b.packets()) == 1


def test_a_namespace_is_served_when_it_is_asked_for() -> None:
    server = Server()
    server.of("/calls")
    clients = [Polling(server).join("/calls") for _ in range(2)]
    a, b = clients
    a.relay(b.sids["/calls"], "too early", "/calls")
    add_default_listeners(server, namespace="/calls")
    a.relay(b.sids["/calls"], "now", "/calls")
    a.send(
        "2/calls,7"
        + json.dumps(["#rtcio:message", envelope(a.sids["/calls"], b.sids["/calls"], "and now")])
    )
    assert [each["data"] for each in b.heard("#rtcio:message", "/calls")] == ["now", "and now"]


def test_a_sid_of_another_namespace_is_no_target() -> None:
    server = Server()
    add_default_listeners(server.of("/calls"))
    a, b = (Polling(server).join().join("/calls") for _ in range(2))
    a.relay(b.sid, 1, "/calls")
    a.relay(b.sids["/calls"], 1)
    assert b.heard("#rtcio:message") == b.heard("#rtcio:message", "/calls") == []
    assert dict(server.counters.dropped) == {"unknown-target": 2}


def test_one_socket_alone_may_have_the_listeners() -> None:
    server = Server()

    @server.of("/calls").on("connection")
    def connection(socket: Any) -> None:
        if socket.handshake.auth.get("listen"):
            add_default_listeners(socket)

    a = Polling(server).join("/calls", {"listen": True})
    b = Polling(server).join("/calls", {})
    a.relay(b.sids["/calls"], "from the one that has them", "/calls")
    b.relay(a.sids["/calls"], "from the one that has not", "/calls")
    assert len(b.heard("#rtcio:message", "/calls")) == 1
    assert a.heard("#rtcio:message", "/calls") == []


# -- a socket that came back -----------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_an_absent_source_of_a_recovered_socket_is_filled_in(form: str) -> None:
    _server, a, b, _ = trio("websocket")
    a.member.recovered = True
    raw = f'{{ "target" :"{b.sid}","data":1.0}}'
    a.send(FORMS[form][0].format(raw=raw))
    assert b.next() == f'2["#rtcio:message",{{"source":"{a.sid}", "target" :"{b.sid}","data":1.0}}]'


def test_a_wrong_source_of_a_recovered_socket_is_not() -> None:
    server, a, b, _ = trio("polling")
    a.member.recovered = True
    a.emit("#rtcio:message", envelope(b.sid, b.sid))
    a.emit("#rtcio:message", envelope(None, b.sid))
    assert b.packets() == []
    assert dict(server.counters.dropped) == {"forged-source": 2}


def test_a_sid_that_needs_escapes_is_filled_in_as_json() -> None:
    server = Server()
    server.eio.generate_id = lambda: f'"{next(NUMBERS)}\\'
    a, b = Polling(server), Polling(server)
    a.join()
    b.join()
    a.member.recovered = True
    a.emit("#rtcio:message", {"target": b.sid, "data": 1})
    assert b.heard("#rtcio:message") == [envelope(a.sid, b.sid)]


def numbers() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number


NUMBERS = numbers()


# -- peer-left -------------------------------------------------------------------------------------


def test_each_peer_of_any_room_hears_once() -> None:
    server, a, b, c = trio("polling")
    stranger = Polling(server).join()
    for client, rooms in ((a, "12"), (b, "12"), (c, "2"), (stranger, "3")):
        for room in rooms:
            server.enter_room(client.sid, room)
    send_peer_left(server.relay, a.member)
    assert b.events() == c.events() == [["#rtcio:peer-left", {"id": a.sid}]]
    assert a.events() == stranger.events() == []


def test_a_room_that_was_joined_since_hears_and_nobody_hears_twice() -> None:
    server, a, b, c = trio("polling")
    server.enter_room(a.sid, "tea")
    server.enter_room(b.sid, "tea")
    send_peer_left(server.relay, a.member)
    for client in (a, b, c):
        server.enter_room(client.sid, "late")
    send_peer_left(server.relay, a.member)
    send_peer_left(server.relay, a.member)
    assert b.events() == c.events() == [["#rtcio:peer-left", {"id": a.sid}]]


def test_leaving_a_room_tells_nobody() -> None:
    server, a, b, _ = trio("polling")
    for client in (a, b):
        server.enter_room(client.sid, "tea")
    server.leave_room(a.sid, "tea")
    a.close()
    settle()
    assert b.events() == []


def test_a_namespace_without_the_listeners_is_told_nothing() -> None:
    server = Server()
    server.of("/calls")
    a, b = (Polling(server).join("/calls") for _ in range(2))
    for client in (a, b):
        server.enter_room(client.sids["/calls"], "tea", namespace="/calls")
    a.close()
    settle()
    assert b.events("/calls") == []


# -- msgpack ---------------------------------------------------------------------------------------


def test_an_envelope_in_msgpack_keeps_its_values() -> None:
    server = Server(serializer="msgpack")
    a, b = server.test_client(), server.test_client()
    data = {"bytes": b"\x00\xff", "float": 1.5, "_placeholder": True, "num": 9}
    a.emit("#rtcio:message", envelope(a.sid, b.sid, data), "surplus")
    assert b.received("#rtcio:message") == [envelope(a.sid, b.sid, data)]
