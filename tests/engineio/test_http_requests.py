"""What a request to the Engine.IO endpoint says."""

from __future__ import annotations

import urllib.parse

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rtcio_sync.engineio.http_requests import accepted, is_kept, query_of


@given(st.text(alphabet="ab=&%+;2 \xe9", max_size=20))
@example("EIO=4&transport=polling&t=PxyZ")
@example("sid=a&sid=b&&=c&d=&e")
@example("transport=web%73ocket")
def test_a_query_is_read_as_the_standard_library_reads_it(text: str) -> None:
    assert query_of(text) == urllib.parse.parse_qs(text)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("gzip", ["gzip"]),
        ("gzip;q=0", []),
        ("deflate;q=0, gzip;q=0.0", []),
        ("GZIP ;\tQ=0.000 ,deflate ; q=0.001", ["deflate"]),
        ("*;q=0", []),
        ("gzip;q=0.5, *;q=0.", ["gzip"]),
        ("gzip;q=1.0,br;q=0.0,deflate;q=0.10", ["gzip", "deflate"]),
        ("a," * 20 + "gzip", ["a"] * 16),
    ],
)
def test_an_encoding_of_weight_0_is_not_accepted(value: str, names: list[str]) -> None:
    assert accepted(value) == names


def test_handlers_get_the_environ_without_what_is_the_wsgi_servers() -> None:
    mine = {
        "PATH_INFO": "/",
        "HTTP_COOKIE": "a=b",
        "HTTP_SEC_WEBSOCKET_PROTOCOL": "chat, token",
        "REMOTE_ADDR": "peer",
        "wsgi.url_scheme": "https",
        "wsgi.multithread": False,
        "myapp.user": "ann",
        "werkzeug.proxy_fix.orig": {},
    }
    theirs = {
        "wsgi.input": None,
        "wsgi.errors": None,
        "wsgi.websocket": None,
        "gunicorn.socket": None,
        "werkzeug.socket": None,
        "werkzeug.server.shutdown": None,
        "HTTP_SEC_WEBSOCKET_KEY": "x",
        "HTTP_SEC_WEBSOCKET_VERSION": "13",
        "HTTP_UPGRADE": "websocket",
        "HTTP_CONNECTION": "Upgrade",
    }
    assert [key for key in {**mine, **theirs} if is_kept(key)] == list(mine)
