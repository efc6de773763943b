"""The callbacks of events: each is called once, and none is kept for nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from gevent.event import Event

from rtcio_sync.adapter import callbacks
from rtcio_sync.adapter.gathering import Gathering
from rtcio_sync.adapter.server_call import Waiter
from rtcio_sync.parser.packet import TextPacket, event_pieces
from tests.collecting import at_each_collection
from tests.members import FakeServer


def test_an_acknowledgement_is_taken_once() -> None:
    fake = FakeServer()
    a = fake.joined()
    answers: list[Any] = []
    fake.index.emit("question", None, "/", room=a.sid, callback=lambda *all_: answers.append(all_))
    assert a.link.taken() == ['21["question"]']
    for sid, number, answer in (
        (a.sid, 1, ["yes"]),
        (a.sid, 1, ["again"]),
        (a.sid, 0, ["the counter"]),
        (a.sid, "1", ["text"]),
        ("nobody", 1, ["nobody"]),
    ):
        fake.index.trigger_callback(sid, number, answer)
    assert answers == [("yes",)]


def test_who_waits_for_an_answer_is_told_when_the_last_that_was_asked_has_left() -> None:
    fake = FakeServer()
    a, b = fake.joined(), fake.joined()
    waiter = Waiter(Event())
    fake.index.emit("question", None, "/", room=[a.sid, b.sid], callback=waiter)
    fake.index.withdraw(a)
    assert not waiter.left
    fake.index.end_calls(b.sid)
    assert waiter.left and waiter.event.is_set()
    assert not fake.index.callbacks.get(a.sid)


def test_who_waits_no_more_is_forgotten_and_others_are_not() -> None:
    fake = FakeServer()
    a = fake.joined()
    answers: list[Any] = []
    waiter = Waiter(Event())
    fake.index.emit("question", None, "/", room=a.sid, callback=waiter)
    fake.index.emit("question", None, "/", room=a.sid, callback=lambda *all_: answers.append(all_))
    fake.index.forget(waiter, a.sid)
    fake.index.trigger_callback(a.sid, 1, ["late"])
    fake.index.trigger_callback(a.sid, 2, ["in time"])
    assert (waiter.answer, answers) == ((), [("in time",)])


def test_clients_may_answer_while_their_callbacks_are_forgotten() -> None:
    """Another thread takes the answer: here, where the loop looks who was asked."""
    fake = FakeServer()
    members = [fake.joined() for _ in range(3)]
    gathering = Gathering(lambda: None)

    class Asked(list[str]):
        def __iter__(self) -> Iterator[str]:
            gathering.answered(members[-1].sid, ("yes",))
            return super().__iter__()

    fake.index.gather(
        gathering, "/", None, [], lambda number: event_pieces(TextPacket, "/", ["x"], number)
    )
    gathering.waiting[members[0].sid].asked = Asked([members[0].sid])
    fake.index.forget_gathering(gathering)
    assert gathering.answers == {members[-1].sid: ("yes",)}
    assert not any(len(each) > 1 for each in fake.index.callbacks.values())


@pytest.mark.parametrize("call", ["end_calls", "forget"])
def test_clients_may_be_asked_while_the_calls_that_wait_are_gone_through(call: str) -> None:
    fake = FakeServer()
    a = fake.joined()
    waiter = Waiter(Event())
    for _ in range(5):
        fake.index.emit("question", None, "/", room=a.sid, callback=waiter)
    waiting, numbers = fake.index.callbacks[a.sid], itertools.count(100)
    with at_each_collection(lambda: waiting.update({next(numbers): None})):
        if call == "end_calls":
            fake.index.end_calls(a.sid)
        else:
            fake.index.forget(waiter, a.sid)
    assert waiter not in waiting.values()


def test_a_client_that_answers_nothing_is_asked_on_and_the_oldest_question_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callbacks, "MAX_CALLBACKS", 3)
    fake = FakeServer()
    a = fake.joined()
    waiter = Waiter(Event())
    answers: list[int] = []
    fake.index.emit("call", None, "/", room=a.sid, callback=waiter)
    for number in range(2, 7):
        fake.index.emit("ask", None, "/", room=a.sid, callback=lambda n=number: answers.append(n))
    assert dict(fake.counters.dropped) == {"unanswered": 3}
    for number in range(1, 7):
        fake.index.trigger_callback(a.sid, number, [])
    assert answers == [5, 6]
    assert waiter.event.is_set(), "who waits in `call` is never given up"
