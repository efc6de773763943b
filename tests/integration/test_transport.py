"""What real clients do on each transport, under each WSGI server that gives its sockets away."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme

from tests.integration.clients import SEQ, Client, Driver
from tests.integration.servers import Running, complaints, running
from tests.timing import DEADLINE

#: Each way, and whether over TLS. Werkzeug's and uWSGI's sockets stay with python-engineio's own
#: transport, and most of this is shown for them by the modules that are about events and relays.
SERVERS = {
    "listen": False,
    "pywsgi": False,
    "pywsgi-geventwebsocket": False,
    "gunicorn-gevent": False,
    "gunicorn-geventwebsocket": False,
    "listen over TLS": True,
    "pywsgi over TLS": True,
    "gunicorn-gevent over TLS": True,
    "werkzeug": False,
    "uwsgi": False,
}
WAYS = [name for name in SERVERS if name not in ("werkzeug", "uwsgi")]
TRANSPORTS = {
    "websocket": ["websocket"],
    "polling": ["polling"],
    "upgraded": ["polling", "websocket"],
}

#: Seconds. One that reads nothing for `SILENCE` answers no ping meanwhile, and is to stay: neither
#: are its pings over, nor is it given up for reading nothing.
PINGS = {"ping_interval": 1, "ping_timeout": 20}
SILENCE = 5.0
PATIENT = {"RTCIO_TEST_STALL": "600"}

#: More than the kernel's buffers take, and less than the server keeps for one client.
FLOOD = 80
FLOOD_SIZE = 100_000
LIMITS = {"max_buffered_bytes": 16_000_000}


class Farm:
    """All servers at once, so that what takes seconds takes them once."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        authority = trustme.CA()
        certificate = folder / "server.pem"
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
        self.trusted = {"ca": authority.cert_pem.bytes().decode()}

        def start(name: str) -> Running:
            return stack.enter_context(
                running(
                    name.removesuffix(" over TLS"),
                    "two_parsers",
                    certificate=str(certificate) if SERVERS[name] else None,
                    clean_log=False,
                    limits=LIMITS,
                    environ=PATIENT,
                    **PINGS,
                )
            )

        with ThreadPoolExecutor(4) as pool:
            self.servers = dict(zip(SERVERS, pool.map(start, SERVERS), strict=True))

    def connect(self, name: str, driver: Driver, **options: Any) -> Client:
        options.setdefault("transports", ["websocket"])
        trusted = self.trusted if SERVERS[name] else {}
        return driver.connect(self.servers[name].url, **trusted, **options)


class Place(NamedTuple):
    """One server and how to reach it."""

    name: str
    server: Running
    farm: Farm
    node: Driver

    def connect(self, **options: Any) -> Client:
        return self.farm.connect(self.name, self.node, **options)

    def open(self, **options: Any) -> Client:
        trusted = self.farm.trusted if SERVERS[self.name] else {}
        return self.node.open(self.server.url, **trusted, **options)


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    with ExitStack() as stack:
        farm = Farm(stack, tmp_path_factory.mktemp("certificate"))
        yield farm
        for server in farm.servers.values():
            server.process.terminate()
        for name, server in farm.servers.items():
            server.process.wait(DEADLINE)
            found = complaints(server.log())
            # Two lines for each handler that was asked to raise: what was wrong, and where.
            assert len(found) == 2 * server.log().count("ValueError: raised on request"), name


@pytest.fixture(params=WAYS)
def place(request: pytest.FixtureRequest, farm: Farm, node: Driver) -> Place:
    return Place(request.param, farm.servers[request.param], farm, node)


# -- what takes a while, for all servers at the same time ------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def cut_off(farm: Farm) -> Iterator[dict[str, Client]]:
    """A client of each server whose TCP connection stays, and on which nobody answers.

    From the start, so that no test has to wait for it to be noticed.
    """
    with Driver() as driver:
        clients = {name: farm.connect(name, driver) for name in WAYS}
        driver.suspend()
        yield clients


class Reader(NamedTuple):
    client: Client
    talker: Client


@pytest.fixture(scope="module")
def readers(farm: Farm) -> Iterator[dict[str, Reader]]:
    """A client of each server that read nothing for a while, and one that sent it much then."""
    with Driver() as driver:
        found = {
            name: Reader(farm.connect(name, driver), farm.connect(name, driver)) for name in WAYS
        }
        for client, talker in found.values():
            # The driver does one thing after another: it is paused before the first is sent.
            client.pause()
            data = [SEQ, "x" * FLOOD_SIZE]
            talker.burst("#rtcio:message", talker.envelope(client, data), count=FLOOD)
        for name in WAYS:
            farm.servers[name].eventually("/stats", lambda stats: stats["send_buffer_bytes"] > 0)
        time.sleep(SILENCE)
        for client, _ in found.values():
            assert client.received() == []
            client.unpause()
        yield found


# -- the transports --------------------------------------------------------------------------------


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_events_attachments_and_acknowledgements_go_both_ways(
    place: Place, transports: str
) -> None:
    a, b = (place.connect(transports=TRANSPORTS[transports]) for _ in range(2))
    used = "polling" if transports == "polling" else "websocket"
    assert (a.transport, b.transport) == (used, used)

    values: list[Any] = [1, "zwei", {"three": [3, None]}, b"\x00four", b""]
    assert a.answer(a.ask("echo", *values)) == values
    b.answers("question", b"\xff answer")
    assert b.call("ask-back", {"blob": b"\x01"}) == b"\xff answer"
    assert b.received("question") == [[{"blob": b"\x01"}]]
    a.relay(b, [b"\xfe relayed", 1])
    a.fence(b)
    assert b.relayed() == [[b"\xfe relayed", 1]]


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_namespaces_share_a_connection_and_nothing_else(place: Place, transports: str) -> None:
    main = place.connect(transports=TRANSPORTS[transports])
    calls = place.open(namespace="/calls", shares=main)
    calls.wait("connect")
    assert main.answer(main.ask("echo", b"1")) == [b"1"]
    assert calls.answer(calls.ask("echo", b"2")) == ["calls", b"2"]
    calls.disconnect()
    assert main.call("echo", "still here") == "still here"


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_the_messagepack_parser_is_understood(place: Place, transports: str) -> None:
    packed = {"path": "/packed", "parser": "msgpack", "transports": TRANSPORTS[transports]}
    a, b = (place.connect(**packed) for _ in range(2))
    values: list[Any] = ["ä", {"blob": b"\x00\xff"}]
    assert a.answer(a.ask("echo", *values)) == values
    a.relay(b, values)
    a.fence(b)
    assert b.relayed() == [values]


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_900_kb_pass_both_ways(place: Place, transports: str) -> None:
    a, b = (place.connect(transports=TRANSPORTS[transports]) for _ in range(2))
    text = "äx" * 300_000
    assert a.call("echo", text) == text
    a.relay(b, text)
    a.fence(b)
    assert b.relayed() == [text]


def test_attachments_of_900_kb_pass_both_ways(place: Place) -> None:
    a, b = (place.connect() for _ in range(2))
    blob = bytes(range(256)) * 3500
    assert a.call("echo", blob) == blob
    a.relay(b, [blob])
    a.fence(b)
    assert b.relayed() == [[blob]]


@pytest.mark.parametrize("name", SERVERS)
def test_bursts_both_ways_survive_the_upgrade(farm: Farm, node: Driver, name: str) -> None:
    place = Place(name, farm.servers[name], farm, node)
    b = place.connect()
    room = f"of {b.id}"
    a = place.open(auth={"rooms": [room]})
    # Buffered by the client, so it is the first thing on the connection, before any upgrade.
    a.emit("flood", 200, 1000)
    a.wait("connect")

    count = 0
    while True:
        upgraded = any(report["type"] == "upgrade" for report in list(a.reports))
        a.burst("#rtcio:message", a.envelope(b, SEQ), count=20, start=count)
        a.burst("note", room, SEQ, count=20, start=count)
        b.burst("#rtcio:message", b.envelope(a, SEQ), count=20, start=count)
        b.burst("say", room, SEQ, count=20, start=count)
        count += 20
        a.wait_for("#rtcio:message", count=count)
        b.wait_for("#rtcio:message", count=count)
        if upgraded:
            break

    a.wait_for("drop", count=200)
    a.wait_for("said", count=count)
    place.server.eventually("/heard", lambda heard: ["note", room, count - 1] in heard)
    a.fence(b)
    b.fence(a)
    numbers = list(range(count))
    assert a.relayed() == b.relayed() == numbers
    assert [args[0] for args in a.received("said")] == numbers
    assert [number for number, _ in (args[0] for args in a.received("drop"))] == list(range(200))
    heard = place.server.get_json("/heard")
    assert [entry[2] for entry in heard if entry[:2] == ["note", room]] == numbers


# -- one client's trouble is nobody else's ---------------------------------------------------------


@pytest.mark.parametrize("transports", TRANSPORTS)
def test_a_client_that_the_server_kicks_knows_it(place: Place, transports: str) -> None:
    a = place.connect(transports=TRANSPORTS[transports])
    b = place.connect()
    b.emit("kick", a.id)
    assert a.wait("disconnect")["reason"] == "io server disconnect"
    place.server.eventually(
        "/heard", lambda heard: ["disconnect", a.id, "server disconnect"] in heard
    )
    assert b.call("echo", "still here") == "still here"


def test_a_handler_that_blocks_delays_no_relay(place: Place) -> None:
    place.server.get("/hold").read()
    a, b, c = (place.connect() for _ in range(3))
    blocked = a.ask("block")
    for sender, receiver in ((a, b), (b, a), (b, c), (c, a)):
        sender.burst("#rtcio:message", sender.envelope(receiver, SEQ), count=50)
    b.wait_for("#rtcio:message", count=50)
    c.wait_for("#rtcio:message", count=50)
    a.wait_for("#rtcio:message", count=100)
    # The handler blocks until this, so none of them waited for it.
    place.server.release()
    assert a.answer(blocked) == ["unblocked"]
    last = a.wait("event", count=100, event="#rtcio:message")
    assert last["n"] < a.answer_report(blocked)["n"]


def test_a_handler_that_raises_leaves_its_connection_usable(place: Place) -> None:
    a, b = (place.connect() for _ in range(2))
    raised = place.server.log().count("ValueError: raised on request")
    a.emit("raise")
    assert a.call("echo", "still here") == "still here"
    a.relay(b, "and heard")
    a.fence(b)
    assert b.relayed() == ["and heard"]
    assert place.server.log().count("ValueError: raised on request") == raised + 1


@pytest.mark.parametrize("name", WAYS)
def test_a_client_that_read_nothing_for_5_s_then_reads_everything(
    readers: dict[str, Reader], name: str
) -> None:
    client, talker = readers[name]
    client.wait_for("#rtcio:message", count=FLOOD)
    talker.fence(client)
    assert client.relayed() == [[number, "x" * FLOOD_SIZE] for number in range(FLOOD)]


@pytest.mark.parametrize("name", WAYS)
def test_a_client_that_stops_answering_is_given_up(
    farm: Farm, cut_off: dict[str, Client], name: str
) -> None:
    left = ["disconnect", cut_off[name].id, "ping timeout"]
    farm.servers[name].eventually("/heard", lambda heard: left in heard)
