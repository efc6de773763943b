"""How a server becomes one with those of other workers and of other hosts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from socketio import PubSubManager

from .adapter.emit import RoomIndex
from .adapter.session_store import Recovery
from .cluster.exchange import Exchange
from .cluster.node import Node
from .cluster.redis_options import VARIABLE, Hosts, cluster_of
from .cluster.shared_rooms import SharedRooms
from .cluster.totals import Totals
from .config.option_values import is_redis
from .errors import OptionError
from .options import CLUSTER_ONLY
from .server_parts import ServerParts
from .serving.gunicorn import on_worker
from .serving.startup_warnings import warn_of_many_workers, warn_of_no_hosts
from .serving.stop import Stop
from .serving.workers import Workers, key_of
from .serving.wrong_host import Addresses, Misrouted
from .socketio.dynamic_namespaces import Parents
from .socketio.emit_with_ack import Gatherer
from .socketio.recovery import Reconnect
from .socketio.remote_requests import ServerSide, describe, do_here
from .socketio.session_routing import Moving
from .socketio.session_transfer import ACKNOWLEDGED
from .transport import thread_servers

__all__ = ["ClusteredServer"]


class ClusteredServer(ServerParts):
    """The part of `server.Server` that knows other servers, if there can be any."""

    #: Called with the first request to the app: it may emit before there is a client.
    on_app_request: Callable[[dict[str, Any]], None] | None = None
    #: The messages of other workers; `None`: there can be none.
    exchange: Exchange | None = None
    _node: Node | None = None
    _workers: Workers | None = None
    _totals: Totals | None = None
    _stop: Stop

    def _figures(self) -> dict[str, Any]:
        raise NotImplementedError

    def _join_workers(self) -> None:
        """Makes this server one with the other workers of its host, unless it is to be alone."""
        chosen, eio, manager = self.options, self.eio, self.manager
        if isinstance(manager, PubSubManager):
            return
        cluster = cluster_of(chosen.cluster)
        if type(manager) is not RoomIndex or cluster is False:
            warn_of_many_workers()
            return
        exchange = self.exchange = Exchange(
            manager,
            tasks=eio,
            later=eio.heartbeat.later,
            relays=self.relay,
            counters=self.counters,
            guard=self.dispatcher.guarded,
            disconnect=partial(self.disconnect, ignore_queue=True),
            do_here=partial(do_here, self),
        )
        exchange.answers["sockets"] = partial(describe, self)
        exchange.answers[ServerSide.WHAT] = self.server_side.answer
        exchange.inline[Gatherer.WHAT] = self.gatherer.asked
        exchange.inline[Parents.WHAT] = self.parents.told
        self.parents.deliver = exchange.events.emit
        self.gatherer.pieces, self.gatherer.reply = exchange.events.pieces, exchange.reply
        node = self._node = Node(
            manager, exchange, eio, self.relay, key=key_of(self.path), send_on=self._send_all_on
        )
        self._use_cluster(cluster)
        self._stop.is_followed = lambda: node.heir is not None
        misrouted = self._find_misrouted(node, exchange)
        self._stop.on_drain += [misrouted.stop, partial(node.leave, chosen.drain_seconds)]
        self._stop.on_drained += [node.left, misrouted.ended]
        self._workers = self._move_sessions(node, exchange)
        self._totals = Totals(exchange, self._figures, lambda: node.neighbours)
        on_worker(self._check_hosts)
        self._workers.await_worker()

    def _move_sessions(self, node: Node, exchange: Exchange) -> Workers:
        """Has sessions go on in other workers: of clients that come back there, and at its end."""
        exchange.inline[ACKNOWLEDGED] = self.departing.acknowledged
        self.departing.tell = self._tell_owner
        moving = Moving(self, node.owner_of_session, exchange=exchange, sessions=self.departing)
        workers = Workers(
            node,
            self.eio.hub_thread,
            moving.go_on,
            exchange.arrivals.descriptor,
            self.options.drain_seconds,
        )
        moving.give = workers.giver.give_open
        self.departing.awaited = exchange.events.callback_of
        exchange.succession.enable(self.departing)
        exchange.leaving.give = workers.giver.give_session
        exchange.leaving.on_heir.append(workers.leaves)
        eio, recovery, reconnect = self.eio, self.manager.recovery, self.reconnect
        exchange.leaving.on_far_heir.append(lambda _: setattr(eio, "stopping", True))
        if isinstance(recovery, Recovery) and isinstance(reconnect, Reconnect):
            reconnect.elsewhere = moving.move
            reconnect.fetch = node.fetch
            node.strays = moving.strays
            exchange.on_begin.append(lambda _: setattr(recovery, "new_pid", node.new_pid))
        exchange.on_died.append(workers.died)
        exchange.on_given_up = self._stop.give_up
        return workers

    def _find_misrouted(self, node: Node, exchange: Exchange) -> Misrouted:
        """Has requests for sessions of other hosts sent on."""
        eio = self.eio
        own = self.options.cluster_address
        addresses = Addresses(own, exchange.tell, lambda: node.hosts is not None)
        exchange.on_begin.append(addresses.begin)
        exchange.on_joined.append(addresses.joined)
        exchange.inline[Addresses.WHAT] = addresses.heard
        exchange.on_died.append(addresses.died)
        most = eio.max_http_buffer_size
        here = eio.sockets.__contains__
        misrouted = Misrouted(node, here, addresses, eio, patience=eio.patience, most=most)
        eio.on_unknown = misrouted.answer
        leaving = exchange.leaving
        leaving.is_addressed = lambda heir: addresses.of(heir) is not None
        for told in (leaving.on_heir, leaving.on_far_heir):
            told.append(lambda _: misrouted.stop())
        return misrouted

    def _use_cluster(self, cluster: Any) -> None:
        """Makes it one with the servers of a Redis, if ``cluster`` names one; `False`: alone."""
        chosen = self.options
        if self._node is not None and cluster is False:
            self._node.apart = True
            warn_of_many_workers()
        if self._node is not None and is_redis(cluster):
            self._node.hosts = Hosts(
                cluster,
                chosen.cluster_prefix,
                chosen.cluster_required,
                chosen.cluster_secret,
                chosen.cluster_external,
            )
            self.on_app_request = self._first_app_request

    def _check_hosts(self, _worker: Any = None) -> None:
        """Looks for options of a cluster that nothing has named, before the process serves.

        Until then an app's config may name one. Raises `OptionError` if a cluster is required.
        """
        node, chosen = self._node, self.options
        if node is None or node.hosts is not None or node.apart:
            return
        given = sorted(CLUSTER_ONLY & chosen.given)
        if chosen.cluster_required:
            raise OptionError(
                "cluster_required=True, but nothing names the cluster: give cluster='redis://…', "
                f"or set {VARIABLE}, which may also be off"
            )
        if given:
            warn_of_no_hosts(given[0], VARIABLE)

    def _first_app_request(self, environ: dict[str, Any]) -> None:  # greenlet
        self.on_app_request = None
        if self._workers is not None and thread_servers.find(environ) is None:
            self._workers.begin_alone(self.eio.async_mode)

    def _send_all_on(self) -> None:
        """Ends all sessions so that their clients come back. # hub or greenlet"""
        self.eio.send_all_on()
        self.manager.recovery.end_waiting()

    def _tell_owner(self, sid: str, what: str, about: bytes) -> None:  # hub or greenlet
        """Tells something to the worker that has a socket by now."""
        node = self.manager.node_of(sid) if isinstance(self.manager, SharedRooms) else None
        if node is not None and self.exchange is not None:
            self.exchange.tell(node, what, about)
