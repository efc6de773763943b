"""What a process that is no node writes to an inbox."""

from __future__ import annotations

import pytest

from rtcio_sync.cluster import emitter_inbox
from rtcio_sync.cluster.emitter_inbox import OUTSIDE, Outside
from rtcio_sync.cluster.frames import Frame, frame
from rtcio_sync.cluster.messages import Kind
from rtcio_sync.errors import ProtocolError


def entry(name: bytes, number: int, *frames: bytes) -> bytes:
    return OUTSIDE.pack(name.ljust(8), number) + b"".join(frames)


def test_an_entry_that_comes_again_is_dropped() -> None:
    taken = Outside()
    one, two = entry(b"a", 1, frame(Kind.EMIT, b"1")), entry(b"a", 2, frame(Kind.EMIT, b"2"))
    found = [taken.take(each) for each in (one, one, two, one, two)]
    assert found == [[Frame(Kind.EMIT, b"", b"1")], [], [Frame(Kind.EMIT, b"", b"2")], [], []]
    assert taken.take(entry(b"b", 1, frame(Kind.MANY, b"")))


def test_only_what_may_be_asked_from_outside_is_taken() -> None:
    kinds = [value for name, value in vars(Kind).items() if name.isupper()]
    taken = Outside().take(entry(b"a", 1, *(frame(kind, b"") for kind in kinds)))
    assert {each.kind for each in taken} == {Kind.EMIT, Kind.MANY}


def test_junk_is_dropped_or_refused() -> None:
    taken = Outside()
    for junk in (b"", b"x", b"\0" * 15):
        assert taken.take(junk) == []
    with pytest.raises(ProtocolError):
        taken.take(entry(b"a", 1, b"\xff" * 20))


def test_only_so_many_senders_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emitter_inbox, "MOST_SENDERS", 2)
    taken = Outside()
    for name, number in ((b"a", 1), (b"b", 1), (b"a", 2), (b"c", 1)):
        taken.take(entry(name, number, frame(Kind.EMIT, b"")))
    assert taken.take(entry(b"a", 2, frame(Kind.EMIT, b""))) == []
    assert taken.take(entry(b"b", 1, frame(Kind.EMIT, b""))) != []
