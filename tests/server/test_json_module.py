"""A JSON module of one server's own, which changes no other server."""

from __future__ import annotations

import json
import math
from typing import Any

import orjson
import pytest
import socketio
from socketio import packet

from rtcio_sync import Server
from rtcio_sync.parser.packet import FastJson


class Loud:
    """A JSON module that writes its objects with a mark, so that its work is seen."""

    @staticmethod
    def dumps(value: Any, **options: Any) -> str:
        return json.dumps(value).replace("{", '{"loud":true,')

    @staticmethod
    def loads(text: str, **options: Any) -> Any:
        return json.loads(text.replace("quiet", "LOUD"))


def test_a_json_module_is_one_servers_own() -> None:
    loud = Server(json=Loud)
    quiet = Server()
    plain = socketio.Server(async_mode="gevent")
    assert loud.packet_class.json is Loud
    assert quiet.packet_class.json is FastJson
    assert plain.packet_class.json is not Loud
    assert packet.Packet.json is not Loud


def test_an_app_hears_and_speaks_through_its_own_module() -> None:
    server = Server(json=Loud)
    heard: list[Any] = []

    @server.on("chat")
    def chat(sid: str, data: Any) -> Any:
        heard.append(data)
        return {"a": 1}

    client = server.test_client()
    assert client.call("chat", "quiet") == {"loud": True, "a": 1}
    assert heard == ["LOUD"]


class Mine(packet.Packet):
    """A packet class of an app's."""


#: Options with which Python's own module writes what is sent.
STANDARD: dict[str, dict[str, Any]] = {
    "json": {"json": json},
    "a class": {"serializer": Mine},
    "both": {"serializer": Mine, "json": json},
}


@pytest.mark.parametrize("options", STANDARD)
@pytest.mark.parametrize("sent", ["1e999", "-1e999", "NaN", "Infinity", '{"a":[-Infinity,"NaN"]}'])
def test_no_client_has_others_get_what_no_browser_reads(sent: str, options: str) -> None:
    """Python's module reads such numbers and writes them; socket.io-client then disconnects."""
    server = Server(**STANDARD[options])

    @server.on("chat")
    def chat(sid: str, data: Any) -> Any:
        server.emit("chat", data, skip_sid=sid)
        return data

    heard: list[str] = []
    client, peer = server.test_client(), server.test_client()
    for each in (client, peer):
        each._link.hear = heard.append  # type: ignore[union-attr]
    client._link.receive(f'421["chat",{sent}]'.encode(), False)  # type: ignore[union-attr]
    event, answer = [orjson.loads(each[each.index("[") :]) for each in heard]
    number = {"a": [None, "NaN"]} if sent[0] == "{" else None
    assert (event, answer) == (["chat", number], [number])


@pytest.mark.parametrize("options", STANDARD)
def test_a_text_that_only_looks_like_one_stays_as_it_is(options: str) -> None:
    server = Server(**STANDARD[options])
    client = server.test_client()
    server.emit("chat", {"NaN": ["Infinity", math.nan, 1.5, True, None, b"NaN"]})
    assert client.received("chat") == [{"NaN": ["Infinity", None, 1.5, True, None, b"NaN"]}]
