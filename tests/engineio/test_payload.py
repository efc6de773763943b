"""The body of a polling request, and the packets in it."""

from __future__ import annotations

import json
import urllib.parse
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from rtcio_sync.engineio.payload import packets_of, read_body, wrapped
from rtcio_sync.errors import ProtocolError


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "٣", " 1"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    with pytest.raises(ProtocolError):
        read_body({"CONTENT_LENGTH": length, "wsgi.input": None}, 1000)


@pytest.mark.parametrize(
    ("body", "packets"),
    [
        (b"", []),
        (b"d=", []),
        (b"3", [(b"3", False)]),
        (b"4a\x1e4b", [(b"4a", False), (b"4b", False)]),
        (b"bAQL/", [(b"\x01\x02\xff", True)]),
        (b"d=4%5B%22a%22%5D%1E3", [(b'4["a"]', False), (b"3", False)]),
        ("4é".encode(), [("4é".encode(), False)]),
    ],
)
def test_a_polling_payload_is_split_at_its_separators(body: bytes, packets: Any) -> None:
    assert packets_of(body, None) == packets


@given(st.text(alphabet="\\n\r\n a", max_size=20))
@example("\\n")
@example("\\\\n\n\\")
def test_a_form_has_newlines_as_engine_io_client_escapes_them(text: str) -> None:
    assume("\\\n" not in text)  # it is not told from a backslash and an n; JSON has none
    escaped = text.replace("\\n", "\\\n").replace("\n", "\\n")  # as its polling-jsonp.js has it
    body = b"d=" + urllib.parse.quote_plus(f"4{escaped}").encode()
    assert packets_of(body, None) == [(f"4{text}".encode(), False)]


def test_a_form_that_is_no_utf8_is_refused() -> None:
    with pytest.raises(ValueError):
        packets_of(b"d=4%5Cn%FF", None)


@given(st.text(max_size=40), st.integers(0, 99))
@example('");globalThis.PWNED=1;//', 0)
@example("\\\r\n\u2028\u2029</script>", 3)
def test_a_script_for_jsonp_is_one_call_with_the_payload_as_its_string(
    text: str, index: int
) -> None:
    script = wrapped(text.encode(), index).decode("ascii")
    head, foot = f"___eio[{index}](", ");"
    assert script.startswith(head) and script.endswith(foot)
    assert json.loads(script[len(head) : -len(foot)]) == text
    assert script.isprintable()


@given(st.binary(max_size=40), st.none() | st.integers(1, 3))
def test_any_payload_is_packets_or_an_error_of_the_client(body: bytes, bound: int | None) -> None:
    try:
        packets = packets_of(body, bound)
    except ValueError:
        return
    assert all(binary or payload[:1] in (b"1", b"3", b"4", b"6") for payload, binary in packets)
