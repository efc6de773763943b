"""The bound of what waits for another node."""

from __future__ import annotations

import pytest

from rtcio_sync.cluster import held_messages
from rtcio_sync.cluster.held_messages import HeldMessages
from rtcio_sync.cluster.messages import Kind


def test_over_the_bound_what_may_be_dropped_is_dropped_and_the_rest_is_kept_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(held_messages, "MOST_HELD", 10)
    dropped: list[None] = []
    held = HeldMessages(lambda: dropped.append(None))
    kept = [
        ("n001", Kind.EMIT, b"", b"8 bytes."),
        ("n001", Kind.ENTER, b"", b"more than 10 bytes"),
        ("n002", Kind.LEAVE, b"", b""),
    ]
    held.add(kept[0])
    held.add(("n001", Kind.RELAY, b"key", b"42"))
    held.add(kept[1])
    held.add(("n001", Kind.EMIT, b"", b"1"))
    held.add(kept[2])
    assert list(held) == kept and len(dropped) == 2
