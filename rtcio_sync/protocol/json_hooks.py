"""JSON as RFC 8259 has it, where Python's own module reads more, or less."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["integer", "is_unicode", "refuse_constant"]


def refuse_constant(name: str) -> NoReturn:
    """For ``parse_constant``: NaN and Infinity are Python's, and a browser cannot read them."""
    raise ValueError("NaN and Infinity are not JSON")


def integer(digits: str) -> int | float:
    """For ``parse_int``: of more digits than Python reads, what a browser makes of them."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def is_unicode(text: str) -> bool:
    """Whether it can be sent as UTF-8. Half of a surrogate pair, which JSON may have, cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
