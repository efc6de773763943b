"""A cookie session: handlers know who has logged in to the Flask app; a logout ends the sockets.

    python examples/session_auth.py

Log in with POST /login, name=ada, password=lovelace. docs/authentication.md explains each part.
"""

from gevent import monkey

monkey.patch_all()

import os

import gevent
import try_it
from flask import Flask, abort, request, session
from werkzeug.security import check_password_hash, generate_password_hash

from rtcio_sync import ConnectionRefusedError, RtcioEvents, Server

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY") or os.urandom(16)
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"  # not with the forms and scripts of other sites
# No cors_allowed_origins: only pages of this app may connect. They send the cookie.
server = Server(app=app)

USERS = {"ada": generate_password_hash("lovelace"), "bob": generate_password_hash("babbage")}
NOBODY = generate_password_hash(os.urandom(16).hex())  # so that unknown names take as long


@app.post("/login")
def login():
    name, password = request.form["name"], request.form["password"]
    hashed = USERS.get(name, NOBODY)
    # The check computes for some 50 ms. In a thread, other clients are served meanwhile.
    if not gevent.get_hub().threadpool.apply(check_password_hash, (hashed, password)):
        abort(401)
    session.clear()
    session["user"] = name
    return "welcome"


@app.post("/logout")
def logout():
    user = session.pop("user", None)
    if user is not None:
        server.in_(f"user:{user}").disconnect_sockets(close=True)  # in all workers
    return "goodbye"


@server.use
def only_users(socket):
    if "user" not in session:
        raise ConnectionRefusedError("log in first", {"code": "login"})
    socket.data["user"] = session["user"]


@server.on("connection")
def on_connection(socket):
    socket.join(f"user:{socket.data['user']}")  # all sockets of one user

    @socket.on("join-room")
    def join_room(data):
        room = f"room:{data['roomId']}"  # no client can name itself into a room `user:…`
        socket.join(room)
        card = {"id": socket.id, "name": socket.data["user"]}  # never a name that the client sends
        socket.to(room).emit("user-connected", card)
        socket.to(room).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})


if __name__ == "__main__":
    app.get("/")(try_it.page("POST /login name=ada password=lovelace"))  # to try it in a browser
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
