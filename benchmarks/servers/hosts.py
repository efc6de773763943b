"""Several hosts that have only a Redis in common: ``hosts.py PORT,PORT,… COMMAND …``.

Each is a process, ``COMMAND … PORT``, that finds the URL in the environment variable RTCIO_CLUSTER.
"""

import os
import subprocess
import sys

from benchmarks.servers.over_redis import redis_server


def main(ports: list[str], command: list[str]) -> int:
    with redis_server() as url:
        environ = {**os.environ, "RTCIO_CLUSTER": url}
        hosts = [subprocess.Popen([*command, port], env=environ) for port in ports]
        return max(host.wait() for host in hosts)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1].split(","), sys.argv[2:]))
