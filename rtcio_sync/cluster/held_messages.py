"""Messages that wait until another node has done something, in their order. # hub or greenlet"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .messages import DROPPABLE

__all__ = ["HeldMessages", "Message"]

MOST_HELD = 64_000_000  # bytes that are held back for one node

#: A message for members: who has sent it, its kind, its key and its body.
Message = tuple[str, int, bytes, bytes]


class HeldMessages:
    """Over `MOST_HELD` bytes, what may be dropped is dropped: ``overflowed()`` counts it."""

    __slots__ = ("_bytes", "_messages", "_overflowed")

    def __init__(self, overflowed: Callable[[], None]) -> None:
        self._overflowed = overflowed
        self._messages: list[Message] = []
        self._bytes = 0

    def add(self, message: Message) -> None:
        _, kind, key, body = message
        size = len(key) + len(body)
        if self._bytes + size > MOST_HELD and kind in DROPPABLE:
            self._overflowed()
        else:
            self._bytes += size
            self._messages.append(message)

    def __iter__(self) -> Iterator[Message]:
        return iter(self._messages)
