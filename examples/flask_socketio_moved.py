"""A Flask-SocketIO app on this library: only its import has changed.

    python examples/flask_socketio_moved.py

Open http://localhost:3001 to try it in two tabs.

Compare it with flask_socketio_add_on.py, which stays on Flask-SocketIO.
"""

from gevent import monkey

monkey.patch_all()

import os

from flask import Flask, request
from try_it import page

from rtcio_sync import RtcioEvents
from rtcio_sync.flask_socketio import SocketIO, emit, join_room  # was: from flask_socketio import …

app = Flask(__name__)
app.get("/")(page())
socketio = SocketIO(app, cors_allowed_origins="*")  # relays #rtcio:message, sends #rtcio:peer-left


@socketio.on("join-room")
def on_join(data):
    join_room(data["roomId"])
    offer = {"source": request.sid}
    emit(RtcioEvents.INIT_OFFER, offer, to=data["roomId"], include_self=False)


@socketio.on("disconnect")
def on_disconnect(reason):
    print("left:", reason, flush=True)


if __name__ == "__main__":
    socketio.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", 3001)))
