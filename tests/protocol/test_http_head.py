"""The header fields of a request: what another reader could take otherwise is refused."""

from __future__ import annotations

import http.client
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync.protocol.http_head import (
    HEAD_BYTES,
    HEAD_LINES,
    Head,
    asks_to_close,
    without_authority,
)


def head(*lines: str, version: str = "HTTP/1.1", end: bytes = b"\r\n") -> Head:
    raw = b"".join(line.encode("latin-1") + end for line in (*lines, ""))
    return Head(io.BytesIO(raw), version)


names = st.text("!#$%&'*+.^_`|~abcxyzABCXYZ019-", min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))


@given(st.lists(st.tuples(names, values.filter(lambda value: "\x85" not in value))))
def test_what_is_in_order_is_read_as_the_standard_library_reads_it(
    fields: list[tuple[str, str]],
) -> None:
    bare = [each for each in fields if not each[0].lower().endswith(("length", "encoding"))]
    lines = [f"{name}:{value}" for name, value in bare]
    ours = head(*lines)
    raw = b"".join(line.encode("latin-1") + b"\r\n" for line in [*lines, ""])
    theirs = http.client.parse_headers(io.BytesIO(raw))
    assert [line.split(":", 1)[0] for line in ours.headers] == list(theirs.keys())
    for name, _ in bare:
        known = next(value for other, value in bare if other.lower() == name.lower())
        assert ours.get(name.upper()) == known.strip(" \t")
        assert (theirs.get(name) or "").strip(" \t") == known.strip(" \t")


def test_a_field_is_found_by_any_spelling_of_its_name() -> None:
    found = head("Content-Type: text/plain", "X-One: 1", "x-ONE: 2", end=b"\n")
    assert found.get("x-one") == found.getheader("X-ONE") == "1"
    assert found.get("missing") is None and found.get("missing", "") == ""
    assert found.typeheader == "text/plain"
    assert found.headers == ["Content-Type: text/plain\n", "X-One: 1\n", "x-ONE: 2\n"]


def test_what_follows_the_empty_line_is_left() -> None:
    stream = io.BytesIO(b"A: b\r\n\r\nbody")
    Head(stream, "HTTP/1.1")
    assert stream.read() == b"body"


@pytest.mark.parametrize(
    "line",
    [
        "no colon", " Folded: line", ": no name", "Space : before the colon", "Na me: x",
        "Nul: a\x00b", "Return: a\rb", "Delete: \x7f", "Höhe: 1", "X: \x0b",
    ],
)  # fmt: skip
def test_what_is_no_field_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        head("Host: x", line)


def test_a_head_that_breaks_off_is_refused() -> None:
    for raw in (b"", b"Host: x\r\n", b"Host: x"):
        with pytest.raises(ValueError):
            Head(io.BytesIO(raw), "HTTP/1.1")


def test_the_fields_have_a_bound_together() -> None:
    assert head(*["X: a"] * (HEAD_LINES - 1)).get("x") == "a"
    with pytest.raises(ValueError):
        head(*["X: a"] * HEAD_LINES)
    assert head("X: " + "a" * (HEAD_BYTES - 7))
    with pytest.raises(ValueError):
        head("X: " + "a" * (HEAD_BYTES - 6))


def test_a_line_without_end_is_read_no_further_than_the_bound() -> None:
    stream = io.BytesIO(b"X: " + b"a" * 10 * HEAD_BYTES)
    with pytest.raises(ValueError):
        Head(stream, "HTTP/1.1")
    assert stream.tell() <= HEAD_BYTES + 1


@pytest.mark.parametrize(
    ("lines", "version"),
    [
        (["Content-Length: 0", "Transfer-Encoding: chunked"], "HTTP/1.1"),
        (["Transfer-Encoding: chunked", "Content-Length: 4"], "HTTP/1.1"),
        (["Content-Length: 4", "Content-Length: 4"], "HTTP/1.1"),
        (["Content-Length: 4", "content-length: 5"], "HTTP/1.1"),
        (["Content-Length: 4, 4"], "HTTP/1.1"),
        (["Content-Length: +4"], "HTTP/1.1"),
        (["Content-Length: -4"], "HTTP/1.1"),
        (["Content-Length: 0x4"], "HTTP/1.1"),
        (["Content-Length: 4_0"], "HTTP/1.1"),
        (["Content-Length:"], "HTTP/1.1"),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], "HTTP/1.1"),
        (["Transfer-Encoding: gzip, chunked"], "HTTP/1.1"),
        (["Transfer-Encoding: identity"], "HTTP/1.1"),
        (["Transfer-Encoding: xchunked"], "HTTP/1.1"),
        (["Transfer-Encoding: chunked"], "HTTP/1.0"),
    ],
)
def test_a_request_whose_end_is_in_doubt_is_refused(lines: list[str], version: str) -> None:
    with pytest.raises(ValueError):
        head(*lines, version=version)


def test_a_second_host_is_refused() -> None:
    for second in ("Host: x", "host: y", "HOST:"):
        with pytest.raises(ValueError):
            head("Host: x", "A: b", second)


@pytest.mark.parametrize(
    ("value", "closes"),
    [
        ("close", True), ("Close", True), ("keep-alive, close", True), ("close,TE", True),
        ("te,\tCLOSE ,x", True), ("", False), ("keep-alive", False), ("Upgrade", False),
        ("closed", False), ("not-close, x", False), ("close x", False),
    ],
)  # fmt: skip
def test_the_end_of_the_connection_is_one_of_a_list(value: str, closes: bool) -> None:
    assert asks_to_close(value) is closes


def test_connection_is_one_list_in_all_its_fields() -> None:
    assert asks_to_close(head("Connection: keep-alive", "connection: close").get("connection", ""))


@pytest.mark.parametrize(
    ("target", "authority", "rest"),
    [
        ("/", None, "/"),
        ("/a?b=http://x/", None, "/a?b=http://x/"),
        ("*", None, "*"),
        ("ftp://x/a", None, "ftp://x/a"),
        ("http://x", "x", "/"),
        ("http://x?b", "x", "/?b"),
        ("HTTPS://[::1]:80/a?b", "[::1]:80", "/a?b"),
        ("http://a-b.c_d:3/e//f", "a-b.c_d:3", "/e//f"),
    ],
)
def test_the_authority_of_a_target_is_told_from_its_path(
    target: str, authority: str | None, rest: str
) -> None:
    assert without_authority(target) == (authority, rest)


@pytest.mark.parametrize(
    "target",
    ["http://", "http:///a", "http://?a", "http://:80/", "http://u@x/", 'http://"/', "http://x#a"],
)
def test_a_target_whose_authority_is_none_is_refused(target: str) -> None:
    with pytest.raises(ValueError):
        without_authority(target)


def test_one_length_or_one_coding_is_taken() -> None:
    assert head("Content-Length: 12 ").get("content-length") == "12"
    assert head("Content-Length: 12", version="HTTP/1.0").get("content-length") == "12"
    assert head("Transfer-Encoding: Chunked").get("transfer-encoding") == "Chunked"
    assert head().get("content-length") is None
