"""A JSON module of one server's own, which changes no other server."""

from __future__ import annotations

import json
from typing import Any

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
