"""As much of a server as the Flask extension needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


class Signaling:
    """Answers ``signaling``, and keeps the environs of its requests."""

    def __init__(self, path: str = "/socket.io", app: Any = None) -> None:
        self.path = path
        self.app = app
        self.environs: list[dict[str, Any]] = []
        self.turns = 0

    on_app_request: Callable[[dict[str, Any]], None] | None = None

    def turn_of_request(self) -> None:
        self.turns += 1

    def handle_request(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.environs.append(environ)
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"signaling"]
