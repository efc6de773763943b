"""Counters: plain numbers, one set for each server."""

from __future__ import annotations

import gevent
import pytest

from rtcio_sync import Server
from rtcio_sync.metrics import Counters, Lag
from tests.clients import Polling
from tests.timing import until


def test_everything_starts_at_nothing() -> None:
    counters = Counters()
    assert [counters.relayed, counters.connects, counters.disconnects] == [0, 0, 0]
    assert counters.handler_errors == 0
    assert not counters.dropped
    assert not counters.closed


def test_a_reason_needs_no_announcement() -> None:
    counters = Counters()
    counters.dropped["malformed"] += 1
    assert dict(counters.dropped) == {"malformed": 1}


def test_a_misspelt_counter_is_refused() -> None:
    with pytest.raises(AttributeError):
        Counters().relaid = 1  # type: ignore[attr-defined]


def test_each_server_counts_for_itself() -> None:
    one, other = Server(), Server()
    one.test_client().emit("#rtcio:message")
    assert one.stats()["dropped"] == {"malformed": 1}
    assert other.stats()["dropped"] == {}
    assert other.stats()["connects"] == 0


def test_stats_tell_what_is_and_what_was() -> None:
    server = Server()
    a, b = server.test_client(), server.test_client()
    server.enter_room(a.sid, "tea")
    server.enter_room(b.sid, "tea")
    a.emit("#rtcio:message", {"source": a.sid, "target": b.sid, "data": 1})
    b.disconnect()
    a.emit("unheard of")
    expected = {
        "connected": 1,
        "connections": 1,
        "rooms": 1,
        "connects": 2,
        "recoveries": 0,
        "arrivals": 0,
        "disconnects": 1,
        "disconnects_by_reason": {"transport close": 1},
        "relayed": 1,
        "dropped": {},
        "closed": {},
        "handler_errors": 0,
    }
    stats = server.stats()
    assert {name: stats[name] for name in expected} == expected


@pytest.mark.parametrize("form", ["2{}", "27{}"], ids=["short way", "ordinary way"])
def test_the_bytes_of_relayed_packets_are_counted(form: str) -> None:
    server = Server()
    a, b = Polling(server).join(), Polling(server).join()
    arguments = f'["#rtcio:message",{{"source":"{a.sid}","target":"{b.sid}","data":"é"}}]'
    a.send(form.format(arguments))
    (packet,) = b.packets()
    assert server.stats()["relayed_bytes"] - len(packet.encode()) in (0, 1), "with the type or not"


def test_a_reason_is_told_in_nodes_words() -> None:
    server = Server()
    client = Polling(server).join()
    client.close()
    until(lambda: server.stats()["disconnects"])
    assert server.stats()["disconnects_by_reason"] == {"transport close": 1}


def test_handlers_are_counted_and_timed() -> None:
    server = Server()
    server.on("work", lambda sid: gevent.sleep(0.02))
    server.on("fail", lambda sid: 1 / 0)
    client = Polling(server).join()
    client.emit("work")
    client.emit("fail")
    until(lambda: server.stats()["handler_errors"] == 1)
    stats = server.stats()
    assert stats["handlers"] == 2
    assert stats["handler_seconds"] >= 0.02


def test_what_waits_for_clients_is_told() -> None:
    server = Server()
    client = Polling(server).join()
    server.emit("news", "x" * 1000, to=client.sid)
    assert 1000 < server.stats()["send_buffer_bytes"] < 1100
    client.events()
    assert server.stats()["send_buffer_bytes"] == 0


def test_the_worst_lateness_is_remembered_for_a_while() -> None:
    lag = Lag()
    assert lag.worst(0.0) == 0.0
    for now, late in ((0.0, 0.5), (1.0, 0.1), (2.0, -0.1)):
        lag.note(now, late)
    assert lag.worst(10.0) == 0.5
    assert lag.worst(15.5) == 0.1
    assert lag.worst(100.0) == 0.0
    lag.note(100.0, 0.2)
    assert len(lag._seen) == 1


def test_stats_are_a_copy() -> None:
    server = Server()
    server.stats()["dropped"]["mine"] = 1
    assert server.stats()["dropped"] == {}
