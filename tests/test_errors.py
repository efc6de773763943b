"""What a refusal tells the client: Socket.IO's CONNECT_ERROR payload."""

from __future__ import annotations

import ast
import builtins
import errno
from pathlib import Path

import pytest
import socketio

from rtcio_sync import ConnectionRefusedError, OptionError, ProtocolError, RtcioError, errors
from rtcio_sync.errors import refusal


def test_misuse_and_misbehaviour_are_told_apart() -> None:
    assert issubclass(OptionError, RtcioError)
    assert issubclass(ProtocolError, RtcioError)
    assert not issubclass(OptionError, ProtocolError)
    assert not issubclass(ProtocolError, OptionError)


def test_every_error_of_the_package_has_its_place_in_one_tree() -> None:
    source = Path(errors.__file__).parent
    raised = set()
    for path in source.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                bases = {ast.unparse(base) for base in node.bases}
                if bases & {"Exception", "BaseException", "ValueError", "RuntimeError"}:
                    raised.add(node.name)
    # `_Slow` is `gevent.Timeout`'s, in one module, and reaches no caller.
    assert raised == {"RtcioError", "OptionError", "ProtocolError", "NotServing", "_Slow"}


def test_misuse_is_a_value_error_for_those_who_know_no_better() -> None:
    assert issubclass(OptionError, ValueError)


def test_a_protocol_error_carries_its_reason_as_a_fact() -> None:
    assert ProtocolError("attachments").reason == "attachments"


def test_a_refusal_is_the_built_in_error_too() -> None:
    assert issubclass(ConnectionRefusedError, builtins.ConnectionRefusedError)


@pytest.mark.parametrize(
    ("error", "payload"),
    [
        (ConnectionRefusedError(), {"message": "Connection rejected by server"}),
        (ConnectionRefusedError("full"), {"message": "full"}),
        (ConnectionRefusedError("full", {"seats": 4}), {"message": "full", "data": {"seats": 4}}),
        (ConnectionRefusedError("full", None), {"message": "full", "data": None}),
        (ConnectionRefusedError("full", 4, "later"), {"message": "full", "data": [4, "later"]}),
        (ConnectionRefusedError(402), {"message": "402"}),
        (builtins.ConnectionRefusedError(), {"message": "Connection refused by server"}),
        (builtins.ConnectionRefusedError("not you"), {"message": "not you"}),
        (
            builtins.ConnectionRefusedError(errno.ECONNREFUSED, "the database is down"),
            {"message": "Connection refused by server"},
        ),
        (
            socketio.exceptions.ConnectionRefusedError("not you", {"why": 1}),
            {"message": "not you", "data": {"why": 1}},
        ),
        (
            socketio.exceptions.ConnectionRefusedError(),
            {"message": "Connection rejected by server"},
        ),
    ],
)
def test_a_refusal_becomes_an_object_with_a_message(
    error: BaseException, payload: dict[str, object]
) -> None:
    assert refusal(error) == payload
