"""What this folder needs of a server: the narrow types that its modules take."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["Listener", "Signaling"]


class _Served(Protocol):
    @property
    def path(self) -> str:
        """The Socket.IO path, with a slash at its start and none at its end."""


class Signaling(_Served, Protocol):
    """What `extension` needs of a server."""

    @property
    def app(self) -> Flask | None:
        """The first Flask app that it wraps."""

    @property
    def on_app_request(self) -> Callable[[dict[str, Any]], None] | None:
        """Is to be called with the environ of a request to the app, unless it is `None`."""

    @property
    def turn_of_request(self) -> Callable[[], None]:
        """Is to be called before a request to the app is answered; may wait."""

    def handle_request(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """The WSGI application of the Socket.IO path."""


class Listener(_Served, Protocol):
    """What `commands` needs of a server."""

    def listen(
        self, port: int, host: str, *, app: Any, ready: Callable[[int], Any], **tls: str
    ) -> None:
        """Serves ``app`` and the Socket.IO path."""

    def stop(self) -> None:
        """Ends `listen`."""
