"""The header fields of an HTTP request, read strictly and at once: RFC 9112 sections 5 and 6.

gevent's pywsgi has them parsed by the `email` package, which takes more time than all else that it
does for a request, and takes for one field what another reader takes for two.
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["HEAD_BYTES", "HEAD_LINES", "Head"]

HEAD_BYTES = 65536  # that the fields of one request may have
HEAD_LINES = 100  # of them, and the empty one

#: One field and its value, without the folding that section 5.2 forbids.
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\n-\x1f\x7f]*)\r?\n")
_LENGTH = re.compile(r"[0-9]+")


class Head:
    """The fields, on the interface that pywsgi asks of its ``MessageClass``.

    ``fp``: where they are read from, to the empty line. ``version``: the request's, "HTTP/1.1".
    Raises `ValueError` for what is no field, for too many of them, and for fields that two readers
    could take for requests of different lengths.
    """

    #: pywsgi's: what was wrong. Here that raises.
    status = ""

    def __init__(self, fp: Any, version: str | None) -> None:
        #: Each as it came, name and value.
        self.headers: list[str] = []
        self._values: dict[str, str] = {}
        left = HEAD_BYTES
        while True:
            line: bytes = fp.readline(left + 1)
            left -= len(line)
            if left >= 0 and (line == b"\r\n" or line == b"\n"):
                break
            field = _FIELD.fullmatch(line)
            if left < 0 or field is None or len(self.headers) == HEAD_LINES - 1:
                raise ValueError("no header field, or too many of them")
            name, value = field.groups()
            self.headers.append(line.decode("latin-1"))
            known = name.decode().lower()
            if known in ("content-length", "transfer-encoding") and known in self._values:
                raise ValueError("a field that says where the request ends is there twice")
            self._values.setdefault(known, value.decode("latin-1").strip(" \t"))
        self._refuse_ambiguity(version)

    def _refuse_ambiguity(self, version: str | None) -> None:
        """Raises `ValueError` where the end of the request depends on who reads it (6.1 to 6.3).

        A proxy that sees one request where this server sees two lets somebody's words stand before
        the next user's request. So: one Content-Length of digits, or one Transfer-Encoding that is
        chunked, or neither.
        """
        length = self._values.get("content-length")
        coding = self._values.get("transfer-encoding")
        if coding is not None:
            fits = coding.lower() == "chunked" and length is None and version == "HTTP/1.1"
        else:
            fits = length is None or _LENGTH.fullmatch(length) is not None
        if not fits:
            raise ValueError("two could read this request as of different lengths")

    def get(self, name: str, default: str | None = None) -> str | None:
        """The value of the first field of that name."""
        return self._values.get(name.lower(), default)

    getheader = get

    @property
    def typeheader(self) -> str | None:
        """The value of Content-Type."""
        return self._values.get("content-type")

    def __delitem__(self, name: str) -> None:
        del self._values[name.lower()]
