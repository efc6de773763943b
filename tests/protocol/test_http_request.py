"""The head of a plain request: read as the complete parser reads it, or left to that parser."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtcio_sync.protocol import http_head, http_request
from rtcio_sync.protocol.http_head import Head
from rtcio_sync.protocol.http_request import MOST_FIELDS, environ_of

names = st.text("!#$%&'*+.^_`|~abcxyzABCXYZ019-", min_size=1, max_size=12)
plain_names = st.text("!#$%&'*+.^`|~abcxyzABCXYZ019-", min_size=1, max_size=12)
values = st.text(st.characters(min_codepoint=0x00, max_codepoint=0xFF), max_size=20)


def completely(lines: list[str]) -> dict[str, str] | None:
    """What the complete parser and pywsgi make of these lines; `None`: they refuse them."""
    raw = b"".join(line.encode("latin-1") + b"\r\n" for line in [*lines, ""])
    stream = io.BytesIO(raw)
    try:
        head = Head(stream, "HTTP/1.1")
    except ValueError:
        return None
    if stream.read():  # a line was empty: the rest is no head
        return None
    environ: dict[str, str] = {}
    for key, value in head.environ():
        if key in environ:
            environ[key] += ("; " if "COOKIE" in key else ",") + value
        else:
            environ[key] = value
    if head.typeheader is not None:
        environ["CONTENT_TYPE"] = head.typeheader
    if head.get("content-length"):
        environ["CONTENT_LENGTH"] = str(head.get("content-length"))
    return environ


@given(st.lists(st.tuples(names, values), min_size=1))
def test_fields_are_read_as_the_complete_parser_reads_them_or_left_to_it(
    fields: list[tuple[str, str]],
) -> None:
    lines = [f"{name}:{value}" for name, value in fields]
    found = environ_of("\r\n".join(lines))
    assert found is None or found == completely(lines)


@given(st.lists(st.tuples(plain_names, st.text("abc ,;=\t", max_size=20)), min_size=1, max_size=30))
def test_fields_without_surprises_are_read(fields: list[tuple[str, str]]) -> None:
    lines = [f"{name}:{value}" for name, value in fields]
    assert environ_of("\r\n".join(lines)) == completely(lines)


@pytest.mark.parametrize(
    "line",
    [
        "no colon", " Folded: line", ": no name", "Space : before the colon", "Na me: x", "",
        "Nul: a\x00b", "Return: a\rb", "Feed: a\nb", "Feed: a\nB: c", "Delete: \x7f", "Höhe: 1",
        "Content-Length: +4", "Content-Length: 4, 4", "Content-Length:", "Content-Length: 0x4",
        "Content-Length: 4\r\nContent-Length: 4", "Content-Type: a\r\nContent-Type: b",
        "X_Forwarded-For: 1", "SCRIPT_NAME: /x",
        "Transfer-Encoding: chunked", "Transfer-Encoding: identity", "Expect: 100-continue",
        "Content-Length: " + "9" * 10,
    ],
)  # fmt: skip
def test_what_needs_care_is_left_to_the_complete_parser(line: str) -> None:
    assert environ_of(f"Host: x\r\n{line}") is None
    assert environ_of(f"{line}\r\nHost: x") is None


def test_a_second_host_is_left_to_the_complete_parser() -> None:
    assert environ_of("Host: a\r\nhost: b") is None


@pytest.mark.parametrize("module", [http_request, http_head])
def test_long_names_of_fields_are_not_kept(module: Any) -> None:
    name = "X-" + 100 * "long"
    assert environ_of(f"{name}: 1") == completely([f"{name}: 1"]) != {}
    environ_of("X-Short: 1"), completely(["X-Short: 1"])
    kept = {key for each in vars(module).values() if isinstance(each, dict) for key in each}
    assert "X-Short" in kept and name not in kept


def test_many_fields_are_left_to_the_complete_parser() -> None:
    lines = [f"X-{number}: 1" for number in range(MOST_FIELDS)]
    assert environ_of("\r\n".join(lines)) is not None
    assert environ_of("\r\n".join([*lines, "Host: x"])) is None
