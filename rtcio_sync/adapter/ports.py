"""What the adapter needs from the layers around it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from ..metrics import Counters
from ..transport.slow_readers import Backlog

__all__ = ["Engine", "Host"]


class Engine(Protocol):
    """The Engine.IO server, as a manager uses it."""

    #: Guards the few lines that two threads must not run at once.
    gate: AbstractContextManager[Any]
    backlog: Backlog

    def generate_id(self) -> str: ...

    def spawn(self, target: Callable[..., Any], *args: Any) -> None: ...

    def spawn_in_turn(self, target: Callable[..., Any], *args: Any) -> None: ...


class Host(Protocol):
    """What python-socketio gives a manager as its ``server``, as far as ours uses it."""

    @property
    def eio(self) -> Engine: ...

    counters: Counters
    packet_class: Any

    def _send_packet(self, eio_sid: str, pkt: Any) -> None: ...

    def _send_eio_packet(self, eio_sid: str, eio_pkt: Any) -> None: ...
