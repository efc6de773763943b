"""What one message may hold, on a whole server: levels, values, ``auth``, attachments."""

from __future__ import annotations

import json
import logging
from typing import Any

import gevent
import msgpack
import pytest
from socketio import packet
from socketio.msgpack_packet import MsgPackPacket

from rtcio_sync import Limits, Server
from tests.clients import TRANSPORTS, Polling, WebSocket, event, joined, packed, say
from tests.timing import cost, settle, until
from tests.values import HOLE, nested
from tests.wsgi import environ_of, request

#: The most that a megabyte may cost, in a POST and as lists.
QUICK, LISTS = 4, 2.3


class Own(packet.Packet):
    """A packet class of an app's own that decodes as it likes."""

    json = json

    def decode(self, encoded_packet: Any) -> Any:
        return super().decode(encoded_packet)


FORMS: dict[str, dict[str, Any]] = {
    "usual": {},
    "a json module of its own": {"json": json},
    "a packet class of its own": {"serializer": Own},
    "msgpack": {"serializer": "msgpack"},
    "msgpack, configured": {"serializer": MsgPackPacket.configure()},
}


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged above debug, but for the advice to monkey-patch that polling gives."""
    said = [record.getMessage() for record in caplog.records]
    return [each for each in said if "monkey-patched" not in each]


TOO_MUCH: dict[str, tuple[Any, str]] = {
    "levels": (nested(65), "too-deep"),
    "levels of objects": ({"a": {"a": nested(63)}}, "too-deep"),
    "500 levels": (nested(500), "too-deep"),
    "more levels than any decoder follows": (None, "too-deep"),
    "numbers": ([0] * 100_001, "too-many-values"),
    "lists": ([[]] * 110_000, "too-many-values"),
    "objects": ([{}] * 110_000, "too-many-values"),
    "strings": ([""] * 110_000, "too-many-values"),
}

ENOUGH: dict[str, Any] = {
    "levels": nested(64),
    "values": [0] * 99_999,
    "objects": [{}] * 99_999,
    "text": '[{",\\"' * 90_000,
    "keys": {str(number): number for number in range(50_000)},
}


def written(server: Server, what: str) -> Any:
    """The packet of an event ``take`` with too much of ``what``, as a client sends it."""
    if what != "more levels than any decoder follows":
        return None
    if packed(server):
        head = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data\x92\xa4take"
        return head + b"\x91" * 5000 + b"\x90"
    return f'2["take",{"[" * 5000}{"]" * 5000}]'


@pytest.mark.parametrize("what", TOO_MUCH)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("form", FORMS)
def test_an_event_that_holds_too_much_is_dropped_and_the_connection_lives(
    form: str, transport: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = Server(**FORMS[form])
    heard: list[Any] = []
    server.on("take", lambda sid, data: heard.append(data))
    server.on("ping", lambda sid: heard.append("ping"))
    a = joined(server, transport)
    data, label = TOO_MUCH[what]
    text = written(server, what)
    if text is not None and FORMS[form].get("serializer") is Own:
        return  # what its own decoder does not read is no packet
    if text is None:
        say(a, packet.EVENT, ["take", data], number=7)
    else:
        a.send(text)
    say(a, packet.EVENT, ["ping"])
    until(lambda: heard)
    assert heard == ["ping"]
    assert dict(server.counters.dropped) == {label: 1}
    assert not a.link.closed
    assert not complaints(caplog)


@pytest.mark.parametrize("what", ENOUGH)
@pytest.mark.parametrize("form", FORMS)
def test_an_event_that_is_just_within_the_bounds_is_handled(form: str, what: str) -> None:
    server = Server(**FORMS[form])
    heard: list[Any] = []
    server.on("take", lambda sid, data: heard.append(data))
    a = joined(server)
    say(a, packet.EVENT, ["take", ENOUGH[what]])
    until(lambda: heard)
    assert heard == [ENOUGH[what]]


@pytest.mark.parametrize("form", FORMS)
def test_an_acknowledgement_that_holds_too_much_is_dropped(form: str) -> None:
    server = Server(**FORMS[form])
    answers: list[Any] = []
    a = joined(server)
    server.emit("ask", to=a.sid, callback=lambda *args: answers.append(args))
    say(a, packet.ACK, [nested(65)], number=1)
    until(lambda: server.counters.dropped)
    assert dict(server.counters.dropped) == {"too-deep": 1}
    say(a, packet.ACK, ["fine"], number=1)
    until(lambda: answers)
    assert answers == [("fine",)]


@pytest.mark.parametrize(
    "number",
    ["x", 1.5, True, [], {}, nested(600), [[]] * 99_000],
    ids=["text", "fraction", "boolean", "list", "object", "levels", "values"],
)
@pytest.mark.parametrize("form", ["msgpack", "msgpack, configured"])
def test_an_event_whose_id_is_no_integer_is_undecodable(
    form: str, number: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes back with the acknowledgement, and neither bound would hold for it."""
    server = Server(**FORMS[form])
    taken: list[str] = []
    server.on("take", taken.append)
    a, b = joined(server), joined(server)
    link = a.link
    say(a, packet.EVENT, ["take"], number=number)
    until(lambda: link.closed)
    assert server.counters.closed["packet"] == 1
    say(b, packet.EVENT, ["take"], number=7)
    until(lambda: taken)
    assert taken == [b.sid]
    assert complaints(caplog) == []


AUTH: dict[str, Any] = {
    "bytes": {"token": "x" * 16_384},
    "values": {"list": [0] * 1_000},
    "levels": {"list": nested(64)},
    "a megabyte of lists": {"list": [[]] * 300_000},
}


@pytest.mark.parametrize("what", AUTH)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("form", FORMS)
def test_a_connect_that_holds_too_much_is_answered_with_an_error(
    form: str, transport: str, what: str
) -> None:
    server = Server(**FORMS[form])
    asked: list[Any] = []
    server.on("connect", lambda sid, environ, auth: asked.append(auth))
    a = TRANSPORTS[transport](server)
    say(a, packet.CONNECT, AUTH[what])
    answer = a.next()
    assert "Auth too large" in answer or packed(server)
    assert dict(server.counters.dropped) == {"auth": 1}
    assert a.member is None
    assert asked == []
    fine = {"token": "x" * 16_000, "list": [0] * 900}
    fine["token"] = fine["token"][:10_000]
    say(a, packet.CONNECT, fine)
    until(lambda: asked)
    assert asked == [fine]


def test_each_bound_may_be_lifted_or_a_namespaces_own() -> None:
    server = Server(limits=Limits(max_depth=None, max_values=10, max_auth_bytes=None))
    heard: list[Any] = []
    for name in ("/", "/wide"):
        server.on("take", lambda sid, data: heard.append(data), namespace=name)
    server.of("/wide", limits=Limits(max_depth=2, max_values=None, max_auth_values=None))
    a = WebSocket(server)
    a.join("/", {"a": "x" * 20_000})
    a.join("/wide", {"a": [0] * 5_000})
    a.send(event("take", nested(9)), event("take", [0] * 20))
    a.send(event("take", nested(3), namespace="/wide"))
    a.send(event("take", [0] * 200_000, namespace="/wide"))
    until(lambda: len(heard) == 2)
    assert heard == [nested(9), [0] * 200_000]
    assert dict(server.counters.dropped) == {"too-many-values": 1, "too-deep": 1}


# -- relays ----------------------------------------------------------------------------------------

RELAYED: dict[str, tuple[str, str | None]] = {
    "65 levels": ("[" * 64 + "]" * 64, "too-deep"),
    "65 levels and more behind them": ("[" * 64 + "]" * 64, "too-deep"),
    "65 levels of objects": ('{"a":' * 64 + "0" + "}" * 64, "too-deep"),
    "500 levels": ("[" * 450 + "]" * 450, "too-deep"),
    "500 levels and 2 kB": ("[" * 450 + '"' + "x" * 2000 + '"' + "]" * 450, "too-deep"),
    "a megabyte of lists": ("[" + "[]," * 300_000 + "0]", "too-many-values"),
    "a megabyte of text": ('"' + "[]," * 300_000 + '"', None),
    "64 levels": ("[" * 63 + "]" * 63, None),
    "brackets in a string": ('"' + "[{}]" * 100 + '"', None),
    "many small lists": ("[" + "[]," * 100 + "0]", None),
}


@pytest.mark.parametrize("what", RELAYED)
@pytest.mark.parametrize("options", [{}, {"relay_scope": "room"}, {"json": json}], ids=str)
def test_a_relay_is_bounded_as_an_event_is(options: dict[str, Any], what: str) -> None:
    server = Server(**options)
    a, b = joined(server), joined(server)
    for client in (a, b):
        server.enter_room(client.sid, "tea")
    data, label = RELAYED[what]
    tail = ',"more":[{}]' if "behind" in what else ""
    raw = f'{{"source":"{a.sid}","target":"{b.sid}","data":{data}{tail}}}'
    a.send(f'2["#rtcio:message",{raw}]')
    if label is None:
        until(lambda: server.counters.relayed)
        assert [b.next()[0] for _ in range(2)] == ["0", "2"]
    else:
        until(lambda: server.counters.dropped)
        assert dict(server.counters.dropped) == {label: 1}
        assert server.counters.relayed == 0
    assert not a.link.closed


@pytest.mark.parametrize("way", ["short", "ordinary", "an event", "an acknowledgement"])
def test_a_megabyte_of_lists_costs_about_what_reading_it_costs(way: str) -> None:
    server = Server()
    server.on("take", lambda sid, data: None)
    a, b = joined(server), joined(server)
    lists = "[" + "[]," * 316_000 + "0]"
    raw = f'{{"source":"{a.sid}","target":"{b.sid}","data":{lists}}}'
    text = {
        "short": f'2["#rtcio:message",{raw}]',
        "ordinary": f'27["#rtcio:message",{raw},1]',
        "an event": f'2["take",{lists}]',
        "an acknowledgement": f"37{lists}",
    }[way]
    message = f"4{text}".encode()
    assert cost(lambda: server.eio.arrive(a.link, message, False)) < LISTS
    assert dict(server.counters.dropped) == {"too-many-values": 5}


# -- attachments -----------------------------------------------------------------------------------


def other(num: Any) -> dict[str, Any]:
    return {"_placeholder": True, "num": num}


#: Arguments of a packet with one attachment, or two, that do not match them.
MISMATCHED: dict[str, tuple[Any, int]] = {
    "2,000 that name one": ([HOLE] * 2_000, 1),
    "two that name one": ([HOLE, {"a": HOLE}], 1),
    "none at all": (["x"], 1),
    "one of two": ([HOLE], 2),
    "an index outside": ([other(1)], 1),
    "a negative one": ([other(-1)], 1),
    "a float": ([other(0.0)], 1),
    "a boolean": ([other(False)], 1),
    "no index": ([{"_placeholder": True}], 1),
    "one inside another": ([{"_placeholder": True, "num": HOLE}], 1),
    "a mark that is nearly one": ([HOLE, {"_placeholder": 1, "num": 0}], 1),
    "one in a key": ([{json.dumps(HOLE): 1}], 1),
}


@pytest.mark.parametrize("what", MISMATCHED)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("kind", ["an event", "an acknowledgement", "a relay"])
@pytest.mark.parametrize("form", ["usual", "a json module of its own"])
def test_attachments_that_do_not_match_make_a_packet_undecodable(
    form: str, kind: str, transport: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = Server(**FORMS[form])
    heard: list[Any] = []
    reasons: list[str] = []
    server.on("take", lambda sid, *data: heard.append(data))
    server.on("disconnect", lambda sid, reason: reasons.append(reason))
    a, b = joined(server, transport), joined(server)
    server.emit("ask", to=a.sid, callback=lambda *args: heard.append(args))
    arguments, number = MISMATCHED[what]
    text = {
        "an event": f"5{number}-{json.dumps(['take', *arguments])}",
        "an acknowledgement": f"6{number}-1{json.dumps(arguments)}",
        "a relay": f"5{number}-"
        + json.dumps(["#rtcio:message", {"source": a.sid, "target": b.sid, "data": arguments}]),
    }[kind]
    pieces: list[Any] = [text, *[b"x" * 1000] * number]
    if isinstance(a, Polling):
        for piece in pieces:
            a.post("4" + piece if isinstance(piece, str) else "beHh4")
    else:
        a.send(*pieces)
    until(lambda: reasons)
    assert reasons == ["transport error"]
    assert heard == []
    assert server.counters.relayed == 0
    assert server.counters.closed["packet"] == 1
    assert not complaints(caplog)


@pytest.mark.parametrize("form", ["usual", "a json module of its own"])
@pytest.mark.parametrize("kind", ["an event", "an acknowledgement", "a relay"])
def test_the_attachments_of_a_dropped_packet_are_not_taken_for_the_next(
    kind: str, form: str
) -> None:
    server = Server(**FORMS[form])
    heard: list[Any] = []
    server.on("take", lambda sid, *data: heard.append(data))
    a, b = joined(server), joined(server)
    deep = json.dumps(nested(70, HOLE))
    text = {
        "an event": f'52-["take",{deep},{json.dumps(other(1))}]',
        "an acknowledgement": f"62-1[{deep},{json.dumps(other(1))}]",
        "a relay": f'52-["#rtcio:message",{{"source":"{a.sid}","target":"{b.sid}","data":{deep}}}]',
    }[kind]
    a.send(text, b"one", b"two", f'51-["take",{json.dumps(HOLE)}]', b"mine")
    until(lambda: heard)
    assert heard == [(b"mine",)]
    assert dict(server.counters.dropped) == {"too-deep": 1}


def test_what_waits_for_attachments_is_kept_as_it_came() -> None:
    server = Server()
    heard: list[Any] = []
    server.on("take", lambda sid, *data: heard.append(data))
    a = joined(server)
    lists: list[Any] = [[]] * 90_000
    a.send(f"51-{json.dumps(['take', lists, HOLE])}")
    until(lambda: a.link.partial is not None)
    assert a.link.partial.packet is None
    a.send(b"x")
    until(lambda: heard)
    assert heard == [(lists, b"x")]


# -- binary messages as text -----------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_attachment_may_come_as_base64(transport: str) -> None:
    server = Server()
    heard: list[Any] = []
    server.on("take", lambda sid, data: heard.append(data))
    a = joined(server, transport)
    a.send(f'51-["take",{json.dumps(HOLE)}]')
    if isinstance(a, Polling):
        assert a.post("bAP8=") == 200
    else:
        assert isinstance(a, WebSocket)
        a.say("bAP8=")
    until(lambda: heard)
    assert heard == [b"\x00\xff"]


def test_a_msgpack_client_may_send_everything_as_base64() -> None:
    import base64

    server = Server(serializer="msgpack")
    heard: list[Any] = []
    server.on("take", lambda sid, data: heard.append(data))
    a = joined(server)
    assert isinstance(a, WebSocket)
    pkt = msgpack.packb({"type": 2, "nsp": "/", "data": ["take", b"\xff"]})
    a.say("b" + base64.b64encode(pkt).decode())
    until(lambda: heard)
    assert heard == [b"\xff"]


@pytest.mark.parametrize("text", ["b", "b!", "bAP8", "bAP8=x", "b\x00", "bé"])
def test_what_is_no_base64_ends_the_connection(text: str) -> None:
    server = Server()
    reasons: list[str] = []
    server.on("disconnect", lambda sid, reason: reasons.append(reason))
    a = joined(server)
    assert isinstance(a, WebSocket)
    a.say(text)
    until(lambda: reasons)
    assert reasons == ["transport error"]


# -- polling requests ------------------------------------------------------------------------------


def test_a_jsonp_body_is_read_as_a_form_with_one_field() -> None:
    server = Server()
    heard: list[Any] = []
    server.on("take", lambda sid, data: heard.append(data))
    a = joined(server, "polling")
    assert isinstance(a, Polling)
    words = 'a+b &=%é"\\\n=41'
    from urllib.parse import quote_plus

    text = ("4" + event("take", words)).replace("\\n", "\\\n").replace("\n", "\\n")  # as clients do
    body = "d=" + quote_plus(text) + "&x=1"
    assert a._request("POST", body.encode(), a.eio_sid)[0] == 200
    until(lambda: heard)
    assert heard == [words]


COSTLY: dict[str, bytes] = {
    "many fields": b"d=" + b"&a=" * 333_000,
    "many fields of that name": b"d=&" * 333_000,
    "everything quoted": b"d=%34%32" + b"%5B" * 330_000,
    "newlines escaped": b"d=4" + rb"\n" * 499_000,
    "newlines escaped twice": b"d=4" + rb"\\n" * 333_000,
    "many packets": b"\x1e" * 999_000,
    "base64 and more of it": b"b" + b"A" * 999_000 + b"!",
    "a number without end": b"42" + b"7" * 999_000,
    "blanks without end": b"42" + b" " * 999_000 + b"x",
}


@pytest.mark.parametrize("what", COSTLY)
def test_no_polling_request_costs_more_than_its_bytes(what: str) -> None:
    server = Server()
    clients: list[Any] = [joined(server, "polling") for _ in range(5)]
    statuses = []

    def send() -> None:
        a = clients.pop()
        statuses.append(a._request("POST", COSTLY[what], a.eio_sid)[0])

    assert cost(send) < QUICK
    assert set(statuses) <= {200, 400}


@pytest.mark.parametrize("index", ["9" * 4300, "9" * 5000, "1" * 16, "-1", "1.0", "²", "x", ""])
def test_an_index_that_is_none_is_refused(index: str) -> None:
    server = Server()
    status, _, _ = request(server.handle_request, environ_of("GET", {"j": index}))
    assert status == (200 if index == "" else 400)


def test_a_query_with_very_many_fields_is_refused() -> None:
    server = Server()
    environ = environ_of("GET", {})
    environ["QUERY_STRING"] += "&a=%41" * 1000
    assert request(server.handle_request, environ)[0] == 400


def test_a_length_of_many_digits_is_too_long() -> None:
    server = Server()
    a = joined(server, "polling")
    environ = environ_of("POST", {"sid": a.eio_sid}, body=b"2")
    environ["CONTENT_LENGTH"] = "9" * 5000
    assert request(server.handle_request, environ)[0] == 413
    gevent.sleep(0)
    settle()
