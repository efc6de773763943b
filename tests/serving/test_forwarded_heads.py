"""Whose request it is, from its first bytes; and its head, written again."""

from __future__ import annotations

import pytest

from rtcio_sync.serving.forwarded_heads import head_of, proxy_prefix, sid_in_first, sid_in_query

SID = "abcd0123456789ABCDEF"
LINE = f"GET /socket.io/?EIO=4&transport=polling&sid={SID} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
INFO = {
    "proxy_protocol": "TCP4",
    "client_addr": "203.0.113.7",
    "client_port": 4711,
    "proxy_addr": "192.0.2.1",
    "proxy_port": 80,
}


@pytest.mark.parametrize(
    "first",
    [
        LINE,
        b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n" + LINE,
        proxy_prefix(INFO, "v2") + LINE,
        LINE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        LINE.replace(b"GET", b"POST"),
    ],
)
def test_the_sid_of_a_request(first: bytes) -> None:
    assert sid_in_first(first) == SID


@pytest.mark.parametrize(
    "first",
    [
        b"",
        b"GET",
        LINE[:40],
        LINE.partition(b"\r\n")[0],
        LINE.replace(b"sid=", b"said="),
        LINE.replace(b"HTTP/1.1", b"HTTP/2.0"),
        LINE.replace(b"GET ", b"GET"),
        LINE.replace(SID.encode(), SID.encode() + b"x"),
        LINE.replace(SID.encode(), b"../../../../etc/pass"),
        b"\x16\x03\x01\x02\x00\x01",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PROXY TCP4 203.0.113.7",
        proxy_prefix(INFO, "v2")[:14],
    ],
)
def test_what_has_no_sid(first: bytes) -> None:
    assert sid_in_first(first) is None


@pytest.mark.parametrize("query", [f"sid={SID}", f"a=b&sid={SID}", f"sid={SID}&t=1"])
def test_the_sid_in_a_query(query: str) -> None:
    assert sid_in_query(query) == SID


@pytest.mark.parametrize("query", ["", "sid=", f"xsid={SID}", f"sid={SID[:-1]}", f"a=sid={SID}"])
def test_a_query_without_a_sid(query: str) -> None:
    assert sid_in_query(query) is None


def test_a_head_is_written_as_it_came() -> None:
    headers = [("HOST", "x"), ("COOKIE", "a=1"), ("COOKIE", "b=ä"), ("EMPTY", "")]
    head = head_of("POST", "/socket.io/?a=%20b", (1, 1), headers)
    assert head == (
        b"POST /socket.io/?a=%20b HTTP/1.1\r\nHOST: x\r\nCOOKIE: a=1\r\nCOOKIE: b=\xe4\r\n"
        b"EMPTY: \r\n\r\n"
    )


def test_the_proxy_header_is_written_as_it_came() -> None:
    assert proxy_prefix(INFO, "v1") == b"PROXY TCP4 203.0.113.7 192.0.2.1 4711 80\r\n"
    assert proxy_prefix(INFO, True) == proxy_prefix(INFO, "auto") == proxy_prefix(INFO, "v1")
    assert proxy_prefix(None, "v1") == proxy_prefix({}, "v2") == b""
    assert proxy_prefix({**INFO, "client_addr": None}, "v1") == b""
    second = proxy_prefix(INFO, "v2")
    assert second[:12] == b"\r\n\r\n\0\r\nQUIT\n"
    assert second[12:] == bytes.fromhex("2111000c cb007107 c0000201 1267 0050")
    local = proxy_prefix({**INFO, "client_addr": None}, "v2")
    assert local[12:] == bytes.fromhex("20000000")
