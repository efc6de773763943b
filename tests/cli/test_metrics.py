"""`/metrics` of the public server: right counts after a call, and a hub that stood still shows."""

from __future__ import annotations

import re
import time

import gevent

from rtcio_sync.cli.public import public_app
from tests.clients import Polling
from tests.timing import until


def test_metrics_count_a_call_between_two_clients_and_a_blocked_hub() -> None:
    app, server, _ = public_app(connection_state_recovery=False)

    def metric(name: str) -> float:
        answer = app.test_client().get("/metrics")
        assert answer.status_code == 200
        found = re.search(rf"^{name} (\S+)$", answer.text, re.MULTILINE)
        assert found, name
        return float(found[1])

    a, b = Polling(server, app=app).join(), Polling(server, app=app).join()
    for number in range(3):
        a.relay(b.sid, {"candidate": number})
    assert b.heard("#rtcio:message")[-1]["data"] == {"candidate": 2}
    assert metric("rtcio_sockets") == 2
    assert metric("rtcio_connects_total") == 2
    assert metric("rtcio_relayed_messages_total") == 3
    assert metric("rtcio_relayed_bytes_total") > 3 * len(a.sid + b.sid)

    gevent.sleep(0.01)  # the clock waits by now
    time.sleep(1.5)  # gevent's is not patched in here: this stops the hub
    until(lambda: metric("rtcio_hub_lag_seconds") > 0.5)
