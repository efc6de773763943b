"""The metrics: each count of `Server.stats` under its name, its kind and its labels."""

from __future__ import annotations

from typing import Any

from prometheus_client import parser

from rtcio_sync.prometheus import metrics_app
from tests.wsgi import environ_of, request

STATS: dict[str, Any] = {
    "connected": 1,
    "away": 2,
    "connections": 3,
    "rooms": 4,
    "send_buffer_bytes": 5,
    "recovery_bytes": 6,
    "hub_lag_seconds": 0.7,
    "workers": 9,
    "nodes": 19,
    "degraded": True,
    "cluster_messages_in": 20,
    "cluster_messages_out": 21,
    "cluster_bytes_in": 22,
    "cluster_bytes_out": 23,
    "cluster_resent": 24,
    "cluster_unprotected": 25,
    "cluster_dropped": {"inbox-full": 26},
    "cluster_oldest_seconds": 2.7,
    "cluster_round_trip_seconds": 0.028,
    "greenlets": 8,
    "connects": 9,
    "recoveries": 10,
    "arrivals": 20,
    "relayed": 11,
    "relayed_bytes": 12,
    "handlers": 13,
    "handler_seconds": 1.4,
    "handler_errors": 15,
    "disconnects_by_reason": {"transport close": 16},
    "dropped": {"scope": 17, "target": 18},
    "closed": {},
}


def scraped(stats: dict[str, Any]) -> dict[str, Any]:
    """The samples of our own metrics: by name, or by name and reason."""
    status, _headers, body = request(metrics_app(lambda: stats), environ_of("GET", {}))
    assert status == 200
    return {
        sample.name + "".join(f" {each}" for each in sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(body.decode())
        for sample in family.samples
        if sample.name.startswith("rtcio_")
    }


def test_every_count_is_there_once() -> None:
    assert scraped(STATS) == {
        "rtcio_sockets": 1,
        "rtcio_sockets_away": 2,
        "rtcio_connections": 3,
        "rtcio_rooms": 4,
        "rtcio_send_buffer_bytes": 5,
        "rtcio_recovery_bytes": 6,
        "rtcio_hub_lag_seconds": 0.7,
        "rtcio_workers": 9,
        "rtcio_cluster_nodes": 19,
        "rtcio_cluster_degraded": 1,
        "rtcio_cluster_messages_in_total": 20,
        "rtcio_cluster_messages_out_total": 21,
        "rtcio_cluster_bytes_in_total": 22,
        "rtcio_cluster_bytes_out_total": 23,
        "rtcio_cluster_resent_messages_total": 24,
        "rtcio_cluster_unprotected_messages_total": 25,
        "rtcio_cluster_dropped_messages_total inbox-full": 26,
        "rtcio_cluster_oldest_seconds": 2.7,
        "rtcio_cluster_round_trip_seconds": 0.028,
        "rtcio_greenlets": 8,
        "rtcio_connects_total": 9,
        "rtcio_recoveries_total": 10,
        "rtcio_arrivals_total": 20,
        "rtcio_relayed_messages_total": 11,
        "rtcio_relayed_bytes_total": 12,
        "rtcio_handler_events_total": 13,
        "rtcio_handler_seconds_total": 1.4,
        "rtcio_handler_errors_total": 15,
        "rtcio_disconnects_total transport close": 16,
        "rtcio_dropped_messages_total scope": 17,
        "rtcio_dropped_messages_total target": 18,
    }


def test_the_counts_are_read_at_each_scrape() -> None:
    stats = dict(STATS)
    assert scraped(stats)["rtcio_sockets"] == 1
    stats["connected"] = 2
    assert scraped(stats)["rtcio_sockets"] == 2
