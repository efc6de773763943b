"""A process of which only the manager is real, and a back end that a test carries messages over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from socketio.pubsub_manager import PubSubManager

from rtcio_sync.cluster.pubsub_manager import graft
from rtcio_sync.options import Limits
from tests.members import FakeServer


class BackEnd(PubSubManager):
    """Carries what a test says, and remembers what is published."""

    name = "test"

    def __init__(self) -> None:
        super().__init__()
        self.carried: list[Any] = []
        self.published: list[Any] = []
        #: The next messages that cannot be published.
        self.failures = 0

    def _publish(self, data: Any) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError("the back end is down")
        self.published.append(data)

    def _listen(self) -> Iterator[Any]:
        while self.carried:
            yield self.carried.pop(0)


class Process(FakeServer):
    """``serving``: whether a hub runs that publishes later; then `run` is when."""

    def __init__(self, *, serving: bool = False, back_end: PubSubManager | None = None) -> None:
        self.manager: Any = graft(back_end or BackEnd())
        super().__init__(self.manager)
        self.relays: list[dict[str, Any]] = []
        self.later: list[tuple[Any, tuple[Any, ...]]] = []
        server = self.server
        server.manager_initialized = True
        server.dispatcher = SimpleNamespace(guarded=self._guarded)
        server.disconnect = lambda sid, namespace, **_: self.leave(sid, namespace)
        server.eio.hub_thread.may_run = serving
        server.eio.spawn = lambda fn, *args: self.later.append((fn, args))
        server.options = SimpleNamespace(limits=Limits())
        server.relay = SimpleNamespace(from_elsewhere=self.relays.append)

    def _guarded(self, member: Any, what: str, do: Callable[..., Any], *args: Any) -> Any:
        return do(*args)

    def leave(self, sid: str, namespace: str = "/") -> None:
        self.index.basic_disconnect(sid, namespace)

    def run(self) -> None:
        """Runs what was spawned."""
        while self.later:
            fn, args = self.later.pop(0)
            fn(*args)

    def hear(self, *messages: Any) -> None:
        """What another process published, until there is no more."""
        self.manager.carried += messages
        self.manager._thread()

    def published(self) -> list[Any]:
        """What was published since the last call."""
        taken, self.manager.published = self.manager.published, []
        return taken

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self.counters.dropped)
