"""The counters as Prometheus metrics; needs the extra ``prometheus``.

Nothing is counted here: a scrape reads what `Server.stats` gives, so that the code which relays
messages needs no labels and no locks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeAlias

__all__ = ["metrics_app"]

#: Gives what `Server.stats` gives.
Stats: TypeAlias = Callable[[], dict[str, Any]]

_GAUGES = {
    "connected": ("sockets", "Sockets that are in a namespace."),
    "away": ("sockets_away", "Sockets that lost their connection and may come back."),
    "connections": ("connections", "Open Engine.IO connections."),
    "rooms": ("rooms", "Rooms with members, without the sockets' own rooms."),
    "send_buffer_bytes": (
        "send_buffer_bytes",
        "Bytes of the data that waits for clients.",
    ),
    "recovery_bytes": (
        "recovery_bytes",
        "Bytes of the events kept for clients that may return.",
    ),
    "hub_lag_seconds": (
        "hub_lag_seconds",
        "The longest recent delay of the event loop, in seconds.",
    ),
    "workers": ("workers", "Workers of this host that are one server."),
    "nodes": ("cluster_nodes", "Workers of all hosts that are one server."),
    "degraded": ("cluster_degraded", "1 while the cluster's Redis is away or refuses, else 0."),
    "cluster_oldest_seconds": (
        "cluster_oldest_seconds",
        "Seconds that the oldest message for another host has waited for its acknowledgement.",
    ),
    "cluster_round_trip_seconds": (
        "cluster_round_trip_seconds",
        "Seconds from a request to Redis to its answer.",
    ),
    "greenlets": ("greenlets", "Greenlets that handle messages of clients."),
}
_COUNTERS = {
    "connects": ("connects", "Sockets that joined a namespace."),
    "arrivals": ("arrivals", "Sockets that came from another worker with their connection."),
    "recoveries": ("recoveries", "Sockets that came back to their session."),
    "relayed": ("relayed_messages", "Envelopes relayed."),
    "relayed_bytes": ("relayed_bytes", "Bytes of the envelopes relayed."),
    "handlers": ("handler_events", "Events with handlers of the app."),
    "handler_seconds": ("handler_seconds", "Seconds that the app's handlers took."),
    "handler_errors": ("handler_errors", "Exceptions that the app's handlers raised."),
}
_COUNTERS |= {
    f"cluster_{key}": (f"cluster_{name}", help_)
    for key, name, help_ in (
        ("messages_in", "messages_in", "Messages from other hosts."),
        ("messages_out", "messages_out", "Messages to other hosts."),
        ("bytes_in", "bytes_in", "Bytes of the messages from other hosts."),
        ("bytes_out", "bytes_out", "Bytes of the messages to other hosts."),
        (
            "resent",
            "resent_messages",
            "Messages sent again after the connection to Redis was lost.",
        ),
        (
            "unprotected",
            "unprotected_messages",
            "Messages without a copy in this process, because its memory for copies was full.",
        ),
    )
}
_LABELLED = {
    "disconnects_by_reason": ("disconnects", "Sockets that left a namespace, by reason."),
    "dropped": ("dropped_messages", "Messages dropped, by reason."),
    "cluster_dropped": ("cluster_dropped_messages", "Messages to other hosts lost, by reason."),
    "closed": ("closed_connections", "Connections closed or refused by the server, by reason."),
}


class _Collector:
    def __init__(self, stats: Stats) -> None:
        self.stats = stats

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        stats = self.stats()
        for key, (name, help_) in _GAUGES.items():
            yield GaugeMetricFamily(f"rtcio_{name}", help_, value=stats[key])
        for key, (name, help_) in _COUNTERS.items():
            yield CounterMetricFamily(f"rtcio_{name}", help_, value=stats[key])
        for key, (name, help_) in _LABELLED.items():
            family = CounterMetricFamily(f"rtcio_{name}", help_, labels=["reason"])
            for reason, count in sorted(stats[key].items()):
                family.add_metric([reason], count)
            yield family


def metrics_app(stats: Stats) -> Callable[..., Iterable[bytes]]:
    """A WSGI application that answers with the metrics of a server and of its process.

    Raises `RuntimeError` where ``prometheus_client`` is not installed.
    """
    try:
        from prometheus_client import CollectorRegistry, make_wsgi_app
        from prometheus_client.platform_collector import PlatformCollector
        from prometheus_client.process_collector import ProcessCollector
    except ImportError as error:
        raise RuntimeError(
            "metrics need prometheus_client: pip install 'rtcio-sync[prometheus]'"
        ) from error
    registry = CollectorRegistry()
    registry.register(_Collector(stats))
    PlatformCollector(registry=registry)
    ProcessCollector(registry=registry)
    return make_wsgi_app(registry)
