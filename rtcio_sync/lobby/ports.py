"""What the handlers of a lobby need of the `Lobby`, which an app may have overridden."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias

from ..socketio.socket import Socket

__all__ = ["IceServers", "Rules"]

IceServers: TypeAlias = Iterable[Mapping[str, Any]]


class Rules(Protocol):
    """The methods and the attribute of `Lobby` that say who may do what."""

    @property
    def max_peers(self) -> int | None: ...

    def authorize(
        self, socket: Socket, room: str, name: str | None, password: str | None
    ) -> bool: ...

    def ice_servers(self, socket: Socket) -> IceServers: ...

    def remove(self, sid: str, room: str) -> bool: ...
