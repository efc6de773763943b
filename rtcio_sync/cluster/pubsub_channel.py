"""The connection to Redis of a python-socketio `RedisManager`, many messages at a time.

redis-py spends more on one message than all that is done with it. So it connects, authenticates
and subscribes, and what comes after that is read here. Where its connection is not as expected, or
needs redis-py while it listens, redis-py reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from . import redis_resp

__all__ = ["heard", "published_together"]

AT_ONCE = 65_536  # bytes that are read


def heard(pubsub: Any) -> Iterator[dict[str, Any]]:
    """What ``pubsub.listen()`` gives, after one ``subscribe`` of which no answer was read yet.

    Raises what redis-py and its socket raise, `ProtocolError`, and `ConnectionError` once Redis has
    refused the subscription or closed the connection.
    """
    connection: Any = getattr(pubsub, "connection", None)
    if not _is_plain(connection):
        yield from pubsub.listen()
        return
    sock, parser = connection._sock, redis_resp.parser()
    sock.settimeout(None)
    while data := sock.recv(AT_ONCE):
        for reply in parser.feed(data):
            if isinstance(reply, redis_resp.ErrorReply):
                raise ConnectionError(reply.text)
            if isinstance(reply, list) and len(reply) == 3 and reply[0] == b"message":
                yield {"type": "message", "pattern": None, "channel": reply[1], "data": reply[2]}
    raise ConnectionError("Redis has closed the connection")


def _is_plain(connection: Any) -> bool:
    if getattr(connection, "_sock", None) is None:
        return False
    decodes = getattr(getattr(connection, "encoder", None), "decode_responses", True)
    return not (decodes or getattr(connection, "health_check_interval", True))


def published_together(redis: Any, channel: str, messages: Sequence[Any]) -> None:
    """Publishes several, in their order, with one write and one answer to wait for.

    Raises what redis-py raises; then any of them may have been published.
    """
    pipeline = redis.pipeline(transaction=False)
    for each in messages:
        pipeline.publish(channel, each)
    pipeline.execute()
