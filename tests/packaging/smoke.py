"""Run by the Python of a clean environment: its `rtcio-sync` serves the page, and relays.

It needs the standard library alone. The last line that it prints has the seconds it took.
"""

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

DEADLINE = 60  # seconds; a bound for failures
EVENT = "#rtcio:message"


def fetch(url: str, data: bytes | None = None) -> str:
    with urllib.request.urlopen(url, data, timeout=DEADLINE) as answer:
        return answer.read().decode()


class Client:
    """A Socket.IO client on polling."""

    def __init__(self, server: str) -> None:
        self.url = f"{server}/socket.io/?EIO=4&transport=polling"
        self.url += f"&sid={json.loads(fetch(self.url)[1:])['sid']}"
        self.send("40")
        self.sid = json.loads(self.until("40")[2:])["sid"]

    def send(self, packet: str) -> None:
        assert fetch(self.url, packet.encode()) == "ok"

    def until(self, beginning: str) -> str:
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            for packet in fetch(self.url).split("\x1e"):
                if packet.startswith(beginning):
                    return packet
                if packet == "2":
                    self.send("3")
        raise AssertionError(f"no {beginning}")


def main() -> None:
    began = time.monotonic()
    script = Path(sys.executable).with_name("rtcio-sync")
    command = [str(script), "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            found = re.search(r"listening on (\S+)", process.stdout.readline())
            assert found is not None
            page = fetch(f"{found[1]}/")
            print(f"page after {time.monotonic() - began:.1f} s")
            links = re.findall(r'(?:src|href)="(rtcio/[^"]+)"', page)
            assert any(link.endswith(".js") for link in links), page
            for link in links:
                assert fetch(f"{found[1]}/{link}") or link == "rtcio/theme.css", link
            a, b = Client(found[1]), Client(found[1])
            sent = {"source": a.sid, "target": b.sid, "data": {"mid": "0"}}
            a.send(f"42{json.dumps([EVENT, sent])}")
            got = json.loads(b.until(f'42["{EVENT}"')[2:])
            assert got[:2] == [EVENT, sent]  # and the offset of the recovery
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE) == 0
        finally:
            process.kill()
    print(f"{time.monotonic() - began:.1f}")


if __name__ == "__main__":
    main()
