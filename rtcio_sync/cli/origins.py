"""``--allowed-origins``: how it is read, and how the command says who may connect."""

from __future__ import annotations

import re
from typing import Any

import click

from ..config.origins import parse_origins
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
    if origins == "*" or origins == []:
        return "ANY page may connect (fewer with --allowed-origins or ALLOWED_ORIGINS)"
    if origins is None:
        return "the server's own (more with --allowed-origins or ALLOWED_ORIGINS)"
    if callable(origins):
        return "those that the app's function allows"
    several = [origins] if isinstance(origins, (str, re.Pattern)) else origins
    return ", ".join(
        str(each.pattern if isinstance(each, re.Pattern) else each) for each in several
    )
