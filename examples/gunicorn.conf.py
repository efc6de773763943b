"""gunicorn for a signaling server, each setting with its reason: `gunicorn -c gunicorn.conf.py …`

    cd examples && gunicorn -c gunicorn.conf.py turn_credentials:app

The environment may set HOST and PORT.
"""

from gevent import monkey

monkey.patch_all()  # before the master imports what uses sockets, threads and TLS

import gc
import os

# The workers are forks of the master: they share the memory of what it has imported. After an
# upgrade of this package, or of one that it needs, use SIGUSR2 or start gunicorn again.
import rtcio_sync.server  # noqa: F401

# This machine only: put nginx or another proxy with TLS in front of it.
bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"

# Patches the blocking standard library before it imports the app, and serves WebSockets without
# another package. (geventwebsocket.gunicorn.workers.GeventWebSocketWorker works too.)
worker_class = "gevent"

# All workers are one server: one for each core, if one core is not enough for all clients.
workers = int(os.environ.get("WEB_CONCURRENCY", "1"))

# Requests at once. A client on polling always has one; a WebSocket counts only until its handshake
# is done. The bound on clients is the limit of open files (`ulimit -n`).
worker_connections = 10_000

# Seconds in which a worker stops. On SIGHUP, the old worker waits for most of them until the new
# one has loaded the app, and hands its clients to it. When all stop, the server ends every client's
# connection at once, which ends its requests.
graceful_timeout = 30

# gunicorn kills a worker whose event loop does not run for so many seconds (an endless loop, or C
# code that blocks). It bounds neither a connection nor a handler that waits for a database.
timeout = 30

# Longer than the proxy keeps its connections to us (nginx.conf: 60), so that the proxy never sends
# a request on a connection that gunicorn just closed. It also bounds how long a client may take
# over the headers of a request: without a proxy, use 5 here.
keepalive = 75

# Bytes of a request line, number of header fields, bytes of each. Over them gunicorn refuses the
# request.
limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190

# A worker is replaced after so many requests, and its clients go to the other workers; with one
# worker they would be disconnected: 0 turns it off.
max_requests = 0

# Without preloading, SIGHUP loads the app's new code.
preload_app = False

# A polling client's URL holds its session id, which gives access to it: %(U)s has no query.
accesslog = None
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(M)sms'


def when_ready(server):
    """Has the workers' garbage collector leave alone what they share: it would write to it."""
    gc.collect()
    gc.freeze()


def post_worker_init(worker):
    """Has the garbage collector leave alone what exists when the app is loaded.

    A full collection looks at every object of the process, and all clients wait meanwhile: 30 ms
    for a small app, more for a large one. Now it looks only at what has come since.
    """
    gc.collect()
    gc.freeze()
