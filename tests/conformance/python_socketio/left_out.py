"""python-socketio's own tests that do not run against `rtcio_sync.Server`, and why.

`docs/coming-from-python-socketio.md` shows this list.
"""

from __future__ import annotations

from typing import NamedTuple


class Difference(NamedTuple):
    """What python-socketio does, what ours does, and the tests of the first (``file::test``)."""

    theirs: str
    ours: str
    tests: tuple[str, ...]


def _tests(file: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{file}::test_{name}" for name in names)


SERVER = "test_server.py::TestServer"
MANAGER = "test_manager.py::TestBaseManager"
PUBSUB = "test_pubsub_manager.py::TestPubSubManager"
PACKET = "test_packet.py::TestPacket"

DIFFERENCES = (
    # -- the server ------------------------------------------------------------------------------
    Difference(
        "an option that nobody knows is accepted",
        "refused, with the nearest name",
        _tests(SERVER, "create"),
    ),
    Difference(
        "`json=` changes the JSON of the whole process",
        "it changes that of one server",
        _tests(SERVER, "custom_json"),
    ),
    Difference(
        "a string may stand for a logger or a JSON module",
        "refused: it has none of their functions",
        _tests(SERVER, "logger", "engineio_logger") + _tests(PUBSUB, "custom_json"),
    ),
    Difference(
        "a string may stand for a callback",
        "refused: it cannot be called",
        _tests(SERVER, "emit", "emit_default_namespace", "send"),
    ),
    Difference(
        "with `always_connect`, a refusal is a DISCONNECT packet with a payload",
        "without the payload: for socket.io-client such a packet is broken",
        _tests(
            SERVER,
            "handle_connect_rejected_always_connect",
            "handle_connect_namespace_rejected_always_connect",
        ),
    ),
    Difference(
        "`call()` is refused where handlers run in order",
        "it works: acknowledgements do not wait for handlers",
        _tests(SERVER, "call_without_async_handlers"),
    ),
    Difference(
        "a second CONNECT to a namespace is refused with a string",
        "with an object, as in the protocol",
        _tests(SERVER, "handle_connect_namespace_twice"),
    ),
    Difference(
        "a handler that raises `TypeError` is called a second time, with other arguments",
        "called once, with the arguments that it declares",
        _tests(SERVER, "handle_connect_with_auth_none", "handle_legacy_disconnect"),
    ),
    Difference(
        "`serializer='msgpack'` uses the class `MsgPackPacket` itself",
        "a subclass, which also reads JavaScript's `undefined` and `ArrayBuffer`, and sends no "
        "data with DISCONNECT",
        _tests(SERVER, "msgpack"),
    ),
    # -- packets and managers ----------------------------------------------------------------------
    Difference(
        "a packet is searched for bytes when it is made",
        "when it is encoded: that is one search fewer",
        _tests(
            PACKET,
            "encode_binary_event_packet",
            "encode_binary_ack_packet",
            "invalid_binary_packet",
            "encode_many_binary",
            "encode_many_binary_ack",
            "data_is_binary_list",
            "data_is_binary_dict",
        ),
    ),
    Difference(
        "a manager keeps the own rooms of clients among the others, and a list of those that leave",
        "an index by client: without it, `rooms()` and each disconnect look at all rooms",
        _tests(
            MANAGER,
            "pre_connect",
            "connect",
            "pre_disconnect",
            "disconnect",
            "disconnect_default_namespace",
            "disconnect_twice",
        ),
    ),
    Difference(
        "an event with a callback is sent before the CONNECT packet of a client that connects",
        "after it, as every event",
        _tests(MANAGER, "emit_with_callback"),
    ),
    Difference(
        "a pub/sub manager uses the logger of the server itself",
        "through a filter that drops two of its lines",
        _tests(PUBSUB, "write_only_default_logger", "write_only_with_provided_logger"),
    ),
)

#: For `deselecting`: what each test checks.
TABLE = {
    test: f"{each.theirs}; here: {each.ours}" for each in DIFFERENCES for test in each.tests
}
