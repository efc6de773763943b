"""Callbacks that wait here for the acknowledgements of clients, and are those of another worker."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event

from rtcio_sync.adapter import callbacks
from rtcio_sync.cluster.handover_messages import Pending
from rtcio_sync.cluster.messages import Kind
from rtcio_sync.cluster.remote_callbacks import Questions, RemoteCallback
from rtcio_sync.parser.packet import TextPacket, event_pieces
from tests.members import FakeServer

encode = partial(event_pieces, TextPacket, "/", ["ready?"])


def callback(posted: list[Any], left: int = 1) -> RemoteCallback:
    """That of the question 7 of the worker "them", which notes what that worker is told."""
    answers: Any = SimpleNamespace(
        send_answer=lambda node, number, args: True,
        post=lambda node, kind, message: posted.append((node, kind, message.number)),
    )
    return RemoteCallback(answers, Pending("them", 7, "", False), left)


def test_a_worker_hears_that_the_last_client_that_could_answer_has_left() -> None:
    fake, posted = FakeServer(), []  # type: tuple[FakeServer, list[Any]]
    members = [fake.joined() for _ in range(3)]
    asked = callback(posted, len(members))
    for member in members:
        fake.index.send_with_callback("/", member.sid, asked, encode)
    fake.index.trigger_callback(members[0].sid, 1, ["yes"])
    fake.index.disconnect(members[0].sid, "/")
    fake.index.disconnect(members[1].sid, "/")
    assert posted == []
    fake.index.disconnect(members[2].sid, "/")
    assert posted == [("them", Kind.LOST, 7)]
    assert not fake.index.callbacks


def test_a_worker_hears_that_the_callback_of_a_silent_client_was_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callbacks, "MAX_CALLBACKS", 2)
    fake, posted = FakeServer(), []  # type: tuple[FakeServer, list[Any]]
    member = fake.joined()
    for _ in range(3):
        fake.index.send_with_callback("/", member.sid, callback(posted), encode)
    assert posted == [("them", Kind.LOST, 7)]


def test_a_worker_hears_of_no_end_while_the_client_may_come_back() -> None:
    fake = FakeServer(recovery=True)
    posted: list[Any] = []
    member = fake.joined()
    fake.index.send_with_callback("/", member.sid, callback(posted), encode)
    fake.index.end_calls(member.sid)
    assert posted == []
    assert len(fake.index.callbacks[member.sid]) == 2, "the counter and the callback"


def test_who_waits_for_an_answer_is_told_that_none_comes() -> None:
    questions = Questions(Event)
    asked = questions.begin(["them"], lambda node, number: True)
    gevent.spawn_later(0.05, questions.give_up, asked)
    assert questions.wait(asked, 30) == {}
