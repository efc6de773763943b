"""What writes to the inboxes of all nodes, without Redis: who may call it, and when."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from rtcio_sync import Emitter
from rtcio_sync.cluster.emitter import _Sender
from tests.interrupting import signal_handler
from tests.timing import DEADLINE


@pytest.mark.parametrize("when", ["it sends", "it waits for another thread", "it is done"])
def test_a_signal_handler_may_emit_while_the_call_that_it_interrupts_does(
    monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    emitter, sent = Emitter("redis://127.0.0.1:1"), []
    sender: Any = emitter._sender
    lock = sender._lock

    class Lock:
        def __enter__(self) -> None:
            reached("it waits for another thread")
            lock.acquire()

        def __exit__(self, *_: Any) -> None:
            lock.release()
            reached("it is done")

    def deliver(self: Any, value: bytes) -> None:
        reached("it sends")
        sent.append(value)

    def reached(now: str) -> None:
        if now == when:
            interrupt()

    sender._lock = Lock()
    monkeypatch.setattr(_Sender, "_deliver", deliver)
    with signal_handler(lambda: emitter.emit("late")) as interrupt:
        for name in ("first", "last"):
            emitter.emit(name)
    names = [name for value in sent for name in ("first", "late", "last") if name.encode() in value]
    assert names == ["first", "late", "last"]
    assert not sender._inside and not sender._late


def test_each_of_several_threads_sends_what_it_emits(monkeypatch: pytest.MonkeyPatch) -> None:
    emitter, sent = Emitter("redis://127.0.0.1:1"), []
    monkeypatch.setattr(_Sender, "_deliver", lambda self, value: sent.append(value))
    threads = [
        threading.Thread(target=lambda: [emitter.emit("x") for _ in range(50)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert len(set(sent)) == len(sent) == 200
