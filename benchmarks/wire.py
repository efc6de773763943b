"""Frames, handshakes and envelopes of the load's clients, made in advance. No I/O.

It has only what a benchmark needs of RFC 6455, Engine.IO 4 and Socket.IO 5, so that a client costs
little more than its system calls. It shares nothing with the measured servers.
"""

from __future__ import annotations

import json

MASK = b"\x9f\x27\xd1\x64"
TEXT, CLOSE, PING, PONG_OF_WEBSOCKET = 0x1, 0x8, 0x9, 0xA
FIN = 0x80
GOING_AWAY = b"\x03\xe9"  # 1001: what a browser sends for a tab that is closed

CHROME = (
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/131.0.0.0 Safari/537.36\r\n"
    "Accept-Language: en-US,en;q=0.9\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
)
CHROME_FETCH = (
    'sec-ch-ua: "Chromium";v="131", "Not_A Brand";v="24"\r\n'
    'sec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: "Linux"\r\n'
    "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"
)


def header(first: int, length: int, masked: int) -> bytes:
    """The head of a frame, RFC 6455 section 5.2."""
    if length < 126:
        return bytes((first, masked | length))
    if length < 65536:
        return bytes((first, masked | 126)) + length.to_bytes(2, "big")
    return bytes((first, masked | 127)) + length.to_bytes(8, "big")


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """A masked frame, as a client sends it."""
    stream = (MASK * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(stream, "big")
    return header(FIN | opcode, len(payload), 0x80) + MASK + masked.to_bytes(len(payload), "big")


def server_frame(payload: bytes) -> bytes:
    """An unmasked text frame, as a server sends it."""
    return header(FIN | TEXT, len(payload), 0) + payload


def take_frame(buffer: bytearray) -> tuple[int, bytes] | None:
    """Removes one whole server frame from the buffer: its first byte and payload, or None."""
    if len(buffer) < 2:
        return None
    length, start = buffer[1] & 0x7F, 2
    if length >= 126:
        start = 4 if length == 126 else 10
        length = int.from_bytes(buffer[2:start], "big")
    if len(buffer) < start + length:
        return None
    first, payload = buffer[0], bytes(buffer[start : start + length])
    del buffer[: start + length]
    return first, payload


def reply(first: int, payload: bytes) -> bytes | None:
    """What a client answers at once: a ping of Engine.IO, or one of RFC 6455 that uvicorn sends."""
    if first == FIN | TEXT and payload == b"2":
        return PONG
    return client_frame(payload, PONG_OF_WEBSOCKET) if first == FIN | PING else None


NOOP = b"6"
SEPARATOR = b"\x1e"  # between the packets of an answer to a poll
PONG = client_frame(b"3")
PROBE = client_frame(b"2probe")
UPGRADE = client_frame(b"5")
CLOSE_PACKET = b"1"
CONNECT_PACKET = b"40"
CONNECT = client_frame(CONNECT_PACKET)
DISCONNECT = client_frame(b"41")
LEAVE = client_frame(GOING_AWAY, CLOSE)


def websocket_request(port: int, sid: str | None = None) -> bytes:
    """The opening handshake of a browser on the server's own page. It offers compression.

    All servers refuse it, by default or because the contestant's program says so: else the figures
    would be the cost of zlib.
    """
    session = f"&sid={sid}" if sid else ""
    return (
        f"GET /socket.io/?EIO=4&transport=websocket{session} HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\n"
        "Connection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n"
        f"{CHROME}Upgrade: websocket\r\nOrigin: http://127.0.0.1:{port}\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    ).encode()


def polling_request(port: int, sid: str | None = None, body: bytes | None = None) -> bytes:
    """A GET of long polling, or with a body its POST."""
    session = f"&sid={sid}" if sid else ""
    about_body = (
        f"Content-Type: text/plain;charset=UTF-8\r\nOrigin: http://127.0.0.1:{port}\r\n"
        f"Content-Length: {len(body)}\r\n"
        if body is not None
        else ""
    )
    return (
        f"{'GET' if body is None else 'POST'} /socket.io/?EIO=4&transport=polling&t=x{session} "
        f"HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: keep-alive\r\n{about_body}"
        f"{CHROME}{CHROME_FETCH}Accept: */*\r\nReferer: http://127.0.0.1:{port}/\r\n\r\n"
    ).encode() + (body or b"")


def reconnect(pid: str, offset: str) -> bytes:
    """The CONNECT of a client that comes back to its session."""
    return client_frame(f"40{json.dumps({'pid': pid, 'offset': offset})}".encode())


def event(name: str, *arguments: object, acknowledgement: int | None = None) -> bytes:
    """A Socket.IO event of the default namespace in an Engine.IO message, compact as clients do."""
    number = "" if acknowledgement is None else str(acknowledgement)
    return f"42{number}{json.dumps([name, *arguments], separators=(',', ':'))}".encode()


def envelope(source: str, target: str, size: int) -> bytes:
    """A relayed message of ``size`` bytes: a candidate if it is small, else a description."""
    data = candidate if size < 1000 else description
    bare = len(event("#rtcio:message", {"source": source, "target": target, "data": data("")}))
    filler = "x" * (size - bare)
    if size < bare:
        raise ValueError(f"an envelope of this kind has at least {bare} bytes")
    return event("#rtcio:message", {"source": source, "target": target, "data": data(filler)})


def candidate(filler: str) -> dict[str, object]:
    line = f"candidate:842163049 1 udp 1677729535 203.0.113.7 54400 typ srflx generation 0{filler}"
    return {"candidate": {"candidate": line, "sdpMLineIndex": 0, "sdpMid": "0"}}


def description(filler: str) -> dict[str, object]:
    """An offer of about 3.6 kB: its lines end in CRLF, which JSON escapes."""
    head = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"
    codecs = "".join(
        f"a=rtpmap:{number} H264/90000\r\na=rtcp-fb:{number} goog-remb\r\n"
        f"a=rtcp-fb:{number} transport-cc\r\na=rtcp-fb:{number} ccm fir\r\n"
        f"a=rtcp-fb:{number} nack\r\na=rtcp-fb:{number} nack pli\r\n"
        f"a=fmtp:{number} level-asymmetry-allowed=1;packetization-mode=1;"
        "profile-level-id=42001f\r\n"
        for number in range(96, 110)
    )
    sdp = f"{head}m=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n{codecs}a=x:{filler}\r\n"
    return {"description": {"type": "offer", "sdp": sdp}}
