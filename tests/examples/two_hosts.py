"""compose-hosts.yaml as processes: two hosts of two workers, nginx in turn, Redis."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from tests.examples.launch import EXAMPLES, program
from tests.integration.many_workers import PATH
from tests.integration.redis_server import RedisServer
from tests.integration.servers import BIN, Running, free_port

SERVICES: dict[str, Any] = yaml.safe_load((EXAMPLES / "compose-hosts.yaml").read_text())["services"]
PASSWORD, SECRET = "p" * 32, "s" * 32


def filled(text: str, redis: str = "") -> str:
    """As Compose fills it in, but for the addresses of this machine."""
    text = re.sub(r"\$\{REDIS_PASSWORD[^}]*\}", PASSWORD, text)
    text = re.sub(r"\$\{CLUSTER_SECRET[^}]*\}", SECRET, text)
    return text.replace("redis:6379", redis)


class Hosts:
    """They end with ``stack``. ``folder``: nginx's files."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        command = [filled(each) for each in SERVICES["redis"]["command"]]
        assert command[:3] == ["redis-server", "--requirepass", PASSWORD]
        redis = RedisServer(*command[1:], password=PASSWORD)
        stack.callback(redis.kill)
        self.redis = redis.url
        ports = {name: free_port() for name in ("one", "two", "nginx")}
        self.hosts: list[Running] = []
        for name in ("one", "two"):
            given = SERVICES[name]
            environ = {
                key: filled(value, f"127.0.0.1:{redis.port}")
                for key, value in given["environment"].items()
            }
            assert environ.pop("CLUSTER_ADDRESS") == f"{name}:8000"
            environ |= {"CLUSTER_ADDRESS": f"127.0.0.1:{ports[name]}", "PORT": str(ports[name])}
            program_, *rest = given["command"]
            command = [str(BIN / program_), *rest]
            run = program(command, environ=environ, cwd=EXAMPLES, port=ports[name])
            self.hosts.append(stack.enter_context(run))
        config = (EXAMPLES / "nginx-hosts.conf").read_text()
        for name in ("one", "two"):
            config = config.replace(f"server {name}:8000", f"server 127.0.0.1:{ports[name]}")
        config = config.replace("listen 8000", f"listen 127.0.0.1:{ports['nginx']}")
        config = config.replace("http {", f"http {{ client_body_temp_path {folder}/body;", 1)
        (folder / "nginx.conf").write_text(f"daemon off; pid {folder}/pid;\n{config}")
        nginx = shutil.which("nginx", path=PATH) or "nginx"
        process = subprocess.Popen([nginx, "-c", str(folder / "nginx.conf"), "-p", str(folder)])
        stack.callback(process.wait)
        stack.callback(process.terminate)
        self.url = f"http://127.0.0.1:{ports['nginx']}"
        self.nginx = Running(process, ports["nginx"], folder / "nginx.conf")
        for host in self.hosts:
            host.eventually("/health", lambda figures: figures["nodes"] == 4)
        first = min(self.nodes(), key=lambda each: each["born"])["host"]
        self._hosts = {
            each["node"]: self.hosts[0 if each["host"] == first else 1] for each in self.nodes()
        }

    def status(self, *options: str) -> subprocess.CompletedProcess[str]:
        """What ``rtcio-sync cluster status`` prints."""
        command = [sys.executable, "-m", "rtcio_sync", "cluster", "status", self.redis, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def nodes(self) -> list[dict[str, Any]]:
        """The workers, as Redis knows them."""
        found: list[dict[str, Any]] = json.loads(self.status("--json").stdout)["nodes"]
        return found

    def of(self, sid: str) -> Running:
        """The host that has a client."""
        return self._hosts[sid[:4]]
