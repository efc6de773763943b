"""How the command serves: in this process, or in a child that is reloaded."""

from __future__ import annotations

import logging
import sys
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from ..starting.addresses import Addresses
from ..starting.certificate import handed_on, tls_arguments
from ..starting.reload import CHANGED, Changes, is_first, is_reloaded, reload_on_changes
from .first_lines import print_first_lines

__all__ = ["Launch"]


@dataclass(frozen=True)
class Launch:
    """The options of the command that concern its start; for the others see `serve`."""

    host: str
    port: int
    #: The value of ``--app``; `None`: the public server.
    target: str | None
    #: The path of the page that is to be opened.
    page: str
    log_level: str
    reload: bool
    #: Whether a browser is opened.
    opens: bool
    cert: str | None
    key: str | None
    self_signed: bool

    def run(self, options: dict[str, Any]) -> int:
        """Serves until the process is told to stop; the exit code.

        Raises `OptionError`, and click's exceptions, of one line each.
        """
        with tls_arguments(
            self.cert, self.key, signed_here=self.self_signed, host=self.host
        ) as tls:
            if self.reload and not is_reloaded():
                command = [sys.executable, "-m", "rtcio_sync", *sys.argv[1:]]
                return reload_on_changes(command, handed_on(tls) if self.self_signed else None)
            return self._serve(tls, options)

    def _serve(self, tls: dict[str, str], options: dict[str, Any]) -> int:
        from .loading import AppCode
        from .serve import chosen  # imports the server, once gevent has patched the process

        changes = Changes() if self.reload else None
        app_code: AppCode = nullcontext if changes is None else changes.mended
        served = chosen(self.target, options, app_code)
        # After the app was imported: if it has set up its logging, this does nothing.
        logging.basicConfig(
            level=self.log_level.upper(), format="%(asctime)s %(levelname)s: %(name)s: %(message)s"
        )

        def ready(port: int) -> None:
            found = Addresses.of(self.host, port, tls=bool(tls))
            print_first_lines(
                found,
                served.lines,
                tls=bool(tls),
                page=self.page,
                signed_here=self.self_signed,
            )
            if self.opens and is_first():
                _open(f"{found.here}{self.page}")

        if changes is not None:
            changes.begin(served.server.stop)
        served.listen(self.host, self.port, ready, tls)
        return CHANGED if changes is not None and changes.changed is not None else 0


def _open(url: str) -> None:
    import webbrowser

    # A browser in the terminal takes as long as it is used.
    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
