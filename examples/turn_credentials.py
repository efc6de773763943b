"""Clients ask for ICE servers and get their own TURN credentials, valid for ten minutes.

    TURN_SECRET=... TURN_HOST=turn.example.com python examples/turn_credentials.py

The secret is coturn's `static-auth-secret` (see compose.yaml). Clients never get it.
Open http://localhost:3001: the room page asks for them, as your page does with
socket.server.emit("ask-ice", ({iceServers}) => ...).
"""

from gevent import monkey

monkey.patch_all()

import os

from flask import Flask

from rtcio_sync import Lobby, Server, ice_servers
from rtcio_sync.pages import RoomPage

HOST = os.environ.get("TURN_HOST", "localhost")
SECRET = os.environ.get("TURN_SECRET", "for a try on this machine")
ORIGINS = os.environ.get("ALLOWED_ORIGINS", "*").split(",")


def servers_for(socket):
    # The user name appears in the TURN server's log, with the traffic that it relays.
    return ice_servers(stun=HOST, turn=HOST, secret=SECRET, ttl=600, user=socket.id)


app = Flask(__name__)
server = Server(app=app, cors_allowed_origins=ORIGINS, connection_state_recovery=True)
lobby = Lobby(server, ice_servers=servers_for)  # answers "ask-ice"; also rooms and presence
RoomPage(server, url_prefix="/", lobby=lobby)


@app.get("/health")
def health():
    return {"status": "ok", "sockets": server.stats()["connected"]}


if __name__ == "__main__":
    server.listen(int(os.environ.get("PORT", 3001)), host="127.0.0.1")
