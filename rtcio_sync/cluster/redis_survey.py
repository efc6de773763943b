"""What Redis says about a cluster: its nodes. Blocks, and asks no node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..engineio.ids import is_node
from ..errors import ProtocolError
from .messages import decoded
from .redis_addresses import refusals
from .redis_membership import LONGEST_RECORD, Record, keys_of, marks_in

__all__ = ["Graves", "NodeSeen", "inbox_of", "living", "survey"]

_TENTHS = 1 << 32
STALE = 6.0  # seconds without a beat, after which a node is most likely dead


@dataclass(frozen=True)
class NodeSeen:
    """One node, as Redis knows it."""

    node: str
    host: str
    #: Seconds since its last beat; `None`: it has none.
    silent: float | None
    #: When it began, in seconds since 1970.
    born: float
    sessions: int
    rooms: int
    #: The entries that are still in its inbox, and their bytes; `None`: Redis does not say, as the
    #: key is of another type.
    inbox: int | None
    inbox_bytes: int | None
    version: int

    @property
    def stale(self) -> bool:
        """Whether it has not been heard for a while."""
        return self.silent is None or self.silent > STALE


def inbox_of(prefix: str, node: str) -> str:
    """The key of a node's inbox."""
    return f"{prefix}:{{n:{node}}}:inbox"


def living(client: Any, prefix: str) -> dict[str, int]:
    """The nodes that were heard in the last minute, and their tokens.

    ``client``: of redis-py. Raises what it raises.
    """
    now, marks = _marks(client, prefix)
    return {
        node: mark // _TENTHS for node, mark in marks.items() if _silent(now, mark) <= 10 * STALE
    }


class Graves:
    """The nodes that are known to be dead."""

    def __init__(self, client: Any, prefix: str) -> None:
        self._client = client
        self._key = keys_of(prefix)[2]

    def among(self, nodes: Mapping[str, int]) -> set[str]:
        """Those of these, with their tokens, that are dead."""
        pipeline = self._client.pipeline(transaction=False)
        for node, token in nodes.items():
            pipeline.zscore(self._key, f"{node}:{token}")
        return {
            node for node, score in zip(nodes, pipeline.execute(), strict=True) if score is not None
        }


def survey(client: Any, prefix: str) -> list[NodeSeen]:
    """All nodes, the eldest first. ``client``: of redis-py. Raises what it raises."""
    now, marks = _marks(client, prefix)
    records = client.hgetall(keys_of(prefix)[0])
    found = []
    for name, body in records.items():
        node = name.decode("latin-1")
        record = _record(node, body)
        if record is not None:
            entries, size = _inbox(client, inbox_of(prefix, node))
            silent = _silent(now, marks[node]) if node in marks else None
            seen = NodeSeen(
                node=node,
                host=record.host,
                silent=silent,
                born=record.born / 1e9,
                sessions=record.sessions,
                rooms=record.rooms,
                inbox=entries,
                inbox_bytes=size,
                version=record.version,
            )
            found.append(seen)
    return sorted(found, key=lambda each: each.born)


def _marks(client: Any, prefix: str) -> tuple[float, dict[str, int]]:
    said = client.time()
    if isinstance(said, dict):  # of a Redis Cluster: of each master
        said = next(iter(said.values()))
    seconds, micros = said
    tenths = seconds * 10 + micros // 100_000
    flat = [part for pair in client.hgetall(keys_of(prefix)[1]).items() for part in pair]
    return tenths, marks_in([b"0", flat])[1]


def _inbox(client: Any, key: str) -> tuple[int | None, int | None]:
    try:
        entries = client.xlen(key)
        return entries, (client.memory_usage(key) or 0) if entries else 0
    except refusals():
        return None, None


def _silent(now: float, mark: int) -> float:
    return ((now - mark) % _TENTHS) / 10


def _record(node: str, body: bytes) -> Record | None:
    if not is_node(node) or len(body) > LONGEST_RECORD:
        return None
    try:
        return decoded(Record, body)
    except ProtocolError:
        return None
