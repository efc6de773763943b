"""The head of a plain HTTP/1.1 request, as the keys of a WSGI environ (RFC 9112 sections 3 to 6).

Reads what browsers and other clients send as a rule, in one pass. It answers `None` to all else: a
complete parser, with the errors for each fault, then has to read the request (`http_head`).
"""

from __future__ import annotations

import re

__all__ = ["environ_of"]

MOST_FIELDS = 99
_NAMES_KEPT = 1000
_LONGEST_KEPT = 64

_unclean = re.compile(r"[^\t\r\n -~\x80-\xff]").search
_is_token = re.compile(r"[!#$%&'*+.^`|~0-9A-Za-z-]+").fullmatch
_is_length = re.compile(r"[0-9]{1,9}").fullmatch

#: The key of each field in an environ, by its name in requests.
_keys: dict[str, str] = {}

#: Fields that only a complete parser treats rightly.
_OTHERS = frozenset({"HTTP_TRANSFER_ENCODING", "HTTP_EXPECT"})


#: Fields of which servers refuse a second one, or take one.
_ONCE = frozenset({"CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_HOST"})


def environ_of(fields: str) -> dict[str, str] | None:
    """The header fields of a request, up to and without the empty line, as in a WSGI environ.

    `None`: the fields need a complete parser.
    """
    lines = fields.split("\r\n")
    if len(lines) > MOST_FIELDS or _unclean(fields) is not None:
        return None
    if fields.count("\n") != len(lines) - 1 or fields.count("\r") != len(lines) - 1:
        return None
    found: dict[str, str] = {}
    keys = _keys
    for line in lines:
        name, colon, value = line.partition(":")
        key = keys[name] if name in keys else _key(name)
        if key is None or not colon:
            return None
        if key in found:
            if key in _ONCE:
                return None
            found[key] += ("; " if key == "HTTP_COOKIE" else ",") + value.strip(" \t")
        else:
            found[key] = value.strip(" \t")
    length = found.get("CONTENT_LENGTH")
    if length is not None and _is_length(length) is None:
        return None
    return None if _OTHERS & found.keys() else found


def _key(name: str) -> str | None:
    """The key of a field in an environ; `None`: it is no name, or has an underscore.

    An underscore would equal a hyphen there: servers leave such fields out, or trust a proxy's.
    """
    if "_" in name or _is_token(name) is None:
        return None
    key = name.replace("-", "_").upper()
    key = key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
    if len(_keys) < _NAMES_KEPT and len(name) <= _LONGEST_KEPT:  # clients may invent any names
        _keys[name] = key
    return key
