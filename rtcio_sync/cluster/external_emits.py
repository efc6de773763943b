"""Emits of python-socketio's write-only managers and Node's emitters, for members of this node.

``Server(cluster=…, cluster_external="socketio")`` listens on that channel of the cluster's Redis,
and on those of emitters with that key (`node_emits`). Each node acts for its own members. Pub/sub
delivers at most once: what is published while a node has no connection is lost to its clients.
What `emitter.Emitter` sends waits in the inboxes of the nodes, and is not.
"""

from __future__ import annotations

import logging
import time
from typing import Any, Protocol

import gevent
import orjson
from gevent import monkey

from ..errors import ProtocolError
from ..hub.forked import holds
from ..logs import Seldom
from ..parser.packet import TextPacket
from ..protocol.envelope import Drop
from . import messages
from .messages import Kind, encoded
from .node_emits import asked_by_node, patterns
from .pubsub_checks import check, data_in, opened
from .pubsub_subscriber import descriptors
from .redis_addresses import client, failures, refusals
from .shared_rooms import body_of

__all__ = ["External", "asked_in"]

log = logging.getLogger(__name__)

LOOK_EACH = 1.0  # seconds
AGAIN = 1.0  # seconds between two tries to connect
ASK_AFTER = 3.0  # seconds without a message, after which Redis is asked for an answer
ANSWER_WITHIN = 3.0  # seconds


class Takes(Protocol):
    """What is done with the messages: `exchange.Exchange`."""

    def received(self, node: str, kind: int, key: bytes, body: bytes) -> None: ...

    def refused(self) -> None:
        """One could not be read."""


class External:
    """Listens on one channel, in a greenlet."""

    def __init__(self, url: str, channel: str, takes: Takes) -> None:
        self._make = client(url)
        self._channel = channel
        self._takes = takes
        self._greenlet: gevent.Greenlet[..., Any] | None = None
        self._pubsub: Any = None
        self._stopped = False
        self._warnings = Seldom()
        self._faults = Seldom()

    def start(self) -> None:
        """Subscribes as soon as Redis answers. Returns at once."""
        if not monkey.is_module_patched("socket"):
            log.error("cluster_external needs a monkey-patched process; this one receives nothing")
            return
        holds(self)
        self._greenlet = gevent.spawn(self._listen)

    def stop(self) -> None:
        """Hears nothing more. # hub or greenlet"""
        self._stopped = True
        if self._greenlet is not None:
            self._greenlet.kill(block=False)

    def abandon(self) -> list[int]:
        """Hears nothing more, in a forked child; gives the parent's descriptor. # after a fork"""
        self.stop()
        return descriptors(self._pubsub)

    def _listen(self) -> None:
        while not self._stopped:
            try:
                self._hear_all()
            except failures() as error:
                self._failed(error)
                gevent.sleep(AGAIN)

    def _failed(self, error: Exception) -> None:
        log.debug("cannot listen to the channel %s: %s", self._channel, error)
        if isinstance(error, refusals()):  # and not only out of reach
            more = self._warnings.more(time.monotonic())
            if more is not None:
                said = "cluster_external receives nothing on %r, because Redis refuses: %s%s"
                log.warning(said, self._channel, str(error)[:200], more)

    def _hear_all(self) -> None:
        with self._make().pubsub() as pubsub:
            self._pubsub = pubsub
            pubsub.subscribe(self._channel)
            pubsub.psubscribe(*patterns(self._channel))
            heard = asked = time.monotonic()
            while True:
                message = pubsub.get_message(timeout=LOOK_EACH)
                now = time.monotonic()
                if self._stopped:
                    return
                if message is not None:
                    heard = now
                    if message["type"] in ("message", "pmessage"):
                        self._take(message)
                elif asked > heard and now - asked > ANSWER_WITHIN:
                    raise ConnectionError("Redis does not answer")
                elif asked <= heard and now - heard > ASK_AFTER:
                    asked = now
                    pubsub.subscribe(self._channel)  # it has, and needs no other right, as of PING

    def _take(self, message: dict[str, Any]) -> None:
        data = message.get("data")
        try:
            if message.get("pattern") is None:
                asked: tuple[int, bytes] | None = asked_in(data)
            else:
                asked = asked_by_node(self._channel, message["channel"], data)
        except Exception as error:  # noqa: BLE001  (whatever it says, the next is heard)
            log.debug("a message of %s was dropped: %s", self._channel, type(error).__name__)
            self._takes.refused()
            return
        if asked is None:
            return
        try:
            self._takes.received("", asked[0], b"", asked[1])
        except Exception as error:
            self._takes.refused()
            more = self._faults.more(time.monotonic())
            if more is not None:
                log.error("a message of %s failed%s", self._channel, more, exc_info=error)


def asked_in(data: Any) -> tuple[int, bytes]:
    """A message of python-socketio's managers as one between nodes: its kind and its body.

    Raises `ProtocolError` for anything else, and what `orjson` and `msgspec` raise.
    """
    message = opened(data, orjson.loads)
    method = message.get("method")
    if method == "emit":
        return _emit(message)
    if method not in ("disconnect", "enter_room", "leave_room", "close_room"):
        raise ProtocolError(Drop.CHANNEL)
    check(method, message)
    namespace = message.get("namespace") or "/"
    if method == "close_room":
        return Kind.CLOSE, encoded(messages.Close(namespace, message["room"]))
    what = {"disconnect": "disconnect", "enter_room": "join", "leave_room": "leave"}[method]
    named = [] if method == "disconnect" else [message["room"]]
    return Kind.MANY, encoded(messages.Many(namespace, [message["sid"]], [], what, named, 0))


def _emit(message: dict[str, Any]) -> tuple[int, bytes]:
    if message.get("rtcio_relay") is not None:
        raise ProtocolError(Drop.CHANNEL)
    check("emit", {**message, "callback": None})
    data = data_in(message)
    arguments = list(data) if isinstance(data, tuple) else [] if data is None else [data]
    body, attachments = body_of(TextPacket, [message["event"], *arguments])
    rooms, skip = _several(message.get("room")), _several(message.get("skip_sid")) or []
    made = messages.Emit(message.get("namespace") or "/", rooms, skip, body, attachments)
    return Kind.EMIT, encoded(made)


def _several(given: Any) -> list[Any] | None:
    if given is None or isinstance(given, list):
        return given
    return [given]
