"""Values of messages that several tests send."""

from __future__ import annotations

from typing import Any

#: Stands in a packet for its first attachment.
HOLE = {"_placeholder": True, "num": 0}


def nested(levels: int, inside: Any = 0) -> Any:
    """``inside`` in so many lists."""
    for _ in range(levels):
        inside = [inside]
    return inside
