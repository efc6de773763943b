"""Socket.IO protocol 5, as its page has it, packet by packet, on both transports.

The servers are those of `test_engineio_protocol`, on the path of Socket.IO: see `apps/protocol.py`
for what their handlers do.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.integration.exchange import (
    DEADLINE,
    SEPARATOR,
    Endpoint,
    Session,
    until_closed,
)
from tests.integration.servers import Running, running


class WebSocketPeer:
    """A client on a WebSocket; nothing is answered by itself."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.websocket: ClientConnection = endpoint.websocket()
        self.eio_sid: str = json.loads(str(self.receive())[1:])["sid"]

    def send(self, *packets: str | bytes) -> None:
        for packet in packets:
            self.websocket.send(packet)

    def receive(self) -> str | bytes:
        return self.websocket.recv(DEADLINE)

    def is_closed_by_the_server(self) -> bool:
        until_closed(self.websocket)
        return True

    def end(self) -> None:
        self.websocket.close()


class PollingPeer:
    """The same on polling."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.session = Session(endpoint)
        self.eio_sid = self.session.sid
        self._received: list[str] = []

    def send(self, *packets: str | bytes) -> None:
        texts = [
            packet if isinstance(packet, str) else "b" + base64.b64encode(packet).decode()
            for packet in packets
        ]
        self.session.post(SEPARATOR.join(texts).encode())

    def receive(self) -> str | bytes:
        while not self._received:
            answer = self.session.poll()
            assert answer.status == 200, answer
            self._received = answer.body.split(SEPARATOR)
        packet = self._received.pop(0)
        return base64.b64decode(packet[1:]) if packet.startswith("b") else packet

    def is_closed_by_the_server(self) -> bool:
        while (answer := self.session.poll()).status == 200:
            assert SEPARATOR not in answer.body
        return answer.status == 400

    def end(self) -> None:
        self.session.post("1")


Peer = WebSocketPeer | PollingPeer


WAYS = ["listen", "pywsgi", "gunicorn-gevent"]


@pytest.fixture(scope="module", params=WAYS)
def calm_server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param, "protocol") as server:
        yield server


#: Seconds in which a client has to connect to a namespace.
CONNECT_TIMEOUT = 3


@pytest.fixture(scope="module", params=WAYS)
def pinging_server(request: pytest.FixtureRequest) -> Iterator[Running]:
    """It pings often, and gives its clients time to answer."""
    options: dict[str, Any] = {"ping_interval": 0.3, "ping_timeout": 30}
    limits = {"connect_timeout": CONNECT_TIMEOUT}
    with running(request.param, "protocol", limits=limits, **options) as server:
        yield server


@pytest.fixture(params=[WebSocketPeer, PollingPeer], ids=["websocket", "polling"])
def connect(request: pytest.FixtureRequest, calm_server: Running) -> Iterator[Callable[[], Peer]]:
    """Opens an Engine.IO connection: `connect()`."""
    peers: list[Peer] = []

    def opened() -> Peer:
        peers.append(request.param(Endpoint(calm_server.port, "/socket.io/")))
        return peers[-1]

    yield opened
    for peer in peers:
        peer.end()


@pytest.fixture
def joined(connect: Callable[[], Peer]) -> Peer:
    """A client in ``/`` that has had all that it is told at the beginning."""
    peer = connect()
    peer.send("40")
    assert str(peer.receive()).startswith('40{"sid":')
    assert peer.receive() == '42["auth",{}]'
    return peer


def assert_usable(peer: Peer) -> None:
    peer.send('421["message-with-ack","still here"]')
    assert peer.receive() == '431["still here"]'


# -- connection to a namespace ---------------------------------------------------------------------


@pytest.mark.parametrize("sent", ["40", "40{}", "40/,", "40/,{}"])
def test_a_client_connects_to_the_main_namespace(connect: Callable[[], Peer], sent: str) -> None:
    peer = connect()
    peer.send(sent)
    packet = str(peer.receive())
    assert packet[:2] == "40"
    told = json.loads(packet[2:])
    assert told.keys() == {"sid"}
    assert isinstance(told["sid"], str)
    assert told["sid"] != peer.eio_sid
    # What a handler emits while the client connects comes after CONNECT.
    assert peer.receive() == '42["auth",{}]'


def test_a_client_connects_with_a_payload(connect: Callable[[], Peer]) -> None:
    peer = connect()
    peer.send('40{"token":"123"}')
    assert str(peer.receive()).startswith('40{"sid":')
    assert peer.receive() == '42["auth",{"token":"123"}]'


@pytest.mark.parametrize("sent", ["40/custom,", "40/custom", "40/custom,{}"])
def test_a_client_connects_to_another_namespace(connect: Callable[[], Peer], sent: str) -> None:
    peer = connect()
    peer.send(sent)
    packet = str(peer.receive())
    assert packet.startswith("40/custom,")
    assert json.loads(packet.partition(",")[2]).keys() == {"sid"}
    assert peer.receive() == '42/custom,["auth",{}]'


def test_a_client_connects_to_another_namespace_with_a_payload(
    connect: Callable[[], Peer],
) -> None:
    peer = connect()
    peer.send('40/custom,{"token":"abc"}')
    assert str(peer.receive()).startswith('40/custom,{"sid":')
    assert peer.receive() == '42/custom,["auth",{"token":"abc"}]'


def test_an_unknown_namespace_is_refused_and_the_connection_stays(joined: Peer) -> None:
    for sent in ("40/random", "40/random,", '40/random,{"token":"abc"}'):
        joined.send(sent)
        assert joined.receive() == '44/random,{"message":"Invalid namespace"}'
    assert_usable(joined)


def test_an_event_for_a_namespace_that_the_client_is_not_in_goes_nowhere(joined: Peer) -> None:
    joined.send('42/custom,1["message-with-ack","nobody"]')
    assert_usable(joined)


def test_a_namespace_of_its_own_socket_each(joined: Peer) -> None:
    joined.send("40/custom")
    first = str(joined.receive())
    assert first.startswith("40/custom,")
    assert joined.receive() == '42/custom,["auth",{}]'
    joined.send('42/custom,["message","one"]', '42["message","two"]')
    assert joined.receive() == '42/custom,["message-back","one"]'
    assert joined.receive() == '42["message-back","two"]'


@pytest.mark.parametrize(
    "packet",
    ["4abc", "4", "40abc", '40{"token":', "40{} garbage", "40[]", '40"token"', "40true", "401{"],
)
def test_an_invalid_connect_packet_closes_the_connection(
    connect: Callable[[], Peer], packet: str
) -> None:
    peer = connect()
    peer.send(packet)
    assert peer.is_closed_by_the_server()


def test_a_client_that_connects_to_no_namespace_in_time_is_closed(pinging_server: Running) -> None:
    endpoint = Endpoint(pinging_server.port, "/socket.io/")
    started = time.monotonic()
    with endpoint.websocket() as websocket:
        assert str(websocket.recv(DEADLINE)).startswith("0{")
        with_pings = _answer_pings(websocket)
        assert time.monotonic() - started >= CONNECT_TIMEOUT
    assert with_pings >= 1


def test_a_polling_client_that_connects_to_no_namespace_in_time_is_closed(
    pinging_server: Running,
) -> None:
    started = time.monotonic()
    session = Session(Endpoint(pinging_server.port, "/socket.io/"))
    while (answer := session.poll()).status == 200:
        assert answer.body == "2"
        session.post("3")
    assert answer.status == 400
    assert time.monotonic() - started >= CONNECT_TIMEOUT


def test_a_client_that_has_connected_in_time_stays(pinging_server: Running) -> None:
    endpoint = Endpoint(pinging_server.port, "/socket.io/")
    with endpoint.websocket() as websocket:
        websocket.send("40")
        end = time.monotonic() + CONNECT_TIMEOUT + 0.5
        while time.monotonic() < end:
            if websocket.recv(DEADLINE) == "2":
                websocket.send("3")
        websocket.send('421["message-with-ack"]')
        assert _next(websocket) == "431[]"


def _answer_pings(websocket: ClientConnection) -> int:
    """Answers pings until the server closes: how many there were."""
    pings = 0
    with suppress(ConnectionClosed):  # of the answer to the last one
        for packet in websocket:
            assert packet == "2"
            pings += 1
            websocket.send("3")
    return pings


def _next(websocket: ClientConnection) -> str | bytes:
    """The next packet that is no ping; those are answered."""
    while (packet := websocket.recv(DEADLINE)) == "2":
        websocket.send("3")
    return packet


# -- disconnection from a namespace ----------------------------------------------------------------


def test_a_client_leaves_the_main_namespace_and_its_connection_stays(
    pinging_server: Running,
) -> None:
    with Endpoint(pinging_server.port, "/socket.io/").websocket() as websocket:
        assert str(websocket.recv(DEADLINE)).startswith("0{")
        websocket.send("40")
        assert str(_next(websocket)).startswith("40{")
        assert _next(websocket) == '42["auth",{}]'
        websocket.send("41")
        for _ in range(2):  # the first may have been sent before
            assert websocket.recv(DEADLINE) == "2"
            websocket.send("3")


def test_a_client_leaves_one_namespace_and_stays_in_the_other(joined: Peer) -> None:
    joined.send("40/custom")
    assert str(joined.receive()).startswith("40/custom,")
    assert joined.receive() == '42/custom,["auth",{}]'
    joined.send("41/custom,")
    joined.send('42/custom,["message","to nobody"]')
    joined.send('42["message","message to main namespace"]')
    assert joined.receive() == '42["message-back","message to main namespace"]'


def test_a_client_comes_back_to_a_namespace_that_it_has_left(joined: Peer) -> None:
    joined.send("41")
    joined.send("40")
    assert str(joined.receive()).startswith('40{"sid":')
    assert joined.receive() == '42["auth",{}]'
    assert_usable(joined)


def test_a_client_is_told_when_the_server_takes_it_out_of_a_namespace(joined: Peer) -> None:
    joined.send("40/custom")
    assert str(joined.receive()).startswith("40/custom,")
    assert joined.receive() == '42/custom,["auth",{}]'
    joined.send('42/custom,["leave"]')
    assert joined.receive() == "41/custom,"
    joined.send('42["leave"]')
    assert joined.receive() == "41"
    joined.send("40")
    assert str(joined.receive()).startswith('40{"sid":')


# -- events ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    ['1,"2",{"3":[true]}', '""', "null", "0.5,-1,1e+30", '"€ \N{GRINNING FACE}"', '[],{},[[]],"/"'],
)
@pytest.mark.parametrize("namespace", ["", "/custom,"])
def test_a_text_event_goes_both_ways(
    connect: Callable[[], Peer], arguments: str, namespace: str
) -> None:
    peer = connect()
    peer.send(f"40{namespace}")
    assert str(peer.receive()).startswith(f"40{namespace}{{")
    assert peer.receive() == f'42{namespace}["auth",{{}}]'
    peer.send(f'42{namespace}["message",{arguments}]')
    packet = str(peer.receive())
    head = f'42{namespace}["message-back",'
    assert packet.startswith(head)
    assert json.loads(f"[{packet[len(head) :]}") == json.loads(f"[{arguments}]")


def test_an_event_without_arguments_goes_both_ways(joined: Peer) -> None:
    joined.send('42["message"]')
    assert joined.receive() == '42["message-back"]'


def test_events_arrive_in_order(joined: Peer) -> None:
    joined.send(*[f'42["message",{number}]' for number in range(50)])
    received = [joined.receive() for _ in range(50)]
    assert received == [f'42["message-back",{number}]' for number in range(50)]


@pytest.mark.parametrize("namespace", ["", "/custom,"])
def test_a_binary_event_goes_both_ways(connect: Callable[[], Peer], namespace: str) -> None:
    peer = connect()
    peer.send(f"40{namespace}")
    assert str(peer.receive()).startswith(f"40{namespace}{{")
    assert peer.receive() == f'42{namespace}["auth",{{}}]'
    placeholders = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    peer.send(f'452-{namespace}["message",{placeholders}]', b"\1\2\3", b"\4\5\6")
    assert peer.receive() == f'452-{namespace}["message-back",{placeholders}]'
    assert [peer.receive(), peer.receive()] == [b"\1\2\3", b"\4\5\6"]


def test_attachments_stand_where_their_numbers_say(joined: Peer) -> None:
    joined.send(
        '452-["message",{"b":{"_placeholder":true,"num":1}},[{"_placeholder":true,"num":0}]]',
        b"zero",
        b"one",
    )
    assert joined.receive() == (
        '452-["message-back",{"b":{"_placeholder":true,"num":0}},[{"_placeholder":true,"num":1}]]'
    )
    assert [joined.receive(), joined.receive()] == [b"one", b"zero"]


def test_attachments_may_come_one_request_at_a_time(joined: Peer) -> None:
    joined.send('451-["message",{"_placeholder":true,"num":0}]')
    joined.send(b"\0")
    assert joined.receive() == '451-["message-back",{"_placeholder":true,"num":0}]'
    assert joined.receive() == b"\0"


# -- acknowledgements ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["456", "0", "1", "9007199254740991"])
def test_an_event_is_acknowledged(joined: Peer, number: str) -> None:
    joined.send(f'42{number}["message-with-ack",1,"2",{{"3":[false]}}]')
    assert joined.receive() == f'43{number}[1,"2",{{"3":[false]}}]'


def test_an_event_is_acknowledged_without_arguments(joined: Peer) -> None:
    joined.send('427["message-with-ack"]')
    assert joined.receive() == "437[]"


def test_an_event_in_another_namespace_is_acknowledged(joined: Peer) -> None:
    joined.send("40/custom")
    assert str(joined.receive()).startswith("40/custom,")
    assert joined.receive() == '42/custom,["auth",{}]'
    joined.send('42/custom,12["message-with-ack","a"]')
    assert joined.receive() == '43/custom,12["a"]'


def test_a_binary_event_is_acknowledged(joined: Peer) -> None:
    placeholders = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
    joined.send(f'452-789["message-with-ack",{placeholders}]', b"\1\2\3", b"\4\5\6")
    assert joined.receive() == f"462-789[{placeholders}]"
    assert [joined.receive(), joined.receive()] == [b"\1\2\3", b"\4\5\6"]


def test_an_event_that_nobody_handles_is_not_acknowledged(joined: Peer) -> None:
    joined.send('428["nobody"]')
    assert_usable(joined)


def test_a_client_acknowledges(joined: Peer) -> None:
    joined.send('42["ask",1,"2"]')
    assert joined.receive() == '421["question",1,"2"]'
    joined.send('431[3,{"4":null}]')
    assert joined.receive() == '42["answer",3,{"4":null}]'


def test_a_client_acknowledges_a_binary_event_with_attachments(joined: Peer) -> None:
    joined.send('451-["ask",{"_placeholder":true,"num":0}]', b"question")
    assert joined.receive() == '451-1["question",{"_placeholder":true,"num":0}]'
    assert joined.receive() == b"question"
    joined.send('461-1["yes",{"_placeholder":true,"num":0}]', b"answer")
    assert joined.receive() == '451-["answer","yes",{"_placeholder":true,"num":0}]'
    assert joined.receive() == b"answer"


def test_an_acknowledgement_counts_once_and_of_an_unknown_event_never(joined: Peer) -> None:
    joined.send('42["ask"]')
    assert joined.receive() == '421["question"]'
    joined.send('432["of nothing"]', '430["of nothing"]', '431["first"]', '431["second"]')
    assert joined.receive() == '42["answer","first"]'
    assert_usable(joined)


# -- what cannot be read ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param("4abc", id="an unknown type"),
        pytest.param("47", id="a type too high"),
        pytest.param("42{}", id="no array"),
        pytest.param("42", id="no payload"),
        pytest.param('42"message"', id="a string"),
        pytest.param('42["message"', id="no end"),
        pytest.param('42["message"] garbage', id="something after the end"),
        pytest.param('42abc["message-with-ack",1]', id="an id that is no number"),
        pytest.param('42-1["message-with-ack",1]', id="an id below zero"),
        pytest.param("43[]", id="an acknowledgement without an id"),
        pytest.param("431{}", id="an acknowledgement without an array"),
        pytest.param('41{"why":1}', id="a payload with DISCONNECT"),
        pytest.param('44{"message":"no"}', id="an error from a client"),
        pytest.param('45["message"]', id="no number of attachments"),
        pytest.param('45x-["message"]', id="a number of attachments that is none"),
        pytest.param('4511-["message",{"_placeholder":true,"num":0}]', id="too many attachments"),
    ],
)
def test_an_invalid_packet_closes_the_connection(joined: Peer, packet: str) -> None:
    joined.send(packet)
    assert joined.is_closed_by_the_server()


def test_an_attachment_that_nobody_announced_closes_the_connection(joined: Peer) -> None:
    joined.send(b"\1\2\3")
    assert joined.is_closed_by_the_server()


def test_text_in_the_place_of_an_attachment_closes_the_connection(joined: Peer) -> None:
    joined.send('451-["message",{"_placeholder":true,"num":0}]', '42["message"]')
    assert joined.is_closed_by_the_server()


def test_a_placeholder_that_names_no_attachment_closes_the_connection(joined: Peer) -> None:
    joined.send('451-["message",{"_placeholder":true,"num":1}]', b"\1")
    assert joined.is_closed_by_the_server()


@pytest.mark.parametrize("name", ["1", "null", "{}", "[]", "true"])
def test_an_event_whose_name_is_no_string_goes_nowhere(joined: Peer, name: str) -> None:
    joined.send(f"42[{name},1]")
    assert_usable(joined)


def test_an_event_without_a_name_goes_nowhere(joined: Peer) -> None:
    joined.send("42[]")
    assert_usable(joined)
