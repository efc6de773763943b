"""What a client may have kept for it is bounded in memory, whatever the kind."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from rtcio_sync import Server
from tests.clients import Client, Polling, WebSocket, event, joined, say
from tests.timing import DEADLINE, settle, until
from tests.values import HOLE
from tests.wsgi import environ_of, request

#: Bytes of memory that one client may have kept: what waits, the request that it came in (which the
#: client of the test holds, too), and what is being handled. It was 25 MB.
MOST = 8_000_000

LISTS = json.dumps([[]] * 90_000, separators=(",", ":"))


@pytest.fixture
def release() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()
    settle()


def kept(act: Callable[[], Any], done: Callable[[], Any]) -> int:
    """The bytes of memory that ``act`` left in use, once the server is ``done`` with it."""
    gc.collect()
    tracemalloc.start()
    try:
        made = act()
        until(done)
        size = min(_traced() for _ in range(10))
        del made
    finally:
        tracemalloc.stop()
    return size


def _traced() -> int:
    """The bytes in use; on a loaded machine earlier tests still let go of theirs, so ask again."""
    settle()
    gevent.sleep(0.02)
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def blocking(server: Server, release: Event) -> None:
    server.on("block", lambda sid: release.wait(2 * DEADLINE))
    server.on("take", lambda sid, *data: None)


def small_and_rich(number: int) -> list[str]:
    """Events of 1 kB that each hold 300 lists."""
    lists = [[]] * 300  # type: ignore[var-annotated]
    return [event("take", lists) for _ in range(number)]


@pytest.mark.parametrize("make", [Polling, WebSocket])
def test_what_waits_for_a_handler_is_counted_as_it_is_in_memory(
    make: Callable[[Server], Client], release: Event
) -> None:
    server = Server()
    blocking(server, release)
    client = make(server).join()
    client.emit("block")

    def flood() -> Any:
        packets = small_and_rich(900)
        if isinstance(client, Polling):
            # The answer is given once there is room again.
            return gevent.spawn(
                client._request,
                "POST",
                "\x1e".join(f"4{each}" for each in packets).encode(),
                client.eio_sid,
            )
        return gevent.spawn(client.send, *packets)

    size = kept(flood, lambda: client.link.full)
    assert size < MOST
    release.set()
    until(lambda: not client.link.inbox)


def test_nothing_of_it_is_lost(release: Event) -> None:
    server = Server()
    heard: list[int] = []
    server.on("block", lambda sid: release.wait(2 * DEADLINE))
    server.on("take", lambda sid, data: heard.append(len(data)))
    client = Polling(server).join()
    client.emit("block")
    post = gevent.spawn(client.send, *small_and_rich(200))
    until(lambda: client.link.full)
    release.set()
    post.get(timeout=DEADLINE)
    until(lambda: len(heard) == 200)


@pytest.mark.parametrize("serializer", ["default", "msgpack"])
def test_auth_is_kept_within_bounds(serializer: str) -> None:
    server = Server(serializer=serializer)

    def attempt() -> Any:
        clients = [WebSocket(server) for _ in range(4)]
        for client in clients:
            say(client, 0, {"a": [[]] * 300_000})
            client.frame()
        return clients

    assert kept(attempt, lambda: True) < 8_000_000  # it was 80 MB
    assert server.counters.dropped["auth"] == 4


@pytest.mark.parametrize("kind", ["event", "acknowledgement", "relay"])
def test_a_packet_whose_attachments_never_come_is_kept_as_it_came(kind: str) -> None:
    server = Server(ping_interval=600)  # this client answers no pings
    server.on("take", lambda sid, *data: None)
    a = joined(server)
    hole = json.dumps(HOLE)
    text = {
        "event": f'51-["take",{LISTS},{hole}]',
        "acknowledgement": f"61-1[{LISTS},{hole}]",
        "relay": '51-["#rtcio:message",'
        f'{{"source":"{a.sid}","target":"x","data":[{LISTS},{hole}]}}]',
    }[kind]
    # Decoded it would take 7 MB; what the client of the test holds is in it.
    assert kept(lambda: a.send(text), lambda: a.link.partial) < 5_500_000
    assert a.link.partial.packet is None


def test_the_attachments_of_a_dropped_packet_are_not_kept() -> None:
    server = Server()
    a = joined(server)
    deep = "[" * 70 + "]" * 70
    a.send(f'53-["take",{deep}]', b"x" * 400_000, b"x" * 400_000)
    until(lambda: a.link.partial is not None and len(a.link.partial.attachments) == 2)
    assert a.link.partial.attachments == [b"", b""]
    assert a.link.partial.packet is None


def test_of_its_first_request_32_kb_are_kept() -> None:
    server = Server()
    for headers, query in (
        ({"X-Ballast": "x" * 33_000}, {}),
        ({f"X-{number}": "x" * 500 for number in range(70)}, {}),
        ({"Cookie": "x" * 20_000}, {"a": "x" * 20_000}),
    ):
        environ = environ_of("GET", query, headers=headers)
        status, _, body = request(server.handle_request, environ)
        assert status == 431
        assert json.loads(body)["message"] == "Request header fields too large"
    assert server.stats()["closed"] == {"headers": 3}
    assert not server.eio.sockets
    environ = environ_of("GET", {"a": "x" * 4_000}, headers={"Cookie": "x" * 16_000})
    assert request(server.handle_request, environ)[0] == 200


def test_a_namespace_name_that_nobody_could_mean_is_not_kept() -> None:
    server = Server(namespaces="*")
    a = WebSocket(server)
    a.send(f"0/{'n' * 100_000},")
    opcode, payload = a.frame()
    assert (opcode, payload[:2]) == (8, b"\x03\xea")
    assert not server.manager.members


def test_a_request_of_many_packets_gives_others_a_turn() -> None:
    server = Server()
    a, turns = joined(server, "polling"), []

    def others() -> None:
        while True:
            turns.append(1)
            gevent.sleep(0)

    beside = gevent.spawn(others)
    answers = [f"37{json.dumps([[]] * 300, separators=(',', ':'))}" for _ in range(900)]
    before = len(turns)
    a.send(*answers)
    assert len(turns) > before + 1
    beside.kill()
