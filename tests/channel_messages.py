"""Messages of a pub/sub channel: good ones to change, and junk that anybody may publish."""

from __future__ import annotations

import json
import pickle
from typing import Any

from tests.values import HOLE


def emit(**fields: Any) -> dict[str, Any]:
    """An emit to everybody, with other ``fields``."""
    return {
        "method": "emit", "event": "news", "data": [1], "binary": False, "namespace": "/",
        "room": None, "skip_sid": None, "callback": None, "host_id": "x", **fields,
    }  # fmt: skip


def relay(**fields: Any) -> dict[str, Any]:
    """A relay to ``SID``, with other ``fields`` of its own."""
    inside = {
        "event": "#rtcio:message", "namespace": "/", "target": "SID", "rooms": None,
        "raw": '{"source":"x","target":"SID","data":1}', "attachments": [], **fields,
    }  # fmt: skip
    return emit(room="rtcio:nobody", data=[None], rtcio_relay=inside)


DEEP = "[" * 100_000 + "]" * 100_000

HALF_DEEP = "[" * 980 + "]" * 980

#: What anybody may publish; "SID" stands for the sid of a client of the process that listens.
JUNK: dict[str, Any] = {
    "a number": "5",
    "a list": '["method"]',
    "a text": '"method"',
    "null": "null",
    "true": "true",
    "an empty object": "{}",
    "nothing": "",
    "no JSON": "emit",
    "half an object": '{"method": "emit"',
    "NaN": '{"method": "emit", "data": [NaN]}',
    "no UTF-8": b"\xff\xfe{}",
    "bytes of a pickle": pickle.dumps({"method": "emit"}),
    "deep JSON": DEEP,
    "a deep emit": f'{{"method":"emit","event":"news","namespace":"/","data":{DEEP}}}',
    "an emit too deep to be sent on": (
        f'{{"method":"emit","event":"news","namespace":"/","host_id":"x","data":[{HALF_DEEP}]}}'
    ),
    "a Python object": object(),
    "None": None,
    "a number itself": 5,
    "an emit without data": {"method": "emit", "event": "news", "namespace": "/"},
    "a method that is a list": {"method": ["emit"]},
    "a method that is an object": {"method": {}},
    "a method that is null": {"method": None},
    "an unknown method": {"method": "shutdown"},
    "a private method": {"method": "_publish"},
    **{
        f"{method} alone": {"method": method}
        for method in ("emit", "disconnect", "enter_room", "leave_room", "close_room")
    },
    "an event that is no text": emit(event=5),
    "an event that is a list": emit(event=["news"]),
    "a reserved event": emit(event="disconnect"),
    "rooms that are an object": emit(room={"a": 1}),
    "rooms in a list in a list": emit(room=[["a"]]),
    "null among the rooms": emit(room=[None]),
    "whom to skip in an object": emit(skip_sid={"a": 1}),
    "whom to skip in lists": emit(skip_sid=[["a"], {}]),
    "a namespace that is a list": emit(namespace=["/"]),
    "a namespace that is an object": emit(namespace={}),
    "a namespace that stands for all": {"method": "disconnect", "sid": "x", "namespace": "*"},
    "two namespaces in one name": {"method": "disconnect", "sid": "x", "namespace": "/a,/b"},
    "a callback that is a number": emit(callback=5),
    "a callback of two": emit(callback=["a", "/"]),
    "a callback whose number is a list": emit(callback=["SID", "/", []]),
    "a callback of a room that is a list": emit(callback=[["a"], "/", 1]),
    "a callback for nobody": emit(callback=["SID", "/", 1], host_id=None),
    "a callback for a list": emit(callback=["SID", "/", 1], host_id=["x"]),
    "binary without a list": emit(binary=True, data=5),
    "binary without data": emit(binary=True, data=[]),
    "binary that is no base64": emit(binary=True, data=[[HOLE], "%%%"]),
    "binary that is no text": emit(binary=True, data=[[HOLE], 5]),
    "a placeholder without its attachment": emit(binary=True, data=[[HOLE]]),
    "many placeholders of one attachment": emit(binary=True, data=[[HOLE] * 9, "AAAA"]),
    "a placeholder of a list": emit(
        binary=True, data=[[{"_placeholder": True, "num": []}], "AAAA"]
    ),
    "an unhashable sid to disconnect": {"method": "disconnect", "sid": ["a"], "namespace": "/"},
    "a sid that is an object": {"method": "disconnect", "sid": {}, "namespace": "/"},
    "an unhashable namespace to leave": {"method": "disconnect", "sid": "SID", "namespace": []},
    "an unhashable sid that enters": {"method": "enter_room", "sid": ["a"], "namespace": "/"},
    "a room to enter that is a list": {
        "method": "enter_room", "sid": "SID", "namespace": "/", "room": ["a"],
    },
    "a room to enter that is null": {
        "method": "enter_room", "sid": "SID", "namespace": "/", "room": None,
    },
    "a room to leave that is an object": {
        "method": "leave_room", "sid": "SID", "namespace": "/", "room": {},
    },
    "a room to close that is a list": {"method": "close_room", "room": ["a"], "namespace": "/"},
    "a room to close that is a sid": {"method": "close_room", "room": "SID", "namespace": "/"},
    "an answer without its number": {"method": "callback", "host_id": "OWN", "sid": "SID"},
    "an answer of a list": {
        "method": "callback", "host_id": "OWN", "sid": ["a"], "id": 1, "args": [],
    },
    "an answer whose number is a list": {
        "method": "callback", "host_id": "OWN", "sid": "SID", "id": [1], "args": [],
    },
    "an answer that is a text": {
        "method": "callback", "host_id": "OWN", "sid": "SID", "id": 1, "args": "abc",
    },
    "an answer with wrong attachments": {
        "method": "callback", "host_id": "OWN", "sid": "SID", "id": 1, "args": [HOLE],
        "rtcio_attachments": "AAAA",
    },
    "a relay that is a text": emit(rtcio_relay="x"),
    "a relay that is empty": emit(rtcio_relay={}),
    "a relay to a list": relay(target=["SID"]),
    "a relay to an object": relay(target={}),
    "a relay in an unhashable namespace": relay(namespace=[]),
    "a relay that is no JSON": relay(raw='{"source":'),
    "a relay with more behind it": relay(raw='{"target":"SID","data":1},"more"'),
    "a relay of nothing": relay(raw=""),
    "a relay that is a list": relay(raw="[1]"),
    "a relay to another than it says": relay(raw='{"source":"x","target":"other","data":1}'),
    "a relay with deep JSON": relay(raw=f'{{"target":"SID","data":{DEEP}}}'),
    "a relay without base64": relay(attachments=["%%%"]),
    "a relay with attachments that are no texts": relay(attachments=[1]),
    "a relay with too many attachments": relay(attachments=["AAAA"] * 11),
    "a relay without a placeholder for its attachment": relay(
        raw='{"target":"SID","data":{"_placeholder":true,"num":3}}', attachments=["AAAA"]
    ),
    "a relay whose rooms are a number": relay(rooms=5),
    "a relay with unhashable rooms": relay(rooms=[["a"]]),
}  # fmt: skip


def crossing(junk: Any, sid: str, host_id: str) -> Any:
    """A message as it crosses: ``SID`` is a client's, ``OWN`` the process's that hears it."""
    if isinstance(junk, dict):
        junk = json.dumps(junk)
    if isinstance(junk, str):
        return junk.replace("SID", sid).replace("OWN", host_id)
    return junk
