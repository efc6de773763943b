"""What opens a WebSocket, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from rtcio_sync.errors import HandshakeError
from rtcio_sync.protocol.websocket_handshake import handshake
from tests.frames import ACCEPT, KEY


def environ(**changes: str | None) -> dict[str, Any]:
    good = {
        "REQUEST_METHOD": "GET",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_SEC_WEBSOCKET_KEY": KEY,
    }
    return {key: value for key, value in {**good, **changes}.items() if value is not None}


def test_the_example_of_the_rfc_is_accepted() -> None:
    assert handshake(environ()) == [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Accept", ACCEPT),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"HTTP_UPGRADE": "WebSocket"},
        {"HTTP_UPGRADE": "h2c, websocket"},
        {"HTTP_CONNECTION": "keep-alive, Upgrade"},
        {"HTTP_CONNECTION": "upgrade ,close"},
        {"HTTP_SEC_WEBSOCKET_KEY": f" {KEY} "},
        {"SERVER_PROTOCOL": "HTTP/1.2"},
        {"CONTENT_LENGTH": "0"},
        {"CONTENT_LENGTH": ""},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "chat"},
        {"HTTP_SEC_WEBSOCKET_EXTENSIONS": "permessage-deflate"},
    ],
)
def test_what_browsers_and_proxies_make_of_the_headers_is_accepted(changes: dict[str, str]) -> None:
    assert ("Sec-WebSocket-Accept", ACCEPT) in handshake(environ(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"REQUEST_METHOD": "POST"},
        {"SERVER_PROTOCOL": "HTTP/1.0"},
        {"SERVER_PROTOCOL": "HTTP/2"},
        {"SERVER_PROTOCOL": "HTTP/2.0"},
        {"SERVER_PROTOCOL": None},
        {"HTTP_UPGRADE": None},
        {"HTTP_UPGRADE": "websocket2"},
        {"HTTP_CONNECTION": None},
        {"HTTP_CONNECTION": "keep-alive"},
        {"HTTP_CONNECTION": "no-upgrade"},
        {"CONTENT_LENGTH": "5"},
        {"HTTP_TRANSFER_ENCODING": "chunked"},
        {"HTTP_SEC_WEBSOCKET_KEY": None},
        {"HTTP_SEC_WEBSOCKET_KEY": ""},
        {"HTTP_SEC_WEBSOCKET_KEY": "c2hvcnQ="},
        {"HTTP_SEC_WEBSOCKET_KEY": "AAAAAAAAAAAAAAAAAAAAAAA="},  # 17 bytes
        {"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZQ"},  # no padding
        {"HTTP_SEC_WEBSOCKET_KEY": "dGhl!HNhbXBsZSBub25jZQ=="},
        {"HTTP_SEC_WEBSOCKET_KEY": "dGhlIHNhbXBsZSBub25jZé=="},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": ""},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "chat,"},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "chat,,other"},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "chat other"},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "chat, other, chat"},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": "ch\u00e9t"},
        {"HTTP_SEC_WEBSOCKET_PROTOCOL": 'chat, "other"'},
    ],
)
def test_a_handshake_that_is_none_is_400(changes: dict[str, str | None]) -> None:
    with pytest.raises(HandshakeError) as caught:
        handshake(environ(**changes))
    assert caught.value.status == "400 Bad Request"
    assert caught.value.reason


@pytest.mark.parametrize("offered", ["my-app", "my-app,chat", "my-app ,\tchat, Chat, MY-APP"])
def test_of_the_subprotocols_that_are_offered_the_first_is_taken(offered: str) -> None:
    headers = handshake(environ(HTTP_SEC_WEBSOCKET_PROTOCOL=offered))
    assert headers[3:] == [("Sec-WebSocket-Protocol", "my-app")]


@pytest.mark.parametrize("version", [None, "", "8", "12", "14", "13, 8"])
def test_another_version_is_426_with_the_one_we_speak(version: str | None) -> None:
    with pytest.raises(HandshakeError) as caught:
        handshake(environ(HTTP_SEC_WEBSOCKET_VERSION=version))
    assert caught.value.status == "426 Upgrade Required"
    assert caught.value.headers == [("Sec-WebSocket-Version", "13")]
