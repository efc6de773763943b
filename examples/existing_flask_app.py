"""A Flask app with blueprints and a login gets signaling: handlers know who is logged in.

    python examples/existing_flask_app.py

Open http://localhost:3001 to try it in two tabs.

`session`, `current_user`, `current_app` and `request` work in a handler as in a view.
"""

from gevent import monkey

monkey.patch_all()

import os

from flask import Blueprint, Flask, request, session
from flask_login import LoginManager, UserMixin, current_user, login_user
from try_it import page

from rtcio_sync import ConnectionRefusedError, RtcioEvents, Server

# Without cors_allowed_origins only the app's own pages may connect; they send their cookies.
server = Server()
accounts, rooms = Blueprint("accounts", __name__), Blueprint("rooms", __name__)
login_manager = LoginManager()


@login_manager.user_loader
class User(UserMixin):
    def __init__(self, name):
        self.id = name


@accounts.post("/login")
def login():
    login_user(User(request.form["name"]))  # your app checks a password before this
    session["language"] = request.form.get("language", "en")
    return "welcome"


@rooms.get("/rooms/<room_id>")
def who_is_here(room_id):
    here = server.of("/").to(room_id).fetch_sockets()  # views may ask the server, and emit
    return {"names": sorted(socket.data["name"] for socket in here)}


@server.use
def only_users(socket):
    if not current_user.is_authenticated:
        raise ConnectionRefusedError("log in first")
    socket.data["name"] = current_user.id


@server.on("join-room")
def join_room(sid, data):
    server.enter_room(sid, data["roomId"])
    card = {"id": sid, "name": current_user.id, "language": session["language"]}
    server.emit("user-connected", card, to=data["roomId"], skip_sid=sid)
    server.emit(RtcioEvents.INIT_OFFER, {"source": sid}, to=data["roomId"], skip_sid=sid)


def create_app():
    app = Flask(__name__)
    app.secret_key = os.environ.get("SECRET_KEY") or os.urandom(16)
    app.register_blueprint(accounts)
    app.register_blueprint(rooms)
    app.get("/")(page("POST /login name=ada language=fr"))
    login_manager.init_app(app)
    server.init_app(app)
    return app


app = create_app()

if __name__ == "__main__":
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
