"""``--allowed-origins``: how it is read, and how the command says who may connect."""

from __future__ import annotations

from typing import Any

import click

from ..config.origins import described_origins, parse_origins
from ..errors import OptionError

__all__ = ["read_origins", "told_origins"]


def read_origins(context: click.Context, option: click.Parameter, value: str | None) -> Any:
    """A callback of click's: the origins as `Server` takes them; `None`: not given."""
    try:
        return None if value is None else parse_origins(value)
    except OptionError as error:
        raise click.BadParameter(str(error)) from None


def told_origins(origins: Any) -> str:
    """Who may connect, for a line of the command, from a `Server`'s ``cors_allowed_origins``."""
    said = described_origins(origins)
    if origins == "*" or origins == []:
        return f"{said} (--allowed-origins or ALLOWED_ORIGINS allows fewer)"
    if origins is None:
        return f"{said} (--allowed-origins or ALLOWED_ORIGINS allows more)"
    return said
