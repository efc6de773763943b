"""Each documented way of running relays between two real clients, on each transport."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from tests.integration.clients import Driver
from tests.integration.servers import WAYS, Running, running

TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgraded": ["polling", "websocket"],
}
OFFER = {"description": {"type": "offer", "sdp": "v=0\r\n" + "a=candidate\r\n" * 500}}


@pytest.fixture(scope="module", params=WAYS)
def server(request: pytest.FixtureRequest) -> Iterator[Running]:
    with running(request.param) as server:
        yield server


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_a_message_is_relayed_both_ways(server: Running, node: Driver, transports: str) -> None:
    a = node.connect(server.url, transports=TRANSPORTS[transports])
    b = node.connect(server.url, transports=TRANSPORTS[transports])
    used = "polling" if transports == "polling" else "websocket"
    assert (a.transport, b.transport) == (used, used)

    offer = a.envelope(b, OFFER)
    a.emit("#rtcio:message", offer)
    assert b.wait_for("#rtcio:message") == [offer]

    answer = b.envelope(a, {"candidate": {"candidate": "", "sdpMid": "0"}})
    b.emit("#rtcio:message", answer)
    assert a.wait_for("#rtcio:message") == [answer]
    assert len(b.received()) == 1


def test_clients_on_different_transports_reach_each_other(server: Running, node: Driver) -> None:
    a = node.connect(server.url, transports=["polling"])
    b = node.connect(server.url, transports=["websocket"])
    a.relay(b, OFFER)
    b.wait_for("#rtcio:message")
    b.relay(a, {"mid": "0"})
    a.wait_for("#rtcio:message")
    assert (b.relayed(), a.relayed()) == ([OFFER], [{"mid": "0"}])


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_attachments_arrive_byte_for_byte(server: Running, node: Driver, transports: str) -> None:
    a = node.connect(server.url, transports=TRANSPORTS[transports])
    b = node.connect(server.url, transports=TRANSPORTS[transports])
    # One like text, one like a packet, one that is no UTF-8, an empty one, a large one.
    for data in (
        [b"123", b'2["a packet"]', bytes([200, 1]), b""],
        {"blob": bytes(range(256)) * 400},
    ):
        a.relay(b, data)
        a.fence(b)
        assert b.relayed()[-1] == data


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_the_room_hears_once_that_a_peer_left(
    server: Running, node: Driver, transports: str
) -> None:
    a = node.connect(server.url, transports=TRANSPORTS[transports])
    b = node.connect(server.url, transports=TRANSPORTS[transports])
    c = node.connect(server.url, transports=["websocket"])
    for client in (a, b):
        client.emit("join-room", {"roomId": f"by {transports}", "name": "somebody"})
        client.wait_for("join-ok")

    gone = a.id
    a.disconnect()

    assert b.wait_for("#rtcio:peer-left") == [{"id": gone}]
    c.fence(b)
    assert len(b.received("#rtcio:peer-left")) == 1
    assert c.received("#rtcio:peer-left") == []


@pytest.mark.parametrize("way", ["listen", "gunicorn-gevent", "werkzeug"])
def test_a_server_without_any_handler_of_the_app_relays(node: Driver, way: str) -> None:
    with running(way, "bare") as server:
        a = node.connect(server.url, transports=["websocket"])
        b = node.connect(server.url, transports=["polling"])
        a.relay(b, OFFER)
        b.wait_for("#rtcio:message")
        b.relay(a, OFFER)
        a.wait_for("#rtcio:message")
        assert (a.relayed(), b.relayed()) == ([OFFER], [OFFER])


@pytest.mark.parametrize("way", ["pywsgi", "pywsgi-geventwebsocket"])
def test_clients_are_served_over_tls(node: Driver, tmp_path: Path, way: str) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    trusted = {"ca": authority.cert_pem.bytes().decode()}
    with running(way, certificate=str(certificate)) as server:
        a = node.connect(server.url, transports=["websocket"], **trusted)
        b = node.connect(server.url, transports=["polling"], **trusted)
        c = node.connect(server.url, **trusted)
        a.fence(b, c)
        b.fence(a, c)
        c.fence(a, b)
