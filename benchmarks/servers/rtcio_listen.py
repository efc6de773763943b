"""rtcio_sync under its own ``listen()``: ``rtcio_listen.py PORT``."""

import sys

from benchmarks.servers.rtcio_app import application, beside, server

if __name__ == "__main__":
    server.listen(int(sys.argv[1]), "127.0.0.1", app=application if beside else None)
