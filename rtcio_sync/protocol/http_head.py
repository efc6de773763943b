"""A strict parser for the header fields of an HTTP request: RFC 9112 sections 5 and 6.

gevent's pywsgi uses the `email` package. That takes most of the time of a request, and reads some
malformed fields in another way than other HTTP servers do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["HEAD_BYTES", "HEAD_LINES", "Head", "asks_to_close", "without_authority"]

HEAD_BYTES = 65536  # bytes of the fields of one request
HEAD_LINES = 100  # lines of the fields, and the empty line

#: One field and its value, without the folding that section 5.2 forbids.
_FIELD = r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\n-\x1f\x7f]*)\r?\n"
_fields = re.compile(_FIELD).findall
_are_fields = re.compile(f"(?:{_FIELD})*").fullmatch
_LENGTH = re.compile(r"[0-9]+")

_has_authority = re.compile("https?://", re.IGNORECASE).match
_parts = re.compile(r"[a-zA-Z]+://([\[0-9A-Za-z._~%-][]\[0-9A-Za-z._~%:-]*)(/.*|\?.*|)").fullmatch

#: The names of fields in an environ, by the names in requests; at most so many are kept.
_NAMES_KEPT = 1000
_LONGEST_KEPT = 64
_names: dict[str, str | None] = {}

#: Fields of which a request has one: proxies differ in which of two they take.
_ONCE = frozenset({"content-length", "transfer-encoding", "host"})

#: Fields that have no ``HTTP_`` in their name in an environ.
_APART = frozenset({"CONTENT_TYPE", "CONTENT_LENGTH"})


class Head:
    """The fields of a request, with the interface of pywsgi's ``MessageClass``.

    ``fp``: the fields are read from it, up to the empty line. ``version``: of the request,
    "HTTP/1.1". Raises `ValueError` for an invalid field, for too many fields, and for fields that
    leave the length of the request, or its host, ambiguous.
    """

    #: For pywsgi, which puts errors here. This class raises instead.
    status = ""

    def __init__(self, fp: Any, version: str | None) -> None:
        self._text = _text(fp)
        #: The name and the value of each field, as in the request.
        self.fields: list[tuple[str, str]] = _fields(self._text)
        self._values: dict[str, str] = {}
        for name, value in self.fields:
            known = name.lower()
            if known not in self._values:
                self._values[known] = value.strip(" \t")
            elif known in _ONCE:
                raise ValueError("a field about the length or the host of the request is repeated")
            elif known == "connection":
                self._values[known] += "," + value.strip(" \t")
        self._refuse_ambiguity(version)

    def _refuse_ambiguity(self, version: str | None) -> None:
        """Raises `ValueError` if the end of the request is ambiguous (6.1 to 6.3).

        If a proxy sees one request where this server sees two, an attacker can put text in front of
        the next user's request (request smuggling). So a request has one Content-Length of digits,
        or one Transfer-Encoding that is chunked, or neither.
        """
        length = self._values.get("content-length")
        coding = self._values.get("transfer-encoding")
        if coding is not None:
            fits = coding.lower() == "chunked" and length is None and version == "HTTP/1.1"
        else:
            fits = length is None or _LENGTH.fullmatch(length) is not None
        if not fits:
            raise ValueError("the length of this request is ambiguous")

    @property
    def headers(self) -> list[str]:
        """The lines of the fields, as in the request."""
        return [f"{line}\n" for line in self._text.split("\n")[:-1]]

    def environ(self) -> Iterator[tuple[str, str]]:
        """The fields as in a WSGI environ; names with an underscore are left out."""
        for name, value in self.fields:
            key = _names[name] if name in _names else _environ_name(name)
            if key is not None:
                yield key, value.strip(" \t")

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the first field of that name; of Connection the values of all."""
        return self._values.get(name.lower(), default)

    getheader = get

    @property
    def typeheader(self) -> str | None:
        """The value of Content-Type."""
        return self._values.get("content-type")

    def __delitem__(self, name: str) -> None:
        del self._values[name.lower()]


def asks_to_close(connection: str) -> bool:
    """Whether the value of Connection asks for the end of the connection (RFC 9112 9.6)."""
    options = connection.lower()
    return "close" in options and "close" in [each.strip(" \t") for each in options.split(",")]


def without_authority(target: str) -> tuple[str | None, str]:
    """The authority of a request's target, and its path and query (RFC 9112 3.2.2).

    Most targets have no authority. Raises `ValueError` for one that is invalid.
    """
    if target.startswith("/") or _has_authority(target) is None:
        return None, target
    parts = _parts(target)
    if parts is None:
        raise ValueError("the target of the request names no host")
    authority, rest = parts.groups()
    return authority, rest if rest.startswith("/") else f"/{rest}"


def _text(fp: Any) -> str:
    """The lines up to the empty one. Raises `ValueError` for an invalid line, or too many."""
    lines: list[bytes] = []
    left = HEAD_BYTES
    while True:
        line: bytes = fp.readline(left + 1)
        left -= len(line)
        if left < 0 or not line:
            raise ValueError("the header fields are too long, or incomplete")
        if line == b"\r\n" or line == b"\n":
            break
        if len(lines) == HEAD_LINES - 1:
            raise ValueError("too many header fields")
        lines.append(line)
    text = b"".join(lines).decode("latin-1")
    if _are_fields(text) is None:
        raise ValueError("no header field")
    return text


def _environ_name(name: str) -> str | None:
    """The name in an environ; `None` with an underscore, which would equal a hyphen there."""
    key = name.replace("-", "_").upper()
    found = None if "_" in name or key in _APART else f"HTTP_{key}"
    if len(_names) < _NAMES_KEPT and len(name) <= _LONGEST_KEPT:  # clients may invent any names
        _names[name] = found
    return found
