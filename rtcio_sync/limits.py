"""The rules on what one client may cost: a figure in, a decision out."""

from __future__ import annotations

from .errors import ProtocolError

__all__ = ["announced_attachments", "check_attachments"]


def announced_attachments(text: str) -> int:
    """The attachments that a Socket.IO packet's text announces; 0 for a packet without any.

    Raises `ProtocolError` when the number is not one: Socket.IO protocol v5, "Packet encoding".
    """
    if text[:1] not in ("5", "6"):
        return 0
    number, dash, _ = text[1:13].partition("-")
    if not dash or not number.isascii() or not number.isdigit():
        raise ProtocolError("attachments")
    return int(number)


def check_attachments(number: int, bound: int | None) -> None:
    """Raises `ProtocolError` when ``number`` is over ``bound``; `None` is no bound."""
    if bound is not None and number > bound:
        raise ProtocolError("attachments")
