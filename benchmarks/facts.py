"""When, how and on what was measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from benchmarks.contestants import NODE_PACKAGES, PEERS, REQUIREMENTS

PACKAGES = (
    *("rtcio-sync", "python-socketio", "python-engineio", "gevent", "gevent-websocket"),
    *("gunicorn", "simple-websocket"),
)

ADAPTERS = ("@socket.io/redis-adapter", "@socket.io/redis-streams-adapter")
NODE_VERSIONS = ("socket.io", "socket.io-client", "bun", "@socket.io/bun-engine", *ADAPTERS)


def about(module: str = "benchmarks") -> dict[str, object]:
    """The date, the options and the machine of the measurement."""
    return {
        "Date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "Command": " ".join([f"python -m {module}", *sys.argv[1:]]),
        "Machine": f"{_processor()}, {os.cpu_count()} cores, Linux {platform.release()}",
        "Versions": ", ".join(_versions()),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _versions() -> list[str]:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    if NODE_PACKAGES.is_dir():
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
        found.append(f"Node {node.stdout.strip()}")
    for package in NODE_VERSIONS:
        manifest = NODE_PACKAGES / package / "package.json"
        if manifest.exists():
            found.append(f"{package} {json.loads(manifest.read_text())['version']}")
    if PEERS.exists():
        lines = REQUIREMENTS.read_text().splitlines()
        asgi = (line.replace("==", " ") for line in lines if not line.startswith("#"))
        found.append(f"the ASGI servers with {', '.join(asgi)}")
    return found
