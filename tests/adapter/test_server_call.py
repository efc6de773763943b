"""Who waits for an answer in `Server.call`."""

from __future__ import annotations

from gevent.event import Event
from socketio.exceptions import TimeoutError as UpstreamTimeout

from rtcio_sync.adapter.server_call import DisconnectedError, Waiter


def test_an_answer_wakes_who_waits_for_it() -> None:
    waiter = Waiter(Event())
    waiter.asked.append("sid")
    waiter("yes", 1)
    assert waiter.answer == ("yes", 1)
    assert waiter.event.is_set() and not waiter.left


def test_who_waits_is_woken_when_all_that_were_asked_have_left() -> None:
    waiter = Waiter(Event())
    waiter.asked += ["a", "b"]
    waiter.lose()
    assert not waiter.event.is_set()
    waiter.lose()
    assert waiter.event.is_set() and waiter.left


def test_a_client_that_left_is_a_timeout_to_those_who_know_no_better() -> None:
    assert issubclass(DisconnectedError, UpstreamTimeout)
    assert DisconnectedError.reason == "client-left"
