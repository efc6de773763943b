"""The handlers, middlewares and limits that an app has registered, by namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ..events import RtcioEvents
from ..options import Limits
from .handler_call import Callee
from .handler_signatures import method_of
from .namespace import Namespace

__all__ = ["Registry"]


class Registry:
    """The handlers, namespaces and limits of one server.

    ``handlers`` and ``namespace_handlers`` are python-socketio's own registries. ``namespaces``
    gives those that clients may join without a handler; ``"*"``: all. ``limits``: the server's.
    """

    def __init__(
        self,
        handlers: dict[str, dict[str, Callable[..., Any]]],
        namespace_handlers: dict[str, Any],
        namespaces: Callable[[], Any],
        limits: Limits,
    ) -> None:
        self.handlers = handlers
        self.namespace_handlers = namespace_handlers
        self._namespaces = namespaces
        self.limits = limits
        #: The namespaces that `Server.of` has made.
        self.spaces: dict[str, Namespace] = {}
        #: The app's handlers for a new one.
        self.on_new: list[Callee] = []
        #: Limits of namespaces that have their own.
        self.own_limits: dict[str, Limits] = {}
        #: Those of them that have them of a dynamic namespace, and not by name.
        self._inherited: set[str] = set()

    def limits_of(self, namespace: str) -> Limits:
        """The limits of a namespace: its own, or the server's."""
        return self.own_limits.get(namespace, self.limits)

    def limit(self, namespace: str, limits: Limits) -> None:
        """Gives a namespace limits of its own, by name."""
        self._inherited.discard(namespace)
        self.own_limits[namespace] = limits

    def inherit_limits(self, namespace: str, limits: Limits) -> None:
        """Gives a namespace those of the dynamic one that it is a child of; those by name stay."""
        if namespace not in self.own_limits or namespace in self._inherited:
            self._inherited.add(namespace)
            self.own_limits[namespace] = limits

    def end_inherited(self, namespace: str) -> None:
        """The namespace is removed: takes what `inherit_limits` has given. # hub or greenlet"""
        if namespace in self._inherited:
            self._inherited.discard(namespace)
            self.own_limits.pop(namespace, None)

    def all_limits(self) -> Iterator[Limits]:
        """The server's, and those of namespaces that exist."""
        yield self.limits
        yield from self.own_limits.values()

    def knows(self, namespace: str) -> bool:
        """Whether clients may connect to a namespace."""
        if not namespace.startswith("/"):
            return False
        if namespace in self.handlers or namespace in self.namespace_handlers:
            return True
        if namespace in self.spaces:
            return True
        allowed = self._namespaces()
        return allowed == "*" or namespace in allowed

    def meets(self, namespace: str) -> bool:
        """Whether a client that connects to a namespace meets handlers or middlewares."""
        for name in (namespace, "*"):
            if name in self.handlers or name in self.namespace_handlers:
                return True
            space = self.spaces.get(name)
            if space is not None and (space.rtcio_middlewares or space.rtcio_greeters):
                return True
        return False

    def with_middlewares(self, namespace: str) -> Namespace | None:
        """The namespace whose middlewares run in a namespace: itself, or ``"*"``."""
        for name in (namespace, "*"):
            space = self.spaces.get(name)
            if space is not None and space.rtcio_middlewares:
                return space
        return None

    def with_greeters(self, namespace: str) -> Namespace | None:
        """The namespace whose ``connection`` handlers run in a namespace: itself, or ``"*"``."""
        for name in (namespace, "*"):
            space = self.spaces.get(name)
            if space is not None and space.rtcio_greeters:
                return space
        return None

    def greeters(
        self, space: Namespace, namespace: str, socket: Any
    ) -> Iterator[tuple[Callee, tuple[Any, ...]]]:
        """The ``connection`` handlers of ``space`` that a socket meets, and what each is given."""
        for handler in tuple(space.rtcio_greeters):
            both = space.namespace == "*" and handler.least > 1  # as python-socketio's get it
            yield handler, (namespace, socket) if both else (socket,)

    def sees_relays(self, namespace: str) -> bool:
        """Whether a handler of python-socketio's idiom has to see the relays of a namespace."""
        for name in (namespace, "*"):
            handlers = self.handlers.get(name, ())
            if RtcioEvents.MESSAGE in handlers or "*" in handlers:
                return True
        space = self.namespace_handlers.get(namespace, self.namespace_handlers.get("*"))
        return space is not None and _catches(space)

    def hears_of_ends(self, namespace: str) -> bool:
        """Whether a handler of python-socketio's idiom runs when a socket of it leaves."""
        for name in (namespace, "*"):
            handlers = self.handlers.get(name, ())
            if "disconnect" in handlers or "disconnecting" in handlers:
                return True
            if name in self.namespace_handlers:
                return True
        return False


def _catches(space: Any) -> bool:
    # Those of libraries, ours included, call the method that is named like the event.
    finds = type(space).trigger_event.__module__.startswith(("rtcio_sync.", "socketio."))
    return not finds or method_of(space, RtcioEvents.MESSAGE) is not None
