"""The polling transport: the outbox, how a poll is answered, and what a POST brings.

`Polling` is the part of an Engine.IO socket (`socket`) for clients on polling. It is a mixin, not
an attribute: a second object for each connection would cost memory while the connection is idle.
`Polling.poll` waits for packets, and the engine (`server`) makes an HTTP answer of them.
`Polling.post` takes the packets of a client's request.

Engine.IO v4, "HTTP long-polling": a client never has two requests of a kind in flight.
"""

from __future__ import annotations

import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import gevent
from engineio import exceptions, packet

from ..errors import ProtocolError, Refused
from ..hub.turns import LAST
from ..options import Limits
from ..transport.delivery import Delivery
from ..transport.hangup import HangUp
from ..transport.ports import CONNECTION, Environ, Event
from ..transport.slow_readers import COUNTED, ITEM
from ..transport.takeover import read_in_turns
from .http_requests import bad
from .inbox import Inbox
from .packet import AnyPacket, Packet, packet_cost, packet_size
from .payload import packets_of, read_body
from .ports import PollingEngine
from .state import State

__all__ = ["Polling"]

WATCH_AFTER = 0.1  # seconds after which a poll's TCP connection is watched: most polls end before
GIVES_WAY_WITHIN = 1.0  # seconds in which a poll that another host has sent on is answered

# Seconds between two NOOPs that end polls during an upgrade, as in Node. The first follows the
# answer to the probe at once: a client that has read that answer only waits for its poll's end.
NOOP_EVERY = 0.1

TELL_WHY = 0.1  # seconds between the answer to a POST and the end of its session

FROZEN_LOOK = 0.005  # seconds between two checks whether a frozen session goes on

FULL_DELAY = 0.05  # seconds between two checks of an inbox that is full

#: Bytes of packets in one answer to a poll; the rest waits for the next poll. For a moment an
#: answer is in memory several times: as packets, as text, as bytes, and compressed.
LONGEST_ANSWER = 8_000_000


def _call(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    """Calls it if its object is still there."""
    found = method()
    if found is not None:
        found()


class Polling(Inbox):
    """The outbox, the polls and the POSTs of one connection."""

    __slots__ = (
        "alarm", "answer", "counted", "held", "noop_at", "outbox", "outbox_bytes", "polled",
        "polling", "posting", "weight",
    )  # fmt: skip

    #: Whether the session goes on in another process; then it is closed here.
    moved = False
    #: Whether the host that has sent the poll on wants its answer now.
    let_go = False
    #: Whether another host has sent the open poll on.
    sent_on = False
    #: The packets of a POST that wait while the session is frozen.
    parked: list[tuple[bytes, bool]] | None = None

    # Attributes of the socket that this part uses.
    server: PollingEngine
    sid: str
    state: State

    def __init__(self, limits: Limits) -> None:
        super().__init__(limits)
        #: Descriptors that it holds (`descriptors`).
        self.held = 0
        #: Bytes that it counts for in `descriptors` while it holds none.
        self.weight = 0
        #: When the next NOOP may end a poll during an upgrade: `time.monotonic`.
        self.noop_at = 0.0
        #: Whether a poll is open.
        self.polling = False
        #: Whether a POST is being read.
        self.posting = False
        #: Wakes a poll that waits.
        self.alarm: Event | None = None
        #: The answer to a poll that is being sent.
        self.answer: Delivery | None = None
        #: Bytes of all answers before it.
        self.polled = 0
        #: Packets that wait for the next poll, and their bytes.
        self.outbox: deque[AnyPacket] | None = None
        self.outbox_bytes = 0
        #: Whether the backlog counts what waits in the outbox.
        self.counted = False

    @property
    def joined(self) -> bool:
        """Whether the client is in any namespace."""
        raise NotImplementedError

    def receive(self, payload: bytes, binary: bool) -> None:
        """Takes one packet, of a polling request or a WebSocket message. # hub or greenlet"""
        raise NotImplementedError

    def close(self, wait: bool = True, abort: bool = False, reason: str | None = None) -> None:
        """Closes the connection, once, without waiting for anything."""
        raise NotImplementedError

    # -- what waits for the next poll: hub or greenlet --------------------------------------------

    def _queue(self, pkt: AnyPacket) -> None:
        if self.outbox is None:
            self.outbox = deque()
        self.outbox.append(pkt)
        self.outbox_bytes += packet_size(pkt)
        if self.counted:
            self._count((pkt,))
        elif self.outbox_bytes > COUNTED:
            self.counted = True
            self._count(self.outbox)
        bound = self.limits.max_buffered_bytes
        if bound is not None and self.waits() > bound:
            self.server.backlog.on_ceiling(pkt.data, bound)
            self.give_up()
        else:
            self._wake()
            if self.counted:
                self.server.backlog.check()

    def _count(self, pkts: Iterable[AnyPacket]) -> None:
        """Has the backlog count ``pkts``, since more waits than a poll usually takes."""
        self.server.backlog.join(self)
        for pkt in pkts:
            self.server.backlog.hold(pkt, packet_size(pkt), packet_cost(pkt))

    def _put_down(self, pkts: Iterable[AnyPacket]) -> None:
        """Has the backlog subtract ``pkts``, which wait no longer."""
        if self.counted:
            for pkt in pkts:
                self.server.backlog.release(pkt, packet_size(pkt), packet_cost(pkt))
        if not self.outbox and self.answer is None:
            self.counted = False
            self.server.backlog.leave(self)

    def take(self, most: int | None = None) -> list[AnyPacket]:
        """Takes the packets for one answer out of the outbox: all, up to `LONGEST_ANSWER`.

        ``most``: packets that the client takes in one answer. CLOSE has an answer to itself, as in
        Node.
        """
        taken: list[AnyPacket] = []
        size = 0
        with self.server.gate:
            outbox, self.outbox = self.outbox or deque(), None
            while outbox and (size + packet_size(outbox[0]) <= LONGEST_ANSWER or not taken):
                if len(taken) == most:
                    break
                if taken and outbox[0].packet_type == packet.CLOSE:
                    break  # clients close at once, before they have read what comes with it
                size += packet_size(outbox[0])
                taken.append(outbox.popleft())
            self.outbox = outbox or None
            self.outbox_bytes -= size
            self._put_down(taken)
        return taken

    def _drop_outbox(self) -> None:
        with self.server.gate:
            outbox, self.outbox, self.outbox_bytes = self.outbox, None, 0
            self._put_down(outbox or ())

    # -- as a `transport.ports.Queue`: the outbox, and the answer that is being sent ---------------

    def waits(self) -> int:
        """Bytes of memory that wait for the client."""
        left = self.answer.left if self.answer is not None else 0
        return self.outbox_bytes + left + ITEM * len(self.outbox or ())

    def taken(self) -> int | None:
        """Bytes that the client has taken in answers to polls."""
        return self.polled + (self.answer.taken() if self.answer is not None else 0)

    def give_up(self) -> None:
        """Closes the connection, since the client does not fetch what waits."""
        self.fail("slow-reader", "transport error")

    def answering(self, answer: Delivery) -> None:
        """This answer to a poll is being sent."""
        self.answer = answer
        if answer.size > COUNTED:
            self.server.backlog.join(self)

    def answered(self, answer: Delivery) -> None:
        """It has arrived, or it will not arrive any more."""
        with self.server.gate:
            self.polled += answer.size
            if self.answer is answer:
                self.answer = None
            self._put_down(())

    # -- a poll ------------------------------------------------------------------------------------

    def poll(
        self,
        line: Callable[[], Any] | None = None,
        *,
        sent_on: bool = False,
        most: int | None = None,
    ) -> list[AnyPacket]:
        """Blocks until there are packets for a polling client, at most ``most``. # greenlet

        ``line`` gives the TCP connection of the request, if it is known: when the client closes it
        while the poll waits, the session is closed. ``sent_on``: another host has sent the request
        on; if that one ends its half, it stops, and the poll is answered with NOOP.

        Raises python-engineio's `EngineIOError` for a second poll at the same time and closes the
        session; the first poll is answered with a CLOSE packet. But if another host has sent the
        first one on, that host may have ended, and a load balancer has sent it again to this one:
        the first is answered with NOOP, and the second takes its place.
        """
        if self.polling and self.sent_on:
            self._end_first_poll()
        if self.polling:
            self.close(reason="transport error")
            raise exceptions.EngineIOError
        if self.state in (State.POLLING, State.UPGRADING):
            packets = self.take(most) if self.outbox else self._noop()
            if packets:
                self.server.touches(self)
                return packets
        with self.server.gate:  # another thread may poll just now
            overlapping, self.polling = self.polling, True
        if overlapping:
            self.close(reason="transport error")
            raise exceptions.EngineIOError
        if sent_on:
            self.sent_on = True
        if self.state is not State.CLOSED:
            self.server.holds(self)
        try:
            ended = self._let_go if sent_on else self._hung_up
            packets = self._answer_of_poll(line, ended, most)
            if not packets:
                self.close(reason="transport error", abort=True)
                raise exceptions.QueueEmpty
            return packets
        finally:
            if self.let_go:
                del self.let_go
            if sent_on:
                del self.sent_on
            with self.server.gate:  # another thread may close the connection just now
                self.polling = False
                if self.state is State.WEBSOCKET:
                    self.alarm = None  # no poll will wait any more
                if self.state is State.CLOSED and not self.outbox:
                    self.server.forget(self)
                else:
                    self.server.rests(self)

    def _end_first_poll(self) -> None:
        """Has the poll that waits answered with NOOP. # greenlet"""
        until = time.monotonic() + GIVES_WAY_WITHIN
        while self.polling and time.monotonic() < until:
            self._let_go()
            self.server.sleep(0.001)

    def _answer_of_poll(
        self, line: Callable[[], Any] | None, ended: Callable[[], None], most: int | None
    ) -> list[AnyPacket]:
        until = time.monotonic() + self.server.patience
        watch: HangUp | None = None
        try:
            while True:
                state = self.state
                if state is State.WEBSOCKET:
                    return [Packet(packet.NOOP)]  # what waited was sent on the WebSocket
                left = until - time.monotonic()
                # The next poll reaches the other process, or comes by a way that has not ended.
                if self.moved or self.let_go:
                    return [Packet(packet.NOOP)]
                if self.outbox or state is State.CLOSED or left <= 0:
                    with self.server.gate:
                        # What is sent from now on waits for the next poll, also a last word.
                        self.polling = False
                        return self.take(most)
                if state is not State.UPGRADING:
                    if watch is None and line is not None and left > WATCH_AFTER:
                        self._wait(state, WATCH_AFTER)
                        if self.outbox or self.state is not state:
                            continue
                        found, line = line(), None
                        watch = None if found is None else HangUp(found, ended)
                    self._wait(state, left)
                elif noop := self._noop():
                    return noop
                else:
                    self._wait(state, self.noop_at - time.monotonic())
        finally:
            if watch is not None:
                watch.stop()

    def _noop(self) -> list[AnyPacket]:
        """The NOOP that ends a poll during an upgrade, if it is due."""
        if self.state is not State.UPGRADING or (now := time.monotonic()) < self.noop_at:
            return []
        self.noop_at = now + NOOP_EVERY
        return [Packet(packet.NOOP)]

    def _wait(self, state: State, seconds: float) -> None:
        """Blocks until a packet waits, the state changes or ``seconds`` are over. # greenlet

        Does not block if the socket is closed.
        """
        alarm = self.alarm = self.alarm or self.server.create_event()
        until = time.monotonic() + seconds
        while not self.outbox and not self.let_go and self.state is state is not State.CLOSED:
            left = until - time.monotonic()
            if left <= 0 or not alarm.wait(left):
                return
            # It may be set for packets that an earlier poll took: check again.
            alarm.clear()

    def _wake(self) -> None:
        alarm = self.alarm  # looked up once: its poll may end meanwhile, in another thread
        if alarm is not None:
            alarm.set()

    def _let_go(self) -> None:  # hub or greenlet
        self.let_go = True
        self._wake()

    def _hung_up(self) -> None:
        self.close(abort=True, reason="transport close")

    def _last_word(self, farewell: int | None) -> None:
        """Answers the open poll, or the next one, a last time. # hub or greenlet"""
        if farewell is not None:
            self.outbox = self.outbox or deque()
            pkt = Packet(farewell)
            self.outbox.append(pkt)
            if self.counted:
                self._count((pkt,))
        if self.outbox:
            # The client may not poll again: the session is then forgotten after the time-out. If it
            # does, the timer keeps nothing of it.
            forget = weakref.WeakMethod(self._forget)
            self.server.heartbeat.later(self.server.ping_timeout, _call, forget)
        self._wake()

    def _forget(self) -> None:
        self._drop_outbox()
        self.server.forget(self)

    # -- a POST ------------------------------------------------------------------------------------

    def post(self, environ: Environ) -> None:
        """Takes all packets of a request. # greenlet

        Blocks while the client is over its rate or its inbox is full. Raises `Refused` and closes
        the session for a request that cannot be read; then it takes none of its packets.
        """
        if self.closed and not self.outbox:
            raise bad(1)
        with self.server.gate:  # another thread may have the next request
            overlapping, self.posting = self.posting, True
        if overlapping:
            self.fail("overlap", "transport error")
            raise bad(3)
        try:
            with self._in_time(environ):
                body = read_body(environ, self.server.max_http_buffer_size)
            packets = packets_of(body, self.limits.max_packets_per_poll)
            del body
            if self.frozen and self._goes_along(packets):
                return
            for payload, binary in packets:
                self.server.take_turn(LAST)
                if not self.closed:
                    self.allowance -= 1
                    self.receive(payload, binary)
                elif payload == b"1":
                    self._forget()  # it leaves, too, and does not fetch the CLOSE that waits
                self._wait_while_full()
            # The client waits for the answer before it sends the next request: so it waits here
            # while it is over its rate, or while its messages wait for the app's handlers.
            if seconds := self.pause_due():
                self.server.sleep(seconds)
            self._wait_while_full()
        except OSError:  # the client closed TCP before the end of the body
            self.fail("incomplete", "transport error")
            raise bad(3) from None
        except (ProtocolError, ValueError) as error:
            if isinstance(error, ProtocolError) and error.reason == "too-long":
                # Later: the client has to hear why before its open poll is answered 400.
                self.server.heartbeat.later(TELL_WHY, self.fail, "too-long", "parse error")
                raise Refused("413 PAYLOAD TOO LARGE", 3, "Payload too large") from None
            self.fail("packet", "parse error")
            raise bad(3) from None
        finally:
            self.posting = False

    def _goes_along(self, packets: list[tuple[bytes, bool]]) -> bool:
        """Waits while the session is frozen; `True`: it has moved, and these packets with it."""
        self.parked = packets
        while self.frozen and not self.closed:
            self.server.sleep(FROZEN_LOOK)
        self.parked = None
        return self.moved

    def _wait_while_full(self) -> None:
        while self.full and not self.closed:
            self.server.sleep(FULL_DELAY)

    def _in_time(self, environ: Environ) -> AbstractContextManager[object]:
        """Ends reading after ``handshake_timeout``; a thread that reads cannot be ended."""
        if self.server.async_mode == "threading" or CONNECTION in environ:  # it was read already
            return nullcontext()
        read_in_turns(environ)
        return gevent.Timeout(self.server.limits.handshake_timeout, ProtocolError("slow"))
