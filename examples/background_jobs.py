"""Work that outlasts a handler: in a greenlet, in a thread, and in a process of its own.

    python examples/background_jobs.py           # the server
    python examples/background_jobs.py worker    # as many of these as you like

REDIS_URL is the address of Redis, which has the queue. docs/background-jobs.md explains each part.
"""

from gevent import monkey

monkey.patch_all()

import atexit
import hashlib
import json
import os
import secrets
import signal
import sys
import threading
import time

import gevent
import redis
import try_it
from flask import Flask
from gevent.pool import Group

from rtcio_sync import Emitter, Server

REDIS_URL = os.environ.get("REDIS_URL", "redis://localhost:6379/0")
QUEUE = "example:jobs"

app = Flask(__name__)
server = Server(app=app, cors_allowed_origins="*", cluster=REDIS_URL)
queue = redis.Redis.from_url(REDIS_URL)
stopping = threading.Event()
running = Group()  # the greenlets of this process that work on jobs


def convert(job, sender):
    """Works on a job page by page, until it is done or this process stops."""
    to = sender.to(f"job:{job['id']}")
    for page in range(job["next"], job["pages"] + 1):
        if stopping.is_set():
            queue.rpush(QUEUE, json.dumps({**job, "next": page}))  # a worker does the rest
            return
        time.sleep(0.05)  # fetch a page, convert it, store it
        to.emit("progress", {"page": page, "of": job["pages"]})
    to.emit("done", {"id": job["id"]})


def digest(sid, text):
    """Computes. It runs in a real thread, and may call the server from there."""
    server.emit("hashing", {"characters": len(text)}, to=sid)
    return hashlib.scrypt(text.encode(), salt=b"example", n=2**14, r=8, p=1).hex()


@server.on("connection")
def on_connection(socket):
    @socket.on("convert")
    def start(data):
        job = {"id": secrets.token_urlsafe(), "pages": min(int(data["pages"]), 1000), "next": 1}
        socket.join(f"job:{job['id']}")
        if data.get("later"):
            queue.rpush(QUEUE, json.dumps(job))  # a worker takes it
        else:
            running.add(server.start_background_task(convert, job, server))
        return job["id"]  # the handler ends, and the client's next event is handled

    @socket.on("watch")
    def watch(job_id):  # after a reload of the page, or a restart of the server
        socket.join(f"job:{job_id}")
        return True

    @socket.on("hash")
    def hash_text(text):
        return gevent.get_hub().threadpool.apply(digest, (socket.id, str(text)[:1000]))


@atexit.register
def finish():
    """Has the jobs of this process put the rest into the queue, and waits until they have."""
    stopping.set()
    running.join(timeout=5)


gunicorns = signal.getsignal(signal.SIGTERM)  # its worker's, if gunicorn has imported this module


def stop(number, frame):
    """The same at once: a worker ends only when its last idle HTTP connection has gone."""
    stopping.set()
    gunicorns(number, frame)


if callable(gunicorns):
    signal.signal(signal.SIGTERM, stop)


def work():
    """A process that only works: no server, no clients."""
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    emitter = Emitter(REDIS_URL)
    print("waiting for jobs", flush=True)
    while not stopping.is_set():
        taken = queue.blpop([QUEUE], timeout=1)
        if taken:
            convert(json.loads(taken[1]), emitter)


if __name__ == "__main__":
    if sys.argv[1:] == ["worker"]:
        work()
    else:
        app.get("/")(try_it.page(event="convert", data={"pages": 20}))  # to try it in a browser
        server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
