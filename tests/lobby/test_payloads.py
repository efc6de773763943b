"""What clients of a lobby send: what cannot be sent on is refused or cut."""

from __future__ import annotations

import msgpack
import msgspec
import pytest

from rtcio_sync.lobby.payloads import name_in, room_in, state_in

HALF = "\ud800"  #: of a surrogate pair: JSON may have it, UTF-8 may not


@pytest.mark.parametrize("where", [HALF, f"tea {HALF}", f"{HALF}tea"])
def test_text_that_cannot_be_sent_is_no_room_no_name_and_no_state(where: str) -> None:
    assert room_in({"roomId": where}) is None
    assert name_in({"name": where}) is None
    said = {"mic": True, "cam": False}
    for more in ({"note": where}, {where: 1}, {"deep": [{"list": [where]}]}):
        assert state_in({**said, **more}, {}) == said
    assert state_in({**said, "note": "\U0001f600"}, {}) == {**said, "note": "\U0001f600"}


@pytest.mark.parametrize("number", [-(2**63) - 1, 1 - 2**64, 2**64, -(2**400)])
def test_a_number_that_cannot_be_sent_to_another_worker_is_no_state(number: int) -> None:
    assert state_in({"mic": number, "cam": True}, {}) == {"cam": True}
    assert state_in({"mic": True, "deep": [{"x": number}]}, {}) == {"mic": True}
    kept = {"low": -(2**63), "high": 2**64 - 1}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state_in(kept, {}))) == kept


def test_what_looks_like_a_placeholder_is_no_state_as_bytes_may_stand_beside_it() -> None:
    placeholder = {"_placeholder": True, "num": 0}
    assert state_in({"mic": placeholder, "cam": True}, {}) == {"cam": True}
    assert state_in({"mic": True, "deep": [{"x": placeholder}]}, {"cam": b"z"}) == {
        "mic": True, "cam": b"z"
    }  # fmt: skip


@pytest.mark.parametrize("size", [1, 900_000])
def test_an_extension_of_messagepack_is_no_state(size: int) -> None:
    for odd in (msgpack.ExtType(5, b"x" * size), msgpack.Timestamp(size)):
        assert state_in({"mic": True, "cam": odd}, {}) == {"mic": True}
        assert state_in({"mic": True, "deep": [{"x": odd}]}, {}) == {"mic": True}
