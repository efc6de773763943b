"""A small app with a factory, whose tests are in test_rooms_app.py.

gunicorn -k gevent "rooms_app:create_app()"
"""

import os

from flask import Flask, session

from rtcio_sync import ConnectionRefusedError, RtcioEvents, Server


def create_app(clean=str.strip):
    """`clean`: what is done to a text before others get it; a test puts its own in its place."""
    app = Flask(__name__)
    app.secret_key = os.environ.get("SECRET_KEY") or os.urandom(16)
    server = Server(app=app, connection_state_recovery=True)  # app.extensions["rtcio"]

    @app.post("/login/<user>")
    def login(user):  # replace it with the login of your app
        session["user"] = user
        return "", 204

    @app.post("/rooms/<room>/announcement")
    def announce(room):
        server.to(room).emit("announcement", {"by": session["user"]})
        return "", 204

    @server.use
    def only_users(socket):
        if "user" not in session:
            raise ConnectionRefusedError("log in first")
        socket.data["user"] = session["user"]

    @server.on("connection")
    def on_connection(socket):
        @socket.on("join-room")
        def join_room(data):
            room = data.get("roomId") if isinstance(data, dict) else None
            if not isinstance(room, str) or not room:
                return {"error": "roomId has to be a text"}
            socket.join(room)
            card = {"id": socket.id, "name": socket.data["user"]}
            socket.to(room).emit("user-connected", card)
            socket.to(room).emit(RtcioEvents.INIT_OFFER, {"source": socket.id})
            return {"joined": room}

        @socket.on("say")
        def say(data):
            socket.to(data["roomId"]).emit("said", clean(data["text"]))

        @socket.on("roll-call")
        def roll_call(room):
            def answered(error, answers):
                socket.emit("present", answers)

            socket.to(room).timeout(5).emit("are-you-there", callback=answered)

    return app
