"""The heads of HTTP requests that go to another worker: whose session, and the head anew. Pure."""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = [
    "BUSY",
    "PEEKED",
    "head_of",
    "proxy_line",
    "proxy_prefix",
    "sid_in_first",
    "sid_in_query",
]

#: Bytes of a connection that are looked at before it is served.
PEEKED = 2048

#: The answer where a connection cannot be handed over in time.
BUSY = b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"

_SID = re.compile(r"(?:^|&)sid=([A-Za-z0-9_-]{20})(?:&|$)")
_PROXY_2 = b"\r\n\r\n\0\r\nQUIT\n"  # the signature of the PROXY protocol, version 2


def sid_in_query(query: str) -> str | None:
    """The sid in a query; `None`: there is none, or two."""
    found = _SID.search(query) if "sid=" in query else None
    return None if found is None else found[1]


def sid_in_first(first: bytes) -> str | None:
    """The sid in the request line with which a connection begins, perhaps after a PROXY header.

    `None`: there is none, or the line is not there yet.
    """
    if first.startswith(b"PROXY "):
        first = first.partition(b"\r\n")[2]
    elif first.startswith(_PROXY_2) and len(first) >= 16:
        first = first[16 + int.from_bytes(first[14:16], "big") :]
    line, end, _ = first.partition(b"\r\n")
    if not end or b"sid=" not in line:
        return None
    fields = line.split(b" ")
    if len(fields) != 3 or not fields[2].startswith(b"HTTP/1."):
        return None
    return sid_in_query(fields[1].partition(b"?")[2].decode("latin-1"))


def head_of(
    method: str, target: str, version: tuple[int, int], headers: Iterable[tuple[str, str]]
) -> bytes:
    """The head of a request as it could have come."""
    lines = [f"{method} {target} HTTP/{version[0]}.{version[1]}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def proxy_prefix(info: Mapping[str, Any] | None, mode: str | bool) -> bytes:
    """The PROXY header of a connection, for whoever reads it next.

    ``info``: what gunicorn has read of it; ``mode``: its setting ``proxy_protocol``.
    """
    if not info:
        return b""
    if mode != "v2":
        return proxy_line(info)
    if info.get("client_addr") is None:
        return _PROXY_2 + b"\x20\x00\x00\x00"
    family = socket.AF_INET if info["proxy_protocol"] == "TCP4" else socket.AF_INET6
    addresses = b"".join(
        socket.inet_pton(family, info[name]) for name in ("client_addr", "proxy_addr")
    ) + struct.pack(">HH", info["client_port"], info["proxy_port"])
    kind = b"\x11" if family == socket.AF_INET else b"\x21"
    return _PROXY_2 + b"\x21" + kind + struct.pack(">H", len(addresses)) + addresses


def proxy_line(info: Mapping[str, Any]) -> bytes:
    """The PROXY header as text, version 1; nothing if it named no address."""
    if info.get("client_addr") is None:
        return b""
    names = ("proxy_protocol", "client_addr", "proxy_addr", "client_port", "proxy_port")
    return ("PROXY " + " ".join(str(info[name]) for name in names) + "\r\n").encode("latin-1")
