"""The relay and peer-left on a Socket.IO server that is not ours.

They run before that server's own dispatch, so that relays stay in order. The app's handlers stay,
except those for ``#rtcio:message``, which do not run any more because they would relay a second
time.

Replaced on such a server, on the instance only: ``_handle_eio_message``,
``_handle_eio_disconnect``, ``_handle_event``, and of its manager ``pre_disconnect`` and, with a
pub/sub back end, ``_handle_emit``. Used as they are: ``_send_eio_packet``, and the manager's
``_publish``.
"""

from __future__ import annotations

import base64
from typing import Any

from engineio import packet as eio_packet
from socketio.pubsub_manager import PubSubManager

from ..client_limits import check_attachments
from ..cluster.pubsub_checks import check_relay
from ..cluster.pubsub_manager import Published
from ..errors import ProtocolError
from ..events import RtcioEvents
from ..options import Limits
from ..parser.message_bounds import OverBound, head_of, measure, weigh
from ..protocol.envelope import Envelope, head, judge, placeholders_fit, read

__all__ = ["ForeignListeners"]

_LIMITS = Limits()
#: The bounds on the values and levels of a relay's arguments.
DEPTH, VALUES = (_LIMITS.max_depth or 0) + 1, (_LIMITS.max_values or 0) + 2


class _Partial:
    """A relay whose attachments are missing; without an envelope it will be dropped."""

    __slots__ = ("attachments", "envelope", "missing", "size")

    def __init__(self, envelope: Envelope | None, missing: int) -> None:
        self.envelope = envelope
        self.missing = missing
        self.attachments: list[bytes] = []
        self.size = 0


def _check(envelope: Envelope, text: str) -> None:
    """Raises `ProtocolError` for a relay over the default `Limits`."""
    check_attachments(envelope.attachments, _LIMITS.max_attachments)
    raw = text.encode()
    excess = weigh(raw[head_of(raw).start :], DEPTH, VALUES).excess
    if excess is not None:
        raise OverBound(excess, envelope.attachments)


class ForeignListeners:
    """The default listeners of a server of another package. # greenlet or thread"""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.manager = server.manager
        self.namespaces: set[str] = set()
        self._partial: dict[str, _Partial] = {}
        self._told: set[tuple[str, str]] = set()
        self._message = server._handle_eio_message
        self._event = server._handle_event
        self._lost = server._handle_eio_disconnect
        self._pre_disconnect = self.manager.pre_disconnect
        server._handle_eio_message = self.on_message
        server._handle_eio_disconnect = self.on_lost
        server._handle_event = self.on_event
        server.eio.on("message", self.on_message)
        server.eio.on("disconnect", self.on_lost)
        self.manager.pre_disconnect = self.on_leave
        if isinstance(self.manager, PubSubManager):
            self._emit = self.manager._handle_emit
            self.manager._handle_emit = self.on_published

    @classmethod
    def of(cls, server: Any) -> ForeignListeners:
        known = server.__dict__.get("rtcio_listeners")
        if not isinstance(known, cls):
            known = server.rtcio_listeners = cls(server)
        return known

    def on_message(self, eio_sid: str, data: Any) -> None:
        """Takes each message before the server; a relay does not reach the server."""
        partial = self._partial.get(eio_sid)
        if partial is not None:
            self._attach(eio_sid, partial, data)
            return
        try:
            envelope = read(data, check=_check) if isinstance(data, str) else None
        except OverBound as error:  # its attachments still have to be told from later messages
            if error.attachments:
                self._await_attachments(eio_sid, None, error.attachments)
            return
        except ProtocolError:
            return  # not JSON to its last character, or too many attachments: drop it
        if envelope is None or envelope.namespace not in self.namespaces:
            self._message(eio_sid, data)
        elif envelope.attachments:
            self._await_attachments(eio_sid, envelope, envelope.attachments)
        else:
            self._relay(eio_sid, envelope, [])

    def _await_attachments(self, eio_sid: str, envelope: Envelope | None, missing: int) -> None:
        if eio_sid in self.server.environ:  # ignore messages after the end of the connection
            self._partial[eio_sid] = _Partial(envelope, missing)

    def _attach(self, eio_sid: str, partial: _Partial, data: Any) -> None:
        if isinstance(data, str):
            del self._partial[eio_sid]
            self.on_message(eio_sid, data)
            return
        partial.size += len(data)
        if partial.size > self.server.eio.max_http_buffer_size:
            partial.envelope = None
            partial.attachments.clear()
        partial.missing -= 1
        if partial.envelope is not None:
            partial.attachments.append(data)
        if not partial.missing:
            del self._partial[eio_sid]
            if partial.envelope is not None:
                self._relay(eio_sid, partial.envelope, partial.attachments)

    def on_event(self, eio_sid: str, namespace: str | None, id: Any, data: list[Any]) -> None:
        """Takes each decoded event, for relays that are not text (msgpack)."""
        where = namespace or "/"
        if data and data[0] == RtcioEvents.MESSAGE and where in self.namespaces:
            if measure(data, DEPTH, VALUES).excess is None:
                self._relay(eio_sid, Envelope(where, data[1] if len(data) > 1 else None, "", 0), [])
        else:
            self._event(eio_sid, namespace, id, data)

    def _relay(self, eio_sid: str, envelope: Envelope, attachments: list[bytes]) -> None:
        namespace, payload = envelope.namespace, envelope.payload
        sid = self.manager.sid_from_eio_sid(eio_sid, namespace)
        if sid is None or not self.manager.is_connected(sid, namespace):
            return
        if judge(payload, sid) is not None:
            return
        if attachments and not placeholders_fit(payload, len(attachments)):
            return
        target = payload["target"]
        if self.manager.is_connected(target, namespace):
            self._deliver(target, namespace, payload, envelope.raw, attachments)
        elif isinstance(self.manager, PubSubManager) and envelope.raw:
            self._publish(envelope, target, attachments)

    def _publish(self, envelope: Envelope, target: str, attachments: list[bytes]) -> None:
        # The same message as in `cluster.pubsub_manager`: both kinds of server may share a channel.
        relay = {
            "event": RtcioEvents.MESSAGE,
            "namespace": envelope.namespace,
            "target": target,
            "rooms": None,
            "raw": envelope.raw,
            "attachments": [base64.b64encode(each).decode() for each in attachments],
        }
        self.manager._publish(
            {
                "method": "emit",
                "event": RtcioEvents.MESSAGE,
                "data": [None],
                "namespace": envelope.namespace,
                "room": Published.NOBODY,
                "rtcio_relay": relay,
                "host_id": self.manager.host_id,
            }
        )

    def on_published(self, message: dict[str, Any]) -> None:
        """Delivers a relay that another process published."""
        relay = message.get("rtcio_relay")
        if relay is None:
            self._emit(message)
            return
        try:
            attachments = check_relay(relay, _LIMITS.max_attachments)
        except ProtocolError:
            return  # not from a client of such a server
        if self.manager.is_connected(relay["target"], relay["namespace"]):
            self._deliver(relay["target"], relay["namespace"], None, relay["raw"], attachments)

    def _deliver(
        self, target: str, namespace: str, payload: Any, raw: str, attachments: list[bytes]
    ) -> None:
        eio_sid = self.manager.eio_sid_from_sid(target, namespace)
        if not raw:
            self.manager.emit(RtcioEvents.MESSAGE, payload, namespace, room=target)
            return
        for piece in (f"{head(namespace, len(attachments))}{raw}]", *attachments):
            self.server._send_eio_packet(eio_sid, eio_packet.Packet(eio_packet.MESSAGE, piece))

    def on_lost(self, eio_sid: str, reason: str) -> None:
        """The connection has ended; forgets what it had begun to send."""
        self._partial.pop(eio_sid, None)
        sids = {each: self.manager.sid_from_eio_sid(eio_sid, each) for each in self.namespaces}
        told = {(sid, each) for each, sid in sids.items() if sid is not None}
        try:
            # All namespaces now: upstream skips those after one whose handler raises.
            for sid, namespace in told:
                self._tell(sid, namespace)
            self._told |= told
            self._lost(eio_sid, reason)
        finally:
            self._told -= told

    def on_leave(self, sid: str, namespace: str) -> Any:
        """Sends peer-left before the app's ``disconnect`` handler, while the rooms still exist."""
        if namespace in self.namespaces and (sid, namespace) not in self._told:
            self._tell(sid, namespace)
        return self._pre_disconnect(sid, namespace)

    def _tell(self, sid: str, namespace: str) -> None:
        if self.manager.is_connected(sid, namespace):
            rooms = [room for room in self.manager.get_rooms(sid, namespace) if room != sid]
            if rooms:
                self.manager.emit(
                    RtcioEvents.PEER_LEFT, {"id": sid}, namespace, room=rooms, skip_sid=sid
                )
