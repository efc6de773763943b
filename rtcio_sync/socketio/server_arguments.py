"""The arguments of `Server`: positional ones, the options of upstream, and the loggers."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from typing import Any

import engineio
import socketio

from ..errors import OptionError
from ..logs import OwnLevel, UpstreamLogger

__all__ = ["named", "upstream_logger", "upstream_options"]


#: The order of python-socketio's own positional arguments.
_POSITIONS = (
    "client_manager",
    "logger",
    "serializer",
    "json",
    "async_handlers",
    "always_connect",
    "namespaces",
)


def named(
    args: tuple[Any, ...], options: dict[str, Any], is_app: Callable[[Any], bool]
) -> dict[str, Any]:
    """Names positional arguments: ``Server(app)``, as in Flask extensions, or python-socketio's."""
    names = ("app",) if args and is_app(args[0]) else _POSITIONS
    first = args[0] if args else None
    if isinstance(first, int) and not isinstance(first, bool):
        raise OptionError(f"Server({first!r}): a port is an argument of listen: listen({first!r})")
    if isinstance(first, Mapping) or (isinstance(first, str) and "://" not in first):
        raise OptionError(
            f"Server({first!r:.80}): give options by their names, like "
            "Server(cors_allowed_origins='*')"
        )
    if len(args) > len(names):
        raise OptionError("Server(): give options by their names, like Server(app=app)")
    twice = [name for name in names[: len(args)] if name in options]
    if twice:
        raise OptionError(f"Server(): {twice[0]} is given twice")
    return {**dict(zip(names, args, strict=False)), **options}


def upstream_options() -> set[str]:
    """The options that the installed python-socketio and python-engineio accept."""
    found: set[str] = set()
    for each in (*socketio.Server.__mro__, *engineio.Server.__mro__):
        if "__init__" in vars(each) and each is not object:
            parameters = inspect.signature(vars(each)["__init__"]).parameters.values()
            found.update(one.name for one in parameters if one.kind is not one.VAR_KEYWORD)
    return found - {"self", "args"}


def upstream_logger(name: str, asked: Any) -> Any:
    """The logger for one of upstream's layers; a handler is never added to it."""
    if asked is not None and not isinstance(asked, bool):
        return UpstreamLogger(asked) if hasattr(asked, "info") else asked
    level = logging.INFO if asked else logging.ERROR
    return UpstreamLogger(OwnLevel(logging.getLogger(name), level))
