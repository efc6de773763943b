"""While Redis does not answer: nothing blocks, nothing is counted that did not happen."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

from tests.integration.raw import RawWebSocket
from tests.integration.redis_server import hung, redis_server
from tests.integration.servers import Running, running

MB = 1_000_000
NOBODY = "A" * 20


def peak(server: Running) -> int:
    pid = server.get_json("/census")["pid"]
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


def test_what_waits_for_a_redis_that_hangs_is_bounded_and_not_counted_as_relayed() -> None:
    with redis_server() as url:
        environ = {"RTCIO_TEST_REDIS": url}
        limits = {"events_per_second": None}
        with (
            # Its own listener, which hears all of it at the end, is too slow for Redis by then.
            running("listen", "large", environ=environ, limits=limits, clean_log=False) as server,
            RawWebSocket(server) as peer,
        ):
            peer.join()
            before, mark = peak(server), server.log_mark()
            with hung(url):
                for number in range(300):
                    peer.send(peer.envelope(NOBODY, f"{number}" + "x" * 900_000))
                peer.send(peer.event(json.dumps(["echo", 1]), 7))
                assert peer.receive() == "437[1]"
                stats = server.get_json("/stats")
                assert stats["relayed"] == 0
                dropped = stats["dropped"]["publish-overflow"]
                assert 225 < dropped < 300
                assert peak(server) - before < 120 * MB, "64 MB wait"
                assert len(server.log(mark)) < 10_000
            # What was being published when Redis hung may have been given up after a time-out.
            server.eventually(
                "/stats",
                lambda stats: (
                    stats["relayed"] > 0
                    and stats["relayed"] + stats["dropped"].get("unpublished", 0) == 300 - dropped
                ),
            )


def test_a_redis_that_is_gone_fills_no_log() -> None:
    with redis_server() as url:
        environ = {"RTCIO_TEST_REDIS": url}
        with (
            running("listen", "large", environ=environ, clean_log=False) as server,
            RawWebSocket(server) as peer,
        ):
            peer.join()
            port = url.split(":")[2].split("/")[0]
            subprocess.run(["redis-cli", "-p", port, "shutdown", "nosave"], check=False)
            mark = server.log_mark()
            for number in range(200):
                peer.send(peer.envelope(NOBODY, number))
            peer.send(peer.event(json.dumps(["echo", 1]), 7))
            assert peer.receive() == "437[1]"
            server.eventually("/stats", lambda stats: stats["dropped"].get("unpublished"))
            end = time.monotonic() + 3
            while time.monotonic() < end:
                assert server.get_json("/stats")["relayed"] == 0
                time.sleep(0.2)
            assert len(server.log(mark)) < 10_000
