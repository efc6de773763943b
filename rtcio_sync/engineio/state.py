"""The states of an Engine.IO connection.

::

    OPENING ──► POLLING ──► UPGRADING ──► WEBSOCKET
       │           │ ▲──────────┘             │
       └───────────┴──────────► CLOSED ◄──────┘

A probe moves POLLING to UPGRADING. If the probe fails, the connection goes back to POLLING. From
every state a connection goes to CLOSED, once.
"""

from __future__ import annotations

import enum

__all__ = ["State"]


class State(enum.Enum):
    """Where an Engine.IO connection stands."""

    OPENING = enum.auto()
    POLLING = enum.auto()
    UPGRADING = enum.auto()
    WEBSOCKET = enum.auto()
    CLOSED = enum.auto()
