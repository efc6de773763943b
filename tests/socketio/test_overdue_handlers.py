"""A handler that runs for long is named in a warning, once."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from gevent.event import Event

from rtcio_sync import Server
from rtcio_sync.adapter.member import Member
from rtcio_sync.socketio import overdue_handlers
from rtcio_sync.socketio.overdue_handlers import PATIENCE, Overdue
from tests.clients import WebSocket
from tests.collecting import at_each_collection
from tests.timing import DEADLINE, Clock, until


class House:
    """An `Overdue` with a clock that is set by hand."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.overdue = Overdue(
            now=self.clock.now, later=self.clock.later, spawn=lambda fn, *args: fn(*args)
        )

    def begin(self, event: str, namespace: str) -> int:
        member = Member("sid", "eio", namespace)
        member.link = SimpleNamespace(tested=False)
        return self.overdue.begin(event, member, self.clock.now())


def warned(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (each.rtcio_event, each.rtcio_namespace)  # type: ignore[attr-defined]
        for each in caplog.records
        if each.name == "rtcio_sync.socketio.overdue_handlers" and each.levelno == logging.WARNING
    ]


def test_each_handler_that_runs_too_long_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    house.begin("hangs", "/")
    house.clock.advance(10)
    house.begin("hangs too", "/calls")
    house.clock.advance(PATIENCE - 11)
    assert warned(caplog) == []
    house.clock.advance(1)
    assert warned(caplog) == [("hangs", "/")]
    house.clock.advance(10 * PATIENCE)
    assert warned(caplog) == [("hangs", "/"), ("hangs too", "/calls")]
    assert "'hangs'" in caplog.text
    assert "30 s" in caplog.text


def test_handlers_may_begin_while_the_clock_looks(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    for _ in range(50):
        house.begin("hangs", "/")
    with at_each_collection(lambda: house.begin("quick", "/")):
        house.clock.advance(PATIENCE)
    # One that began before the clock moved is named as well.
    assert [each for each in warned(caplog) if each[0] == "hangs"] == [("hangs", "/")] * 50


def test_one_that_returned_is_not(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    for _ in range(100):
        number = house.begin("chat", "/")
        house.clock.advance(1)
        house.overdue.end(number)
        assert len(house.clock.due) <= 1, "one look for all of them"
    house.clock.advance(10 * PATIENCE)
    assert warned(caplog) == []
    assert house.clock.due == []


PLACES = ["chat", "socket chat", "connect", "use", "connection", "disconnect", "ack"]


@pytest.mark.parametrize("place", PLACES)
def test_handlers_of_every_kind_are_watched(
    place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(overdue_handlers, "PATIENCE", 0.05)
    server = Server()
    release = Event()

    def hang(where: str) -> Any:
        return (lambda *_: release.wait(DEADLINE)) if where == place else (lambda *_: None)

    @server.on("chat")
    def chat(sid: str) -> None:
        server.emit("question", to=sid, callback=hang("ack"))
        hang("chat")()

    @server.on("connection")
    def connection(socket: Any) -> None:
        socket.on("chat", lambda: hang("socket chat")())
        hang("connection")()

    server.use(hang("use"))
    server.on("connect", hang("connect"))
    server.on("disconnect", hang("disconnect"))
    client = WebSocket(server)
    client.ask_to_join()
    if place not in ("connect", "use"):
        client.joined()
        client.emit("chat")
        asked = client.next() if place == "ack" else ""
        if asked:
            client.send(f"3{asked[1 : asked.index('[')]}[]")
        if place == "disconnect":
            client.close()
    name = {"socket chat": "chat", "use": "connect"}.get(place, place)
    until(lambda: warned(caplog))
    assert warned(caplog) == [(name, "/")]
    release.set()


def test_the_function_of_a_dynamic_namespace_is_watched(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(overdue_handlers, "PATIENCE", 0.05)
    server = Server()
    release = Event()
    server.of(lambda name, auth: release.wait(DEADLINE))
    client = WebSocket(server).join()
    client.ask_to_join("/calls")
    until(lambda: warned(caplog))
    assert warned(caplog) == [("namespace", "/calls")]
    release.set()
    client.joined("/calls")
