"""Handles the messages of other processes, one after the other, in one task.

Overridden of upstream's ``PubSubManager`` (``tests/test_upstream.py`` asserts each): ``_thread``,
``_return_callback``, ``initialize``, and ``_handle_emit``, ``_handle_callback``,
``_handle_disconnect``, ``_handle_enter_room``, ``_handle_leave_room`` and ``_handle_close_room``.
Used as they are: ``_listen`` and ``_publish``. Of ``RedisManager``: ``_redis_listen_with_retries``;
used as it is: ``_redis_connect``.
"""

from __future__ import annotations

import base64
import logging
import time
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import gevent
from socketio.pubsub_manager import PubSubManager

from ..errors import ProtocolError
from ..hub.forked import holds
from ..logs import Seldom, plain
from ..parser.packet import parts_of
from ..protocol.envelope import Drop, filled
from .pubsub_channel import heard
from .pubsub_checks import check, check_relay, data_in, opened, with_attachments

__all__ = ["Listening", "descriptors", "end"]

log = logging.getLogger(__name__)

WARN_EACH = 60.0  # seconds from one warning about the channel to the next
LONGEST_PAUSE = 1.0  # seconds before it listens again after an error of the back end


def end(greenlet: Any) -> None:
    """Ends a greenlet of the parent's in a forked child, unless it has forked. # after a fork"""
    if isinstance(greenlet, gevent.Greenlet) and greenlet is not gevent.getcurrent():
        greenlet.kill(block=False)


def descriptors(pubsub: Any, pool: Any = None) -> list[int]:
    """Those of redis-py's connections: of a subscriber, and of a pool. Either may be `None`."""
    opened = [getattr(pubsub, "connection", None)]
    for name in ("_available_connections", "_in_use_connections"):
        opened += getattr(pool, name, ())
    socks = [getattr(each, "_sock", None) for each in opened]
    return [sock.fileno() for sock in socks if sock is not None and sock.fileno() >= 0]


_HANDLERS = {
    "emit": "_handle_emit",
    "callback": "_handle_callback",
    "disconnect": "_handle_disconnect",
    "enter_room": "_handle_enter_room",
    "leave_room": "_handle_leave_room",
    "close_room": "_handle_close_room",
}


class Listening(PubSubManager):
    """The listening part of `pubsub_manager.Published`. All runs in one task, unless it says so.

    Messages are checked like those of clients (`pubsub_checks`). An invalid message is counted as
    ``dropped["channel"]`` and logged at debug level, with one warning a minute; it never ends the
    task.
    """

    #: What comes in was sent by other processes; `Published.emit` says so where the app sends.
    emits_for_app = False

    _warned: float | None = None
    #: The greenlet that listens, if it is one of gevent's.
    _listener: Any = None

    def initialize(self) -> None:
        super().initialize()
        holds(self)

    def abandon(self) -> list[int]:
        """Hears nothing more, in a forked child; gives its connections to Redis. # after a fork

        What the child publishes comes from another process than the parent, whose clients get it.
        """
        self.host_id = uuid.uuid4().hex
        end(self._listener)
        pool = getattr(getattr(self, "redis", None), "connection_pool", None)
        return descriptors(getattr(self, "pubsub", None), pool)

    def _thread(self) -> None:
        self._listener = gevent.getcurrent()
        pause = 0.0
        while True:
            try:
                for message in self._listen():
                    pause = 0.0
                    self._hear(message)
            except Exception:
                log.exception("the client manager could not listen and tries again")
                self.server.sleep(pause)
                pause = min(LONGEST_PAUSE, 2 * pause + 0.05)
            else:
                log.error("the client manager no longer listens")
                return

    def _redis_listen_with_retries(self) -> Iterator[Any]:
        """The messages of a `RedisManager`; it tries again within a second.

        Upstream's waits for up to a minute after a Redis that was away is back, and until then no
        client hears of other processes.
        """
        pause, failures = 0.0, Seldom()
        while True:
            error: Exception | None = None
            try:
                self._redis_connect()
                pubsub = self.pubsub  # whoever publishes may connect anew, too, and replaces it
                pubsub.subscribe(self.channel)
                for message in heard(pubsub):
                    pause = 0.0
                    yield message
            except Exception as caught:  # noqa: BLE001  (redis-py's, valkey-py's, the system's)
                error = caught
            more = failures.more(time.monotonic())
            if more is not None:
                said = "the client manager receives nothing from Redis, and tries again: %s%s"
                log.error(said, plain(str(error or "it ended")), more)
            self.server.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause + 0.05)

    def _hear(self, message: Any) -> None:
        try:
            data = opened(message, self.json.loads)
            method = data.get("method")
            if method != "callback" and data.get("host_id") == self.host_id:
                return  # our own
            if not isinstance(method, str) or method not in _HANDLERS:
                raise ProtocolError(Drop.CHANNEL)
            getattr(self, _HANDLERS[method])(data)
        except Exception as error:  # noqa: BLE001  (whatever a message set off, the next is heard)
            self._refuse_message(error)

    def _refuse_message(self, error: Exception) -> None:
        reason = error.reason if isinstance(error, ProtocolError) else Drop.CHANNEL
        self.server.counters.dropped[reason] += 1
        log.debug("a message of the channel was dropped: %s (%s)", reason, type(error).__name__)
        now = time.monotonic()
        if reason == Drop.CHANNEL and (self._warned is None or now - self._warned >= WARN_EACH):
            self._warned = now
            log.warning(
                "a message on the channel %r is not from a client manager; it was dropped and "
                "counted (%s)",
                self.channel,
                type(error).__name__,
            )

    # -- each kind of message ----------------------------------------------------------------------

    def _handle_emit(self, message: dict[str, Any]) -> None:
        relay = message.get("rtcio_relay")
        if relay is not None:
            most = self.server.options.limits.max_attachments
            attachments = check_relay(relay, most)
            self.server.relay.from_elsewhere({**relay, "attachments": attachments})
            return
        check("emit", message)
        callback = message.get("callback")
        if callback is not None:
            callback = partial(self._return_callback, message["host_id"], *callback)
        super(PubSubManager, self).emit(
            message["event"],
            data_in(message),
            namespace=message.get("namespace"),
            room=message.get("room"),
            skip_sid=message.get("skip_sid"),
            callback=callback,
        )

    def _return_callback(
        self, host_id: str, sid: Any, namespace: str, callback_id: int, *args: Any
    ) -> None:
        """A client of this process acknowledged an event of the process ``host_id``."""
        if host_id == self.host_id:
            self.trigger_callback(sid, callback_id, args)
            return
        message = {
            "method": "callback",
            "host_id": host_id,
            "sid": sid,
            "namespace": namespace,
            "id": callback_id,
            "args": args,
        }
        try:
            given, attachments = parts_of(self.json, list(args))
            self.json.dumps(given)  # it is written later, where nobody knows that a client sent it
        except (TypeError, ValueError, RecursionError):  # MessagePack has more than JSON
            self.server.counters.dropped[Drop.MALFORMED] += 1
            return
        if attachments:
            message["args"] = given
            message["rtcio_attachments"] = [base64.b64encode(each).decode() for each in attachments]
        self._publish(message)

    # These two run the app's code, in other greenlets: this task goes on with the next message.

    def _handle_callback(self, message: dict[str, Any]) -> None:
        if message.get("host_id") != self.host_id:
            return  # another process asked
        try:
            check("callback", message)
            args, texts = message["args"], message.get("rtcio_attachments")
            if texts is not None:
                args = with_attachments(args, texts, filled)
        except ProtocolError as error:
            self._refuse_message(error)
            return
        given = message["sid"], message["id"], args
        guarded = self.server.dispatcher.guarded
        self.server.eio.spawn_in_turn(guarded, None, "ack", self.trigger_callback, *given)

    def _handle_disconnect(self, message: dict[str, Any]) -> None:
        check("disconnect", message)
        self.server.eio.spawn_in_turn(super()._handle_disconnect, message)

    def _handle_enter_room(self, message: dict[str, Any]) -> None:
        check("enter_room", message)
        sid, namespace = message["sid"], message.get("namespace")
        if self.member(sid, namespace) is not None:  # in this process, perhaps away
            super(PubSubManager, self).enter_room(sid, namespace, message["room"])

    def _handle_leave_room(self, message: dict[str, Any]) -> None:
        check("leave_room", message)
        sid, namespace = message["sid"], message.get("namespace")
        if self.member(sid, namespace) is not None:
            super(PubSubManager, self).leave_room(sid, namespace, message["room"])

    def _handle_close_room(self, message: dict[str, Any]) -> None:
        check("close_room", message)
        super()._handle_close_room(message)
