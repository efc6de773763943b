"""RFC 6455 without sockets, with the `websockets` library as the other opinion."""

from __future__ import annotations

import codecs
import importlib.util
import sys
import tracemalloc

import pytest
import websockets.utils
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

from rtcio_sync.errors import FrameError
from rtcio_sync.protocol import websocket_frames
from rtcio_sync.protocol.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    LONE,
    NO_STATUS,
    PING,
    PONG,
    TEXT,
    Parser,
    close_code,
    frame_binary,
    frame_close,
    frame_long,
    frame_ping,
    frame_pong,
    frame_text,
)
from tests.frames import header, masked

LIMIT = 1 << 16

thorough = settings(max_examples=400, deadline=None)


def parsed(*chunks: bytes, max_size: int = LIMIT) -> list[tuple[int, bytes]]:
    """All messages and control frames in a stream that arrives in these chunks."""
    parser = Parser(max_size)
    found = []
    for chunk in chunks:
        parser.feed(chunk)
        while (event := parser.next()) is not None:
            found.append(event)
    return found


def failure(*chunks: bytes, max_size: int = LIMIT) -> int:
    with pytest.raises(FrameError) as caught:
        parsed(*chunks, max_size=max_size)
    return caught.value.code


# --- frames we send -------------------------------------------------------------------------------


def read_back(frame: bytes) -> Frame:
    """The frame as a client of the `websockets` library reads it."""
    reader = StreamReader()
    reader.feed_data(frame)
    parsing = Frame.parse(reader.read_exact, mask=False)
    try:
        next(parsing)
    except StopIteration as done:
        assert reader.buffer == b"" or not len(reader.buffer), "bytes are left over"
        return done.value
    raise AssertionError("the frame is not complete")


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 100_000])
def test_a_client_reads_what_was_framed(length: int) -> None:
    payload = b"z" * length
    assert read_back(frame_text(payload)) == Frame(1, payload)
    assert read_back(frame_binary(payload)) == Frame(2, payload)


@pytest.mark.parametrize("text", ["x" * 65536, "z" * 200_001, "xé☎" * 50_000, "😀" * 70_000])
def test_a_client_reads_a_long_text_that_was_framed_part_by_part(text: str) -> None:
    frame = frame_long(b"4", text)
    assert type(frame) is bytes
    assert read_back(frame) == Frame(1, f"4{text}".encode())


def test_control_frames_are_read_back() -> None:
    assert read_back(frame_ping(b"?")) == Frame(PING, b"?")
    assert read_back(frame_pong(b"!" * 125)) == Frame(PONG, b"!" * 125)
    assert read_back(frame_close(1001, "bye")) == Frame(CLOSE, b"\x03\xe9bye")
    assert read_back(frame_close(NO_STATUS, "")) == Frame(CLOSE, b"")


@pytest.mark.parametrize("reason", ["x" * 200, "é" * 100, "x" + "é" * 100, "\U0001f600" * 50])
def test_a_long_close_reason_is_cut_between_characters(reason: str) -> None:
    sent = read_back(frame_close(1000, reason)).data[2:].decode()
    assert reason.startswith(sent)
    assert 119 < len(sent.encode()) <= 123


# --- messages we receive --------------------------------------------------------------------------


def test_a_message_of_each_kind_is_read() -> None:
    stream = (
        masked(TEXT, b"text")
        + masked(BINARY, b"\xff\x00")
        + masked(PING, b"?")
        + masked(PONG)
        + masked(TEXT)
        + masked(CLOSE, b"\x03\xe8bye")
    )
    assert parsed(stream) == [
        (TEXT, b"text"),
        (BINARY, b"\xff\x00"),
        (PING, b"?"),
        (PONG, b""),
        (TEXT, b""),
        (CLOSE, b"\x03\xe8bye"),
    ]


@pytest.mark.parametrize("character", [*b"01234567", 0, 127])
def test_a_text_message_of_one_character_is_read_at_once(character: int) -> None:
    payload = bytes((character,))
    for mask in (b"\x17\xa4\x02\xff", b"\0\0\0\0"):
        frame = masked(TEXT, payload, mask=mask)
        assert len(frame) == LONE
        assert Parser(LIMIT).lone(frame) == payload
        assert parsed(frame) == [(TEXT, payload)]


@pytest.mark.parametrize(
    "data",
    [
        masked(BINARY, b"3"),
        masked(TEXT, b"3", fin=False),
        masked(TEXT, b"3", rsv=4),
        masked(PING, b"3"),
        masked(TEXT, b"\xe9"),
        masked(TEXT) + b"\x81",
        b"\x81\x05hello",
        masked(TEXT, b"long")[:LONE],
    ],
    ids=repr,
)
def test_seven_other_bytes_are_not_taken_for_a_message_of_one_character(data: bytes) -> None:
    assert len(data) == LONE
    assert Parser(LIMIT).lone(data) is None


def test_one_character_that_comes_within_another_message_is_not_read_at_once() -> None:
    frame = masked(TEXT, b"3")
    behind_a_part = Parser(LIMIT)
    behind_a_part.feed(b"\x81")
    within_fragments = Parser(LIMIT)
    within_fragments.feed(masked(TEXT, b"a", fin=False))
    assert within_fragments.next() is None
    assert behind_a_part.lone(frame) is within_fragments.lone(frame) is None


@pytest.mark.parametrize("length", [2, 3, 125, 126, 127, 65535])
def test_a_chunk_that_is_one_text_message_is_read_at_once(length: int) -> None:
    for mask in (b"\x17\xa4\x02\xff", b"\0\0\0\0"):
        for payload in (b"z" * length, ("é" * (length // 2)).encode() + b"z" * (length % 2)):
            frame = masked(TEXT, payload, mask=mask)
            assert Parser(LIMIT).whole(frame) == payload
            assert parsed(frame) == [(TEXT, payload)]


@pytest.mark.parametrize(
    "data",
    [
        masked(BINARY, b"text"),
        masked(TEXT, b"text", fin=False),
        masked(CONTINUATION, b"text"),
        masked(TEXT, b"text", rsv=4),
        masked(PING, b"text"),
        masked(CLOSE, b"\x03\xe8bye"),
        masked(TEXT, b"text")[:-1],
        masked(TEXT, b"text") + b"\x81",
        masked(TEXT, b"text") * 2,
        masked(TEXT, b"z" * 200)[:-1],
        masked(TEXT, b"z" * 200) + b"\x81",
        masked(TEXT, b"z" * 65_536),
        masked(TEXT, b"z" * 65_536)[:8],
        masked(TEXT, b"z" * (LIMIT + 1)),
        b"\x81\x05hello",
        b"\x81\x06hello!",
        b"\x81\x02hello!",
        masked(TEXT, b"x")[:6],
        b"",
    ],
    ids=lambda data: repr(data[:20]),
)
def test_another_chunk_is_not_taken_for_one_text_message(data: bytes) -> None:
    assert Parser(LIMIT).whole(data) is None


def test_text_that_is_not_utf_8_is_refused_at_once() -> None:
    with pytest.raises(FrameError) as caught:
        Parser(LIMIT).whole(masked(TEXT, b"\xff\xfe\xff"))
    assert caught.value.code == 1007


def test_a_chunk_that_comes_within_another_message_is_not_read_at_once() -> None:
    frame = masked(TEXT, b"text")
    behind_a_part, within_fragments = Parser(LIMIT), Parser(LIMIT)
    behind_a_part.feed(b"\x81")
    within_fragments.feed(masked(TEXT, b"a", fin=False))
    assert within_fragments.next() is None
    assert behind_a_part.whole(frame) is within_fragments.whole(frame) is None


@given(
    st.sampled_from([0x81, 0x82, 0x01, 0x00, 0x88, 0x89, 0xC1]),
    st.sampled_from([0x00, 0x02, 0x7E, 0x80, 0x82, 0x84, 0x85, 0xFD, 0xFE, 0xFF]),
    st.binary(max_size=160),
)
def test_what_is_read_at_once_is_what_the_parser_reads(
    first: int, second: int, rest: bytes
) -> None:
    data = bytes((first, second)) + rest
    try:
        payload = Parser(LIMIT).whole(data)
    except FrameError as error:
        assert failure(data) == error.code
        return
    if payload is not None:
        assert parsed(data) == [(TEXT, payload)]


def test_fragments_are_one_message_and_control_frames_may_come_between() -> None:
    stream = (
        masked(TEXT, b"a", fin=False)
        + masked(PING, b"?")
        + masked(CONTINUATION, b"", fin=False)
        + masked(CONTINUATION, b"b")
        + masked(BINARY, b"", fin=False)
        + masked(CONTINUATION, b"")
    )
    assert parsed(stream) == [(PING, b"?"), (TEXT, b"ab"), (BINARY, b"")]


def test_a_character_may_be_cut_between_fragments() -> None:
    whole = "é€\U0001f600".encode()
    stream = b"".join(
        masked(TEXT if not index else CONTINUATION, bytes((byte,)), fin=index == len(whole) - 1)
        for index, byte in enumerate(whole)
    )
    assert parsed(stream) == [(TEXT, whole)]


@pytest.mark.parametrize(
    ("what", "frame"),
    [
        ("a reserved bit", masked(TEXT, b"x", rsv=4)),
        ("a reserved opcode", masked(3)),
        ("a reserved control opcode", masked(11)),
        ("no mask", frame_text(b"x")),
        ("no mask, 16 bits of length", frame_text(b"x" * 200)),
        ("no mask, on a ping", frame_ping()),
        ("a continuation of nothing", masked(CONTINUATION, b"x")),
        ("a message within a message", masked(TEXT, b"x", fin=False) + masked(TEXT, b"y")),
        ("a fragmented ping", masked(PING, b"x", fin=False)),
        ("a ping of 126 bytes", masked(PING, b"x" * 126)),
        ("a close code cut short", masked(CLOSE, b"\x03")),
        ("close code 0", masked(CLOSE, b"\x00\x00")),
        ("close code 999", masked(CLOSE, b"\x03\xe7")),
        ("close code 1004", masked(CLOSE, b"\x03\xec")),
        ("close code 1005", masked(CLOSE, b"\x03\xed")),
        ("close code 1006", masked(CLOSE, b"\x03\xee")),
        ("close code 1015", masked(CLOSE, b"\x03\xf7")),
        ("close code 2999", masked(CLOSE, b"\x0b\xb7")),
        ("close code 5000", masked(CLOSE, b"\x13\x88")),
    ],
)
def test_a_broken_protocol_is_1002(what: str, frame: bytes) -> None:
    assert failure(frame) == 1002
    assert failure(*(frame[at : at + 1] for at in range(len(frame)))) == 1002


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 4999])
def test_every_close_code_that_may_be_sent_is_taken(code: int) -> None:
    [(opcode, payload)] = parsed(masked(CLOSE, code.to_bytes(2, "big")))
    assert (opcode, close_code(payload)) == (CLOSE, code)


def test_a_close_without_a_code_is_1005() -> None:
    [(opcode, payload)] = parsed(masked(CLOSE))
    assert (opcode, close_code(payload)) == (CLOSE, 1005)


INVALID = [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"ok\x80"]


@pytest.mark.parametrize("text", INVALID)
def test_text_that_is_not_utf8_is_1007(text: bytes) -> None:
    assert failure(masked(TEXT, text)) == 1007
    assert failure(masked(TEXT, text, fin=False), masked(CONTINUATION)) == 1007
    assert failure(masked(CLOSE, b"\x03\xe8" + text)) == 1007
    assert parsed(masked(BINARY, text)) == [(BINARY, text)]


def test_text_fails_at_the_byte_that_can_begin_no_character() -> None:
    whole = masked(TEXT, b"good \xf4\x90 and 100 bytes that need not come" + b"x" * 100)
    assert failure(whole[: 8 + 7]) == 1007
    assert parsed(whole[: 8 + 6]) == []


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [11, 126, 65536, 1 << 62, (1 << 64) - 1])
def test_a_message_too_big_is_1009_by_its_header_alone(length: int) -> None:
    assert failure(header(0x81, length), max_size=10) == 1009
    assert failure(header(0x01, length), max_size=10) == 1009


@given(
    sizes=st.lists(st.integers(0, 300), min_size=1, max_size=8),
    limit=st.integers(0, 600),
    text=st.booleans(),
)
@thorough
def test_a_message_may_have_its_limit_in_all_and_not_a_byte_more(
    sizes: list[int], limit: int, text: bool
) -> None:
    frames = [
        masked(
            CONTINUATION if index else TEXT if text else BINARY,
            b"x" * size,
            fin=index == len(sizes) - 1,
        )
        for index, size in enumerate(sizes)
    ]
    if sum(sizes) <= limit:
        assert parsed(*frames, max_size=limit) == [(TEXT if text else BINARY, b"x" * sum(sizes))]
        return
    over = next(n for n in range(len(sizes)) if sum(sizes[: n + 1]) > limit)
    cut = len(frames[over]) - sizes[over] - 4  # its header, without the mask
    assert failure(*frames[:over], frames[over][:cut], max_size=limit) == 1009


def test_a_control_frame_does_not_count_as_part_of_the_message_around_it() -> None:
    stream = masked(TEXT, b"x" * 10, fin=False) + masked(PING, b"?" * 125) + masked(0)
    assert parsed(stream, max_size=10) == [(PING, b"?" * 125), (TEXT, b"x" * 10)]


def test_a_message_in_ten_thousands_of_pieces_takes_no_square_of_them() -> None:
    # Copied from the start at each piece this would be 140 GB, and minutes.
    payload = b"x" * (4 << 20)
    whole = masked(BINARY, payload)
    pieces = (whole[at : at + 64] for at in range(0, len(whole), 64))
    assert parsed(*pieces, max_size=len(payload)) == [(BINARY, payload)]


def test_a_chunk_of_ten_thousands_of_frames_takes_no_square_of_them() -> None:
    # All of the rest copied for each frame this would be 16 GB.
    chunk = masked(TEXT, b"y") * 70_000 + masked(TEXT, b"z" * 300) * 1000
    assert len(parsed(chunk)) == 71_000


def test_a_parser_holds_neither_a_chunk_nor_a_message_once_it_is_handed_on() -> None:
    parser = Parser(LIMIT)
    chunk = masked(BINARY, b"x" * 60_000) + masked(TEXT, b"tail", fin=False)[:3]
    whole = masked(TEXT, b"y" * 40_000, fin=False) + masked(CONTINUATION, b"y" * 20_000)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        parser.feed(whole)
        while parser.next() is not None:
            pass
        parser.feed(bytes(bytearray(chunk)))
        while parser.next() is not None:
            pass
        assert parser.held
        assert tracemalloc.get_traced_memory()[0] - before < 5_000
    finally:
        tracemalloc.stop()


# --- the other opinion ----------------------------------------------------------------------------

Outcome = tuple[list[tuple[int, bytes]], int | None]


def ours(chunks: list[bytes]) -> Outcome:
    parser = Parser(1 << 64)
    events = []
    try:
        for chunk in chunks:
            parser.feed(chunk)
            while (event := parser.next()) is not None:
                events.append(event)
                if event[0] == CLOSE:
                    return events, None
    except FrameError as error:
        return events, error.code
    return events, None


def theirs(stream: bytes) -> Outcome:
    """What `websockets` makes of a stream. It leaves the joining of fragments, and UTF-8, to us."""
    protocol = ServerProtocol(state=OPEN, max_size=None)
    protocol.receive_data(stream)
    events = []
    opcode, message = 0, b""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for frame in protocol.events_received():
        assert isinstance(frame, Frame)
        data = bytes(frame.data)
        if frame.opcode >= 8:
            events.append((int(frame.opcode), data))
            continue
        if frame.opcode != CONTINUATION:
            opcode, message = int(frame.opcode), b""
            decoder.reset()
        message += data
        if opcode == TEXT:
            try:
                decoder.decode(data, frame.fin)
            except UnicodeDecodeError:
                return events, 1007
        if frame.fin:
            events.append((opcode, message))
    error = protocol.parser_exc
    if error is None:
        return events, None
    if protocol.close_rcvd is not None:
        # It refuses a close frame between fragments, which RFC 6455 5.4 allows.
        close = protocol.close_rcvd
        return [*events, (CLOSE, b"" if close.code == NO_STATUS else close.serialize())], None
    if isinstance(error, UnicodeDecodeError):
        return events, 1007
    assert not isinstance(error, PayloadTooBig)
    return events, 1002


def agree(stream: bytes, chunks: list[bytes]) -> None:
    events, code = ours(chunks)
    if (events, code) == theirs(stream):
        return
    # We fail as soon as a byte is wrong, they when the frame is complete: so let it be completed.
    # Had they nothing against the frame, it would be among their events.
    assert code is not None
    assert theirs(stream + bytes(140_000)) in ((events, code), (events, None))


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    chunks = []
    for size in sizes:
        chunks.append(stream[:size])
        stream = stream[size:]
    return [*chunks, stream]


sizes = st.lists(st.integers(1, 200), max_size=30)
payloads = st.one_of(
    st.binary(max_size=140),
    st.text(max_size=60).map(str.encode),
    st.sampled_from(INVALID),
    st.sampled_from([125, 126, 127, 300]).map(lambda length: b"x" * length),
)
closes = st.builds(
    lambda code, reason: code.to_bytes(2, "big") + reason,
    st.one_of(st.integers(990, 1020), st.sampled_from([2999, 3000, 4999, 5000])),
    st.one_of(st.text(max_size=20).map(str.encode), st.binary(max_size=20)),
)
likely = st.builds(
    masked,
    st.sampled_from([TEXT, TEXT, BINARY, CONTINUATION, CONTINUATION, PING, PONG]),
    payloads,
    fin=st.booleans(),
    mask=st.binary(min_size=4, max_size=4),
)
unlikely = st.one_of(
    st.builds(masked, st.just(CLOSE), st.one_of(closes, st.binary(max_size=3))),
    st.builds(masked, st.integers(0, 15), payloads, rsv=st.integers(0, 7)),
    st.builds(frame_text, payloads),
    st.binary(max_size=12),
)
streams = st.builds(
    lambda frames, last: b"".join(frames) + last,
    st.lists(likely, max_size=8),
    st.one_of(likely, unlikely, unlikely),
)


@given(stream=streams, sizes=sizes, lost=st.integers(0, 5))
@thorough
def test_a_stream_of_frames_is_read_as_the_websockets_library_reads_it(
    stream: bytes, sizes: list[int], lost: int
) -> None:
    stream = stream[: len(stream) - lost]
    agree(stream, cut(stream, sizes))


@given(stream=st.binary(max_size=60), sizes=sizes)
@thorough
def test_any_bytes_are_read_as_the_websockets_library_reads_them(
    stream: bytes, sizes: list[int]
) -> None:
    agree(stream, cut(stream, sizes))


messages = st.lists(
    st.tuples(st.booleans(), st.text(max_size=200), st.lists(st.integers(0, 40), max_size=5)),
    min_size=1,
    max_size=6,
)


@given(messages=messages, sizes=sizes, mask=st.binary(min_size=4, max_size=4))
@thorough
def test_every_message_arrives_however_it_is_fragmented_and_the_stream_is_cut(
    messages: list[tuple[bool, str, list[int]]], sizes: list[int], mask: bytes
) -> None:
    stream = b""
    for binary, text, where in messages:
        pieces = cut(text.encode(), where)
        for index, piece in enumerate(pieces):
            opcode = CONTINUATION if index else BINARY if binary else TEXT
            stream += masked(opcode, piece, fin=index == len(pieces) - 1, mask=mask)
            stream += masked(PING, b"between")
    expected = [(BINARY if binary else TEXT, text.encode()) for binary, text, _ in messages]
    found = parsed(*cut(stream, sizes))
    assert [event for event in found if event[0] != PING] == expected


def test_it_works_without_the_c_extension_of_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    monkeypatch.delitem(sys.modules, f"{websocket_frames.__package__}.fragments")
    assert websocket_frames.__spec__ is not None
    name = f"{websocket_frames.__package__}.pure"
    spec = importlib.util.spec_from_file_location(name, websocket_frames.__spec__.origin)
    assert spec is not None and spec.loader is not None
    pure = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pure)
    parser = pure.Parser(LIMIT)
    parser.feed(masked(TEXT, b"without"))
    assert parser.next() == (TEXT, b"without")
    assert pure.apply_mask is websockets.utils.apply_mask
