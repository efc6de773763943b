"""A pub/sub back end in memory: several servers in this process, each as if in its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import gevent
from gevent.queue import Queue
from socketio import Server as PlainServer
from socketio.pubsub_manager import PubSubManager


class Bus:
    """The channel that the managers share. Each message is sent as text, as over Redis."""

    def __init__(self) -> None:
        self.managers: list[BusManager] = []
        self.published: list[dict[str, Any]] = []
        #: Set: publishing blocks until it is set to `None` again.
        self.stuck: Any = None
        #: The next messages that cannot be published.
        self.failures = 0

    def manager(self, **options: Any) -> BusManager:
        return BusManager(self, **options)

    def close(self) -> None:
        for each in self.managers:
            if each.listener is not None:
                gevent.kill(each.listener)


class BusManager(PubSubManager):
    name = "bus"

    def __init__(self, bus: Bus, **options: Any) -> None:
        super().__init__(**options)
        self.bus = bus
        self.queue: Any = Queue()
        self.listener: Any = None
        bus.managers.append(self)

    def _publish(self, data: Any) -> None:
        if self.bus.stuck is not None:
            self.bus.stuck.wait()
        gevent.sleep(0)  # other greenlets run meanwhile, as with a real back end
        if self.bus.failures:
            self.bus.failures -= 1
            raise OSError("the back end is down")
        text = self.json.dumps(data)
        self.bus.published.append(self.json.loads(text))
        for each in self.bus.managers:
            each.queue.put(text)

    def _listen(self) -> Iterator[str]:
        self.listener = gevent.getcurrent()
        while True:
            yield self.queue.get()


class PlainProcess:
    """A process of python-socketio's own server, with one client, and what that client is sent."""

    def __init__(self, bus: Bus, prepare: Callable[[Any], Any] = lambda server: None) -> None:
        self.server: Any = PlainServer(async_mode="gevent", client_manager=bus.manager())
        prepare(self.server)
        self.server.manager.initialize()
        self.sid: str = self.server.manager.connect("eio", "/")
        self.heard: list[Any] = []
        self.server._send_eio_packet = lambda eio_sid, packet: self.heard.append(packet.data)

    def says(self, packet: str) -> None:
        """What its client sends."""
        self.server._handle_eio_message("eio", packet)
