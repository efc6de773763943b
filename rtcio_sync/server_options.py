"""`ServerOptions`: the keyword arguments of `Server`, for editors and type checkers.

`options.Options` describes each, has the defaults and checks the values. A test compares the two.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from .options import AsyncMode, Limits

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["RecoverySettings", "ServerOptions"]

Origin = str | re.Pattern[str]
Transport = Literal["polling", "websocket"]


class RecoverySettings(TypedDict, total=False):
    """The option ``connection_state_recovery`` as a dict: see `RecoveryOptions`."""

    max_disconnection_duration: float
    skip_middlewares: bool
    max_recovery_bytes: int
    max_recovery_total: int | None


class ServerOptions(TypedDict, total=False):
    """The keyword arguments of `Server`; `Options` describes each."""

    app: Flask | None
    path: str
    relay_scope: Literal["namespace", "room"]
    drain_seconds: float
    limits: Limits | None
    max_connections: int | None
    max_polling_sessions: int | None
    max_buffered_total: int | None
    trusted_proxies: int
    connection_state_recovery: bool | RecoverySettings | None
    cluster: str | Literal[False] | None
    cluster_required: bool
    cluster_prefix: str
    cluster_address: str | None
    cluster_external: str | None
    cluster_secret: str | bytes | None
    client_manager: Any
    logger: bool | logging.Logger | None
    serializer: str | type
    json: Any
    async_handlers: bool | None
    always_connect: bool
    namespaces: str | Sequence[str] | None
    async_mode: AsyncMode | None
    ping_interval: float | tuple[float, float]
    ping_timeout: float
    max_http_buffer_size: int
    allow_upgrades: bool
    http_compression: bool
    compression_threshold: int
    cookie: str | bool | Mapping[str, Any] | None
    cors_allowed_origins: Origin | Sequence[Origin] | Callable[..., Any] | None
    cors_credentials: bool
    monitor_clients: bool | None
    transports: Transport | Sequence[Transport] | None
    engineio_logger: bool | logging.Logger | None
