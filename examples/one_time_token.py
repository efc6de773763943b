"""A token for one connection: a view gives it to who is logged in, and it works once, within 30 s.

    python examples/one_time_token.py
    cd examples && SECRET_KEY=... gunicorn -k gevent -w 2 one_time_token:app

Log in with GET /login/ada, then POST /socket-token. In the browser: io(url, {auth: {token}}).
SECRET_KEY is the same in all workers; USED_TOKENS names a file that all of them share.
docs/authentication.md explains each part.
"""

from gevent import monkey

monkey.patch_all()

import os
import secrets
import sqlite3
import time
from contextlib import closing

import gevent
import try_it
from flask import Flask, abort, session
from itsdangerous import BadData, URLSafeTimedSerializer

from rtcio_sync import ConnectionRefusedError, RtcioEvents, Server

LIFETIME = 30  # seconds

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY") or secrets.token_hex()
# Any page may connect: the token authenticates, and no handler looks at a cookie.
server = Server(app=app, cors_allowed_origins="*", cors_credentials=False)
tokens = URLSafeTimedSerializer(app.secret_key, salt="socket")


def database():
    return closing(sqlite3.connect(os.environ.get("USED_TOKENS", "tokens.sqlite3"), timeout=30))


def is_first_use(number):
    """Whether nobody has used the token before, in any worker: the table takes a number once."""
    with database() as connection, connection:
        now = time.time()
        connection.execute("delete from used where at < ?", (now - 2 * LIFETIME,))
        done = connection.execute("insert or ignore into used values (?, ?)", (number, now))
        return done.rowcount == 1


@app.get("/login/<user>")
def login(user):  # replace it with the login of your app
    session["user"] = user
    return f"hello {user}"


@app.post("/socket-token")
def socket_token():
    if "user" not in session:
        abort(401)
    return {"token": tokens.dumps({"user": session["user"], "number": secrets.token_urlsafe()})}


@server.use
def authenticate(socket):
    auth = socket.handshake.auth  # of any type: the client has sent it
    token = auth.get("token") if isinstance(auth, dict) else None
    try:
        known = tokens.loads(token if isinstance(token, str) else "", max_age=LIFETIME)
    except (BadData, UnicodeError):  # forged, or too old
        known = None
    # The query runs in a thread, so that other clients are served meanwhile.
    if not known or not gevent.get_hub().threadpool.apply(is_first_use, (known["number"],)):
        raise ConnectionRefusedError("invalid token", {"code": "token"})
    socket.data["user"] = known["user"]


@server.on("connection")
def on_connection(socket):
    @socket.on("join-room")
    def join_room(data):
        socket.join(data["roomId"])
        card = {"id": socket.id, "name": socket.data["user"]}
        socket.to(data["roomId"]).emit("user-connected", card)
        socket.to(data["roomId"]).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})


with database() as connection:
    connection.execute("create table if not exists used (number text primary key, at real)")

if __name__ == "__main__":
    app.get("/")(try_it.page("GET /login/ada\nPOST /socket-token"))  # to try it in a browser
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
