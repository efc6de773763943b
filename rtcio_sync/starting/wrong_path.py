"""Warns of clients that look for the Socket.IO endpoint at another path than the server's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from ..logs import Seldom, plain

__all__ = ["warned_of"]

log = logging.getLogger(__name__)

_WRONG = (
    "a client asks for the path %s, but signaling is at %s: write io(url, {path: '%s'}) in the "
    "client, or give Server the path of the client, Server(path=…)%s"
)
_seldom = Seldom()


def warned_of(
    environ: dict[str, Any], start_response: Callable[..., Any], path: str
) -> Callable[..., Any]:
    """``start_response`` for a request that is not for ``path``, the server's own.

    If a client of Engine.IO sends the request and the answer is 404, a warning says so, once a
    minute at most: browsers show such a client only "xhr poll error".
    """
    query = environ.get("QUERY_STRING", "")
    if "EIO=" not in query or "transport=" not in query:
        return start_response

    def warn(status: str, *more: Any) -> Any:
        untold = _seldom.more(time.monotonic()) if status.startswith("404") else None
        if untold is not None:
            mount = environ.get("SCRIPT_NAME", "")
            asked, own = plain(f"{mount}{environ.get('PATH_INFO', '')}"), plain(f"{mount}{path}/")
            log.warning(_WRONG, asked, own, own, untold)
        return start_response(status, *more)

    return warn
