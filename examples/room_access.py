"""Rooms for members only: each join asks a SQL database, in plain blocking code.

    python examples/room_access.py      # DATABASE_URL: another database than one in memory

Log in at http://localhost:3001/login/ada or /login/eve: ada is a member of "board", eve is not.
The room page is at http://localhost:3001/?room=board.
"""

from gevent import monkey

monkey.patch_all()

import os

from flask import Flask, session
from flask_sqlalchemy import SQLAlchemy

from rtcio_sync import Lobby, Server
from rtcio_sync.pages import RoomPage

app = Flask(__name__)
app.secret_key = os.environ.get("SECRET_KEY") or os.urandom(16)
app.config["SQLALCHEMY_DATABASE_URI"] = os.environ.get("DATABASE_URL", "sqlite://")
db = SQLAlchemy(app)
server = Server(app=app, connection_state_recovery=True)  # a dropped connection keeps its seat


class Membership(db.Model):
    user = db.Column(db.String(80), primary_key=True)
    room = db.Column(db.String(80), primary_key=True)


def is_member(socket, room, name, password):
    # Delays only this client's events if the driver works with gevent (psycopg 3.1.14 or newer,
    # PyMySQL, pg8000). Flask-SQLAlchemy's session ends with the handler, as in a view.
    return db.session.get(Membership, (session.get("user"), room)) is not None


lobby = Lobby(server, authorize=is_member)  # others get join-error {"reason": "forbidden"}
RoomPage(server, url_prefix="/", lobby=lobby)


@app.get("/login/<user>")
def login(user):  # replace it with the login of your app
    session["user"] = user
    return f"hello {user}"


with app.app_context():
    db.create_all()
    if db.session.get(Membership, ("ada", "board")) is None:
        db.session.add(Membership(user="ada", room="board"))
        db.session.commit()

if __name__ == "__main__":
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
