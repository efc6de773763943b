"""Redis' protocol: what a command is in bytes, and which replies are in the bytes that come."""

from __future__ import annotations

import random
from typing import Any

import pytest
from redis import Connection

from rtcio_sync.cluster import redis_resp
from rtcio_sync.cluster.redis_resp import ErrorReply, PurePython, command
from rtcio_sync.errors import ProtocolError

REPLIES: dict[bytes, Any] = {
    b"+OK\r\n": b"OK",
    b":-12\r\n": -12,
    b"$0\r\n\r\n": b"",
    b"$6\r\na\r\nb\r\n\r\n": b"a\r\nb\r\n",
    b"$-1\r\n": None,
    b"*-1\r\n": None,
    b"*0\r\n": [],
    b"*2\r\n*1\r\n*2\r\n$1\r\nx\r\n*0\r\n:5\r\n": [[[b"x", []]], 5],
    b">3\r\n+message\r\n$1\r\nc\r\n$2\r\nhi\r\n": [b"message", b"c", b"hi"],
    b">2\r\n$6\r\nMOVING\r\n_\r\n": [b"MOVING", None],
    b"*3\r\n$-1\r\n+a\r\n*1\r\n$70000\r\n" + 70_000 * b"z" + b"\r\n": [None, b"a", [70_000 * b"z"]],
}


def plain(reply: Any) -> Any:
    if isinstance(reply, ErrorReply):
        return "error", reply.code, reply.text
    return [plain(each) for each in reply] if isinstance(reply, list) else reply


@pytest.fixture(params=["own", "quickest"])
def parser(request: pytest.FixtureRequest) -> redis_resp.Parser:
    return PurePython() if request.param == "own" else redis_resp.parser()


def test_a_command_is_what_redis_py_makes_of_it() -> None:
    args = "XADD", "key", 5, b"\r\n\0", "ü"
    made = b"".join(Connection().pack_command(*args))
    assert command(*args) == made


@pytest.mark.parametrize("data", REPLIES, ids=range(len(REPLIES)))
def test_a_reply_is_read_whole(parser: redis_resp.Parser, data: bytes) -> None:
    assert parser.feed(data) == [REPLIES[data]]


def test_an_error_says_its_code_also_inside_of_an_array(parser: redis_resp.Parser) -> None:
    data = b"-MOVED 12 host:1\r\n*1\r\n-ERR no\r\n"
    first, second = map(plain, parser.feed(data))
    assert first == ("error", "MOVED", "MOVED 12 host:1")
    assert second == [("error", "ERR", "ERR no")]


@pytest.mark.parametrize("seed", range(20))
def test_replies_are_the_same_wherever_the_bytes_are_cut(
    parser: redis_resp.Parser, seed: int
) -> None:
    choose = random.Random(seed)
    order = [choose.choice(list(REPLIES)) for _ in range(30)]
    data, found = b"".join(order), []
    while data:
        cut = choose.choice((1, 2, 3, 10, 1000, 100_000))
        found += parser.feed(data[:cut])
        data = data[cut:]
    assert found == [REPLIES[each] for each in order]


@pytest.mark.parametrize(
    "data",
    [
        b"?what\r\n",
        b"$x\r\n",
        b":1x\r\n",
        b"*9999999999\r\n",
        b"$9999999999\r\n",
        9 * b"*1\r\n",
        b"\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ],
)
def test_what_is_no_reply_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        PurePython().feed(data)


def test_strange_bytes_raise_nothing_else() -> None:
    choose = random.Random(5)
    for _ in range(3000):
        reader = PurePython()
        data = bytes(choose.choice(b"*$:+-0123456789\r\nxyz") for _ in range(60))
        try:
            for part in (data[:20], data[20:]):
                reader.feed(part)
        except ProtocolError:
            pass
