"""What an app sends is spelt alike on every way out of a server, and refused where it cannot be."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import msgpack
import pytest

from rtcio_sync import ConnectionRefusedError, Limits, Server
from tests.bus import Bus
from tests.clients import WebSocket, event, joined
from tests.timing import until
from tests.values import BESIDE, HOLE, REFUSED, TYPES, nested


@pytest.mark.parametrize("name", TYPES)
def test_events_answers_and_refusals_carry_every_type(name: str) -> None:
    value, arrives = TYPES[name]
    server = Server()
    server.on("ask", lambda sid: value)
    server.on("ask with bytes", lambda sid: {"it": value, "blob": b"x"})

    @server.on("connect")
    def connect(sid: str, environ: Any, auth: Any) -> None:
        if auth:
            raise ConnectionRefusedError("no", {"it": value})

    a = WebSocket(server).join()
    server.emit("told", {"it": value, "n": 2**64}, to=a.sid)
    (told,) = a.heard("told")
    assert told["it"] == arrives
    server.emit("told", (value, b"x"), to=a.sid)
    sent = a.next(lambda packet: packet[0] == "5")
    assert json.loads(sent[3:])[1] == arrives
    assert a.next() == "beA=="
    a.send(event("ask", number=1))
    answer = a.next(lambda packet: packet[:2] == "31")
    assert json.loads(answer[2:]) == (arrives if isinstance(value, tuple) else [arrives])
    a.send(event("ask with bytes", number=2))
    answer = a.next(lambda packet: packet[:4] == "61-2")
    assert json.loads(answer[4:])[0]["it"] == arrives
    other = WebSocket(server)
    other.ask_to_join("/", {"refuse": True})
    assert json.loads(other.next()[1:]) == {"message": "no", "data": {"it": arrives}}


@pytest.mark.parametrize("data", [object(), b"x", nested(3000)], ids=["object", "bytes", "deep"])
def test_a_refusal_that_cannot_be_sent_refuses_all_the_same(
    data: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server()

    @server.on("connect")
    def connect(sid: str, environ: Any) -> None:
        raise ConnectionRefusedError("no", data)

    a = WebSocket(server)
    a.ask_to_join()
    assert a.next() == '4{"message":"Connection rejected by server"}'
    assert server.counters.handler_errors == 1
    assert a.member is None
    assert "a refusal cannot be sent" in caplog.text


@pytest.mark.parametrize("levels", [63, 200, 250, 300])
@pytest.mark.parametrize("options", [{}, {"json": json}], ids=["usual", "a json module"])
@pytest.mark.parametrize("blob", [False, True])
def test_what_was_accepted_can_be_sent_on(options: Any, levels: int, blob: bool) -> None:
    server = Server(limits=Limits(max_depth=400), **options)

    @server.on("chat")
    def chat(sid: str, data: Any) -> Any:
        server.emit("chat", data)
        return data

    a, b = WebSocket(server).join(), WebSocket(server).join()
    inside = {"_placeholder": True, "num": 0} if blob else 0
    text = json.dumps(nested(levels, inside), separators=(",", ":"))
    a.send(f'{"51-" if blob else "2"}7["chat",{text}]', *[b"x"] * blob)
    assert b.next(lambda packet: packet[0] in "25") == f'{"51-" if blob else "2"}["chat",{text}]'
    answer = a.next(lambda packet: packet[0] in "36")
    assert answer == f"{'61-' if blob else '3'}7[{text}]"
    assert server.counters.handler_errors == 0


@pytest.mark.parametrize("options", [{}, {"json": json}], ids=["usual", "a json module"])
def test_what_no_bound_keeps_out_fills_no_log(
    options: Any, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(limits=Limits(max_depth=None), **options)
    heard: list[Any] = []

    @server.on("chat")
    def chat(sid: str, data: Any) -> None:
        heard.append(1)
        server.emit("chat", data)

    a = WebSocket(server).join()
    for levels in (400, 700, 900, 1000):
        a.send(f'2["chat",{"[" * levels}{"]" * levels}]')
        if a.link is None or a.link.closed:
            break
        a.send(event("chat", "fine"))
    until(lambda: heard)
    for record in caplog.records:
        assert len(logging.Formatter().format(record)) < 5000


@pytest.mark.parametrize(
    "text",
    ['{"n":18446744073709551616}', '"\\ud800"', '{"a":1,"a":2}', "[1e400]", "1.0", str(2**63)],
)
def test_odd_json_means_the_same_when_it_is_sent_on(text: str) -> None:
    server = Server()
    server.on("chat", lambda sid, data: server.emit("chat", data))
    a = WebSocket(server).join()
    a.send(f'2["chat",{text}]')
    sent = json.loads(a.next()[1:])[1]
    meant = json.loads(text)
    assert sent == (meant if meant != [math.inf] else [None])  # as a browser writes it


# -- between processes -----------------------------------------------------------------------------


def two(serializer: str = "default") -> tuple[Bus, Server, Server]:
    bus = Bus()
    return bus, *(Server(client_manager=bus.manager(), serializer=serializer) for _ in range(2))


@pytest.mark.parametrize("beside", ["nothing", "70 bits", "a lone surrogate"])
@pytest.mark.parametrize("name", TYPES)
def test_every_type_crosses_to_another_process(name: str, beside: str) -> None:
    value, arrives = TYPES[name]
    bus, here, there = two()
    a, b = WebSocket(here).join(), WebSocket(there).join()
    here.emit("told", [value, BESIDE[beside]])
    here.emit("told", ([value], b"x"))
    for client in (a, b):
        told = client.next(lambda packet: packet[0] == "2")
        assert json.loads(told[1:])[1][0] == arrives
        told = client.next(lambda packet: packet[0] == "5")
        assert json.loads(told[3:])[1][0] == arrives
        assert client.next() == "beA=="
    bus.close()


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_cross_is_refused_where_it_is_emitted(what: str) -> None:
    value, parts = REFUSED[what]
    bus, here, _ = two()
    with pytest.raises(TypeError) as caught:
        here.emit("chat", value)  # nobody is here to whom it would be encoded
    for part in (*parts, "'chat'"):
        assert part in str(caught.value)
    bus.close()


@pytest.mark.parametrize("way", ["an event", "a relay"])
def test_a_forged_placeholder_is_not_multiplied_on_its_way_to_another_process(way: str) -> None:
    bus, here, there = two("msgpack")
    heard: list[Any] = []
    here.on("chat", lambda sid, data: here.emit("chat", data))
    here.on("fine", lambda sid: heard.append(1))
    a, b = joined(here), joined(there)
    data = [[HOLE] * 2000, b"x" * 1000]
    if way == "an event":
        say_packed(a, ["chat", data])
    else:
        say_packed(a, ["#rtcio:message", {"source": a.sid, "target": b.sid, "data": data}])
    say_packed(a, ["fine"])
    until(lambda: heard)
    assert dict(here.counters.dropped) == {"placeholder" if way == "an event" else "malformed": 1}
    assert here.counters.handler_errors == 0
    assert all(len(json.dumps(each)) < 1000 for each in bus.published)
    bus.close()


def say_packed(client: Any, data: Any) -> None:
    client.send(msgpack.packb({"type": 2, "nsp": "/", "data": data}))
