"""The envelope's JSON arrives byte for byte as it was sent, whatever the transports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.raw import RawPolling, RawWebSocket
from tests.integration.servers import Running, running


@pytest.fixture(scope="module", params=["listen", "werkzeug"])
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param, environ={"RTCIO_TEST_LISTENERS": "/calls"}) as server:
        yield server


#: JSON that a parser and a serializer would not give back as it was: `data` of an envelope.
DATA = {
    "spacing": '{ "a" :\t[1 ,2,\r\n 3 ] }',
    "unicode escapes": r'"\u00e9 \u2028 \ud83d\ude00 \/ \b"',
    "a lone surrogate": r'"\ud800"',
    "unescaped unicode": '"é \u2028 😀 \x7f"',
    "big numbers": "[12345678901234567890123, 1.0, 1E5, -0, 0.10000000000000000555, 1e-7]",
    "duplicate keys": '{"a":1,"a":2,"b":3,"a":4}',
    "order of keys": '{"z":1,"y":2,"10":3,"9":4}',
    "null": "null",
    "empty": "{}",
    "a placeholder that is none": '{"_placeholder":true,"num":0}',
    "deep": "[" * 60 + "]" * 60,
}

PAIRS = {
    "websocket to websocket": (RawWebSocket, RawWebSocket),
    "websocket to polling": (RawWebSocket, RawPolling),
    "polling to websocket": (RawPolling, RawWebSocket),
}


@pytest.mark.parametrize("namespace", ["/", "/calls"])
@pytest.mark.parametrize("pair", PAIRS)
def test_the_json_of_an_envelope_is_kept(server: Running, pair: str, namespace: str) -> None:
    kind_a, kind_b = PAIRS[pair]
    with kind_a(server) as a, kind_b(server) as b:
        a.join(namespace)
        b.join(namespace)
        for data in DATA.values():
            envelope = f'{{ "target":"{b.sid}",  "data": {data},"source" : "{a.sid}" }}'
            a.send(a.event(f'["#rtcio:message", {envelope} ]'))
            packet = b.receive()
            assert isinstance(packet, str)
            head, found, tail = packet.partition(envelope)
            assert found == envelope, packet
            assert (head.replace(" ", ""), tail.strip()) == (a.event('["#rtcio:message",'), "]")


def test_the_last_of_two_equal_keys_counts(server: Running) -> None:
    with RawWebSocket(server) as a, RawWebSocket(server) as b:
        a.join()
        b.join()
        forged = f'{{"source":"{a.sid}","target":"{b.sid}","data":1,"source":"{b.sid}"}}'
        own = f'{{"source":"{b.sid}","target":"{b.sid}","data":2,"source":"{a.sid}"}}'
        a.send(a.event(f'["#rtcio:message",{forged}]'))
        a.send(a.event(f'["#rtcio:message",{own}]'))
        assert b.receive() == a.event(f'["#rtcio:message",{own}]')


def test_a_name_written_with_escapes_is_the_same_name(server: Running) -> None:
    with RawWebSocket(server) as a, RawWebSocket(server) as b:
        a.join()
        b.join()
        envelope = f'{{"source":"{a.sid}","target":"{b.sid}","data":1}}'
        a.send(a.event(rf'["\u0023rtcio:messag\u0065",{envelope}]'))
        packet = b.receive()
        assert isinstance(packet, str) and packet.endswith(f",{envelope}]")


@pytest.mark.parametrize("namespace", ["/", "/calls"])
def test_attachments_arrive_as_they_were_sent(server: Running, namespace: str) -> None:
    with RawWebSocket(server) as a, RawWebSocket(server) as b:
        a.join(namespace)
        b.join(namespace)
        data = '{"x" :{"num":1, "_placeholder":true},"y":[{"_placeholder":true,"num":0}]}'
        envelope = f'{{"source":"{a.sid}","target":"{b.sid}", "data":{data}}}'
        attachments = [b"\x00\xff" * 500, b'2["looks like a packet"]']
        a.send(f'452-{a.prefix}["#rtcio:message",{envelope}]')
        for attachment in attachments:
            a.send(attachment)
        # Right behind it, so that a wrong count of attachments shows.
        after = a.envelope(b.sid, "after it")
        a.send(after)
        assert b.receive() == f'452-{a.prefix}["#rtcio:message",{envelope}]'
        assert [b.receive(), b.receive()] == attachments
        assert b.receive().replace(" ", "") == after.replace(" ", "")  # type: ignore[union-attr]


def test_a_message_with_extra_arguments_and_an_id_is_cut_to_its_envelope(server: Running) -> None:
    with RawWebSocket(server) as a, RawWebSocket(server) as b:
        a.join()
        b.join()
        envelope = f'{{"source":"{a.sid}","target":"{b.sid}","data": 1.0}}'
        a.send(a.event(f'["#rtcio:message",{envelope},"extra",{{"more":[1]}}]', ack_id=7))
        assert b.receive() == a.event(f'["#rtcio:message",{envelope}]')
        a.send(a.event('["echo",1]', ack_id=8))
        assert a.receive() == "438[1]"


MALFORMED = {
    "its array is not closed": '["#rtcio:message",{envelope}',
    "something follows its array": '["#rtcio:message",{envelope}]]',
    "its object is not closed": '["#rtcio:message",{"source":"{a}","target":"{b}","data":1]',
    "it holds NaN": '["#rtcio:message",{"source":"{a}","target":"{b}","data":NaN}]',
    "it holds a raw line feed in a text": (
        '["#rtcio:message",{"source":"{a}","target":"{b}","data":"\n"}]'
    ),
    "its quotes are single": "['#rtcio:message',{envelope}]",
    "it is not JSON at all": "[#rtcio:message]",
}


@pytest.mark.parametrize("malformed", MALFORMED)
def test_a_peer_never_receives_what_it_could_not_parse_when(
    server: Running, malformed: str
) -> None:
    with RawWebSocket(server) as a, RawWebSocket(server) as b, RawWebSocket(server) as c:
        for peer in (a, b, c):
            peer.join()
        envelope = f'{{"source":"{a.sid}","target":"{b.sid}","data":1}}'
        text = MALFORMED[malformed].replace("{envelope}", envelope)
        a.send(a.event(text.replace("{a}", a.sid).replace("{b}", b.sid)))
        # The sender is closed for it; the receiver is not.
        a.receive_close()
        after = c.envelope(b.sid, "still there")
        c.send(after)
        assert b.receive().replace(" ", "") == after.replace(" ", "")  # type: ignore[union-attr]
