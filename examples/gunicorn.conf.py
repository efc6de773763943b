"""gunicorn for a signaling server, each setting with its reason: `gunicorn -c gunicorn.conf.py …`

    cd examples && gunicorn -c gunicorn.conf.py turn_credentials:app

HOST and PORT may be set in the environment.
"""

import os

# This machine alone: nginx or another proxy with TLS is the one to face the internet.
bind = f"{os.environ.get('HOST', '127.0.0.1')}:{os.environ.get('PORT', '8000')}"

# Replaces the blocking standard library before the app is imported, and serves WebSockets without
# another package. (geventwebsocket.gunicorn.workers.GeventWebSocketWorker works as well.)
worker_class = "gevent"

# Clients of one process cannot reach those of another. More workers need both of
# Server(client_manager=socketio.RedisManager(url)) and a proxy that keeps each client with one
# worker, which gunicorn itself cannot do: start it once for each port, with one worker, instead.
workers = 1

# Requests under way at once. A client on polling is always one of them; a WebSocket counts only
# until its handshake is done. The bound on clients is the limit of open files (`ulimit -n`).
worker_connections = 10_000

# Seconds for requests to end when the worker is to stop. The server's own drain_seconds (1) come
# first; in them every client is told to come back, which ends its requests.
graceful_timeout = 5

# Seconds after which a worker whose event loop stands still is killed: an endless loop, or code in
# C that blocks. It bounds neither a connection nor a handler that waits for a database.
timeout = 30

# Longer than the proxy keeps its connections to us (nginx.conf: 60), so that it is never the one
# that finds a connection closed under a request of its own. A client that takes longer over the
# headers of a request is cut off, too: without a proxy, say 5 here.
keepalive = 75

# Bytes of a request line, number of header fields, bytes of each: over them the request is refused.
limit_request_line = 4094
limit_request_fields = 100
limit_request_field_size = 8190

# A worker that is replaced after so many requests drops all its clients for a moment.
max_requests = 0

# With one worker there is no memory to share, and without it SIGHUP loads new code.
preload_app = False

# A polling client's URL holds its session id, which is as good as its password: %(U)s has no query.
accesslog = None
access_log_format = '%(h)s "%(m)s %(U)s" %(s)s %(b)s %(M)sms'
